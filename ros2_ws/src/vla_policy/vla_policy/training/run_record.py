# SPDX-License-Identifier: Apache-2.0

"""What a run folder says about itself: `run.json`, the model card of its checkpoints, and sums over `loss.csv`."""

import csv
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vla_policy.training.dataset_checks import DatasetFacts
from vla_policy.training.train_plan import LOSS_COLUMNS, LOSS_FILE

RUN_FILE = "run.json"
SCHEMA = 1
RUNNING, FINISHED = "running", "finished"
PACKAGES = ("lerobot", "torch", "torchcodec", "accelerate", "transformers", "peft", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of what the training depends on; absent packages are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def dataset_record(facts: DatasetFacts) -> dict[str, Any]:
    """What `run.json` says of a dataset."""
    return {
        "path": str(facts.path.resolve()),
        "sha256": facts.sha256,
        "frames": facts.frames,
        "episodes": facts.episodes,
        "held_out": list(facts.held_out),
    }


def write_record(run: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json`, at once."""
    made = run / f".{RUN_FILE}.new"
    made.write_text(json.dumps({"schema": SCHEMA, **record}, indent=2) + "\n", encoding="utf-8")
    made.replace(run / RUN_FILE)


def read_record(run: Path) -> dict[str, Any]:
    """Content of `run.json`.

    Raises:
        OSError: there is none.
        ValueError: it is damaged.
    """
    content: dict[str, Any] = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRows:
    """The columns of a run's `loss.csv`, one row per step; times in seconds."""

    step: Sequence[int] = ()
    loss: Sequence[float] = ()
    grad_norm: Sequence[float] = ()
    lr: Sequence[float] = ()
    update_s: Sequence[float] = ()
    data_s: Sequence[float] = ()

    @property
    def data_time_share(self) -> float | None:
        """Part of the time of a step that goes into loading data; the first step, which warms up, is left out."""
        update, data = sum(self.update_s[1:]), sum(self.data_s[1:])
        return round(data / (update + data), 4) if update + data > 0 else None

    @property
    def steps_per_s(self) -> float | None:
        """Steps per second of training and data time, without the first step."""
        seconds = sum(self.update_s[1:]) + sum(self.data_s[1:])
        return round((len(self.step) - 1) / seconds, 3) if seconds > 0 else None


def read_loss(run: Path) -> LossRows:
    """Read `loss.csv`; empty where the run made no step."""
    file = run / LOSS_FILE
    if not file.is_file():
        return LossRows()
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream) if len(row) == len(LOSS_COLUMNS) and row[0].isdigit()]
    loss, grad_norm, lr, update_s, data_s = (
        [float(row[index]) for row in rows] for index in range(1, len(LOSS_COLUMNS))
    )
    return LossRows(
        step=[int(row[0]) for row in rows], loss=loss, grad_norm=grad_norm, lr=lr, update_s=update_s, data_s=data_s
    )


def model_card(record: Mapping[str, Any], *, robot: str, fps: float, tasks: Sequence[str]) -> str:
    """A model card in the Hugging Face format; `{step}` stands for the step of the checkpoint."""
    lines = [
        "---",
        "library_name: lerobot",
        "pipeline_tag: robotics",
        f"tags: [robotics, {record['policy']}]",
        "---",
        "",
        f"# {record['policy']} for {robot}",
        "",
        f"Step {{step}} of {record['steps']}, batch size {record['batch_size']}, seed {record['seed']}, phase "
        f"{record['phase']}, {'from ' + record['base'] if record['base'] else 'from scratch'}.",
        "",
        f"Robot profile: `vla/profile.yaml` beside this file ({fps:g} Hz, sha256 `{record['profile_sha256'][:16]}`).",
        "",
        "Instructions it was trained on: " + "; ".join(f"“{task}”" for task in tasks[:20]) + ".",
        "",
        "| dataset | sha256 | episodes | frames | held out |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {Path(data['path']).name} | `{data['sha256'][:16]}` | {data['episodes']} | {data['frames']} | "
        f"{', '.join(map(str, data['held_out'])) or 'none'} |"
        for data in record["datasets"]
    ]
    lines += ["", "Trained with " + ", ".join(f"{name} {text}" for name, text in record["versions"].items()) + ".", ""]
    lines += ["Run it: `ros2 launch vla_bringup infer.launch.py checkpoint:=THIS_FOLDER`.", ""]
    return "\n".join(lines)


def process_age_s() -> float:
    """Seconds since this process was started, imports included (Linux `/proc/self/stat`)."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
