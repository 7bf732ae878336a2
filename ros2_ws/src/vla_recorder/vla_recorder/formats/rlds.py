# SPDX-License-Identifier: Apache-2.0

"""Write RLDS datasets that tensorflow_datasets reads without a builder class: TFRecord files and their description.

An episode is one record, a ``tf.train.Example`` with the steps as ragged lists. ``tfds.builder_from_directory`` needs
``features.json`` and ``dataset_info.json`` beside the files. TensorFlow is not needed to write any of it; it is the
referee in the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import listing
from vla_core.frames import STATE_KEY

from vla_recorder.formats import rlds_schema
from vla_recorder.formats.base import STATE64_KEY, DatasetError, Layout
from vla_recorder.formats.columns import check_columns
from vla_recorder.formats.embedding import Embedder, make_embedder
from vla_recorder.formats.lerobot_tables import replacing
from vla_recorder.formats.rlds_episode import MAX_RECORD, SPOOLS, RldsEpisodeWriter
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.tfrecord import FilePart, count_records, part_size, write_record
from vla_recorder.formats.tfrecord_example import Entry, example, floats, ints, spooled, spooled_floats, texts

VERSION = "1.0.0"
SPLIT = "train"
INFO, FEATURES = "dataset_info.json", "features.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_MB = 1_000_000
_UNFINISHED = ".unfinished"


def dataset_name(robot: str, target: str) -> str:
    """Return the name of a dataset: ``ur5e_vla_planner``, or ``ur5e_vla`` for the target ``recorded``."""
    name = re.sub(r"\W+", "_", f"{robot}_vla" + ("" if target == "recorded" else f"_{target}")).strip("_").lower()
    return name if name[0].isalpha() else f"robot_{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rlds:
    """RLDS as TFRecord files (see the module).

    Attributes:
        schema: ``seed`` or ``generic`` (see `vla_recorder.formats.rlds_schema`).
        dataset: Name of the dataset; made of robot and target if empty.
        embedder: See `vla_recorder.formats.embedding`.
        primary: Camera that becomes ``image`` of the schema ``seed``.
        wrist: Camera that becomes its ``wrist_image``.
        jpeg_quality: 1 to 100.
        shard_mb: A file is closed when it would grow beyond this; an episode is never cut.
    """

    name: str = field(default="rlds", init=False)
    schema: str = field(
        default="seed",
        metadata={
            "choices": ("seed", "generic"),
            "help": "seed: two cameras, six joints, one gripper, for OpenVLA; generic: whatever the profile holds",
        },
    )
    dataset: str = field(default="", metadata={"help": "name of the dataset; default <robot>_vla_<target>"})
    embedder: str = field(
        default="zeros",
        metadata={
            "help": "language embedding: zeros, hash, 'command:PROGRAM', an installed embedder, or none (generic only)"
        },
    )
    primary: str = field(default="", metadata={"help": "camera that becomes 'image' of the schema seed"})
    wrist: str = field(default="", metadata={"help": "camera that becomes 'wrist_image' of the schema seed"})
    jpeg_quality: int = field(default=95, metadata={"help": "1 to 100"})
    shard_mb: int = field(default=128, metadata={"help": "size at which the next file is begun [MB]"})

    def __post_init__(self) -> None:
        if self.schema not in ("seed", "generic"):
            raise DatasetError(f"there is no RLDS schema '{self.schema}'; schemas: seed, generic")
        if not 1 <= self.jpeg_quality <= 100:
            raise DatasetError(f"jpeg_quality {self.jpeg_quality}: a JPEG quality is 1 to 100")
        if self.shard_mb < 1:
            raise DatasetError(f"shard_mb {self.shard_mb}: a file is at least 1 MB")
        if self.embedder == "none" and self.schema == "seed":
            raise DatasetError(
                "embedder none: the RLDS schema 'seed' has a language embedding; use zeros, which the data mark as a "
                "placeholder, or schema=generic"
            )
        if self.embedder != "none":
            make_embedder(self.embedder)  # a wrong name stops before any work
        if self.dataset and not re.fullmatch(r"[A-Za-z]\w*", self.dataset):
            raise DatasetError(
                f"dataset '{self.dataset}': tensorflow_datasets wants a letter, then letters, digits and _"
            )

    @property
    def exact_state(self) -> bool:
        """Whether differences of states are stored, which shall be exact before their cast."""
        return self.schema == "seed"

    def cameras(self, layout: Layout) -> tuple[rlds_schema.Camera, ...]:
        """Return the cameras that are stored.

        Raises:
            DatasetError: The schema does not fit the robot.
        """
        if self.schema == "seed":
            return rlds_schema.seed_cameras(layout, self.primary, self.wrist)
        return rlds_schema.all_cameras(layout)

    def episode_writer(self, layout: Layout, work_dir: Path) -> RldsEpisodeWriter:
        """Return the writer of one episode.

        Raises:
            DatasetError: The schema does not fit the robot.
        """
        if self.schema == "seed":
            rlds_schema.seed_joints(layout)
        return RldsEpisodeWriter(self.cameras(layout), work_dir, self.jpeg_quality)

    def dataset_writer(self, root: Path, layout: Layout) -> RldsDatasetWriter:
        """Return the writer of the dataset.

        Raises:
            DatasetError: The schema does not fit the robot, or there is no such embedder.
        """
        return RldsDatasetWriter(root, layout, self)

    def append_writer(self, root: Path, layout: Layout) -> RldsDatasetWriter:
        """Return a writer that goes on behind the last episode of the dataset in `root`.

        New episodes go into new files, and those that are there get names that count them in; none is written into.

        Raises:
            DatasetError: The dataset holds something else than `layout` and these options say.
        """
        writer = self.dataset_writer(root, layout)
        writer.take_over()
        return writer


class RldsDatasetWriter:
    """Appends episodes to TFRecord files below ``<root>/<dataset>/1.0.0``."""

    def __init__(self, root: Path, layout: Layout, options: Rlds) -> None:
        """Begin a dataset.

        Raises:
            DatasetError: The schema does not fit the robot, or there is no such embedder.
        """
        self.dataset = options.dataset or dataset_name(layout.profile.robot, layout.target)
        self.folder = root / self.dataset / VERSION
        self._layout = layout
        self._options = options
        self._cameras = options.cameras(layout)
        self._joints = rlds_schema.seed_joints(layout) if options.schema == "seed" else None
        self._embedder: Embedder | None = None if options.embedder == "none" else make_embedder(options.embedder)
        self._embeddings: dict[str, NDArray[np.float32]] = {}
        self._stored: dict[str, str] = {}
        self._shards: list[int] = []
        self._before = 0
        self._bytes = 0
        self._stream: BinaryIO | None = None
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def _source(self) -> str:
        return self._embedder.source if self._embedder else ""

    def take_over(self) -> None:
        """Go on behind the episodes that the folder holds.

        Raises:
            DatasetError: They have other features, or their description cannot be read.
        """
        try:
            info = json.loads((self.folder / INFO).read_text(encoding="utf-8"))
            there = json.loads((self.folder / FEATURES).read_text(encoding="utf-8"))
            (split,) = info["splits"]
            self._shards = [int(count) for count in split["shardLengths"]]
            self._bytes = int(split["numBytes"])
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(
                f"{self.folder}: its description cannot be read ({error}); convert all bags again"
            ) from error
        old = rlds_schema.leaf_paths(there)
        for camera in self._cameras:
            ways = (rlds_schema.JPEG, rlds_schema.PNG, rlds_schema.RAW)
            found = old.get(f"{rlds_schema.STEPS}/{camera.path}")
            self._stored[camera.feature] = next(
                (w for w in ways if camera.leaf(w).to_json() == found), rlds_schema.JPEG
            )
        new = rlds_schema.leaf_paths(self._features())
        if differing := sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path)):
            raise DatasetError(
                f"{self.folder}: the dataset differs from this conversion in {listing(differing)}; convert with the same "
                "options, or all bags again with --overwrite"
            )
        self._before = len(self._shards)

    def add(self, episode: Episode) -> int:
        """Append an episode and return its index.

        Raises:
            DatasetError: Its columns do not fit, or it is too large for one record.
            EmbeddingError: Its instruction cannot be embedded.
        """
        check_columns(self._layout, episode)
        index = sum(self._shards)
        entries = [*self._images(episode), *self._steps(episode), *self._metadata(episode, index)]
        parts = example(entries)
        size = sum(part_size(part) for part in parts)
        if size > MAX_RECORD + (1 << 24):
            raise DatasetError(
                f"episode {index} takes {size / 1e9:.1f} GB; an RLDS episode is one protobuf message of at most 2 GiB. Use a "
                "smaller --image-size, or shorter episodes"
            )
        stream = self._shard(size)
        self._bytes += write_record(stream, parts)
        self._shards[-1] += 1
        for path in episode.files.values():
            path.unlink()
        return index

    def finish(self) -> None:
        """Prove every file and write the description; the dataset is complete afterwards.

        Raises:
            DatasetError: There is no episode, or a file does not hold what was written to it.
        """
        self._close()
        if not self._shards:
            raise DatasetError(f"{self.folder}: no episode was converted, so there is no dataset to write")
        for number, wanted in enumerate(self._shards[self._before :], start=self._before):
            path = self._unfinished(number)
            found = count_records(path)
            if found != wanted:
                raise DatasetError(
                    f"{path}: {found} episodes can be read back, {wanted} were written. Is the disk full?"
                )
        for number in range(len(self._shards)):
            path = self._shard_path(number, self._before) if number < self._before else self._unfinished(number)
            path.rename(self._shard_path(number, len(self._shards)))
        _write_json(self.folder / FEATURES, self._features())
        # Written last: a folder with dataset_info.json is a complete dataset.
        _write_json(self.folder / INFO, self._info())

    def _features(self) -> dict[str, Any]:
        cameras = {camera.path: camera.leaf(self._stored[camera.feature]) for camera in self._cameras}
        columns = (
            rlds_schema.seed_leaves(self._source)
            if self._joints
            else rlds_schema.generic_leaves(self._layout, self._source)
        )
        return rlds_schema.features_json({**cameras, **columns}, rlds_schema.metadata_leaves())

    def _info(self) -> dict[str, Any]:
        return {
            "name": self.dataset,
            "version": VERSION,
            "description": f"{self._layout.profile.robot}, {self._layout.fps} steps per second, target "
            f"{self._layout.target}, schema {self._options.schema}. language_embedding: {self._source or 'none'}.",
            "fileFormat": "tfrecord",
            "moduleName": "vla_recorder.formats.rlds",
            "releaseNotes": {VERSION: "As converted."},
            "splits": [
                {
                    "name": SPLIT,
                    "filepathTemplate": _TEMPLATE,
                    "numBytes": str(self._bytes),
                    "shardLengths": [str(count) for count in self._shards],
                }
            ],
        }

    def _shard(self, size: int) -> BinaryIO:
        """Return the file for an episode of `size` bytes."""
        if self._stream and self._stream.tell() + size > self._options.shard_mb * _MB:
            self._close()
        if self._stream is None:
            self._stream = self._unfinished(len(self._shards)).open("wb")
            self._shards.append(0)
        return self._stream

    def _close(self) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None

    def _shard_path(self, number: int, count: int) -> Path:
        return self.folder / f"{self.dataset}-{SPLIT}.tfrecord-{number:05d}-of-{count:05d}"

    def _unfinished(self, number: int) -> Path:
        return self.folder / f"{number:05d}{_UNFINISHED}"

    def _images(self, episode: Episode) -> list[Entry]:
        index = json.loads(episode.files[SPOOLS].read_text(encoding="utf-8"))
        entries = []
        for camera in self._cameras:
            about = index[camera.feature]
            before = self._stored.setdefault(camera.feature, about["stored"])
            if before != about["stored"]:
                raise DatasetError(
                    f"{camera.feature}: depth came in metres in one episode and in millimetres in another; a dataset "
                    "holds one of them. Convert them apart"
                )
            part = FilePart(episode.files[camera.feature], about["size"], about["crc"])
            make = spooled_floats if before == rlds_schema.RAW else spooled
            entries.append(make(f"{rlds_schema.STEPS}/{camera.path}", part))
        return entries

    def _steps(self, episode: Episode) -> list[Entry]:
        length = episode.length
        last = np.arange(length) == length - 1
        values: dict[str, NDArray[Any]] = {
            rlds_schema.DISCOUNT: np.ones(length, np.float32),
            rlds_schema.REWARD: (last & (_outcome(episode) != "failure")).astype(np.float32),
            rlds_schema.IS_FIRST: np.arange(length) == 0,
            rlds_schema.IS_LAST: last,
            rlds_schema.IS_TERMINAL: last,
            **(self._seed_columns(episode) if self._joints else self._generic_columns(episode)),
        }
        if self._embedder:
            values[rlds_schema.EMBEDDING] = np.tile(self._embedding(episode.task), (length, 1))
        entries = [_numbers(f"{rlds_schema.STEPS}/{path}", array) for path, array in values.items()]
        return [*entries, texts(f"{rlds_schema.STEPS}/{rlds_schema.INSTRUCTION}", [episode.task] * length)]

    def _generic_columns(self, episode: Episode) -> dict[str, NDArray[Any]]:
        return {
            rlds_schema.column_path(key): np.asarray(values)
            for key, values in episode.columns.items()
            if key in self._layout.features
        }

    def _seed_columns(self, episode: Episode) -> dict[str, NDArray[Any]]:
        assert self._joints is not None
        state = np.asarray(episode.columns.get(STATE64_KEY, episode.columns[STATE_KEY]), np.float64)
        joints, gripper = state[:, self._joints.arm], state[:, [self._joints.gripper]]
        return {
            "observation/state": np.concatenate([joints, np.zeros_like(gripper), gripper], axis=1),
            "action": np.concatenate([np.diff(joints, axis=0), np.zeros((1, rlds_schema.SEED_JOINTS))]),
            "action_gripper": np.concatenate([gripper[1:], gripper[-1:]]),
        }

    def _metadata(self, episode: Episode, index: int) -> list[Entry]:
        prefix = f"{rlds_schema.METADATA}/"
        return [
            texts(prefix + "file_path", [str(episode.about.get("bag", ""))]),
            ints(prefix + "episode_id", [index]),
            ints(prefix + "success", [_outcome(episode) == "success"]),
            ints(prefix + "trajectory_length", [episode.length]),
            texts(prefix + "language_embedding_source", [self._source or "none"]),
        ]

    def _embedding(self, task: str) -> NDArray[np.float32]:
        assert self._embedder is not None
        if task not in self._embeddings:
            self._embeddings[task] = self._embedder.embed(task)
        return self._embeddings[task]


def _outcome(episode: Episode) -> str:
    return str(episode.about.get("outcome", ""))


def _numbers(name: str, values: NDArray[Any]) -> Entry:
    return floats(name, values) if np.issubdtype(values.dtype, np.floating) else ints(name, values)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with replacing(path) as new:
        new.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
