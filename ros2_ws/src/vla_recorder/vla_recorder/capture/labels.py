# SPDX-License-Identifier: Apache-2.0

"""Labels of saved episodes: success, failure or discarded, changed after the fact, and taken back.

A label is changed in ``metadata.yaml``, which wins over the copy inside the MCAP file. A discarded episode moves to the
folder ``.discarded`` beside the others; it is deleted when the next episode is saved or the recorder ends.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from vla_core.episode import OUTCOMES
from vla_core.errors import EpisodeError, listing

from vla_recorder.bags.writer import METADATA_FILE, writing

TRASH = ".discarded"
DISCARDED = "discarded"
LABELS = (*OUTCOMES, DISCARDED)
"""In the order of the constants of vla_msgs/srv/LabelEpisode."""


def rewrite_metadata(folder: Path, changes: Mapping[str, str]) -> None:
    """Change entries of ``custom_data`` in ``metadata.yaml``; a reader sees the old file or the new one, never a part.

    Raises:
        EpisodeError: The folder has no readable ``metadata.yaml``.
        BagError: The disk refuses it.
    """
    path = folder / METADATA_FILE
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        info = content["rosbag2_bagfile_information"]
        info["custom_data"] = {**(info.get("custom_data") or {}), **changes}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise EpisodeError(
            f"{path}: the episode cannot be labelled, its metadata are not readable ({error})"
        ) from error
    temporary = path.with_suffix(".tmp")
    with writing(path):
        with temporary.open("w", encoding="utf-8") as stream:
            yaml.safe_dump(content, stream, sort_keys=False, allow_unicode=True)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
        _sync(folder)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(slots=True)
class Saved:
    """An episode that was closed.

    Attributes:
        uuid: Identifies it.
        path: Its folder now.
        label: One of `LABELS`.
        outcome: Its outcome in the metadata, kept while it is discarded.
        termination: Why it ended; ``discarded`` in the metadata while it is.
        notes: What was written down about it.
    """

    uuid: str
    path: Path
    label: str
    outcome: str
    termination: str
    notes: str


class Shelf:
    """The episodes of this recorder, the labels that can be taken back, and the discarded ones."""

    def __init__(self, output_dir: Path) -> None:
        """Args: output_dir: where episodes are kept."""
        self._output_dir = output_dir
        self._saved: dict[str, Saved] = {}
        self._history: list[tuple[str, str]] = []

    @property
    def last(self) -> Saved | None:
        """The episode that was closed last."""
        return next(reversed(self._saved.values()), None)

    @property
    def can_undo(self) -> bool:
        """Whether there is a label to take back."""
        return bool(self._history)

    @property
    def kept(self) -> int:
        """Episodes that are not discarded."""
        return sum(saved.label != DISCARDED for saved in self._saved.values())

    def add(self, uuid: str, path: Path, outcome: str, termination: str = "stopped", notes: str = "") -> Saved:
        """Take note of an episode that was saved; those that were discarded before are now gone for good.

        Args:
            uuid: Identifies it.
            path: Its folder.
            outcome: One of `OUTCOMES`.
            termination: Why it ended; an episode that ends discarded is ``stopped`` when it comes back.
            notes: Of the episode.

        Raises:
            BagError: The discarded ones cannot be deleted.
        """
        self.purge()
        kept = "stopped" if termination == DISCARDED else termination
        saved = Saved(uuid, path, outcome, outcome, kept, notes)
        self._saved[uuid] = saved
        if outcome != OUTCOMES[0]:
            self._history.append((uuid, OUTCOMES[0]))
        return saved

    def label(self, uuid: str, label: str) -> Saved:
        """Change the label of an episode.

        Args:
            uuid: Of the episode; empty: the last one.
            label: One of `LABELS`.

        Raises:
            EpisodeError: There is no such episode.
            BagError: The disk refuses it.
        """
        saved = self._find(uuid)
        before = saved.label
        if before != label:
            self._apply(saved, label)
            self._history.append((saved.uuid, before))
        return saved

    def undo(self, uuid: str = "") -> Saved:
        """Take back the last label (of an episode, if one is given).

        Raises:
            EpisodeError: There is nothing to take back.
            BagError: The disk refuses it.
        """
        for index in range(len(self._history) - 1, -1, -1):
            owner, before = self._history[index]
            if not uuid or owner == uuid:
                saved = self._find(owner)
                self._apply(saved, before)
                del self._history[index]
                return saved
        raise EpisodeError("there is no label to take back: a label can be undone until the recorder ends")

    def annotate(self, notes: str, extra: Mapping[str, str]) -> Saved:
        """Add notes and further metadata to the last episode.

        Raises:
            EpisodeError: There is none.
            BagError: The disk refuses it.
        """
        saved = self._find("")
        saved.notes = joined(saved.notes, notes)
        rewrite_metadata(saved.path, {**extra, "notes": saved.notes})
        return saved

    def purge(self) -> list[str]:
        """Delete what this recorder discarded; returns the names.

        Raises:
            BagError: The disk refuses it.
        """
        trash = self._output_dir / TRASH
        gone = [saved for saved in self._saved.values() if saved.label == DISCARDED]
        for saved in gone:
            with writing(saved.path):
                shutil.rmtree(saved.path)
            del self._saved[saved.uuid]
            self._history = [entry for entry in self._history if entry[0] != saved.uuid]
        # Another recorder may keep its own there.
        if trash.is_dir() and not any(trash.iterdir()):
            with writing(trash):
                trash.rmdir()
        return [saved.path.name for saved in gone]

    def _find(self, uuid: str) -> Saved:
        if not uuid:
            if self.last is None:
                raise EpisodeError("no episode was saved since the recorder started, so there is none to label")
            return self.last
        if uuid not in self._saved:
            known = listing(self._saved) if self._saved else "none"
            raise EpisodeError(f"no episode {uuid} was saved since the recorder started; known: {known}")
        return self._saved[uuid]

    def _apply(self, saved: Saved, label: str) -> None:
        changes = {"labelled_at": datetime.now(UTC).isoformat(timespec="seconds")}
        if label == DISCARDED:
            rewrite_metadata(saved.path, {**changes, "termination": DISCARDED})
            self._move(saved, self._output_dir / TRASH / saved.path.name)
        else:
            rewrite_metadata(saved.path, {**changes, "outcome": label, "termination": saved.termination})
            if saved.label == DISCARDED:
                self._move(saved, self._output_dir / saved.path.name)
            saved.outcome = label
        saved.label = label

    @staticmethod
    def _move(saved: Saved, target: Path) -> None:
        with writing(target):
            target.parent.mkdir(exist_ok=True)
            saved.path.rename(target)
            _sync(target.parent)
        saved.path = target


def joined(first: str, second: str) -> str:
    """Return two notes as one text."""
    return "; ".join(part for part in (first.strip(), second.strip()) if part)
