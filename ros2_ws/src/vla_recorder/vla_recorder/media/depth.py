# SPDX-License-Identifier: Apache-2.0

"""Depth images as video: 12-bit codes on a logarithmic scale, compressed without loss, as LeRobot 0.6.1 reads them.

The scale is LeRobot's (`lerobot.configs.video.DepthEncoderConfig`): code = round(4095 · (ln(d + s) - ln(a + s)) / (ln(b + s)
- ln(a + s))) with a = 0.01 m, b = 10 m and s = 3.5 m, so that a step is 1.2 mm near the camera and 4.4 mm at 10 m. Values
outside a..b come back as a or b; so "no return" (0) comes back as 0.01 m.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vla_recorder.media.settings import (
    DEPTH_GOP,
    DEPTH_MAX_M,
    DEPTH_MIN_M,
    DEPTH_PIX_FMT,
    DEPTH_SHIFT_M,
    DEPTH_SPEED,
    VideoError,
)
from vla_recorder.media.video import DEPTH_IN, ORIGIN_TAG, FrameEncoder

ENCODER = "libx265"
_CODES = 4095
_MM = 1000.0
_LEVELS = 65536


def depth_codes(depth: NDArray[Any]) -> NDArray[np.uint16]:
    """Return the 12-bit codes of a depth image; equal to LeRobot's ``quantize_depth``.

    Args:
        depth: (H, W) uint16 [mm] or floating point [m]. Values that are not finite count as 0, "no return".
    """
    if depth.dtype == np.uint16:
        codes: NDArray[np.uint16] = _code_table()[depth]
        return codes
    return _quantise(np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32), 1.0)


def depth_metres(codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the depth that codes stand for [m]."""
    low = math.log(DEPTH_MIN_M + DEPTH_SHIFT_M)
    step = (math.log(DEPTH_MAX_M + DEPTH_SHIFT_M) - low) / _CODES
    values: NDArray[np.float64] = np.exp(low + step * codes.astype(np.float64)) - DEPTH_SHIFT_M
    return values.clip(DEPTH_MIN_M, DEPTH_MAX_M)


def depth_error(counts: NDArray[np.int64]) -> dict[str, float | int]:
    """Return what the scale loses.

    Args:
        counts: (65536,) pixels at every whole millimetre.

    Returns:
        ``max_mm`` and ``mean_mm`` of the error where depth is on the scale; ``clipped_pixels`` off it, of which
        ``no_return_pixels`` are 0.
    """
    values = np.arange(_LEVELS) / _MM
    inside = (values >= DEPTH_MIN_M) & (values <= DEPTH_MAX_M)
    error = np.abs(depth_metres(_code_table()) - values) * _MM
    used = inside & (counts > 0)
    total = int(counts[used].sum())
    return {
        "max_mm": round(float(error[used].max()), 4) if total else 0.0,
        "mean_mm": round(float((error[used] * counts[used]).sum() / total), 4) if total else 0.0,
        "clipped_pixels": int(counts[~inside].sum()),
        "no_return_pixels": int(counts[0]),
    }


class DepthEncoder(FrameEncoder):
    """Video of depth images."""

    def __init__(self, path: Path, *, height: int, width: int, fps: int) -> None:
        """Open the file.

        Raises:
            VideoError: The encoder is not in this build of FFmpeg.
        """
        # bframes=0: joined files need packets in the order in which they are shown. open-gop=0: a decoder that is sent to
        # an open key frame drops what follows it, the first rows of the next episode in a joined file.
        parameters = f"lossless=1:bframes=0:open-gop=0:keyint={DEPTH_GOP}:log-level=error:pools=none:frame-threads=1"
        super().__init__(
            path,
            encoder=ENCODER,
            pix_fmt=DEPTH_PIX_FMT,
            options={"g": str(DEPTH_GOP), "preset": DEPTH_SPEED, "x265-params": parameters},
            size=(height, width),
            fps=fps,
        )
        self._shape = (height, width)

    def add(self, depth: NDArray[Any]) -> None:
        """Encode one image, (H, W) uint16 [mm] or floating point [m].

        Raises:
            VideoError: The image has another size or type than the file, or the encoder fails.
        """
        if depth.shape != self._shape or not (depth.dtype == np.uint16 or np.issubdtype(depth.dtype, np.floating)):
            raise VideoError(
                f"{self.path}: frame {self.frames} is {depth.dtype} {depth.shape}, the video holds depth {self._shape} as "
                "uint16 [mm] or floating point [m]"
            )
        if not self.frames:
            # The header is written with the first frame.
            unit = "mm" if depth.dtype == np.uint16 else "m"
            self._container.metadata[ORIGIN_TAG] = f"{DEPTH_IN}{unit}"
        height, width = self._shape
        frame = av.VideoFrame(width, height, DEPTH_PIX_FMT)
        plane = frame.planes[0]
        # Rows in the plane may be longer than the image.
        rows = np.frombuffer(plane, dtype="<u2").reshape(-1, plane.line_size // 2)  # type: ignore[call-overload]
        rows[:height, :width] = depth_codes(depth)
        self.put(frame)


@cache
def _code_table() -> NDArray[np.uint16]:
    return _quantise(np.arange(_LEVELS, dtype=np.float32), _MM)


def _quantise(depth: NDArray[np.float32], unit: float) -> NDArray[np.uint16]:
    """Quantise in the unit of the input and in float32, because LeRobot rounds that way."""
    shift = np.float32(DEPTH_SHIFT_M * unit)
    low = math.log(float(np.float32(DEPTH_MIN_M * unit) + shift))
    high = math.log(float(np.float32(DEPTH_MAX_M * unit) + shift))
    scaled = (np.log(depth + shift) - low) / (high - low)
    codes: NDArray[np.uint16] = np.rint(scaled * _CODES).clip(0, _CODES).astype(np.uint16)
    return codes
