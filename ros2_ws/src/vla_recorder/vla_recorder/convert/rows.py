# SPDX-License-Identifier: Apache-2.0

"""What a converted episode hands to the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_recorder.formats.stats import ImageHistogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One converted episode.

    Attributes:
        task: Instruction of the episode.
        columns: Feature -> (N, k) or (N,) values of every row.
        videos: Video feature -> MP4 file with N pictures; moved or joined into the dataset.
        histograms: Video feature -> histogram of the N pictures.
    """

    task: str
    columns: Mapping[str, NDArray[np.generic]]
    videos: Mapping[str, Path]
    histograms: Mapping[str, ImageHistogram]

    @property
    def length(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))
