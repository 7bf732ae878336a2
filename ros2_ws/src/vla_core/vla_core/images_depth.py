# SPDX-License-Identifier: Apache-2.0

"""Depth images: ``(H, W)`` uint16 millimetres or float32 metres, 0 where the sensor has no reading.

REP-118 lets 16UC1 say "no reading" by 0, and 32FC1 by NaN, or by an infinity where something is too near or too far. Frames
say it by 0 in both, so that one rule holds for every depth camera.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import DamagedError, DecoderError
from vla_core.images import as_bytes
from vla_core.images_compressed import decode_compressed, decode_png

# compressed_depth_image_transport (codec.cpp): the format of the data, then the two parameters of the quantisation.
_HEADER = struct.Struct("<iff")
_TRANSPORT = "compressedDepth"


def decode_compressed_depth(msg: Any) -> NDArray[Any]:
    """Return a depth image in a sensor_msgs/CompressedImage as ``(H, W)`` uint16 [mm] or float32 [m].

    The compressedDepth transport is a 12-byte header and a 16-bit PNG. It holds 16UC1 as it is, and of 32FC1 the
    inverse: ``depth = a / (code - b)`` with a and b from the header and no reading where the code is 0
    (compressed_depth_image_transport, codec.cpp). A 16-bit PNG of the ``compressed`` transport is read as well.

    Raises:
        DecoderError: OpenCV is absent, or the data are no depth PNG (RVL, or a colour image).
        DamagedError: the data are damaged or cut short.
    """
    if _TRANSPORT not in msg.format:
        return decode_compressed(msg)
    data = as_bytes(msg.data)
    if data.size <= _HEADER.size:
        raise DamagedError(f"depth image with format '{msg.format}' has {data.size} bytes, less than its header")
    if "rvl" in msg.format.lower():
        raise DecoderError(
            f"depth image with format '{msg.format}' is RVL, which is not supported; set the publisher's parameter "
            "'format' of compressedDepth to 'png'"
        )
    _, a, b = _HEADER.unpack(data[: _HEADER.size].tobytes())
    codes = decode_png(data[_HEADER.size :], msg.format)
    if codes.dtype != np.uint16 or codes.ndim != 2:
        raise DamagedError(f"depth image with format '{msg.format}' does not hold 16-bit grey pixels")
    if not msg.format.startswith("32FC1"):
        return codes
    depth = np.zeros(codes.shape, dtype=np.float32)
    np.divide(np.float32(a), codes.astype(np.float32) - np.float32(b), out=depth, where=codes > 0)
    return depth


def to_depth(image: NDArray[Any]) -> NDArray[Any]:
    """Return a decoded image as depth: ``(H, W)`` uint16 [mm] or float32 [m], every value finite and at least 0.

    Raises:
        DecoderError: the image is not depth.
    """
    if image.ndim != 2 or image.dtype not in (np.uint16, np.float32):
        raise DecoderError(
            f"{image.dtype} pixels of shape {image.shape} are no depth; a camera with 'depth: true' needs 16UC1 or 32FC1"
        )
    if image.dtype == np.uint16:
        return image
    return np.where(np.isfinite(image) & (image > 0.0), image, np.float32(0.0))


def resize_depth(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return the depth image at ``size`` = (height, width) by the nearest pixel: a mean would invent surfaces at edges."""
    if image.shape == size:
        return image
    rows, columns = (
        ((2 * np.arange(target) + 1) * source) // (2 * target) for source, target in zip(image.shape, size, strict=True)
    )
    return np.ascontiguousarray(image[rows[:, None], columns[None, :]])
