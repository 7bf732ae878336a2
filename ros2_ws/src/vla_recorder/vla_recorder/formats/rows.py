# SPDX-License-Identifier: Apache-2.0

"""What a converted episode hands to the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        files: Name -> file that only its format understands, for formats that store no video.
        about: Where the episode comes from (see `vla_recorder.formats.base.EpisodeWriter.finish`); JSON types only.
    """

    task: str
    columns: Mapping[str, NDArray[np.generic]]
    videos: Mapping[str, Path]
    histograms: Mapping[str, ImageHistogram]
    files: Mapping[str, Path] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))
