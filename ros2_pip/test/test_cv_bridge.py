# SPDX-License-Identifier: Apache-2.0

"""Images through the public interface of cv_bridge."""

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError, getCvType
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

BRIDGE = CvBridge()
RNG = np.random.default_rng(0)


def pixels(shape, dtype="uint8"):
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return RNG.normal(size=shape).astype(kind)
    limits = np.iinfo(kind)
    return RNG.integers(limits.min, limits.max, size=shape, dtype=kind, endpoint=True)


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [
        ("rgb8", "uint8", 3), ("bgr8", "uint8", 3), ("rgba8", "uint8", 4), ("bgra8", "uint8", 4), ("mono8", "uint8", 1),
        ("rgb16", "uint16", 3), ("mono16", "uint16", 1), ("bayer_rggb8", "uint8", 1), ("bayer_gbrg16", "uint16", 1),
        ("yuv422", "uint8", 2), ("yuv422_yuy2", "uint8", 2), ("16UC1", "uint16", 1), ("32FC1", "float32", 1),
        ("64FC3", "float64", 3), ("8SC2", "int8", 2), ("32SC1", "int32", 1), ("8UC7", "uint8", 7), ("16S", "int16", 1),
    ],
)  # fmt: skip
def test_messages_come_back_as_they_were(encoding, dtype, channels):
    image = pixels((4, 6) if channels == 1 else (4, 6, channels), dtype)
    message = BRIDGE.cv2_to_imgmsg(image, encoding)
    assert (message.height, message.width, message.encoding) == (4, 6, encoding)
    assert message.step == 6 * channels * image.itemsize
    assert message.step * 4 == len(message.data)
    assert BRIDGE.encoding_to_dtype_with_channels(encoding) == (dtype, channels)
    back = BRIDGE.imgmsg_to_cv2(message)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)


def test_passthrough_names_the_type_and_keeps_the_header():
    header = Header(frame_id="front_color_optical_frame")
    message = BRIDGE.cv2_to_imgmsg(pixels((2, 3, 3)), header=header)
    assert message.encoding == "8UC3"
    assert message.header == header


def test_padding_at_the_end_of_rows_is_left_out():
    image = pixels((3, 5, 3))
    padded = np.zeros((3, 20), np.uint8)
    padded[:, :15] = image.reshape(3, 15)
    message = Image(height=3, width=5, encoding="rgb8", step=20)
    message.data.frombytes(padded.tobytes())
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "rgb8"), image)


def test_a_slice_is_written_without_its_surroundings():
    image = pixels((8, 8, 3))
    message = BRIDGE.cv2_to_imgmsg(image[2:6, 1:5], "rgb8")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message), image[2:6, 1:5])


def test_byte_order_is_honoured_in_both_directions():
    image = pixels((3, 4), "uint16")
    message = Image(height=3, width=4, encoding="mono16", step=8, is_bigendian=1)
    message.data.frombytes(image.astype(">u2").tobytes())
    back = BRIDGE.imgmsg_to_cv2(message)
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, image)
    assert BRIDGE.cv2_to_imgmsg(image.astype(">u2"), "mono16").data == message.data
    assert BRIDGE.cv2_to_imgmsg(image.astype(">u2"), "mono16").is_bigendian == 1
    assert BRIDGE.cv2_to_imgmsg(image, "mono16").is_bigendian == 0


COLOURS = {
    "bgr8": lambda rgb: rgb[..., ::-1],
    "rgba8": lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
    "bgra8": lambda rgb: np.dstack([rgb[..., ::-1], np.full(rgb.shape[:2], 255, np.uint8)]),
    "mono8": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY),
    "8UC3": lambda rgb: rgb,
    "rgb16": lambda rgb: rgb.astype(np.uint16) * 257,
    "bgr16": lambda rgb: rgb[..., ::-1].astype(np.uint16) * 257,
}


@pytest.mark.parametrize("target", COLOURS)
def test_colours_are_converted(target):
    rgb = pixels((4, 6, 3))
    message = BRIDGE.cv2_to_imgmsg(rgb, "rgb8")
    converted = BRIDGE.imgmsg_to_cv2(message, target)
    np.testing.assert_array_equal(converted, COLOURS[target](rgb))


def test_depths_are_scaled_between_8_and_16_bits_only():
    mono = BRIDGE.cv2_to_imgmsg(np.array([[0, 257 * 100, 65535, 128]], np.uint16), "mono16")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(mono, "mono8"), [[0, 100, 255, 0]])
    depth = BRIDGE.cv2_to_imgmsg(np.array([[0, 1500, 65535]], np.uint16), "16UC1")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(depth, "32FC1"), np.array([[0, 1500, 65535]], np.float32))
    metres = BRIDGE.cv2_to_imgmsg(np.array([[-2.0, 1.5, 2.5, 1e9, np.nan]], np.float32), "32FC1")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(metres, "16UC1"), [[0, 2, 2, 65535, 0]])


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_the_colour_they_were_taken_of(pattern):
    colour = {"r": 200, "g": 120, "b": 40}
    raw = np.tile(np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2), (4, 4))
    message = BRIDGE.cv2_to_imgmsg(raw, f"bayer_{pattern}8")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "rgb8")[3, 3], [200, 120, 40])
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "bgr8")[3, 3], [40, 120, 200])


@pytest.mark.parametrize(("encoding", "luma_at"), [("yuv422", 1), ("yuv422_yuy2", 0)])
def test_yuv_422_without_colour_is_grey(encoding, luma_at):
    raw = np.full((2, 4, 2), 128, np.uint8)
    raw[..., luma_at] = 235
    message = BRIDGE.cv2_to_imgmsg(raw, encoding)
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "rgb8"), np.full((2, 4, 3), 255, np.uint8))


@pytest.mark.parametrize(
    ("source", "shape", "target", "text"),
    [
        ("16UC1", (2, 2), "mono16", "The conversion does not make sense"),
        ("8UC3", (2, 2, 3), "8UC1", r"has 3 channels but \[8UC1\] has 1"),
        ("rgb8", (2, 2, 3), "bayer_rggb8", r"Unsupported conversion from \[rgb8\] to \[bayer_rggb8\]"),
        ("bayer_rggb8", (2, 2), "rgba8", "go by way of bgr8"),
        ("rgb8", (2, 2, 3), "rgb9", r"Unrecognized image encoding \[rgb9\]"),
    ],
)
def test_senseless_conversions_are_refused(source, shape, target, text):
    dtype, _ = BRIDGE.encoding_to_dtype_with_channels(source)
    message = BRIDGE.cv2_to_imgmsg(pixels(shape, dtype), source)
    with pytest.raises(CvBridgeError, match=text):
        BRIDGE.imgmsg_to_cv2(message, target)


@pytest.mark.parametrize(
    ("step", "size", "text"), [(8, 16, "step 8 < width 3 [*] 3 bytes"), (9, 17, "height 2 [*] step 9 != size 17")]
)
def test_malformed_messages_are_refused(step, size, text):
    message = Image(height=2, width=3, encoding="rgb8", step=step)
    message.data.frombytes(bytes(size))
    with pytest.raises(CvBridgeError, match=text):
        BRIDGE.imgmsg_to_cv2(message)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(CvBridgeError, match="encoding specified as rgb8, but image has incompatible type 8UC1"):
        BRIDGE.cv2_to_imgmsg(pixels((2, 2)), "rgb8")
    with pytest.raises(CvBridgeError, match="images of int64 have no OpenCV type"):
        BRIDGE.cv2_to_imgmsg(np.zeros((2, 2), np.int64))
    with pytest.raises(CvBridgeError, match="is not empty"):
        BRIDGE.cv2_to_imgmsg(np.zeros((0, 2), np.uint8))
    with pytest.raises(TypeError, match="not a numpy array but list"):
        BRIDGE.cv2_to_imgmsg([[1]])


def test_compressed_images_come_back():
    image = pixels((8, 8, 3))
    message = BRIDGE.cv2_to_compressed_imgmsg(image, "png")
    assert message.format == "png"
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(message), image)
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(message, "rgb8"), image[..., ::-1])
    depth = pixels((8, 8), "uint16")
    png = BRIDGE.cv2_to_compressed_imgmsg(depth, "png")
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(png, "mono16"), depth)
    smooth = np.full((16, 16, 3), 90, np.uint8)
    jpeg = BRIDGE.cv2_to_compressed_imgmsg(smooth)
    assert jpeg.format == "jpg"
    np.testing.assert_allclose(BRIDGE.compressed_imgmsg_to_cv2(jpeg), smooth, atol=2)


def test_what_cannot_be_decoded_or_encoded_is_refused():
    for data in (b"", b"no image"):
        message = CompressedImage(format="jpeg")
        message.data.frombytes(data)
        with pytest.raises(CvBridgeError, match=f"format 'jpeg', {len(data)} bytes.*cannot be decoded"):
            BRIDGE.compressed_imgmsg_to_cv2(message)
    with pytest.raises(CvBridgeError, match="cannot be encoded as 'nonsense'"):
        BRIDGE.cv2_to_compressed_imgmsg(pixels((2, 2)), "nonsense")
    with pytest.raises(TypeError, match="not a numpy array"):
        BRIDGE.cv2_to_compressed_imgmsg("image")


def test_types_have_the_numbers_of_opencv():
    assert getCvType("rgb8") == cv2.CV_8UC3
    assert BRIDGE.encoding_to_cvtype2("32FC1") == cv2.CV_32FC1
    assert BRIDGE.cvtype2_to_dtype_with_channels(cv2.CV_16UC2) == ("uint16", 2)
    assert BRIDGE.dtype_with_channels_to_cvtype2(np.dtype("float64"), 4) == "64FC4"
    with pytest.raises(CvBridgeError, match="-1 is not the number of an OpenCV type"):
        BRIDGE.cvtype2_to_dtype_with_channels(-1)
