# SPDX-License-Identifier: Apache-2.0

"""What every format asks of the columns of an episode."""

from __future__ import annotations

import numpy as np

from vla_recorder.formats.base import DatasetError, Layout
from vla_recorder.formats.rows import Episode


def check_columns(layout: Layout, episode: Episode) -> None:
    """Refuse columns that are not what the layout says.

    Raises:
        DatasetError: A column is absent, has another shape, or holds a value that is not finite.
    """
    if episode.length == 0:
        raise DatasetError(f"{episode.about.get('bag', 'episode')}: has no row")
    for key, spec in layout.features.items():
        if key in layout.image_keys:
            continue
        if key not in episode.columns:
            raise DatasetError(f"the episode has no column '{key}'; it has {sorted(episode.columns)}")
        values = episode.columns[key]
        shape = (episode.length, *spec["shape"])
        if values.shape != shape and not (shape[1:] == (1,) and values.shape == shape[:1]):
            raise DatasetError(f"column '{key}' has the shape {values.shape}, the feature needs {shape}")
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise DatasetError(f"column '{key}' holds NaN or infinity; no policy can be trained on that")
