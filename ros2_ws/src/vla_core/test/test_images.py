# SPDX-License-Identifier: Apache-2.0

import array
import sys
from types import ModuleType

import numpy as np
import pytest
from vla_core.errors import DamagedError, DecoderError
from vla_core.images import ENCODINGS, as_bytes, decode_image, resize, to_rgb
from vla_core.images_compressed import _opencv, decode_compressed
from vla_core.testing import CompressedImage, image, test_pixels

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7, 1), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
DEPTH = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
METRES = RNG.random((5, 7), dtype=np.float32)

SENT = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "rgba8": (np.concatenate([RGB, ALPHA], axis=2), RGB),
    "bgra8": (np.concatenate([RGB[..., ::-1], ALPHA], axis=2), RGB),
    "mono8": (GREY, GREY),
    "16UC1": (DEPTH, DEPTH),
    "32FC1": (METRES, METRES),
}


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_with_and_without_row_padding(encoding, padding):
    sent, wanted = SENT[encoding]
    decoded = decode_image(image(0, sent, encoding, padding))
    assert decoded.dtype == wanted.dtype
    assert (decoded == wanted).all()


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_big_endian(encoding):
    sent, wanted = SENT[encoding]
    msg = image(0, sent.astype(sent.dtype.newbyteorder(">")), encoding)
    msg.is_bigendian = 1
    decoded = decode_image(msg)
    assert decoded.dtype.isnative
    assert (decoded == wanted).all()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, list, lambda d: array.array("B", d), np.frombuffer])
def test_data_of_any_kind(kind):
    msg = image(0, RGB)
    msg.data = kind(msg.data, dtype=np.uint8) if kind is np.frombuffer else kind(msg.data)
    assert (decode_image(msg) == RGB).all()


def test_rgb8_is_a_view_of_the_message():
    msg = image(0, RGB)
    msg.data = bytearray(msg.data)
    assert np.shares_memory(decode_image(msg), np.frombuffer(msg.data, np.uint8))
    assert as_bytes(np.array([1, 256], dtype="<u2")).tolist() == [1, 0, 0, 1]


def test_last_row_may_lack_its_padding():
    msg = image(0, RGB, padding=4)
    msg.data = msg.data[:-4]
    assert (decode_image(msg) == RGB).all()
    msg.data = msg.data[:-1]
    with pytest.raises(
        DamagedError, match="image says 7x5 rgb8 with rows of 25 bytes, which needs rows of at least 21"
    ):
        decode_image(msg)


def test_impossible_sizes():
    msg = image(0, RGB)
    msg.step = 20
    with pytest.raises(DamagedError, match="the message is damaged"):
        decode_image(msg)
    msg.height = 0
    with pytest.raises(DamagedError, match="image of 7x0 pixels is empty; is the camera running"):
        decode_image(msg)


def test_other_encodings_go_through_cv_bridge(monkeypatch):
    msg = image(0, GREY, "bayer_rggb8")
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(DecoderError, match=r"'bayer_rggb8' is not built in \(rgb8, .*install ros-jazzy-cv-bridge"):
        decode_image(msg)

    class CvBridgeError(TypeError):
        pass

    class CvBridge:
        def imgmsg_to_cv2(self, msg, desired_encoding):
            assert desired_encoding == "rgb8"
            if msg.encoding == "nonsense":
                raise CvBridgeError("no such encoding")
            return RGB

    fake = ModuleType("cv_bridge")
    fake.CvBridge, fake.CvBridgeError = CvBridge, CvBridgeError
    monkeypatch.setitem(sys.modules, "cv_bridge", fake)
    assert (decode_image(msg) == RGB).all()
    msg.encoding = "nonsense"
    with pytest.raises(
        DecoderError, match="cv_bridge cannot turn image encoding 'nonsense' into rgb8: no such encoding"
    ):
        decode_image(msg)


def test_to_rgb():
    assert to_rgb(RGB) is RGB
    assert (to_rgb(GREY) == GREY[..., None]).all()
    assert to_rgb(GREY).shape == (5, 7, 3)
    with pytest.raises(DecoderError, match=r"delivers uint16 values \(a depth image\?\)"):
        to_rgb(DEPTH)


def box_weights(source, target):
    """Return the area-average matrix ``(target, source)`` in floating point."""
    edges = np.linspace(0, source, target + 1)
    cells = np.arange(source)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights = np.clip(overlap, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("source", "target"), [((24, 32), (12, 16)), ((24, 32), (9, 10)), ((48, 64), (24, 21))])
def test_shrinking_is_an_area_average(source, target):
    pixels = RNG.integers(0, 256, (*source, 3), dtype=np.uint8)
    rows, columns = box_weights(source[0], target[0]), box_weights(source[1], target[1])
    wanted = np.einsum("ih,jw,hwc->ijc", rows, columns, pixels)
    got = resize(pixels, target)
    assert got.dtype == np.uint8
    assert np.abs(got - wanted).max() <= 0.52


def test_growing_is_bilinear():
    ramp = np.repeat(np.arange(0, 200, 20, dtype=np.uint8)[None, :, None], 3, axis=2)
    got = resize(np.repeat(ramp, 4, axis=0), (8, 20))
    wanted = np.interp((np.arange(20) + 0.5) / 2 - 0.5, np.arange(10), ramp[0, :, 0])
    assert np.abs(got[3, :, 1] - wanted).max() <= 0.51
    assert (got[0] == got[7]).all()


@pytest.mark.parametrize("target", [(24, 32), (10, 10), (12, 16), (50, 60), (1, 1)])
def test_a_flat_picture_stays_flat(target):
    for value in (0, 1, 128, 255):
        assert (resize(np.full((24, 32, 3), value, np.uint8), target) == value).all()


def test_resize_to_the_same_size_is_free_and_one_pixel_grows():
    assert resize(RGB, (5, 7)) is RGB
    assert (resize(np.full((1, 1, 3), 9, np.uint8), (3, 4)) == 9).all()


cv2 = pytest.importorskip("cv2", reason="OpenCV is an optional extra of vla_core")


def compressed(pixels_bgr, extension, text):
    ok, data = cv2.imencode(extension, pixels_bgr)
    assert ok
    return CompressedImage(format=text, data=data.tobytes())


def test_png_is_exact_and_jpeg_is_near():
    pixels = test_pixels((24, 32), 3)
    png = compressed(pixels[..., ::-1], ".png", "rgb8; png compressed bgr8")
    assert (decode_compressed(png) == pixels).all()
    smooth = np.full((24, 32, 3), (200, 100, 50), np.uint8)
    jpeg = compressed(smooth[..., ::-1], ".jpg", "rgb8; jpeg compressed bgr8")
    assert np.abs(decode_compressed(jpeg).astype(int) - smooth).max() <= 4
    jpeg.data = array.array("B", jpeg.data)
    assert decode_compressed(jpeg).shape == (24, 32, 3)


def test_grey_and_depth_png():
    assert (decode_compressed(compressed(GREY, ".png", "mono8; png compressed")) == GREY[..., None]).all()
    assert (decode_compressed(compressed(DEPTH, ".png", "16UC1; png compressed")) == DEPTH).all()
    deep_colour = compressed(np.repeat(DEPTH[..., None], 3, axis=2), ".png", "png")
    with pytest.raises(DecoderError, match="compressed image has uint16 colour values"):
        decode_compressed(deep_colour)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_cut_file_is_refused_not_filled_with_grey(extension):
    msg = compressed(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), extension, extension[1:])
    msg.data = msg.data[: len(msg.data) // 2]
    with pytest.raises(DamagedError, match="is damaged or cut short; check the camera's transport"):
        decode_compressed(msg)


def test_damaged_inside():
    msg = CompressedImage(format="jpeg", data=b"\xff\xd8\xff" + bytes(50) + b"\xff\xd9")
    with pytest.raises(DamagedError, match="damaged or cut short"):
        decode_compressed(msg)


def test_other_formats_are_named():
    msg = CompressedImage(format="16UC1; compressedDepth png", data=bytes(12) + b"\x89PNG")
    with pytest.raises(
        DecoderError, match=r"'16UC1; compressedDepth png' .* is neither JPEG nor PNG; record the 'compressed'"
    ):
        decode_compressed(msg)


def test_absent_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    _opencv.cache_clear()
    msg = CompressedImage(format="jpeg", data=b"\xff\xd8\xff\xe0\xff\xd9")
    with pytest.raises(DecoderError, match=r"compressed images need OpenCV, .*pip install opencv-python-headless"):
        decode_compressed(msg)
    _opencv.cache_clear()
