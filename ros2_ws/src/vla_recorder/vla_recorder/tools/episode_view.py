# SPDX-License-Identifier: Apache-2.0

"""What a person wants to see of an episode, read from a dataset or from a bag: curves, phases and a few pictures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from vla_core.episode import TELEOP
from vla_core.errors import BagError, VlaError
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, Missing
from vla_core.profile import parse_profile

from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import EpisodeBag

PICTURES = 8
PHASE_KEY = "phase"
META = "meta/vla"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeView:
    """One episode to look at.

    Attributes:
        name: For people.
        task: Instruction.
        outcome: success, failure or unknown; empty where nobody said.
        fps: Rows per second.
        t_s: (N,) time of every row since the first [s]; steps larger than 1/fps show where rows are missing.
        state: (N, n), in dataset units.
        state_names: Names of its values.
        action: (N, m), in dataset units.
        action_names: Names of its values.
        phases: (N,) constants of EpisodeEvent.
        pictures: Camera -> (row, (H, W, 3) uint8 RGB), a few over the whole length.
        dropped: Reason -> ticks without a row.
        warnings: For people.
    """

    name: str
    task: str
    outcome: str
    fps: float
    t_s: NDArray[np.float64]
    state: NDArray[np.float32]
    state_names: tuple[str, ...]
    action: NDArray[np.float32]
    action_names: tuple[str, ...]
    phases: NDArray[np.int64]
    pictures: Mapping[str, list[tuple[int, NDArray[np.uint8]]]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.t_s)

    @property
    def duration_s(self) -> float:
        """Time from the first to the end of the last row [s]."""
        return float(self.t_s[-1]) + 1.0 / self.fps if self.rows else 0.0

    @property
    def gaps(self) -> list[tuple[int, float]]:
        """(row, seconds) for every place where rows are missing before `row`."""
        steps = np.diff(self.t_s)
        return [(int(i) + 1, float(steps[i])) for i in np.flatnonzero(steps > 1.5 / self.fps)]

    @property
    def segments(self) -> list[tuple[int, int, int]]:
        """(phase, first row, last row) of every stretch of one phase."""
        if not self.rows:
            return []
        edges = np.flatnonzero(np.diff(self.phases)) + 1
        starts, ends = [0, *edges.tolist()], [*(edges - 1).tolist(), self.rows - 1]
        return [(int(self.phases[a]), a, b) for a, b in zip(starts, ends, strict=True)]


def is_dataset(path: Path) -> bool:
    """Return whether a folder is a LeRobot dataset."""
    return (path / "meta/info.json").is_file()


def dataset_length(root: Path) -> int:
    """Return how many episodes a dataset says that it has."""
    return int(json.loads((root / "meta/info.json").read_text(encoding="utf-8"))["total_episodes"])


def dataset_views(root: Path, episodes: range | None = None) -> Iterator[EpisodeView]:
    """Yield the episodes of a LeRobot v3 dataset.

    Args:
        root: The dataset.
        episodes: Which ones; all if left out.

    Raises:
        VlaError: The folder is no v3 dataset.
    """
    info = json.loads((root / "meta/info.json").read_text(encoding="utf-8"))
    if info.get("codebase_version") != "v3.0":
        raise VlaError(
            f"{root}: a dataset of version {info.get('codebase_version')!r}; inspect reads v3.0 and recorded bags"
        )
    table = pq.read_table(sorted((root / "meta/episodes").rglob("*.parquet")))
    wanted = [name for name in table.column_names if not name.startswith("stats/")]
    rows = sorted(table.select(wanted).to_pylist(), key=lambda row: int(row["episode_index"]))
    for row in rows:
        if episodes is None or row["episode_index"] in episodes:
            yield _dataset_view(root, info, row)


def _dataset_view(root: Path, info: Mapping[str, Any], row: Mapping[str, Any]) -> EpisodeView:
    index = int(row["episode_index"])
    path = root / info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
    features = info["features"]
    columns = [name for name in (STATE_KEY, ACTION_KEY, "timestamp", "stamp_ns", PHASE_KEY) if name in features]
    table = pq.read_table(path, columns=columns, filters=[("episode_index", "==", index)])
    data = {name: np.array(table.column(name).to_pylist()) for name in columns}
    if "stamp_ns" in data:
        t_s = (data["stamp_ns"] - data["stamp_ns"][0]).reshape(-1) * 1e-9
    else:
        t_s = data["timestamp"].reshape(-1).astype(np.float64)
    about = _about(root, index)
    cameras = [key for key, spec in features.items() if spec["dtype"] == "video"]
    return EpisodeView(
        name=f"episode {index}" + (f" ({about['bag']})" if about.get("bag") else ""),
        task="; ".join(row["tasks"]),
        outcome=str(about.get("outcome", "")),
        fps=float(info["fps"]),
        t_s=t_s,
        state=_matrix(data.get(STATE_KEY), len(t_s)),
        state_names=_names(features, STATE_KEY),
        action=_matrix(data.get(ACTION_KEY), len(t_s)),
        action_names=_names(features, ACTION_KEY),
        phases=data[PHASE_KEY].reshape(-1).astype(np.int64) if PHASE_KEY in data else np.full(len(t_s), TELEOP),
        pictures={key.removeprefix(IMAGE_PREFIX): _video_pictures(root, info, row, key) for key in cameras},
        dropped=about.get("dropped", {}),
        warnings=tuple(about.get("warnings", ())),
    )


def _about(root: Path, index: int) -> dict[str, Any]:
    """Return what the converter knew of the episode; nothing for a dataset that another program made."""
    path = root / META / "episodes" / f"episode_{index:06d}.json"
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _matrix(values: NDArray[Any] | None, rows: int) -> NDArray[np.float32]:
    if values is None:
        return np.zeros((rows, 0), np.float32)
    return np.asarray(values, np.float32).reshape(rows, -1)


def _names(features: Mapping[str, Any], key: str) -> tuple[str, ...]:
    if key not in features:
        return ()
    names = features[key].get("names")
    if isinstance(names, Mapping):  # LeRobot also writes {"motors": [...]}
        names = next(iter(names.values()))
    return tuple(names or (f"{key}[{i}]" for i in range(features[key]["shape"][0])))


def picture_rows(rows: int, count: int = PICTURES) -> list[int]:
    """Return the rows that are shown: evenly spread, with the first and the last."""
    return sorted({round(i) for i in np.linspace(0, rows - 1, min(count, rows))}) if rows else []


def _video_pictures(
    root: Path, info: Mapping[str, Any], row: Mapping[str, Any], key: str
) -> list[tuple[int, NDArray[np.uint8]]]:
    path = root / info["video_path"].format(
        video_key=key, chunk_index=row[f"videos/{key}/chunk_index"], file_index=row[f"videos/{key}/file_index"]
    )
    start = Fraction(row[f"videos/{key}/from_timestamp"]).limit_denominator(1_000_000)
    found = []
    container: Any = av.open(str(path))
    try:
        stream = container.streams.video[0]
        for index in picture_rows(int(row["length"])):
            wanted = float(start) + index / info["fps"]
            container.seek(int(wanted / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time >= wanted - 0.5 / info["fps"]:
                    found.append((index, _shown(frame)))
                    break
    finally:
        container.close()
    return found


def _shown(frame: Any) -> NDArray[np.uint8]:
    """Return a frame as RGB; depth as grey from its smallest to its largest value."""
    if frame.format.name.startswith("gray") and frame.format.components[0].bits > 8:
        return grey(frame.to_ndarray())
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return image


def grey(depth: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a depth image as (H, W, 3) grey, nearest dark."""
    values = np.nan_to_num(np.asarray(depth, np.float32).reshape(depth.shape[:2]))
    low, high = float(values.min()), float(values.max())
    scaled = ((values - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)
    return np.repeat(scaled[:, :, None], 3, axis=2)


def bag_view(bag: EpisodeBag, profile_text: str | None = None) -> EpisodeView:
    """Read a bag as the converter would, every driven and undriven frame of it.

    Args:
        bag: The episode.
        profile_text: Profile to read it with; the bag's own if left out.

    Raises:
        BagError: There is no profile, or no frame can be built.
    """
    text = profile_text or bag.get("profile")
    if not text:
        raise BagError(f"{bag.folder}: the bag carries no robot profile; give one with --profile")
    profile = parse_profile(text, f"profile of {bag.name}")
    frames = BagFrames(bag, profile, profile.fps)
    states: list[NDArray[np.float32]] = []
    actions: list[NDArray[np.float32]] = []
    stamps: list[int] = []
    phases: list[int] = []
    kept: dict[str, list[tuple[int, NDArray[np.uint8]]]] = {name: [] for name in profile.camera_names}
    stride, dropped = 1, Counter[str]()
    for frame in frames:
        if isinstance(frame, Missing):
            dropped[f"{frame.stream}: {frame.reason}"] += 1
            continue
        row = len(stamps)
        stamps.append(frame.t_ns)
        states.append(frame.state)
        actions.append(frame.action if frame.action is not None else np.zeros(0, np.float32))
        phases.append(frames.phase_at(frame.t_ns))
        if row % stride == 0:
            for name, image in frame.images.items():
                kept[name].append((row, np.array(image) if image.ndim == 3 else grey(image)))
        # The length is not known before the end: keep every stride-th picture and double the stride when it is many.
        if row >= 2 * PICTURES * stride:
            stride *= 2
            kept = {name: [pair for pair in pairs if pair[0] % stride == 0] for name, pairs in kept.items()}
    if not stamps:
        raise BagError(f"{bag.folder}: no frame could be built ({dict(dropped)})")
    return EpisodeView(
        name=bag.name,
        task=bag.get("task") or profile.task,
        outcome=bag.get("outcome"),
        fps=float(profile.fps),
        t_s=(np.array(stamps) - stamps[0]) * 1e-9,
        state=np.stack(states),
        state_names=profile.state_names,
        action=np.stack(actions),
        action_names=profile.action_names,
        phases=np.array(phases, np.int64),
        pictures={name: [pairs[i] for i in picture_rows(len(pairs))] for name, pairs in kept.items()},
        dropped=dict(dropped),
        warnings=tuple(bag.structured("warnings") or ()),
    )
