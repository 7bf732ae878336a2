# SPDX-License-Identifier: Apache-2.0

"""Camera messages as small JPEG pictures for people. Policies and datasets use `vla_core.frames`, never these."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from vla_core import codecs
from vla_core.errors import CodecError, DecoderError
from vla_core.images import to_rgb
from vla_core.images_depth import decode_compressed_depth, to_depth
from vla_core.specs import CameraSpec


def can_show(camera: CameraSpec) -> bool:
    """Whether single messages of this camera are pictures; packets of a video refer to those before."""
    return not codecs.codec(camera.type).video


def picture(camera: CameraSpec, message: Any, *, width: int, quality: int) -> bytes:
    """Return a message of a camera as JPEG.

    Args:
        camera: Of the profile.
        message: Of the camera's type.
        width: At most that many pixels wide; never enlarged.
        quality: 0 to 100.

    Raises:
        CodecError: The message is damaged, or of a kind that cannot be shown.
    """
    if camera.depth and camera.type == codecs.COMPRESSED_IMAGE:
        image: NDArray[Any] = decode_compressed_depth(message)
    else:
        decode = codecs.codec(camera.type).image
        if decode is None:
            raise DecoderError(f"camera '{camera.name}': {camera.type} is no image type")
        image = decode(message)
    height, full = image.shape[:2]
    if full > width:
        # Depth has no values between two surfaces, so its pixels are picked; colours are averaged against flicker.
        how = cv2.INTER_NEAREST if camera.depth else cv2.INTER_AREA
        image = cv2.resize(image, (width, max(1, round(height * width / full))), interpolation=how)
    shown = _depth_colours(to_depth(image)) if camera.depth else cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise CodecError(f"camera '{camera.name}': OpenCV could not encode a picture of shape {shown.shape}")
    return data.tobytes()


def size_problem(camera: CameraSpec, message: Any) -> str:
    """Say that a raw image has another size than the profile, in words; empty if it has not."""
    height, width = getattr(message, "height", None), getattr(message, "width", None)
    if height is None or (height, width) == camera.size:
        return ""
    return f"sends {width}x{height} pixels, the profile says {camera.size[1]}x{camera.size[0]}; set the driver or the profile"


def _depth_colours(depth: NDArray[Any]) -> NDArray[np.uint8]:
    """Near is bright, no reading is black; the range is that of the picture."""
    valid = depth > 0
    grey = np.zeros(depth.shape, dtype=np.uint8)
    if valid.any():
        low, high = (float(v) for v in np.percentile(depth[valid], (2, 98)))
        near = 1.0 - (depth.astype(np.float32) - low) / max(high - low, 1e-6)
        grey = np.clip(30.0 + 225.0 * near, 30, 255).astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), dtype=np.uint8)
    coloured[~valid] = 0
    return coloured
