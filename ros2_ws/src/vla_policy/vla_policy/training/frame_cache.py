# SPDX-License-Identifier: Apache-2.0

"""Keeps what LeRobot's dataset has decoded, so that a frame is decoded once and not once per epoch.

Random access to a video costs more than a training step of a small policy. The cache lies between LeRobot's dataset and its
reader: what comes out is the same to the last bit, and image augmentation still happens anew each time.
"""

from collections.abc import Callable
from typing import Any

import torch
from lerobot.datasets.dataset_reader import DatasetReader
from torch import Tensor

MEBIBYTE = 1 << 20


class FrameCache:
    """Items of one dataset by their index, up to a number of bytes; those beyond it are read each time."""

    def __init__(self, capacity_mb: int) -> None:
        self._left = capacity_mb * MEBIBYTE
        self._items: dict[int, dict[str, Any]] = {}
        self._original: Callable[[Any, int], dict[str, Any]] = DatasetReader.get_item
        self.hits = self.misses = 0

    def install(self) -> None:
        """Let every `LeRobotDataset` of this process read through the cache.

        One cache serves one dataset; LeRobot's training reads the held-out one, if there is one, by another reader.
        """
        original, cache = self._original, self
        owner: list[DatasetReader] = []

        def get_item(reader: DatasetReader, idx: int) -> dict[str, Any]:
            if not owner:
                owner.append(reader)
            if owner[0] is not reader:
                return original(reader, idx)
            return cache.get(reader, int(idx))

        DatasetReader.get_item = get_item

    def get(self, reader: DatasetReader, index: int) -> dict[str, Any]:
        """The item, from memory where possible; transforms of the images are applied to a copy."""
        transforms = reader._image_transforms
        item = self._items.get(index)
        if item is None:
            self.misses += 1
            reader._image_transforms = None
            try:
                item = self._original(reader, index)
            finally:
                reader._image_transforms = transforms
            self._keep(index, item)
        else:
            self.hits += 1
        item = dict(item)
        if transforms is not None:
            for camera in reader._meta.camera_keys:
                if camera not in reader._meta.depth_keys:
                    item[camera] = transforms(item[camera])
        return item

    def _keep(self, index: int, item: dict[str, Any]) -> None:
        size = sum(value.numel() * value.element_size() for value in item.values() if isinstance(value, Tensor))
        if size <= self._left:
            self._left -= size
            # a view would keep the memory of what it is a view of
            self._items[index] = {
                name: torch.clone(value) if isinstance(value, Tensor) else value for name, value in item.items()
            }
