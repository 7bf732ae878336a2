# SPDX-License-Identifier: Apache-2.0

"""The folder of a training run as evaluations see it: `run.json`, `checkpoints/` and `evaluations/`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError

from vla_policy.policies.checkpoint import CHECKPOINTS_DIR, WEIGHTS_FILE, Checkpoint
from vla_policy.training.run_record import RUN_FILE, SCHEMA

EVALUATIONS_DIR = "evaluations"
NO_RUN = Path("outputs") / EVALUATIONS_DIR
OFFLINE, SIM, PAIRED = "offline", "sim", "paired"
KINDS = (OFFLINE, SIM, PAIRED)
_BLOCK = 1 << 20


class EvaluationError(VlaError):
    """An evaluation that cannot be made, or a run folder that cannot be read."""


def find_run(checkpoint: Checkpoint) -> Path | None:
    """The run folder that a checkpoint lies in (`<run>/checkpoints/<step>/pretrained_model`), or None."""
    steps = checkpoint.path.absolute().parent.parent
    return steps.parent if steps.name == CHECKPOINTS_DIR else None


def step_of(checkpoint: Checkpoint) -> int | None:
    """The training step of a checkpoint, from its folder's name with links followed; None where it says none."""
    name = checkpoint.path.resolve().parent.name
    return int(name) if name.isdigit() else None


def read_run(run: Path) -> dict[str, Any]:
    """Content of `run.json`; empty where the run has none.

    Raises:
        EvaluationError: the file is damaged, or of a version that this program does not know.
    """
    file = run / RUN_FILE
    if not file.is_file():
        return {}
    record = read_json(file)
    if record.get("schema") != SCHEMA:
        raise EvaluationError(
            f"{file}: has schema {record.get('schema')!r}, this program reads {SCHEMA}. Was it written by another version?"
        )
    return record


def read_json(file: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        EvaluationError: it cannot be read, or holds no mapping.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{file}: cannot be read: {error}. Delete it, or restore it from a copy.") from error
    if not isinstance(content, dict):
        raise EvaluationError(f"{file}: holds no JSON object. Delete it, or restore it from a copy.")
    return content


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        EvaluationError: the folder cannot be written.
    """
    half = file.with_name(file.name + ".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        half.replace(file)
    except OSError as error:
        raise EvaluationError(
            f"{file}: cannot be written: {error}. Name a folder you may write to: --output DIR."
        ) from error


def evaluations(run: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The evaluations of a run with their files, oldest first.

    Raises:
        EvaluationError: one of them is damaged.
    """
    found = []
    for file in sorted((run / EVALUATIONS_DIR).glob("*.json")):
        content = read_json(file)
        if content.get("kind") not in KINDS:
            raise EvaluationError(
                f"{file}: 'kind' is {content.get('kind')!r}, not one of {', '.join(KINDS)}; it is no evaluation. Move it away."
            )
        found.append((file, content))
    return sorted(found, key=lambda pair: str(pair[1].get("created")))


def weights_sha256(checkpoint: Checkpoint) -> str:
    """Hash of the weights, which says whether two evaluations were of one policy.

    Raises:
        EvaluationError: there are none.
    """
    file = checkpoint.path / WEIGHTS_FILE
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise EvaluationError(f"{file}: the weights cannot be read: {error}. Is the copy complete?") from error
    return digest.hexdigest()
