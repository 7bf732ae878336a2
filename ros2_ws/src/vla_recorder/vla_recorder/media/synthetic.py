# SPDX-License-Identifier: Apache-2.0

"""Pictures that are about as hard to encode as those of a camera, for measurements and tests."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_TEXTURE_PX = 256
_NOISE_TILES = 8


class Pictures:
    """Pictures of one camera: a texture that drifts, moving discs, and noise on every pixel."""

    def __init__(self, height: int, width: int, seed: int) -> None:
        """Make texture and noise once; drawing a picture then takes a millisecond."""
        rng = np.random.default_rng(seed)
        self._size = (height, width)
        coarse = rng.integers(30, 226, (_TEXTURE_PX // 8, _TEXTURE_PX // 8, 3), dtype=np.uint8)
        side = 2 * max(height, width)
        self._texture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, 3, (_NOISE_TILES, height, width, 3)).round()
        self._noise = noise.clip(-12, 12).astype(np.int8)
        self._colours = rng.integers(0, 256, (6, 3)).tolist()

    def draw(self, t: float, number: int) -> NDArray[np.uint8]:
        """Return the picture at a time [s], (H, W, 3) uint8 RGB; `number` chooses the noise."""
        height, width = self._size
        row, column = int((1 + np.sin(0.4 * t)) * height / 2), int((1 + np.cos(0.3 * t)) * width / 2)
        view = self._texture[row : row + height, column : column + width].copy()
        for k, colour in enumerate(self._colours):
            centre = (
                int(width * (0.5 + 0.4 * np.sin(0.7 * t + k))),
                int(height * (0.5 + 0.4 * np.cos(0.9 * t + 2 * k))),
            )
            cv2.circle(view, centre, max(2, height // 16), colour, -1)
        noisy: NDArray[Any] = cv2.add(view, self._noise[number % _NOISE_TILES], dtype=cv2.CV_8U)
        return noisy
