# SPDX-License-Identifier: Apache-2.0

"""Measure RLDS datasets: checksums, counts, numbers. TensorFlow is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from vla_core.errors import VlaError

from vla_recorder.formats.tfrecord import TfrecordError, read_records
from vla_recorder.formats.tfrecord_example import Values, parse_example
from vla_recorder.tools.validate_rules import ERROR, EpisodeReport, Finding, check_finite

INFO = "dataset_info.json"
_LENGTH = "episode_metadata/trajectory_length"
_FLAGS = "steps/is_first"


def find_rlds(root: Path) -> list[Path]:
    """Return the folders of RLDS datasets in (or at) a folder: those with ``dataset_info.json``."""
    return sorted(path.parent for path in root.rglob(INFO) if (path.parent / "features.json").is_file())


def validate_rlds(folder: Path, *, max_episodes: int | None = None) -> Iterator[EpisodeReport]:
    """Yield a report per episode, and one of the dataset as a whole.

    Args:
        folder: With ``dataset_info.json``.
        max_episodes: How many are looked at; all if None.

    Raises:
        VlaError: The description cannot be read.
    """
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        name = str(info["name"])
        shards = [(split["name"], [int(n) for n in split["shardLengths"]]) for split in info["splits"]]
    except (ValueError, KeyError, OSError) as error:
        raise VlaError(f"{folder / INFO}: cannot be read ({error}); convert the bags again") from error
    whole = EpisodeReport(f"{name} (dataset)")
    index = 0
    for split, lengths in shards:
        for number, wanted in enumerate(lengths):
            path = folder / f"{name}-{split}.tfrecord-{number:05d}-of-{len(lengths):05d}"
            found = 0
            try:
                for data in read_records(path):
                    found += 1
                    if max_episodes is None or index < max_episodes:
                        report = _episode(f"{name} episode {index}", parse_example(data))
                        whole.rows += report.rows
                        yield report
                    index += 1
            except (TfrecordError, OSError) as error:
                whole.add([Finding("checksum", ERROR, str(error))])
                continue
            if found != wanted:
                whole.add([Finding("shape", ERROR, f"{path.name}: {found} episodes, {INFO} says {wanted}")])
    yield whole


def _episode(name: str, values: dict[str, Values]) -> EpisodeReport:
    flags = values.get(_FLAGS)
    report = EpisodeReport(name, len(flags) if flags is not None else 0)
    said = values.get(_LENGTH)
    if said is not None and len(said) and int(said[0]) != report.rows:
        report.add([Finding("shape", ERROR, f"{report.rows} steps, trajectory_length is {said[0]!r}")])
    for key, column in values.items():
        if not key.startswith("steps/"):
            continue
        if report.rows and len(column) % report.rows:
            report.add([Finding("shape", ERROR, f"'{key}' has {len(column)} values for {report.rows} steps")])
        if isinstance(column, np.ndarray):
            report.add(check_finite(key, column))
    return report
