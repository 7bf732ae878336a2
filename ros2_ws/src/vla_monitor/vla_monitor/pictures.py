# SPDX-License-Identifier: Apache-2.0

"""Images of cameras as JPEG or PNG bytes, for viewers."""

from typing import Any

import cv2
import numpy as np
from vla_core.codecs import COMPRESSED_IMAGE, IMAGE, codec
from vla_core.errors import CodecError

JPEG, PNG = "image/jpeg", "image/png"
_SIGNATURES = {b"\xff\xd8\xff": JPEG, b"\x89PNG": PNG}


def shown(type_name: str) -> bool:
    """Whether images of this type can be shown one by one; packets of a video cannot."""
    return type_name in (IMAGE, COMPRESSED_IMAGE)


def encoded(msg: Any, type_name: str, quality: int) -> tuple[bytes, str]:
    """The bytes of an image and their media type.

    A compressed JPEG or PNG is taken as it is. Depth is shown from 0 (black, no reading) to its largest value.

    Args:
        msg: sensor_msgs/Image or CompressedImage.
        type_name: Which of the two.
        quality: Of the JPEG that is made of others.

    Raises:
        CodecError: the message is no image that can be decoded.
    """
    if type_name == COMPRESSED_IMAGE:
        data = bytes(msg.data)
        for signature, media in _SIGNATURES.items():
            if data.startswith(signature):
                return data, media
    decode = codec(type_name).image
    if decode is None:
        raise CodecError(f"{type_name} is no image that can be shown on its own")
    array = decode(msg)
    if array.ndim == 2:
        top = float(np.nanmax(array, initial=0.0)) or 1.0
        array = np.nan_to_num(array * (255.0 / top)).astype(np.uint8)
    else:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
    fine, jpeg = cv2.imencode(".jpg", array, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not fine:
        raise CodecError(f"an image of shape {array.shape} cannot be encoded as JPEG")
    return jpeg.tobytes(), JPEG
