# SPDX-License-Identifier: Apache-2.0

"""Write what OpenPI trains on: LeRobot v2.1 with every image inside the table, under OpenPI's short keys.

OpenPI loads a dataset through the LeRobot of its time and names the columns in the ``repack_transforms`` of a training
configuration, so the keys are a choice; the defaults are those of its UR5e example with a base and a wrist camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY

from vla_recorder.formats.base import DatasetError, Layout, PacketReference
from vla_recorder.formats.image_episode import IMAGE_FORMATS, ImageEpisodeWriter, encode_jpeg, encode_png
from vla_recorder.formats.lerobot_v21 import DatasetWriter, refuse_depth
from vla_recorder.formats.rows import Episode

DEFAULT_KEYS = {"front": "base_rgb", "base": "base_rgb", "wrist": "wrist_rgb"}
"""Camera -> key, for cameras that ``image_keys`` does not name."""


@dataclass(frozen=True, slots=True)
class OpenPi:
    """The format with its options."""

    name: str = "openpi"
    image_keys: str = field(
        default="",
        metadata={
            "help": "CAMERA=KEY pairs with commas between, for example front=base_rgb,wrist=wrist_rgb; the names state "
            "and action rename those columns, for example action=actions"
        },
    )
    images: str = field(
        default="png",
        metadata={"help": "png (without loss) or jpeg (about a tenth of the size)", "choices": IMAGE_FORMATS},
    )
    quality: int = field(default=95, metadata={"help": "of jpeg, 1 to 100"})

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise DatasetError(f"--format {self.name}: quality {self.quality} is outside 1..100")
        _pairs(self.image_keys)

    def episode_writer(self, layout: Layout, work_dir: Path) -> OpenPiEpisodeWriter:
        """Return the writer of one episode.

        Raises:
            DatasetError: A camera has no key, two have the same, or one is a depth camera.
        """
        keys = self.keys(layout)
        encode: Callable[[NDArray[Any]], bytes] = (
            encode_png if self.images == "png" else partial(encode_jpeg, quality=self.quality)
        )
        suffix = "png" if self.images == "png" else "jpg"
        return OpenPiEpisodeWriter(ImageEpisodeWriter(layout, work_dir, layout.image_keys, encode, suffix, keys), keys)

    def dataset_writer(self, root: Path, layout: Layout) -> DatasetWriter:
        """Return the writer of the dataset.

        Raises:
            DatasetError: A camera has no key, two have the same, or one is a depth camera.
        """
        keys = self.keys(layout)
        features = {
            keys.get(name, name): {**spec, "dtype": "image"} if spec["dtype"] == "video" else spec
            for name, spec in layout.features.items()
        }
        return DatasetWriter(
            root, features=features, fps=layout.fps, robot_type=layout.profile.robot, video=layout.video
        )

    def keys(self, layout: Layout) -> dict[str, str]:
        """Return feature -> OpenPI's key, for the features that are renamed.

        Raises:
            DatasetError: A camera has no key, a name is no camera, two have the same key, or one is a depth camera.
        """
        refuse_depth(layout, self.name)
        cameras = {key.removeprefix(IMAGE_PREFIX): key for key in layout.image_keys}
        given = _pairs(self.image_keys)
        known = (*cameras, "state", "action")
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise DatasetError(
                f"--format-option image_keys: there is no camera {unknown[0]!r}; names: {', '.join(known)}"
            )
        names = {**{camera: DEFAULT_KEYS.get(camera, "") for camera in cameras}, **given}
        nameless = [camera for camera in cameras if not names[camera]]
        if nameless:
            raise DatasetError(
                f"--format {self.name}: camera {nameless[0]!r} has no key; add {nameless[0]}=<key> to --format-option image_keys=..."
            )
        result = {cameras[camera]: names[camera] for camera in cameras}
        result[STATE_KEY] = names.get("state", "state")
        result[ACTION_KEY] = names.get("action", "action")
        taken = [*result.values(), *(name for name in layout.features if name not in result)]
        double = sorted({name for name in taken if taken.count(name) > 1})
        if double:
            raise DatasetError(f"--format-option image_keys: {double[0]!r} names more than one column")
        return result


def _pairs(text: str) -> dict[str, str]:
    result = {}
    for part in filter(None, text.split(",")):
        name, separator, key = (piece.strip() for piece in part.partition("="))
        if not separator or not name or not key:
            raise DatasetError(
                f"--format-option image_keys={text}: {part!r} is not CAMERA=KEY; give front=base_rgb,wrist=wrist_rgb"
            )
        result[name] = key
    return result


class OpenPiEpisodeWriter:
    """Stores the images of one episode and gives the columns OpenPI's names."""

    def __init__(self, writer: ImageEpisodeWriter, keys: Mapping[str, str]) -> None:
        """Wrap the writer of the images.

        Args:
            writer: Takes the images under their own names and stores them under `keys`.
            keys: Feature -> OpenPI's key.
        """
        self._writer = writer
        self._keys = keys

    def add(self, images: Mapping[str, NDArray[Any] | PacketReference]) -> None:
        """Encode the images of one row, (H, W, 3) uint8 RGB each."""
        self._writer.add(images)

    def finish(self, columns: Mapping[str, NDArray[np.generic]], task: str, about: Mapping[str, Any]) -> Episode:
        """Close the file."""
        renamed = {self._keys.get(name, name): values for name, values in columns.items()}
        return self._writer.finish(renamed, task, about)

    def discard(self) -> None:
        """Close and delete the file."""
        self._writer.discard()
