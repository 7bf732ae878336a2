# SPDX-License-Identifier: Apache-2.0

"""An episode with one video per camera: what the LeRobot formats share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_recorder.convert.rows import Episode
from vla_recorder.formats.base import Layout
from vla_recorder.formats.stats import ImageHistogram
from vla_recorder.media.video import VideoEncoder


class VideoEpisodeWriter:
    """Encodes the images of one episode as they come and counts their pixels."""

    def __init__(self, layout: Layout, work_dir: Path) -> None:
        """Open one video per camera in `work_dir`.

        Raises:
            VideoError: An encoder or a size does not work.
        """
        self._paths = {key: work_dir / f"{key}.mp4" for key in layout.image_keys}
        self._histograms = {key: ImageHistogram() for key in layout.image_keys}
        self._open = ExitStack()
        self._encoders: dict[str, VideoEncoder] = {}
        with ExitStack() as stack:
            for key, path in self._paths.items():
                height, width = layout.features[key]["shape"][:2]
                self._encoders[key] = stack.enter_context(
                    VideoEncoder(path, height=height, width=width, fps=layout.fps, settings=layout.video)
                )
            self._open = stack.pop_all()

    def add(self, images: Mapping[str, NDArray[Any]]) -> None:
        """Encode the images of one row, (H, W, 3) uint8 RGB each."""
        for key, encoder in self._encoders.items():
            encoder.add(images[key])
            self._histograms[key].add(images[key])

    def finish(self, columns: Mapping[str, NDArray[np.generic]], task: str, about: Mapping[str, Any]) -> Episode:
        """Close the videos and prove that they hold every frame.

        Raises:
            VideoError: A video holds another number of pictures than were put in.
        """
        self._open.close()
        return Episode(task=task, columns=columns, videos=self._paths, histograms=self._histograms, about=about)

    def discard(self) -> None:
        """Close and delete the videos."""
        self._open.pop_all()
        for encoder in self._encoders.values():
            encoder.discard()
