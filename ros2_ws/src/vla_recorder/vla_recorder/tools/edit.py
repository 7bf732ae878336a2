# SPDX-License-Identifier: Apache-2.0

"""Make datasets of the episodes of others: nothing is encoded again, statistics are exact over the new whole.

LeRobot's own tools do this too, but encode the videos again where a file is taken apart, average the quantiles, and drop
``meta/vla``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_core.profile import load_profile, mapping_differences

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.histogram_log import HISTOGRAMS_PATH
from vla_recorder.formats.lerobot_meta import INFO_PATH, OWN_META, encoding_differences, info_differences
from vla_recorder.formats.lerobot_source import DatasetSource
from vla_recorder.formats.lerobot_tables import complete_features, write_json
from vla_recorder.formats.lerobot_v3 import DatasetWriter
from vla_recorder.media.video import VideoSettings

PROFILE_PATH = f"{OWN_META}/profile.yaml"
EDIT_PATH = f"{OWN_META}/edit.json"
_WORK = ".work"

Selection = Sequence[tuple[DatasetSource, int]]
"""Episodes in the order of the new dataset: where from, and which one there."""


def check_alike(sources: Sequence[DatasetSource]) -> None:
    """Prove that the rows of several datasets mean the same.

    Raises:
        DatasetError: Features, rates, robots, encoder settings or profiles differ; says which and how.
    """
    first = sources[0]
    for other in sources[1:]:
        differences = info_differences(
            first.info,
            complete_features(other.features),
            fps=other.info["fps"],
            robot_type=other.info["robot_type"],
        )
        for name, spec in first.features.items():
            if spec["dtype"] == "video" and name in other.features:
                infos = ((source.features[name].get("info") or {}) for source in (first, other))
                differences += [f"{name}: {difference}" for difference in encoding_differences(*infos)]
        profiles = [source.root / PROFILE_PATH for source in (first, other)]
        if not differences and all(path.exists() for path in profiles):
            differences = list(mapping_differences(*(load_profile(path) for path in profiles)))
        if differences:
            raise DatasetError(f"{other.root} (here) does not fit to {first.root} (there): {'; '.join(differences)}")


def write_selection(root: Path, selection: Selection, about: dict[str, Any]) -> None:
    """Write a dataset of chosen episodes, ``meta/vla`` included.

    Args:
        root: Folder to fill; must be empty or absent.
        selection: Episodes, in order; all from datasets that are alike.
        about: What was asked for; goes to ``meta/vla/edit.json`` with the origin of every episode.

    Raises:
        DatasetError: An episode is damaged, or nothing is chosen.
    """
    if not selection:
        raise DatasetError(f"{root}: no episode is left for it")
    first = selection[0][0]
    writer = DatasetWriter(
        root,
        features=first.features,
        fps=first.info["fps"],
        robot_type=first.info["robot_type"],
        video=VideoSettings(),
    )
    for number, (source, index) in enumerate(selection):
        writer.add(source.read(index, root / _WORK / f"{number:06d}"))
        _copy_own_files(source, index, root, number)
    writer.finish()
    shutil.rmtree(root / _WORK)
    sources = list({id(source): source for source, _ in selection}.values())
    for number, source in enumerate(sources):
        _copy_common_files(source, root, number)
    profile = first.root / PROFILE_PATH
    if profile.exists():
        shutil.copyfile(profile, root / PROFILE_PATH)
    origin = [{"dataset": sources.index(source), "episode": index} for source, index in selection]
    paths = [str(source.root.absolute()) for source in sources]
    write_json(root / EDIT_PATH, {**about, "datasets": paths, "episodes": origin})


def _copy_own_files(source: DatasetSource, index: int, root: Path, number: int) -> None:
    """Copy what belongs to one episode under its new number."""
    old, new = f"episode_{index:06d}", f"episode_{number:06d}"
    for path in source.own_files(index):
        if any(part.startswith("episode_") for part in path.relative_to(source.root).parts[:-1]):
            continue  # inside the folder of an episode, which is copied as a whole
        target = root / path.relative_to(source.root).with_name(path.name.replace(old, new, 1))
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target)
        elif path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            write_json(target, {**content, "episode_index": number} if "episode_index" in content else content)
        else:
            shutil.copyfile(path, target)


def _copy_common_files(source: DatasetSource, root: Path, number: int) -> None:
    """Copy what belongs to a whole dataset, such as its report, to a folder of its own: it does not fit the new one."""
    own = source.root / OWN_META
    skipped = {source.root / PROFILE_PATH, source.root / HISTOGRAMS_PATH}
    for path in sorted(own.rglob("*")):
        inside = path.relative_to(own)
        if path in skipped or not path.is_file() or any(part.startswith("episode_") for part in inside.parts):
            continue
        target = root / OWN_META / "sources" / f"{number:03d}" / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def is_complete(root: Path) -> bool:
    """Whether a folder is a finished LeRobot dataset."""
    return (root / INFO_PATH).is_file()
