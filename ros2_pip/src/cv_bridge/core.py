# SPDX-License-Identifier: Apache-2.0

"""`CvBridge`: image messages to arrays and back."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from cv_bridge._encodings import (
    CHANNELS_MAX,
    DEPTHS,
    CvBridgeError,
    Encoding,
    Image,
    convert,
    getCvType,
    parse_encoding,
)

__all__ = ["CvBridge", "CvBridgeError"]

_DEPTH_OF = {dtype: depth for depth, dtype in DEPTHS.items()}
_DECODED = {1: "mono", 3: "bgr", 4: "bgra"}


class CvBridge:
    """Converts between image messages and NumPy arrays in OpenCV's layout, (H, W) or (H, W, C)."""

    def dtype_with_channels_to_cvtype2(self, dtype: np.dtype[np.generic], n_channels: int) -> str:
        """Return the OpenCV type by name, for example `8UC3`.

        Raises:
            CvBridgeError: OpenCV has no such element type.
        """
        if dtype.name not in _DEPTH_OF:
            raise CvBridgeError(f"images of {dtype.name} have no OpenCV type; use one of {', '.join(_DEPTH_OF)}")
        return f"{_DEPTH_OF[dtype.name]}C{n_channels}"

    def cvtype2_to_dtype_with_channels(self, cvtype: int) -> tuple[str, int]:
        """Return element type and channels of an OpenCV type number.

        Raises:
            CvBridgeError: there is no such type.
        """
        for depth, dtype in DEPTHS.items():
            for channels in range(1, CHANNELS_MAX + 1):
                if cv2.CV_MAKETYPE(getattr(cv2, f"CV_{depth}"), channels) == cvtype:
                    return dtype, channels
        raise CvBridgeError(f"{cvtype} is not the number of an OpenCV type")

    def encoding_to_cvtype2(self, encoding: str) -> int:
        """Return the OpenCV type number of an encoding.

        Raises:
            CvBridgeError: the encoding is not known.
        """
        return getCvType(encoding)

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Return element type and channels of an encoding.

        Raises:
            CvBridgeError: the encoding is not known.
        """
        parsed = parse_encoding(encoding)
        return parsed.dtype.name, parsed.channels

    def imgmsg_to_cv2(self, img_msg: ImageMessage, desired_encoding: str = "passthrough") -> Image:
        """Return the image of a message.

        Args:
            img_msg: `step` and `is_bigendian` are honoured.
            desired_encoding: encoding of the result; `passthrough` keeps that of the message.

        Returns:
            (H, W) for one channel, else (H, W, C). Where nothing has to be changed it shares the message's memory.

        Raises:
            CvBridgeError: the message is malformed, or there is no such conversion.
        """
        encoding = parse_encoding(img_msg.encoding)
        image = _view(img_msg, encoding)
        if desired_encoding == "passthrough":
            return image
        return convert(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(self, cvim: Image, encoding: str = "passthrough", header: Header | None = None) -> ImageMessage:
        """Return a message with the image; nothing is converted.

        Args:
            cvim: (H, W) or (H, W, C).
            encoding: what the values mean; `passthrough` names only their type, for example `8UC3`.
            header: header of the message.

        Raises:
            TypeError: `cvim` is not an array.
            CvBridgeError: the type of the array is not that of the encoding.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError(f"Your input type is not a numpy array but {type(cvim).__name__}")
        if cvim.ndim not in (2, 3) or not cvim.size:
            raise CvBridgeError(f"an image has the shape (H, W) or (H, W, C) and is not empty; this is {cvim.shape}")
        channels = cvim.shape[2] if cvim.ndim == 3 else 1
        cv_type = self.dtype_with_channels_to_cvtype2(cvim.dtype, channels)
        message = ImageMessage()
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        message.encoding = cv_type if encoding == "passthrough" else encoding
        if encoding != "passthrough":
            wanted = parse_encoding(encoding)
            if (wanted.depth, wanted.channels) != (parse_encoding(cv_type).depth, channels):
                raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {cv_type}")
        message.is_bigendian = cvim.dtype.newbyteorder("<") != cvim.dtype and cvim.dtype.itemsize > 1
        message.data.frombytes(np.ascontiguousarray(cvim).reshape(-1).view(np.uint8).data)
        message.step = len(message.data) // message.height
        return message

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough") -> Image:
        """Return the decoded image: BGR, BGRA or grey in the depth of the file.

        Args:
            cmprs_img_msg: JPEG, PNG or whatever else OpenCV decodes.
            desired_encoding: encoding of the result; `passthrough` keeps what was decoded.

        Raises:
            CvBridgeError: the data cannot be decoded, or there is no such conversion.
        """
        data = np.frombuffer(cmprs_img_msg.data, dtype=np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if image is None:
            raise CvBridgeError(
                f"the compressed image (format '{cmprs_img_msg.format}', {data.size} bytes) cannot be decoded; is it "
                "damaged, or of a transport with a header of its own such as compressedDepth?"
            )
        if desired_encoding == "passthrough":
            return image
        channels = image.shape[2] if image.ndim == 3 else 1
        return convert(image, f"{_DECODED[channels]}{image.dtype.itemsize * 8}", desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: Image, dst_format: str = "jpg") -> CompressedImage:
        """Return a message with the encoded image.

        Args:
            cvim: grey, BGR or BGRA image.
            dst_format: file ending that OpenCV knows, for example `jpg` or `png`.

        Raises:
            TypeError: `cvim` is not an array.
            CvBridgeError: OpenCV cannot encode the image in this format.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError(f"Your input type is not a numpy array but {type(cvim).__name__}")
        try:
            done, data = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(
                f"an image of {cvim.dtype} {cvim.shape} cannot be encoded as '{dst_format}': {error}"
            ) from error
        if not done:
            raise CvBridgeError(f"an image of {cvim.dtype} {cvim.shape} cannot be encoded as '{dst_format}'")
        message = CompressedImage(format=dst_format)
        message.data.frombytes(data.data)
        return message


def _view(message: ImageMessage, encoding: Encoding) -> Image:
    """Pixels of the message, without the padding of its rows, in the byte order of this machine."""
    pixel = encoding.dtype.itemsize * encoding.channels
    height, width, step = message.height, message.width, message.step
    if step < width * pixel:
        raise CvBridgeError(
            f"Image is wrongly formed: step {step} < width {width} * {pixel} bytes per pixel of '{message.encoding}'"
        )
    if height * step != len(message.data):
        raise CvBridgeError(
            f"Image is wrongly formed: height {height} * step {step} != size {len(message.data)} of the data"
        )
    order = encoding.dtype.newbyteorder(">" if message.is_bigendian else "<")
    shape = (height, width) if encoding.channels == 1 else (height, width, encoding.channels)
    strides = (step, pixel) if encoding.channels == 1 else (step, pixel, encoding.dtype.itemsize)
    image: Image = np.ndarray(shape, order, np.frombuffer(message.data, np.uint8), strides=strides)
    return np.ascontiguousarray(image, dtype=encoding.dtype)
