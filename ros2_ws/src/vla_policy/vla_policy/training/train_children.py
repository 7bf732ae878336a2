# SPDX-License-Identifier: Apache-2.0

"""Programs that the launcher runs beside the training: the check of the data, the merging of datasets."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vla_policy.training.dataset_checks import DatasetFacts
from vla_policy.training.train_run import say
from vla_policy.training.train_settings import TrainError

TRAINER = ("python", "-m", "vla_policy.training.trainer")
VALIDATE = "vla_recorder.tools.validate"
MOST_PIXELS = 2_000_000_000
"""Pictures of a dataset with more pixels are not decoded before each training; that would take minutes."""
MAX_FINDINGS = 4


def trainer_command(processes: int) -> list[str]:
    """The training program: alone, or several times under torch's launcher, as `accelerate launch` starts it."""
    module = ["-m", TRAINER[2]]
    if processes == 1:
        return [sys.executable, *module]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *launcher, *module]


class Validation:
    """`vla_recorder validate` on one dataset, running while the training process loads its libraries."""

    def __init__(self, facts: DatasetFacts) -> None:
        """Start it.

        Raises:
            TrainError: the recorder package, which has the command, is not installed.
        """
        if find_spec("vla_recorder") is None:
            raise TrainError(
                "the dataset cannot be validated: the package vla_recorder is not on the Python path. Build and source the "
                "whole workspace, or pass --skip-validate."
            )
        self._facts = facts
        self._folder = tempfile.TemporaryDirectory(prefix="vla-validate-")
        self._report = Path(self._folder.name) / "report.json"
        command = [sys.executable, "-m", VALIDATE, str(facts.path), "--report", str(self._report)]
        self._images = pixels(facts) <= MOST_PIXELS
        if not self._images:
            command.append("--no-images")
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Validation":
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it is still running."""
        self._child.kill()
        self._child.communicate()
        self._folder.cleanup()

    def check(self) -> None:
        """Wait for it.

        Raises:
            TrainError: a rule is broken; the message names the episodes.
        """
        _, error = self._child.communicate()
        path = self._facts.path
        if self._child.returncode == 0:
            pictures = (
                "" if self._images else f" (pictures not decoded; to check them: ros2 run vla_recorder validate {path})"
            )
            say(f"validated: {path}{pictures}")
            return
        if not self._report.is_file():
            raise TrainError(f"{path}: could not be validated:\n{error.strip()}\nOr pass --skip-validate.")
        raise TrainError(
            f"{path}: does not pass `validate`:\n  "
            + "\n  ".join(broken_rules(json.loads(self._report.read_text(encoding="utf-8"))))
            + f"\nSee all of it with: ros2 run vla_recorder validate {path}. Convert again, take the episodes out with: ros2 run "
            "vla_recorder split, or train on it as it is: --skip-validate."
        )


def pixels(facts: DatasetFacts) -> int:
    """Number of pixels in all pictures of a dataset."""
    shapes = [f["shape"] for f in facts.info["features"].values() if f.get("dtype") in ("video", "image")]
    return facts.frames * sum(int(shape[0]) * int(shape[1]) for shape in shapes)


def broken_rules(report: Mapping[str, Any]) -> list[str]:
    """The first errors of a report of `validate`, one line each, and how many more there are."""
    lines = [
        f"{episode['name']}: {finding['rule']}: {finding['text']}"
        for episode in report["reports"]
        for finding in episode["findings"]
        if finding["level"] == "error"
    ]
    more = [f"… and {len(lines) - MAX_FINDINGS} more"] if len(lines) > MAX_FINDINGS else []
    return lines[:MAX_FINDINGS] + more


def merge(output: Path, datasets: Sequence[DatasetFacts], variables: Mapping[str, str]) -> None:
    """Make one dataset of several, unless it is there already.

    Raises:
        TrainError: LeRobot could not merge them.
    """
    if output.is_dir():
        say(f"merged dataset: {output} (made before)")
        return
    command = [sys.executable, "-m", "vla_policy.training.merging", str(output), *(str(d.path) for d in datasets)]
    done = subprocess.run(
        command, env=dict(variables), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise TrainError(
            f"the datasets could not be merged into {output}:\n{tail}\nOr merge them: ros2 run vla_recorder merge."
        )
    say(f"merged dataset: {output}")
