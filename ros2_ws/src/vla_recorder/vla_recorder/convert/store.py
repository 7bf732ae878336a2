# SPDX-License-Identifier: Apache-2.0

"""Finished episodes on disk: each complete or absent, so that a killed run loses only the episodes it was working on.

A folder holds ``result.json``, ``frames.npz`` and one folder per target with ``columns.npz``, ``histograms.npz`` and the
files of the format. It is written under another name, brought to the disk and renamed; nothing in it is executable or
pickled, so that a folder from elsewhere can do no harm.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError

from vla_recorder.convert.result import Converted, TargetResult
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import ImageHistogram

RESULT_FILE = "result.json"
UNFINISHED = ".tmp"
_FRAMES_FILE, _COLUMNS_FILE, _HISTOGRAMS_FILE = "frames.npz", "columns.npz", "histograms.npz"
_SKEW = "skew_s"
_PREFIX = "array."
"""Names in a file begin with it, because savez takes them as keywords and has some of its own."""
_NO_LINKS = (errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS)


class StoreError(VlaError):
    """A finished episode cannot be written or read."""


def save(result: Converted, unfinished: Path, finished: Path) -> None:
    """Write what is not yet in files, and rename the folder: from then on the episode is finished.

    Args:
        result: What became of the episode; its files are in `unfinished`.
        unfinished: Folder of the episode's files.
        finished: Its name when it is complete.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        _save_arrays(unfinished / _FRAMES_FILE, {**result.ages_s, _SKEW: result.skew_s})
        data: dict[str, Any] = {
            "folder": str(result.folder),
            "bag_xxh128": result.bag_xxh128,
            "frames": result.frames,
            "dropped": result.dropped,
            "examples": result.examples,
            "warnings": result.warnings,
            "damage": result.damage,
            "streams": result.streams,
            "attachments": result.attachments,
            "lead_s": result.lead_s,
            "seconds": result.seconds,
            "targets": {name: _save_target(made, unfinished / name) for name, made in result.targets.items()},
        }
        (unfinished / RESULT_FILE).write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")
        sync(unfinished)
        unfinished.rename(finished)
        sync_folder(finished.parent)
    except OSError as error:
        raise StoreError(
            f"{unfinished}: a finished episode cannot be kept ({error.strerror or error}). Make room on the disk, or give "
            "another --output"
        ) from error


def load(finished: Path, links: Path) -> Converted:
    """Return a finished episode whose files are hard links, so that a dataset may move or delete them.

    Args:
        finished: Folder of the episode.
        links: Folder for the links; replaced.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        data = json.loads((finished / RESULT_FILE).read_text(encoding="utf-8"))
        frames = _arrays(finished / _FRAMES_FILE)
        shutil.rmtree(links, ignore_errors=True)
        targets = {name: _load_target(made, finished / name, links / name) for name, made in data["targets"].items()}
        return Converted(
            folder=Path(data["folder"]),
            bag_xxh128=data["bag_xxh128"],
            targets=targets,
            frames=data["frames"],
            dropped=data["dropped"],
            examples=data["examples"],
            warnings=data["warnings"],
            damage=data["damage"],
            streams=data["streams"],
            attachments=data["attachments"],
            skew_s=frames.pop(_SKEW),
            ages_s=frames,
            lead_s=data["lead_s"],
            seconds=data["seconds"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{finished}: a finished episode cannot be read ({type(error).__name__}: {error}). Delete the folder and run "
            "again with --resume"
        ) from error


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds a finished episode."""
    return folder.suffix != UNFINISHED and (folder / RESULT_FILE).is_file()


def stored_frames(folder: Path) -> dict[str, int]:
    """Return target -> rows of a finished episode."""
    data = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    return {name: made["rows"] for name, made in data["targets"].items()}


def _save_target(made: TargetResult, folder: Path) -> dict[str, Any]:
    rows = made.episode.length if made.episode else 0
    data: dict[str, Any] = {"rows": rows, "skipped": made.skipped, "removed": made.removed, "gaps": made.gaps}
    if made.episode is None:
        return data
    episode = made.episode
    folder.mkdir(parents=True, exist_ok=True)
    _save_arrays(folder / _COLUMNS_FILE, episode.columns)
    _save_arrays(folder / _HISTOGRAMS_FILE, {key: one.counts for key, one in episode.histograms.items()})
    return data | {
        "task": episode.task,
        "about": episode.about,
        "columns": list(episode.columns),
        "videos": {key: str(path.relative_to(folder)) for key, path in episode.videos.items()},
        "files": {key: str(path.relative_to(folder)) for key, path in episode.files.items()},
        "histograms": {key: [one.frames, one.scale] for key, one in episode.histograms.items()},
    }


def _load_target(data: Mapping[str, Any], folder: Path, links: Path) -> TargetResult:
    episode = None
    if not data["skipped"]:
        columns, counts = _arrays(folder / _COLUMNS_FILE), _arrays(folder / _HISTOGRAMS_FILE)
        episode = Episode(
            task=data["task"],
            columns={key: columns[key] for key in data["columns"]},
            videos={key: _link(folder, name, links) for key, name in data["videos"].items()},
            histograms={
                key: ImageHistogram(counts=counts[key], frames=frames, scale=scale)
                for key, (frames, scale) in data["histograms"].items()
            },
            files={key: _link(folder, name, links) for key, name in data["files"].items()},
            about=data["about"],
        )
    gaps = [(int(row), int(ticks)) for row, ticks in data["gaps"]]
    return TargetResult(episode=episode, skipped=data["skipped"], removed=data["removed"], gaps=gaps)


def _link(folder: Path, name: str, links: Path) -> Path:
    source, target = (folder / name).resolve(), links / name
    if not source.is_relative_to(folder.resolve()):
        raise ValueError(f"{name} lies outside of the episode")
    target.parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(source, target)
    return target


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except PermissionError:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as content:
        return {key.removeprefix(_PREFIX): content[key] for key in content.files}


def _save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    values: dict[str, Any] = {f"{_PREFIX}{key}": value for key, value in arrays.items()}
    np.savez_compressed(path, **values)


def sync(folder: Path) -> None:
    """Bring every file of a folder to the disk, so that a power cut cannot leave a complete-looking one half empty."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        else:
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, complete or not at all; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(path.name + UNFINISHED)
    written.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    written.rename(path)
