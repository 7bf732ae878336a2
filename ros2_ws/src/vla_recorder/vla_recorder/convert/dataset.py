# SPDX-License-Identifier: Apache-2.0

"""One dataset of a run: its episodes in order, and our own files that say where they come from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from vla_recorder.bags.reader import EpisodeBag
from vla_recorder.convert.episode import ATTACHMENTS
from vla_recorder.convert.options import Options
from vla_recorder.convert.result import Converted
from vla_recorder.convert.staging import OutputError, clone, read_json
from vla_recorder.convert.store import write_json
from vla_recorder.formats.base import Appendable, DatasetWriter, Layout

META = "meta/vla"
"""Where our files lie in a dataset; LeRobot keeps files that it does not know, but not keys in its own files."""
REPORT_FILE = "report.json"
_EPISODES = "episodes"
_STRUCTURED = {
    "topics": "topics",
    "warnings": "recorder_warnings",
    "versions": "versions",
    "lost": "lost",
    "phase_seconds": "phase_seconds",
}
"""Metadata of a bag that are JSON -> what our file calls them."""


class Dataset:
    """Collects the episodes of one target and counts what they hold."""

    def __init__(self, root: Path, layout: Layout, options: Options) -> None:
        """Prepare; nothing is written before the first episode.

        Args:
            root: Its folder: absent or empty, or a finished dataset that is to be extended.
            layout: What the rows hold.
            options: What was asked for.

        Raises:
            OutputError: A finished dataset is there, and its format cannot be extended.
        """
        self.root = root
        self._layout = layout
        self._format = options.format
        self._writer: DatasetWriter | None = None
        self.before: dict[str, Any] = {}
        if (root / META / REPORT_FILE).is_file():
            if not isinstance(options.format, Appendable):
                raise OutputError(
                    f"{options.output}: a dataset of the format {options.format.name} cannot be extended; convert all bags "
                    "again with --overwrite"
                )
            self.before = read_json(root / META / REPORT_FILE)
        self.episodes = self.frames = self.gaps = 0
        self.removed: Counter[str] = Counter()
        self.skipped: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def add(self, bag: EpisodeBag, result: Converted, finished: Path) -> None:
        """Append an episode, or count why it is left out.

        Args:
            bag: Its recording.
            result: What became of it.
            finished: Its folder, with the attachments.
        """
        made = result.targets[self._layout.target]
        self.removed.update(made.removed)
        if made.episode is None:
            self.skipped.append((bag.name, made.skipped))
            return
        if self._writer is None:
            self._writer = self._open()
        index = self._writer.add(made.episode)
        self.episodes += 1
        self.frames += made.episode.length
        self.gaps += len(made.gaps)
        self.warnings += [f"{bag.name}: {warning}" for warning in result.warnings_of(self._layout.target)]
        about = {key: value for key, value in made.episode.about.items() if key not in _STRUCTURED}
        provenance = {
            "episode_index": index,
            **about,
            **{name: bag.structured(key) for key, name in _STRUCTURED.items()},
            **result.report(self._layout.target),
        }
        write_json(self.root / META / _EPISODES / f"episode_{index:06d}.json", provenance)
        if result.attachments:
            clone(finished / ATTACHMENTS, self.root / META / ATTACHMENTS / f"episode_{index:06d}")

    def finish(self) -> None:
        """Complete the dataset, but for our report."""
        if self._writer is not None:
            self._writer.finish()
            (self.root / META).mkdir(parents=True, exist_ok=True)
            profile = self.root / META / "profile.yaml"
            profile.unlink(missing_ok=True)
            profile.write_text(self._layout.profile.text, encoding="utf-8")

    def numbers(self, output: str, seconds: float) -> dict[str, Any]:
        """Return the part of the report that is this dataset's; what was there before is counted in.

        Args:
            output: Where people find it: a path or URL.
            seconds: Wall time of the run [s].
        """
        removed = Counter(self.before.get("removed", {}))
        removed.update(self.removed)
        found = {
            "target": self._layout.target,
            "output": output,
            "episodes": self.episodes + int(self.before.get("episodes", 0)),
            "frames": self.frames + int(self.before.get("frames", 0)),
            "frames_per_s": round(self.frames / seconds, 1),
            "removed": dict(removed),
            "gaps": self.gaps + int(self.before.get("gaps", 0)),
            "skipped": [list(pair) for pair in self.skipped],
            "warnings": self.warnings,
        }
        if self.before:
            found["extended"] = {key: self.before[key] for key in ("episodes", "frames")}
        return found

    def _open(self) -> DatasetWriter:
        if self.before and isinstance(self._format, Appendable):
            return self._format.append_writer(self.root, self._layout)
        return self._format.dataset_writer(self.root, self._layout)


def bags_in(root: Path) -> set[str]:
    """Return the content hashes of the bags whose episodes are in a dataset."""
    return {str(read_json(path).get("bag_xxh128")) for path in sorted((root / META / _EPISODES).glob("episode_*.json"))}
