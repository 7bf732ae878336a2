# SPDX-License-Identifier: Apache-2.0

"""Exact dataset statistics.

Policies normalise with these numbers, so none of them is sampled or averaged over episodes: a uint8 channel has 256
values, so its histogram gives every quantile exactly, and vectors are small enough to sort whole columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)

Statistics = dict[str, list]
"""Statistic name -> nested list, in the layout of LeRobot's ``stats.json``."""

_LEVELS = 256


def quantile_key(q: float) -> str:
    """Return LeRobot's name of a quantile: 0.01 is ``q01``."""
    return f"q{round(q * 100):02d}"


@dataclass(slots=True)
class ImageHistogram:
    """Histogram of every pixel of a stream of RGB images, per channel."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, _LEVELS), np.int64))
    frames: int = 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """Count one image, (H, W, 3) uint8."""
        for channel in range(3):
            self.counts[channel] += np.bincount(image[:, :, channel].reshape(-1), minlength=_LEVELS)
        self.frames += 1

    def merge(self, other: ImageHistogram) -> None:
        """Add the counts of another histogram."""
        self.counts += other.counts
        self.frames += other.frames

    @property
    def blank(self) -> bool:
        """Whether every pixel of every image has the same colour, as of a covered lens or a failed renderer."""
        return self.frames > 0 and bool(((self.counts > 0).sum(axis=1) == 1).all())

    def statistics(self) -> Statistics:
        """Return min, max, mean, std, count and quantiles of the pixels scaled to [0, 1], shape (3, 1, 1) each.

        ``count`` is the number of images, as LeRobot counts.

        Raises:
            ValueError: No image was counted.
        """
        if self.frames == 0:
            raise ValueError("no image was counted: an empty stream has no statistics")
        levels = np.arange(_LEVELS, dtype=np.float64)
        total = self.counts.sum(axis=1)
        mean = (self.counts @ levels) / total
        variance = (self.counts * (levels[None, :] - mean[:, None]) ** 2).sum(axis=1) / total
        present = self.counts > 0
        values = {
            "min": present.argmax(axis=1).astype(np.float64),
            "max": (_LEVELS - 1 - present[:, ::-1].argmax(axis=1)).astype(np.float64),
            "mean": mean,
            "std": np.sqrt(variance),
        }
        for q in QUANTILES:
            values[quantile_key(q)] = np.array([_histogram_quantile(row, q) for row in self.counts])
        result: Statistics = {name: (value / 255.0).reshape(3, 1, 1).tolist() for name, value in values.items()}
        result["count"] = [self.frames]
        return result


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
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.shape[0] == 0:
        raise ValueError("no row was given: an empty column has no statistics")
    result: Statistics = {
        "min": rows.min(axis=0).tolist(),
        "max": rows.max(axis=0).tolist(),
        "mean": rows.mean(axis=0).tolist(),
        "std": rows.std(axis=0).tolist(),
        "count": [rows.shape[0]],
    }
    for q, row in zip(QUANTILES, np.quantile(rows, QUANTILES, axis=0), strict=True):
        result[quantile_key(q)] = row.tolist()
    return result


def summary(values: Sequence[float] | NDArray[np.floating]) -> dict[str, float]:
    """Return mean, median, p95 and maximum for a report; empty input gives an empty dict."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return {}
    return {
        "mean": float(array.mean()),
        "p50": float(np.quantile(array, 0.50)),
        "p95": float(np.quantile(array, 0.95)),
        "max": float(array.max()),
    }
