# SPDX-License-Identifier: Apache-2.0

"""An episode with one video per camera: what the LeRobot formats share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_recorder.formats.base import Layout, PacketReference
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.video_camera import CameraVideo, camera_video

ABOUT_VIDEO = "video"
"""Key of ``Episode.about`` with one entry per camera: how its video came to be."""


class VideoEpisodeWriter:
    """Encodes the images of one episode as they come and counts their pixels."""

    def __init__(self, layout: Layout, work_dir: Path, keys: Sequence[str] | None = None) -> None:
        """Open one video per camera in `work_dir`.

        Args:
            layout: What the rows hold. Cameras in ``layout.copied`` are copied, those with ``is_depth_map`` become depth
                video, the others are encoded with ``layout.video``.
            work_dir: Where the files go.
            keys: Cameras to store; all by default.

        Raises:
            VideoError: An encoder or a size does not work.
        """
        keys = layout.image_keys if keys is None else keys
        self._cameras: dict[str, CameraVideo] = {}
        with ExitStack() as stack:
            for key in keys:
                camera = camera_video(key, layout, work_dir / f"{key}.mp4")
                stack.callback(camera.discard)
                self._cameras[key] = camera
            stack.pop_all()

    def add(self, images: Mapping[str, NDArray[Any] | PacketReference]) -> None:
        """Store one row: RGB (H, W, 3) uint8, depth (H, W) uint16 [mm] or float [m], `PacketReference` of copied cameras.

        Raises:
            VideoError: An image has another size or type than the video.
            CopyRefusedError: A packet cannot be copied; names the camera. The episode must be written again with this
                camera decoded.
        """
        for key, camera in self._cameras.items():
            camera.add(images[key])

    def finish(self, columns: Mapping[str, NDArray[np.generic]], task: str, about: Mapping[str, Any]) -> Episode:
        """Close the videos and prove that they hold every frame.

        Raises:
            VideoError: A video holds another number of pictures than were put in.
        """
        for camera in self._cameras.values():
            camera.close()
        described = {key: how for key, camera in self._cameras.items() if (how := camera.about())}
        return Episode(
            task=task,
            columns=columns,
            videos={key: camera.path for key, camera in self._cameras.items()},
            histograms={key: camera.histogram for key, camera in self._cameras.items()},
            about={**about, ABOUT_VIDEO: described} if described else about,
        )

    def discard(self) -> None:
        """Close and delete the videos."""
        for camera in self._cameras.values():
            camera.discard()
