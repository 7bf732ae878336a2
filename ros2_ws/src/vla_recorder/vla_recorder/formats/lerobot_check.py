# SPDX-License-Identifier: Apache-2.0

"""Is a LeRobot dataset whole: the counts in its metadata against the rows and pictures in its files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vla_recorder.formats import lerobot_v21
from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_meta import CODEBASE_VERSION, DATA_PATH, VIDEO_PATH, read_episodes, read_info
from vla_recorder.formats.lerobot_tables import read_json_lines
from vla_recorder.media.video import count_frames


def check_complete(root: Path) -> dict[str, Any]:
    """Prove that a dataset is complete and return its ``info.json``.

    Every file that the metadata name is there, holds as many rows or pictures as they say, and the totals are the sums.

    Raises:
        DatasetError: It is not; names the first file or count that is wrong.
    """
    info = read_info(root)
    version = info.get("codebase_version")
    if version == CODEBASE_VERSION:
        episodes = read_episodes(root)
        rows, pictures = _files_v30(info, episodes)
    elif version == lerobot_v21.CODEBASE_VERSION:
        episodes = _read_episodes_v21(root)
        rows, pictures = _files_v21(info, episodes)
    else:
        raise DatasetError(f"{root}: is LeRobot {version}; only v3.0 and v2.1 are known")
    _same(root, "episodes", int(info["total_episodes"]), len(episodes))
    _same(root, "frames", int(info["total_frames"]), sum(int(row["length"]) for row in episodes))
    for name, count in rows.items():
        _same(root / name, "rows", count, _count_rows(root / name))
    for name, count in pictures.items():
        _same(root / name, "pictures", count, _count_pictures(root / name))
    return info


def _files_v30(info: dict[str, Any], episodes: list[dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """Return file -> rows, and file -> pictures, as the table of episodes says."""
    rows: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    videos = [name for name, spec in info["features"].items() if spec["dtype"] == "video"]
    for row in episodes:
        name = DATA_PATH.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        rows[name] += row["length"]
        for key in videos:
            place = {f"{part}_index": row[f"videos/{key}/{part}_index"] for part in ("chunk", "file")}
            pictures[VIDEO_PATH.format(video_key=key, **place)] += row["length"]
    return rows, pictures


def _files_v21(info: dict[str, Any], episodes: list[dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    rows: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    videos = [name for name, spec in info["features"].items() if spec["dtype"] == "video"]
    for row in episodes:
        index = row["episode_index"]
        place = {"episode_chunk": index // info["chunks_size"], "episode_index": index}
        rows[info["data_path"].format(**place)] += row["length"]
        for key in videos:
            pictures[info["video_path"].format(video_key=key, **place)] += row["length"]
    return rows, pictures


def _read_episodes_v21(root: Path) -> list[dict[str, Any]]:
    path = root / "meta/episodes.jsonl"
    if not path.is_file():
        raise DatasetError(f"{path}: is missing; convert the dataset again")
    return read_json_lines(path)


def _same(path: Path, what: str, said: int, found: int) -> None:
    if said != found:
        raise DatasetError(f"{path}: the metadata count {said} {what}, there are {found}; convert the dataset again")


def _count_rows(path: Path) -> int:
    if not path.is_file():
        raise DatasetError(f"{path}: is missing; convert the dataset again")
    try:
        rows: int = pq.read_metadata(path).num_rows
    except pa.ArrowException as error:
        raise DatasetError(f"{path}: is damaged ({error}); convert the dataset again") from error
    return rows


def _count_pictures(path: Path) -> int:
    if not path.is_file():
        raise DatasetError(f"{path}: is missing; convert the dataset again")
    return count_frames(path)
