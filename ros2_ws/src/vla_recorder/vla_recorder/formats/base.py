# SPDX-License-Identifier: Apache-2.0

"""What a dataset format is: one object that writes episodes in worker processes, and one that makes a dataset of them.

A conversion calls, for every episode and target, in a worker process::

    writer = format.episode_writer(layout, work_dir)
    writer.add(images)              # once per row, as the rows come; nothing is kept in memory
    episode = writer.finish(columns, task, about)

and in the main process, in order, ``dataset = format.dataset_writer(root, layout)``, ``dataset.add(episode)`` and once
``dataset.finish()``. A format is a small frozen dataclass of its options, so that it can be sent to another process; its
fields, but ``name``, are what ``--format-option KEY=VALUE`` sets (see `vla_recorder.formats.make_format`).

Finished episodes outlive a killed run, so between the two halves everything of an episode is files and arrays: `Episode`
goes to the disk with its columns, histograms, videos and files, and comes back in another process. What ``dataset.add``
gets are hard links: the dataset writer may move or delete them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError
from vla_core.profile import Profile

from vla_recorder.formats.rows import Episode
from vla_recorder.media.video import VideoSettings

STATE64_KEY = "observation.state64"
"""Column (N, n) float64 for the formats that ask for it (`ExactState`); it is no feature."""


class DatasetError(VlaError):
    """The dataset cannot be written as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What every row of a dataset holds.

    Attributes:
        profile: Profile that the rows were built with; what its numbers mean.
        fps: Rows per second.
        features: Feature -> ``dtype``, ``shape``, ``names``, as in LeRobot's ``info.json`` but without the automatic
            columns. Cameras have dtype ``video`` (the format may store them otherwise) and come by `EpisodeWriter.add`;
            all others are columns. A depth camera has the shape (H, W, 1) and ``info: {is_depth_map: True}``.
        video: How images are encoded, for formats that store video.
        name: Name of the dataset, for example a Hub id.
        target: What ``--target`` made the rows; see `vla_recorder.convert.targets`.
        copied: Image features whose rows come as `PacketReference`, because the packets of the camera are stored as they
            are. Decided per episode, so the layout of the dataset itself names none.
    """

    profile: Profile
    fps: int
    features: Mapping[str, Mapping[str, Any]]
    video: VideoSettings
    name: str
    target: str = "recorded"
    copied: frozenset[str] = frozenset()

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Features that come as images."""
        return tuple(key for key, spec in self.features.items() if spec["dtype"] == "video")


@dataclass(frozen=True, slots=True, eq=False)
class PacketReference:
    """Stands for the image of a row whose encoded packet is copied and not decoded.

    Attributes:
        message: The message that the row shows, as the bag holds it: foxglove_msgs/CompressedVideo or
            ffmpeg_image_transport_msgs/FFMPEGPacket. Two rows that show the same message hold the same object.
        number: Number of the message on its topic, from 0 (see `vla_recorder.bags.packet_numbers.PacketNumbers`): rows that
            follow one another must have consecutive numbers.
    """

    message: Any
    number: int


class EpisodeWriter(Protocol):
    """Takes the rows of one episode in a worker process. Files go into its work folder."""

    def add(self, images: Mapping[str, NDArray[Any] | PacketReference]) -> None:
        """Take the images of the next row.

        Args:
            images: Feature -> (H, W, 3) uint8 RGB, or (H, W) uint16 [mm] / float32 [m] for depth; a `PacketReference`
                for the features in ``Layout.copied``.
        """

    def finish(self, columns: Mapping[str, NDArray[np.generic]], task: str, about: Mapping[str, Any]) -> Episode:
        """Close the files and return the episode.

        Args:
            columns: Feature -> (N, k) or (N,) values of every row; N is the number of calls of `add`. ``stamp_ns`` of a
                ``synthetic`` row is that of the row that it copies: times of rows are their index over fps.
            task: Instruction.
            about: Where the episode comes from, JSON types only: ``bag``, ``bag_xxh128``, ``episode_uuid``, ``outcome``,
                ``skill_name``, ``skill_outcome``, ``phase_counts``, ``phase_segments``, ``num_frames``, ``fps``,
                ``measured_fps`` and the other metadata of the bag.
        """

    def discard(self) -> None:
        """Delete what was written; also allowed after an error."""


class DatasetWriter(Protocol):
    """Makes one dataset of episodes, in order, in the main process."""

    def add(self, episode: Episode) -> int:
        """Append an episode and return its index."""

    def finish(self) -> None:
        """Write what belongs to the whole; the dataset is complete afterwards."""


class DatasetFormat(Protocol):
    """A format with its options."""

    @property
    def name(self) -> str:
        """What ``--format`` calls it."""

    def episode_writer(self, layout: Layout, work_dir: Path) -> EpisodeWriter:
        """Return the writer of one episode; `work_dir` is empty or absent."""

    def dataset_writer(self, root: Path, layout: Layout) -> DatasetWriter:
        """Return the writer of the dataset; `root` is empty or absent."""


@runtime_checkable
class ExactState(Protocol):
    """A format that takes differences of states, and so may want them before their cast to float32."""

    @property
    def exact_state(self) -> bool:
        """Whether the columns of an episode shall also hold `STATE64_KEY`."""


@runtime_checkable
class Appendable(Protocol):
    """A format that can add episodes to a finished dataset."""

    def append_writer(self, root: Path, layout: Layout) -> DatasetWriter:
        """Return a writer that goes on behind the last episode.

        Args:
            root: A copy of the dataset whose files are hard links to the ones in use: never write into an existing file,
                write a new one and rename it over the old.
            layout: What the rows hold.

        Raises:
            DatasetError: The dataset holds something else.
        """
