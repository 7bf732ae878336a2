# SPDX-License-Identifier: Apache-2.0

"""sensor_msgs/Image to arrays, and the deterministic resize.

Only integer arithmetic is used, so a frame is the same bit for bit live, from a bag, and on another machine.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import DamagedError, DecoderError, listing

# The two passes of the resize keep this many fractional bits; 255 · 2**6 · 2**14 stays below 2**31.
_WEIGHT_BITS = 14
_KEPT_BITS = 6


@dataclass(frozen=True, slots=True)
class _Encoding:
    dtype: str
    channels: int
    order: tuple[int, ...] | None = None  # channels to take, in RGB order; None: as they are


_ENCODINGS = {
    "rgb8": _Encoding("u1", 3),
    "bgr8": _Encoding("u1", 3, (2, 1, 0)),
    "rgba8": _Encoding("u1", 4, (0, 1, 2)),
    "bgra8": _Encoding("u1", 4, (2, 1, 0)),
    "mono8": _Encoding("u1", 1),
    "16UC1": _Encoding("u2", 1),
    "32FC1": _Encoding("f4", 1),
}
ENCODINGS = tuple(_ENCODINGS)


def as_bytes(data: Any) -> NDArray[np.uint8]:
    """Return message data (bytes, bytearray, memoryview, array.array, list or ndarray) as ``(n,)`` uint8.

    Buffers are viewed, not copied.
    """
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    try:
        return np.frombuffer(data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError):
        return np.array(list(data), dtype=np.uint8)


def decode_image(msg: Any) -> NDArray[Any]:
    """Return a sensor_msgs/Image as an array.

    Colour encodings give ``(H, W, 3)`` uint8 RGB, mono8 ``(H, W)`` uint8, 16UC1 ``(H, W)`` uint16 (depth: mm), 32FC1
    ``(H, W)`` float32 (depth: m). Row padding and byte order are honoured. rgb8, mono8 and native-order depth without
    padding are views of the message's data. Other encodings go through cv_bridge.

    Raises:
        DamagedError: the data do not fit the size that the message states.
        DecoderError: the encoding needs cv_bridge, which is not installed or refuses it.
    """
    encoding = _ENCODINGS.get(msg.encoding)
    if encoding is None:
        return _decode_by_cv_bridge(msg)
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    itemsize = np.dtype(encoding.dtype).itemsize
    row = width * encoding.channels * itemsize
    data = as_bytes(msg.data)
    if height < 1 or width < 1:
        raise DamagedError(f"image of {width}x{height} pixels is empty; is the camera running?")
    if step < row or data.size < step * (height - 1) + row:
        raise DamagedError(
            f"image says {width}x{height} {msg.encoding} with rows of {step} bytes, which needs rows of at least {row} "
            f"bytes and {step * (height - 1) + row} bytes in all, but carries {data.size}; the message is damaged"
        )
    pixels = _rows(data, height, step, row)
    if itemsize > 1:
        pixels = _numbers(pixels, encoding.dtype, bool(msg.is_bigendian))
    if encoding.channels == 1:
        return pixels.reshape(height, width)
    pixels = pixels.reshape(height, width, encoding.channels)
    if encoding.order is None:
        return pixels
    # Channel by channel is several times faster than one fancy index over the last axis.
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    for target, source in enumerate(encoding.order):
        rgb[..., target] = pixels[..., source]
    return rgb


def _rows(data: NDArray[np.uint8], height: int, step: int, row: int) -> NDArray[np.uint8]:
    """Return ``(height, row)`` bytes without padding; a view where there is none."""
    if step == row:
        return data[: height * row].reshape(height, row)
    # The last row may come without its padding, so a plain reshape to (height, step) could run over the end.
    padded = np.lib.stride_tricks.as_strided(data, shape=(height, row), strides=(step, 1), writeable=False)
    return np.ascontiguousarray(padded)


def _numbers(rows: NDArray[np.uint8], dtype: str, big_endian: bool) -> NDArray[Any]:
    values = np.ascontiguousarray(rows).view(np.dtype((">" if big_endian else "<") + dtype))
    return values.astype(np.dtype("=" + dtype), copy=False)


def _cv_bridge(encoding: str) -> ModuleType:
    try:
        return importlib.import_module("cv_bridge")
    except ImportError:
        raise DecoderError(
            f"image encoding '{encoding}' is not built in ({listing(ENCODINGS)}) and needs cv_bridge, which cannot be "
            "imported; install ros-jazzy-cv-bridge or let the camera publish rgb8"
        ) from None


def _decode_by_cv_bridge(msg: Any) -> NDArray[Any]:
    bridge = _cv_bridge(msg.encoding)
    try:
        image = bridge.CvBridge().imgmsg_to_cv2(msg, desired_encoding="rgb8")
    except bridge.CvBridgeError as error:
        raise DecoderError(
            f"cv_bridge cannot turn image encoding '{msg.encoding}' into rgb8: {error}; let the camera publish rgb8"
        ) from error
    return np.ascontiguousarray(image, dtype=np.uint8)


def to_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an 8-bit image as ``(H, W, 3)`` RGB; grey images get three equal channels.

    Raises:
        DecoderError: the image is not 8-bit (depth, for instance).
    """
    if image.dtype != np.uint8:
        raise DecoderError(
            f"a camera of the profile delivers {image.dtype} values (a depth image?), but frames hold 8-bit RGB; "
            "name the colour topic in the profile"
        )
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Return indices ``(k, target)`` and integer weights ``(k, target)``, each column summing to 2**14.

    Smaller: overlap of the boxes (area average). Larger: the two neighbours (bilinear, pixel centres at half).
    """
    ratio = source / target
    columns: list[list[tuple[int, float]]] = []
    for i in range(target):
        if ratio > 1.0:
            low, high = i * ratio, (i + 1) * ratio
            first, last = int(low), min(int(np.ceil(high - 1e-9)), source)
            column = [(j, min(high, j + 1) - max(low, j)) for j in range(first, last)]
        else:
            centre = min(max((i + 0.5) * ratio - 0.5, 0.0), source - 1.0)
            first = min(int(centre), max(source - 2, 0))
            column = [(first, 1.0 - (centre - first)), (min(first + 1, source - 1), centre - first)]
        columns.append(column)
    width = max(len(column) for column in columns)
    indices = np.zeros((width, target), dtype=np.intp)
    weights = np.zeros((width, target), dtype=np.int32)
    for i, column in enumerate(columns):
        total = sum(weight for _, weight in column)
        whole = [round(weight / total * (1 << _WEIGHT_BITS)) for _, weight in column]
        whole[int(np.argmax(whole))] += (1 << _WEIGHT_BITS) - sum(whole)
        for k, (j, _) in enumerate(column):
            indices[k, i], weights[k, i] = j, whole[k]
    return indices, weights


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the image at ``size`` = (height, width): area average where it shrinks, bilinear where it grows.

    Args:
        image: ``(H, W, C)`` uint8.
        size: Wanted (height, width) in pixels.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    if height % size[0] == 0 and width % size[1] == 0:
        return _block_mean(image, height // size[0], width // size[1])
    indices, weights = _taps(height, size[0])
    flat = image.reshape(height, -1)
    rows = np.zeros((size[0], flat.shape[1]), dtype=np.int32)
    for index, weight in zip(indices, weights, strict=True):
        rows += flat[index] * weight[:, None]
    shift = _WEIGHT_BITS - _KEPT_BITS
    kept: NDArray[np.int32] = ((rows + (1 << (shift - 1))) >> shift).reshape(size[0], width, -1)
    indices, weights = _taps(width, size[1])
    out = np.zeros((size[0], size[1], kept.shape[2]), dtype=np.int32)
    for index, weight in zip(indices, weights, strict=True):
        out += kept[:, index] * weight[None, :, None]
    shift = _WEIGHT_BITS + _KEPT_BITS
    return ((out + (1 << (shift - 1))) >> shift).astype(np.uint8)


def _block_mean(image: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the mean of whole blocks, halves rounded up."""
    height, width, channels = image.shape
    total = np.zeros((height // rows, width // columns, channels), dtype=np.uint32)
    for i in range(rows):
        for j in range(columns):
            total += image[i::rows, j::columns]
    count = rows * columns
    return ((total + count // 2) // count).astype(np.uint8)
