# SPDX-License-Identifier: Apache-2.0

"""`evaluate --dataset`: from the command line to measures, pictures and files."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm
from vla_core.profile import Profile

from vla_policy.evaluation.checks import Selection, check_fit, choose_episodes, own_profile
from vla_policy.evaluation.dataset import RecordedWindows, Window
from vla_policy.evaluation.offline import OfflineResult, evaluate_offline
from vla_policy.evaluation.offline_page import as_text, write_page
from vla_policy.evaluation.predictors import HOLD_LAST, HoldLast, NoisyTruth, Predictor, RunnerPredictor
from vla_policy.evaluation.run_folder import NO_RUN, EvaluationError, find_run, read_run, step_of, weights_sha256
from vla_policy.evaluation.saving import Places, save, stamp
from vla_policy.policies.checkpoint import Checkpoint, choose_profile, find_checkpoint
from vla_policy.policies.lerobot_runner import LeRobotRunner
from vla_policy.policies.runner import LoadRequest
from vla_policy.training.dataset_checks import DATASET_PROFILE, check_dataset, dataset_sha256
from vla_policy.training.trainer import video_backend

MOCK_STEPS = 20


@dataclass(slots=True, kw_only=True)
class Judged:
    """What is evaluated.

    Attributes:
        profile: What its numbers mean.
        whose: Who brought the profile, for messages.
        run: The training's `run.json`; empty where there is none.
        folder: Where evaluations of it are kept.
        facts: What the JSON says of it.
        checkpoint: Its checkpoint; None for a mock.
    """

    profile: Profile
    whose: str
    run: dict[str, Any]
    folder: Path
    facts: dict[str, Any]
    checkpoint: Checkpoint | None = None


def run_offline(options: argparse.Namespace, command: str) -> dict[str, Any]:
    """Evaluate, print, write. Returns the content of the JSON.

    Raises:
        VlaError: anything that the user can put right.
    """
    info = check_dataset(options.dataset)
    judged = _mock(options) if options.mock_model else _checkpoint(options)
    check_fit(options.dataset, info, judged.profile, judged.whose)
    sha256 = dataset_sha256(options.dataset)
    selection = choose_episodes(
        info["total_episodes"], judged.run, dataset=options.dataset, sha256=sha256, given=options.episodes
    )
    predictor, chunk, history = _predictor(options, judged)
    steps = min(options.horizon or chunk, chunk)
    windows = RecordedWindows(
        options.dataset,
        judged.profile,
        episodes=selection.episodes,
        steps=steps,
        stride=options.stride,
        history=history,
        video_backend=video_backend(),
    )
    result = evaluate_offline(
        shown(windows), predictor, judged.profile, steps=steps, statistics=windows.statistics(),
        draw=0 if windows.relative else options.draw,
    )  # fmt: skip
    content = _content(options, judged, selection, result, predictor, sha256) | {"command": command}
    places = Places.of(options, judged.folder, content["name"])
    sys.stdout.write(f"{content['policy_description']}\n{selection.text}\n\n{as_text(content)}\n\n")
    page = write_page(content, result.traces, judged.profile, places.pages)
    save(content, places, page)
    return content


def shown(windows: RecordedWindows) -> Iterator[Window]:
    """The windows with a bar on a terminal, elsewhere a line every ten seconds."""
    on_terminal = sys.stderr.isatty()
    bar: Iterable[Window] = tqdm(
        windows, unit="window", desc="evaluating", file=sys.stderr, mininterval=0.2 if on_terminal else 10.0
    )
    yield from bar


def _mock(options: argparse.Namespace) -> Judged:
    profile = own_profile(options.dataset)
    if profile is None:
        raise EvaluationError(
            f"{options.dataset}: no robot profile travels with the dataset ({DATASET_PROFILE} is missing), and a mock brings none. "
            f"Convert the bags again with ros2 run vla_recorder convert."
        )
    facts = {"checkpoint": None, "policy_type": f"mock:{options.mock_model}", "step": None, "weights_sha256": None}
    return Judged(profile=profile, whose="the dataset", run={}, folder=NO_RUN, facts=facts)


def _checkpoint(options: argparse.Namespace) -> Judged:
    checkpoint = find_checkpoint(options.checkpoint)
    folder = find_run(checkpoint)
    facts = {
        "checkpoint": str(checkpoint.path),
        "policy_type": checkpoint.policy_type,
        "step": step_of(checkpoint),
        "weights_sha256": weights_sha256(checkpoint),
    }
    return Judged(
        profile=choose_profile(checkpoint, None),
        whose=f"the checkpoint {checkpoint.path}",
        run=read_run(folder) if folder else {},
        folder=folder / "evaluations" if folder else NO_RUN,
        facts=facts,
        checkpoint=checkpoint,
    )


def _predictor(options: argparse.Namespace, judged: Judged) -> tuple[Predictor, int, int]:
    """What predicts, the steps of its chunks, and the earlier observations that it reads."""
    if judged.checkpoint is None:
        mock = HoldLast() if options.mock_model == HOLD_LAST else NoisyTruth(options.mock_noise, options.seed)
        return mock, MOCK_STEPS, 0
    request = LoadRequest(device=options.device, seed=options.seed, torch_threads=options.threads)
    runner = LeRobotRunner(judged.checkpoint, judged.profile, request)
    judged.facts["n_action_steps"] = runner.n_action_steps
    return RunnerPredictor(runner), runner.chunk_size, runner.history


def _content(
    options: argparse.Namespace,
    judged: Judged,
    selection: Selection,
    result: OfflineResult,
    predictor: Predictor,
    sha256: str,
) -> dict[str, Any]:
    step = "" if judged.facts["step"] is None else f"-{judged.facts['step']}"
    mock = f"mock-{options.mock_model}" if options.mock_model else "offline"
    return {
        **result.measures,
        **judged.facts,
        **stamp(),
        "name": options.name or f"{mock}-{options.dataset.resolve().name}{step}",
        "policy_description": predictor.description,
        "profile_sha256": judged.profile.sha256,
        "dataset": {
            "path": str(options.dataset),
            "sha256": sha256,
            "episodes": list(selection.episodes),
            "selection": selection.text,
            "why": selection.why,
            "trained_on": selection.trained_on,
        },
        "stride": options.stride,
        "seed": options.seed,
        "device": options.device,
    }
