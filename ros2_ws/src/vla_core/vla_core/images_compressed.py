# SPDX-License-Identifier: Apache-2.0

"""sensor_msgs/CompressedImage (JPEG, PNG) to arrays.

The decoder is OpenCV and only OpenCV: decoders round differently, so a choice made at run time could give a policy
other pixels than its training set. It is imported when the first compressed image is decoded; nothing else needs it.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import DamagedError, DecoderError
from vla_core.images import as_bytes

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
# Encoders may pad the file; the end marker must still be near the end.
_TAIL_BYTES = 1024


@lru_cache(maxsize=1)
def _opencv() -> ModuleType:
    try:
        return importlib.import_module("cv2")
    except ImportError:
        raise DecoderError(
            "compressed images need OpenCV, which cannot be imported; install it with "
            "'pip install opencv-python-headless' or 'apt install python3-opencv', or use the raw image topic"
        ) from None


def decode_compressed(msg: Any) -> NDArray[Any]:
    """Return a sensor_msgs/CompressedImage as an array.

    JPEG and 8-bit PNG give ``(H, W, 3)`` uint8 RGB (grey ones too), 16-bit grey PNG ``(H, W)`` uint16.

    Raises:
        DecoderError: OpenCV is absent, or the format is another one.
        DamagedError: the data are damaged or cut short.
    """
    data = as_bytes(msg.data)
    head, tail = bytes(data[:8]), bytes(data[-_TAIL_BYTES:])
    if head.startswith(_JPEG_START):
        complete = _JPEG_END in tail
    elif head == _PNG_START:
        complete = _PNG_END in tail
    else:
        raise DecoderError(
            f"compressed image with format '{msg.format}' ({data.size} bytes) is neither JPEG nor PNG; "
            "record the 'compressed' transport of a colour image, not 'theora'; 'compressedDepth' needs 'depth: true'"
        )
    return _complete(data, complete, msg.format)


def decode_png(data: NDArray[np.uint8], described: str) -> NDArray[Any]:
    """Return a PNG as `decode_compressed` does; `described` names it in messages.

    Raises:
        DecoderError: OpenCV is absent, or the data are no PNG.
        DamagedError: the data are damaged or cut short.
    """
    if bytes(data[:8]) != _PNG_START:
        raise DecoderError(
            f"compressed image with format '{described}' ({data.size} bytes) holds no PNG where one belongs"
        )
    return _complete(data, _PNG_END in bytes(data[-_TAIL_BYTES:]), described)


def _complete(data: NDArray[np.uint8], complete: bool, described: str) -> NDArray[Any]:
    # OpenCV fills what is missing of a cut file with grey; such an image must not pass for a real one.
    image = _imdecode(data) if complete else None
    if image is None:
        raise DamagedError(
            f"compressed image with format '{described}' ({data.size} bytes) is damaged or cut short; "
            "check the camera's transport and the disk"
        )
    return image


def _imdecode(data: NDArray[np.uint8]) -> NDArray[Any] | None:
    cv2 = _opencv()
    image = cv2.imdecode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        return None
    if image.dtype == np.uint16 and image.ndim == 2:
        return np.asarray(image)
    if image.dtype != np.uint8:
        raise DecoderError(f"compressed image has {image.dtype} colour values; only 8-bit colour is supported")
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(image, code))
