# SPDX-License-Identifier: Apache-2.0

import struct

import numpy as np
import pytest
from vla_core.errors import DamagedError, DecoderError
from vla_core.frames import FrameBuilder, Missing, features
from vla_core.images_depth import decode_compressed_depth, resize_depth, to_depth
from vla_core.profile import mapping_differences, parse_profile
from vla_core.testing import PROFILE, T0_NS, CompressedImage, header, image, joint_state, test_pixels

cv2 = pytest.importorskip("cv2", reason="OpenCV is an optional extra of vla_core")

COMPRESSED = "topic: front/image_raw, type: sensor_msgs/msg/CompressedImage, depth: true"
RNG = np.random.default_rng(5)
MILLIMETRES = RNG.integers(0, 65536, (24, 32), dtype=np.uint16)
METRES = RNG.uniform(0.3, 9.0, (24, 32)).astype(np.float32)
QUANTISATION = (3030.0, -2.0)  # depth = a / (code - b)


def depth_profile(how):
    return parse_profile(PROFILE.replace("topic: front/image_raw", how))


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def transported(pixels, encoding="16UC1"):
    """Return the message that compressed_depth_image_transport publishes."""
    if pixels.dtype == np.uint16:
        return CompressedImage(
            header(T0_NS), f"{encoding}; compressedDepth png", struct.pack("<iff", 0, 0, 0) + png(pixels)
        )
    a, b = QUANTISATION
    codes = np.where(pixels > 0, np.rint(a / np.maximum(pixels, 0.01) + b), 0).astype(np.uint16)
    return CompressedImage(header(T0_NS), "32FC1; compressedDepth png", struct.pack("<iff", 0, a, b) + png(codes))


def sampled(profile, msg):
    builder = FrameBuilder(profile, actions=False)
    builder.push_topic("front/image_raw", T0_NS, msg)
    builder.push_topic(
        "joint_states", T0_NS, joint_state(T0_NS, ["elbow_joint", "wrist_joint", "finger_joint"], [0] * 3)
    )
    return builder.sample(T0_NS)


@pytest.mark.parametrize(
    ("how", "msg"),
    [
        ("topic: front/image_raw, depth: true", image(T0_NS, MILLIMETRES, "16UC1", padding=6)),
        (COMPRESSED, transported(MILLIMETRES)),
        (COMPRESSED, CompressedImage(header(T0_NS), "16UC1; png compressed", png(MILLIMETRES))),
        (COMPRESSED, CompressedImage(header(T0_NS), "16UC1; compressedDepth", bytes(12) + png(MILLIMETRES))),
    ],
)
def test_millimetres_are_exact(how, msg):
    frame = sampled(depth_profile(how), msg)
    assert frame.images["front"].dtype == np.uint16
    assert (frame.images["front"] == MILLIMETRES).all()
    assert not frame.images["front"].flags.writeable


def test_metres_and_what_has_no_reading():
    pixels = METRES.copy()
    pixels[0, :4] = (np.nan, np.inf, -np.inf, -1.0)
    frame = sampled(depth_profile("topic: front/image_raw, depth: true"), image(T0_NS, pixels, "32FC1"))
    assert frame.images["front"].dtype == np.float32
    assert (frame.images["front"][0, :4] == 0).all()
    assert (frame.images["front"].ravel()[4:] == METRES.ravel()[4:]).all()


def test_quantised_metres_come_back_within_the_quantisation():
    pixels = METRES.copy()
    pixels[3, 5] = 0.0
    got = sampled(depth_profile(COMPRESSED), transported(pixels)).images["front"]
    assert got.dtype == np.float32
    assert got[3, 5] == 0.0
    # Half a step of the code is pixels**2 / a / 2 of depth.
    assert (np.abs(got - pixels) <= pixels**2 / QUANTISATION[0] * 0.51 + 1e-5).all()
    a, b = QUANTISATION
    code = np.rint(a / pixels[1, 1] + b)
    assert got[1, 1] == pytest.approx(a / (code - b), rel=1e-6)


def test_resize_takes_the_nearest_pixel_and_invents_nothing():
    step = np.where(np.arange(32) < 16, 500, 4000).astype(np.uint16)[None, :].repeat(24, axis=0)
    profile = depth_profile("topic: front/image_raw, resize: [7, 9], depth: true")
    small = sampled(profile, image(T0_NS, step, "16UC1")).images["front"]
    assert small.shape == (7, 9) == profile.cameras[0].frame_shape
    assert set(small.ravel()) == {500, 4000}
    numbered = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8)
    assert resize_depth(numbered, (3, 4)).tolist() == numbered[1::2, 1::2].tolist()
    assert resize_depth(numbered, (12, 16)).tolist() == numbered.repeat(2, axis=0).repeat(2, axis=1).tolist()
    assert resize_depth(numbered, (6, 8)) is numbered


def test_features_of_a_depth_camera():
    profile = depth_profile("topic: front/image_raw, depth: true")
    assert features(profile)["observation.images.front"] == {
        "dtype": "video",
        "shape": (24, 32, 1),
        "names": ["height", "width", "channels"],
        "info": {"is_depth_map": True},
    }
    assert mapping_differences(parse_profile(PROFILE), profile) == (
        "cameras.front.depth: trained with False, now True",
    )


@pytest.mark.parametrize(
    ("how", "msg", "reason", "said"),
    [
        ("topic: front/image_raw, depth: true", image(T0_NS, test_pixels((24, 32), 0)), "unsupported", "uint8 pixels of shape (24, 32, 3) are no depth; a camera with 'depth: true' needs 16UC1"),
        ("topic: front/image_raw, depth: true", image(T0_NS, MILLIMETRES[:12], "16UC1"), "size", "sends [12, 32] (height, width)"),
        (COMPRESSED, CompressedImage(header(T0_NS), "16UC1; compressedDepth rvl", bytes(400)), "unsupported", "is RVL, which is not supported; set the publisher's parameter 'format'"),
        (COMPRESSED, CompressedImage(header(T0_NS), "16UC1; compressedDepth png", bytes(9)), "damaged", "has 9 bytes, less than its header"),
        (COMPRESSED, CompressedImage(header(T0_NS), "16UC1; compressedDepth png", bytes(80)), "unsupported", "holds no PNG where one belongs"),
        (COMPRESSED, CompressedImage(header(T0_NS), "16UC1; compressedDepth png", transported(MILLIMETRES).data[:-60]), "damaged", "is damaged or cut short"),
        (COMPRESSED, CompressedImage(header(T0_NS), "16UC1; compressedDepth png", bytes(12) + png(test_pixels((24, 32), 0))), "damaged", "does not hold 16-bit grey pixels"),
        ("topic: front/image_raw", image(T0_NS, MILLIMETRES, "16UC1"), "unsupported", "or set 'depth: true'"),
    ],
)  # fmt: skip
def test_what_is_no_depth_is_named(how, msg, reason, said):
    missing = sampled(depth_profile(how), msg)
    assert isinstance(missing, Missing)
    assert missing.reason == reason
    assert said in missing.detail


def test_the_functions_alone():
    assert (decode_compressed_depth(transported(MILLIMETRES)) == MILLIMETRES).all()
    assert to_depth(MILLIMETRES) is MILLIMETRES
    with pytest.raises(DecoderError, match="float64 pixels of shape"):
        to_depth(METRES.astype(np.float64))
    with pytest.raises(DamagedError, match="less than its header"):
        decode_compressed_depth(CompressedImage(format="compressedDepth", data=b""))
