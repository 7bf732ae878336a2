# SPDX-License-Identifier: Apache-2.0

"""Where the results of an evaluation go."""

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vla_policy.evaluation.run_folder import EvaluationError, write_json
from vla_policy.training.run_record import SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Files of one evaluation.

    Attributes:
        record: JSON that `compare` reads.
        pages: Folder of the report and its pictures.
        copy: Further JSON file that the user asked for, or None.
    """

    record: Path
    pages: Path
    copy: Path | None

    @staticmethod
    def of(options: argparse.Namespace, folder: Path, name: str) -> "Places":
        """The places of the evaluation `name`.

        Args:
            options: Read are `output` and `json`.
            folder: Evaluations folder of the run.
            name: The evaluation's name; it becomes a file name.

        Raises:
            EvaluationError: the name cannot be a file name.
        """
        if Path(name).name != name or name.startswith("."):
            raise EvaluationError(f"--name {name}: becomes a file name, so it must not hold '/' or begin with a dot.")
        chosen = options.output or folder
        return Places(record=chosen / f"{name}.json", pages=chosen / name, copy=options.json)


def stamp() -> dict[str, Any]:
    """Version of the record and the time at which it is made."""
    return {"schema": SCHEMA, "created": datetime.now(UTC).isoformat(timespec="seconds")}


def save(content: dict[str, Any], places: Places, page: Path) -> None:
    """Write the JSON and say what was written where.

    Raises:
        EvaluationError: a folder cannot be written.
    """
    for file in filter(None, (places.record, places.copy)):
        write_json(file, content)
        sys.stdout.write(f"written: {file}\n")
    sys.stdout.write(f"report:  {page}\n")
