# SPDX-License-Identifier: Apache-2.0

"""Exact dataset statistics.

Policies normalise with these numbers, so none of them is sampled or averaged over episodes: pixels have few levels, so a
histogram gives every quantile exactly, and vectors are small enough to sort whole columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)

Statistics = dict[str, list]
"""Statistic name -> nested list, in the layout of LeRobot's ``stats.json``."""

_LEVELS = 256
_DEPTH_LEVELS = 65536
_EXACT_FLOAT32 = 2**24
"""OpenCV counts in float32, which holds every whole number up to here."""

DEPTH_UNITS = {"mm": 1.0, "m": 1000.0}
"""Unit of a depth image -> millimetres in it."""


def quantile_key(q: float) -> str:
    """Return LeRobot's name of a quantile: 0.01 is ``q01``."""
    return f"q{round(q * 100):02d}"


def depth_unit(image: NDArray[np.generic]) -> str:
    """Return the unit of a depth image by REP-118: uint16 holds millimetres, floating point metres."""
    return "m" if np.issubdtype(image.dtype, np.floating) else "mm"


@dataclass(slots=True)
class ImageHistogram:
    """Histogram of every pixel of a stream of images, per channel.

    Attributes:
        counts: (C, L) pixels of channel c at level l: C = 3 and L = 256 for RGB, C = 1 and L = 65536 for depth.
        frames: Number of images.
        scale: Levels per unit of the statistics: 255 for RGB, which is reported in [0, 1]; 1 for depth in millimetres,
            1000 for depth in metres, whose levels are whole millimetres.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, _LEVELS), np.int64))
    frames: int = 0
    scale: float = 255.0

    @classmethod
    def of_depth(cls, unit: str) -> ImageHistogram:
        """Return an empty histogram of depth images in ``mm`` (uint16) or ``m`` (floating point)."""
        return cls(counts=np.zeros((1, _DEPTH_LEVELS), np.int64), scale=DEPTH_UNITS[unit])

    def add(self, image: NDArray[np.generic]) -> None:
        """Count one image: (H, W, 3) uint8 RGB, or (H, W) depth as uint16 [mm] or floating point [m].

        Depth in metres is counted in whole millimetres; values that are not finite count as 0, which means "no return".
        """
        channels, levels = self.counts.shape
        pixels: Any = _millimetres(image) if channels == 1 else image
        for channel in range(channels):
            if pixels.shape[0] * pixels.shape[1] < _EXACT_FLOAT32:
                # Five times quicker than numpy.bincount, which first copies a channel into 64 bit.
                self.counts[channel] += cv2.calcHist([pixels], [channel], None, [levels], [0, levels])[:, 0].astype(
                    np.int64
                )
            else:
                plane = pixels.reshape(*pixels.shape[:2], channels)[:, :, channel]
                self.counts[channel] += np.bincount(plane.reshape(-1), minlength=levels)
        self.frames += 1

    def merge(self, other: ImageHistogram) -> None:
        """Add the counts of another histogram.

        Raises:
            ValueError: The other one counts another kind of image.
        """
        if other.counts.shape != self.counts.shape or other.scale != self.scale:
            raise ValueError(
                f"a histogram of shape {other.counts.shape}, {other.scale:g} levels per unit, cannot be added to one of "
                f"shape {self.counts.shape}, {self.scale:g} levels per unit"
            )
        self.counts += other.counts
        self.frames += other.frames

    def copy(self) -> ImageHistogram:
        """Return a histogram of its own."""
        return ImageHistogram(self.counts.copy(), self.frames, self.scale)

    @property
    def blank(self) -> bool:
        """Whether every pixel of every image has the same colour, as of a covered lens or a failed renderer."""
        return self.frames > 0 and bool(((self.counts > 0).sum(axis=1) == 1).all())

    def statistics(self) -> Statistics:
        """Return min, max, mean, std, count and quantiles of the pixels, shape (C, 1, 1) each.

        RGB is scaled to [0, 1]; depth keeps its unit. ``count`` is the number of images, as LeRobot counts.

        Raises:
            ValueError: No image was counted.
        """
        if self.frames == 0:
            raise ValueError("no image was counted: an empty stream has no statistics")
        channels, count = self.counts.shape
        levels = np.arange(count, dtype=np.float64)
        total = self.counts.sum(axis=1)
        mean = (self.counts @ levels) / total
        variance = (self.counts * (levels[None, :] - mean[:, None]) ** 2).sum(axis=1) / total
        present = self.counts > 0
        values = {
            "min": present.argmax(axis=1).astype(np.float64),
            "max": (count - 1 - present[:, ::-1].argmax(axis=1)).astype(np.float64),
            "mean": mean,
            "std": np.sqrt(variance),
        }
        for q in QUANTILES:
            values[quantile_key(q)] = np.array([_histogram_quantile(row, q) for row in self.counts])
        result: Statistics = {
            name: (value / self.scale).reshape(channels, 1, 1).tolist() for name, value in values.items()
        }
        result["count"] = [self.frames]
        return result


def _millimetres(depth: NDArray[np.generic]) -> NDArray[np.generic]:
    if not np.issubdtype(depth.dtype, np.floating):
        return depth
    scaled: NDArray[np.floating] = np.multiply(depth, DEPTH_UNITS["m"], dtype=depth.dtype)
    levels = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0).round()
    return levels.clip(0, _DEPTH_LEVELS - 1).astype(np.uint16)


def _histogram_quantile(counts: NDArray[np.int64], q: float) -> float:
    """Return the quantile of integer levels, linear between order statistics (as ``numpy.quantile``)."""
    cumulative = np.cumsum(counts)
    rank = (int(cumulative[-1]) - 1) * q
    low = int(np.floor(rank))
    first = int(np.searchsorted(cumulative, low, side="right"))
    second = int(np.searchsorted(cumulative, min(low + 1, int(cumulative[-1]) - 1), side="right"))
    return first + (second - first) * (rank - low)


def vector_statistics(values: NDArray[np.generic]) -> Statistics:
    """Return min, max, mean, std, count and quantiles over the rows.

    Args:
        values: (N, k) or (N,), any numeric type; computed in float64.

    Raises:
        ValueError: There is no row.
    """
    rows = values[:, None] if values.ndim == 1 else values
    if rows.shape[0] == 0:
        raise ValueError("no row was given: an empty column has no statistics")
    names = ("min", "max", "mean", "std", *map(quantile_key, QUANTILES))
    result: Statistics = {name: [] for name in names}
    for index in range(rows.shape[1]):
        # One dimension at a time: the copy in float64 is the largest thing in memory.
        column = rows[:, index].astype(np.float64)
        numbers = (column.min(), column.max(), column.mean(), column.std(), *np.quantile(column, QUANTILES))
        for name, number in zip(names, numbers, strict=True):
            result[name].append(float(number))
    result["count"] = [rows.shape[0]]
    return result


def summary(values: Sequence[float] | NDArray[np.floating]) -> dict[str, float]:
    """Return minimum, mean, median, p95 and maximum for a report; empty input gives an empty dict."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return {}
    return {
        "min": float(array.min()),
        "mean": float(array.mean()),
        "p50": float(np.quantile(array, 0.50)),
        "p95": float(np.quantile(array, 0.95)),
        "max": float(array.max()),
    }
