# SPDX-License-Identifier: Apache-2.0

"""A policy whose errors are known, windows without a dataset, and run folders as a training leaves them."""

import json
from pathlib import Path

import numpy as np
from vla_core.chunks import ActionChunk
from vla_core.frames import Frame
from vla_policy.evaluation.dataset import Window
from vla_policy.policies.runner import PolicyRunner

CHUNK = 6


class OffsetRunner(PolicyRunner):
    """Answers with the joints of the state plus `offset` plus `slope` times the step: its errors are known by hand."""

    n_action_steps = 3
    chunk_size = CHUNK
    guidable = False
    history = 2
    description = "a policy for tests"

    def __init__(self, offset=0.0, slope=0.0):
        self.offset, self.slope = offset, slope
        self.resets = 0
        self.seen: list[tuple[int, list[int], str]] = []
        self._past: list[int] = []

    def reset(self):
        self.resets += 1

    def observe(self, frame):
        self._past.append(frame.t_ns)

    def infer(self, frame, task, prefix=None):
        self.seen.append((frame.t_ns, self._past, task))
        self._past = []
        steps = np.arange(self.chunk_size)[:, None]
        values = (frame.state[None] + self.offset + self.slope * steps).astype(np.float32)
        return ActionChunk(t0_ns=frame.t_ns, dt_s=0.1, values=values)

    def close(self):
        pass


def frame_of(state, t_ns=0):
    """An observation without images."""
    state = np.asarray(state, dtype=np.float32)
    return Frame(t_ns=t_ns, state=state, state64=state.astype(np.float64), images={}, action=None, ages_s={})


def window_of(truth, *, previous=None, valid=None, state=None, episode=0, step=1):
    """A window with the given recorded actions (T, m)."""
    truth = np.asarray(truth, dtype=np.float32)
    return Window(
        episode=episode,
        step=step,
        frame=frame_of(truth[0] if state is None else state),
        history=(),
        task="pick up the block",
        previous=truth[0] if previous is None else np.asarray(previous, dtype=np.float32),
        truth=truth,
        valid=np.ones(len(truth), dtype=bool) if valid is None else np.asarray(valid, dtype=bool),
    )


def run_record(dataset="/data/lift", sha256="ab" * 32, held_out=(), **changed):
    """Content of a `run.json`."""
    data = {"path": str(dataset), "sha256": sha256, "frames": 40, "episodes": 2, "held_out": list(held_out)}
    record = {
        "schema": 1, "policy": "act", "base": None, "steps": 100, "batch_size": 8, "seed": 1, "seconds": 60.0, "loss": 0.25,
        "datasets": [data], "outcome": "finished",
    }  # fmt: skip
    return {**record, **changed}


def make_run(folder: Path, **record):
    """A run folder with `run.json`, `loss.csv` and a checkpoint folder without a checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run_record(**record)))
    (folder / "loss.csv").write_text(
        "step,loss,grad_norm,lr,update_s,data_s\n1,0.5,1.0,0.001,0.1,0.01\n2,0.25,0.9,0.001,0.1,0.01\n"
    )
    return folder


def trial(seed, success, **changed):
    """One trial as vla_sim's trial node writes it."""
    result = {
        "seed": seed, "success": success, "duration_s": 3.0 + 0.1 * seed, "wall_s": 1.0, "start_distance": 0.2,
        "min_distance": 0.005, "final_distance": 0.006, "grasped": success, "termination": 1 if success else 2,
        "error_code": 0, "error_msg": "", "chunks": 3, "goals_sent": 9, "steps": 30, "frames_missing": 0,
        "inference_ms_p50": 20.0, "inference_ms_p95": 25.0, "obs_to_action_ms_p95": 100.0, "bag": "", "displaced": False,
    }  # fmt: skip
    return {**result, **changed}
