# SPDX-License-Identifier: Apache-2.0

"""Names of image encodings, their element types, and the conversions between them.

Names are those of `sensor_msgs/image_encodings.hpp`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]

CHANNELS_MAX = 512
"""Channels that an OpenCV type can have."""

DEPTHS: dict[str, str] = {
    "8U": "uint8",
    "8S": "int8",
    "16U": "uint16",
    "16S": "int16",
    "32S": "int32",
    "32F": "float32",
    "64F": "float64",
}
"""NumPy type of each OpenCV depth."""

_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?")
_COLOURS = {"mono": 1, "bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}
_YUV = {"yuv422": "UYVY", "yuv422_yuy2": "YUY2"}
# OpenCV names a Bayer pattern by its second row, second and third column; ROS by the first two elements of both rows.
_BAYER = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}


class CvBridgeError(TypeError):
    """An image cannot be converted; the text says why."""


@dataclass(frozen=True)
class Encoding:
    """What an encoding says.

    Attributes:
        name: as in the message.
        depth: key of `DEPTHS`.
        channels: elements per pixel.
        family: `mono`, `bgr`, `rgb`, `bgra`, `rgba`, a name in OpenCV for raw formats, or "" without colour meaning.
    """

    name: str
    depth: str
    channels: int
    family: str

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Element type in the byte order of this machine."""
        return np.dtype(DEPTHS[self.depth])

    @property
    def bits(self) -> int:
        """Bits per element."""
        return self.dtype.itemsize * 8


def _named_encodings() -> dict[str, Encoding]:
    rows = []
    for bits, depth in ((8, "8U"), (16, "16U")):
        rows += [Encoding(f"{name}{bits}", depth, count, name) for name, count in _COLOURS.items()]
        rows += [Encoding(f"bayer_{pattern}{bits}", depth, 1, code) for pattern, code in _BAYER.items()]
    rows += [Encoding(name, "8U", 2, code) for name, code in _YUV.items()]
    return {row.name: row for row in rows}


_NAMED = _named_encodings()


def parse_encoding(name: str) -> Encoding:
    """Return what an encoding says.

    Raises:
        CvBridgeError: the name is not known.
    """
    if name in _NAMED:
        return _NAMED[name]
    match = _GENERIC.fullmatch(name)
    if match and 1 <= int(match[2] or 1) <= CHANNELS_MAX:
        return Encoding(name, match[1], int(match[2] or 1), "")
    raise CvBridgeError(f"Unrecognized image encoding [{name}]; known: {', '.join(_NAMED)}, or OpenCV types as 16UC1")


def getCvType(encoding: str) -> int:  # noqa: N802 (name of the real interface)
    """Return the OpenCV type, for example `cv2.CV_8UC3` for `rgb8`.

    Raises:
        CvBridgeError: the name is not known.
    """
    parsed = parse_encoding(encoding)
    return int(cv2.CV_MAKETYPE(getattr(cv2, f"CV_{parsed.depth}"), parsed.channels))


def convert(image: Image, source: str, target: str) -> Image:
    """Convert colours first and then the depth; 8 and 16 bits are scaled to the full range, other depths are not.

    Args:
        image: (H, W) or (H, W, C) in the encoding `source`.
        source: encoding of `image`.
        target: wanted encoding.

    Raises:
        CvBridgeError: there is no such conversion.
    """
    old, new = parse_encoding(source), parse_encoding(target)
    if old == new:
        return image
    if old.family and new.family:
        if old.family != new.family:
            image = _convert_colour(image, old, new)
    elif new.family:
        raise CvBridgeError(
            f"[{source}] is not a color format. but [{target}] is. The conversion does not make sense; read it with "
            "'passthrough' and convert it yourself"
        )
    elif old.channels != new.channels:
        raise CvBridgeError(f"[{source}] has {old.channels} channels but [{target}] has {new.channels}")
    return image if old.dtype == new.dtype else _convert_depth(image, old, new)


def _convert_colour(image: Image, old: Encoding, new: Encoding) -> Image:
    raw = old.family not in _COLOURS
    head = f"YUV2{{}}_{old.family}" if old.family in _YUV.values() else f"{old.family}2{{}}"
    names = {name: "GRAY" if name == "mono" else name.upper() for name in _COLOURS}
    if not raw:
        head = f"{names[old.family]}2{{}}"
    code = getattr(cv2, "COLOR_" + head.format(names.get(new.family, "-")), None)
    no_alpha = old.family in _BAYER.values() and new.channels == 4
    if code is None or no_alpha:
        raise CvBridgeError(f"Unsupported conversion from [{old.name}] to [{new.name}]; go by way of bgr8")
    try:
        return cv2.cvtColor(image, code)  # type: ignore[call-overload, no-any-return]
    except cv2.error as error:
        raise CvBridgeError(f"conversion from [{old.name}] to [{new.name}] failed: {error}") from error


def _convert_depth(image: Image, old: Encoding, new: Encoding) -> Image:
    """Round and saturate as OpenCV's `convertTo`."""
    scale = {(8, 16): 65535 / 255, (16, 8): 255 / 65535}.get((old.bits, new.bits), 1.0)
    if not np.issubdtype(new.dtype, np.integer):
        return (image.astype(np.float64) * scale).astype(new.dtype)
    limits = np.iinfo(DEPTHS[new.depth])
    values = np.rint(image.astype(np.float64) * scale)
    return np.nan_to_num(values, nan=limits.min).clip(limits.min, limits.max).astype(new.dtype)
