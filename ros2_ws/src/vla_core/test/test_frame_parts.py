# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from vla_core.errors import FrameError
from vla_core.frames import FrameBuilder, skew_s
from vla_core.profile import parse_profile
from vla_core.testing import T0_NS, CompressedImage, header, image, joint_state, test_pixels

MS = 1_000_000
JOINTS = ["elbow_joint", "wrist_joint", "finger_joint"]


def builder_with(profile, picture, **options):
    """Return a builder with a picture and joints at T0."""
    builder = FrameBuilder(profile, actions=False, **options)
    builder.push_topic("front/image_raw", T0_NS, picture)
    builder.push_topic("joint_states", T0_NS, joint_state(T0_NS, JOINTS, [0.1, 1 / 3, 0.4]))
    return builder


def test_the_state_before_the_cast_is_kept(profile):
    frame = builder_with(profile, image(T0_NS, test_pixels((24, 32), 0))).sample(T0_NS)
    assert frame.state64.dtype == np.float64
    assert frame.state64.tolist() == [0.1, 1 / 3, 0.4 * 1.25]
    assert (frame.state64.astype(np.float32) == frame.state).all()


def test_a_referenced_camera_gives_its_message_undecoded(changed):
    packed = parse_profile(
        changed("topic: front/image_raw", "topic: front/image_raw, type: sensor_msgs/msg/CompressedImage")
    )
    damaged = CompressedImage(header(T0_NS), "jpeg", b"nobody decodes this")
    frame = builder_with(packed, damaged, references=frozenset({"front"})).sample(T0_NS + MS)
    assert frame.images == {}
    assert frame.references == {"front": damaged}
    assert frame.references["front"] is damaged
    decoded = builder_with(packed, damaged)
    assert decoded.sample(T0_NS + MS).reason == "unsupported"


def test_a_reference_serves_two_ticks_and_still_grows_stale(profile):
    picture = image(T0_NS, test_pixels((24, 32), 0))
    builder = builder_with(profile, picture, references=frozenset({"front"}))
    first, second = builder.sample(T0_NS), builder.sample(T0_NS + 50 * MS)
    assert first.references["front"] is second.references["front"]
    builder.push_topic("joint_states", T0_NS, joint_state(T0_NS + 201 * MS, JOINTS, [0, 0, 0]))
    assert builder.sample(T0_NS + 201 * MS).reason == "stale"


def test_a_reference_must_be_a_camera(profile):
    with pytest.raises(
        FrameError, match=r"no camera 'frontt' to leave undecoded; cameras: front; did you mean 'front'"
    ):
        FrameBuilder(profile, actions=False, references=frozenset({"frontt"}))


def test_ages_are_signed_and_the_skew_is_between_observations(changed):
    text = changed("rate_hz: 20, max_age_s: 0.2}", "rate_hz: 20, max_age_s: 0.2, strategy: nearest}")
    text = changed("fields: [position.finger_joint]", "strategy: interpolate, fields: [position.finger_joint]", text)
    builder = FrameBuilder(parse_profile(text), actions=True)
    builder.push_topic("front/image_raw", 0, image(T0_NS + 12 * MS, test_pixels((24, 32), 0)))
    for ms in (0, 10):
        builder.push_topic("joint_states", 0, joint_state(T0_NS + ms * MS, JOINTS, [0, 0, 0]))
    builder.push_topic("command/arm", 0, joint_state(T0_NS - 90 * MS, JOINTS[:2], [0, 0]))
    builder.push_topic("command/gripper", 0, joint_state(T0_NS - 90 * MS, JOINTS[2:], [0]))
    frame = builder.sample(T0_NS + 4 * MS)
    assert frame.ages_s == pytest.approx(
        {
            "observation.images.front": -0.008,
            "observation.state.0": 0.004,
            "observation.state.1": -0.006,  # the farther of the two
            "action.arm": 0.094,
            "action.gripper": 0.094,
        }
    )
    assert skew_s(frame) == pytest.approx(0.012)
    assert builder.stats()["observation.images.front"].age_max_s == pytest.approx(0.008)
