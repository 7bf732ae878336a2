# SPDX-License-Identifier: Apache-2.0

"""Test pictures for silent cameras: labelled, announced, and refused where an arm would move by them."""

import numpy as np
import pytest
from policy_cell import RampRunner, wait_until
from policy_fixtures import small_profile
from sensor_msgs.msg import Image
from vla_common.params import ParameterError
from vla_common.qos import LATCHED
from vla_core.frame_sources import camera_source
from vla_core.testing import image
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_policy.node.policy_params import PolicyParams
from vla_policy.node.synthetic_cameras import _check, _message
from vla_policy.policies.synthetic import PAPER, synthetic_image

WRIST = "\n  wrist: {topic: wrist/image_raw, size: [48, 64], rate_hz: 30.0, max_age_s: 0.2}\nstate:"


def two_cameras(**replaced):
    return small_profile(**{"\nstate:": WRIST, **replaced})


def test_a_picture_bears_its_name_and_no_two_are_the_same():
    first, second = (synthetic_image("front", (240, 320), index) for index in (1, 2))
    assert first.shape == (240, 320, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()
    label = (first == PAPER).all(axis=2)
    assert label.sum() > 1000
    assert (first[label.any(axis=1)][:, label.any(axis=0)] == 0).all(axis=2).sum() > 200, "letters on it"
    other = synthetic_image("wrist", (240, 320), 1)
    assert (first[:80] != other[:80]).any(), "the camera's name is on it"
    assert synthetic_image("a_camera_with_a_long_name", (16, 16)).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["Image", "CompressedImage"])
def test_the_message_is_of_the_cameras_type(kind):
    camera = two_cameras(**{"size: [48, 64],": f"size: [48, 64], type: sensor_msgs/msg/{kind},"}).cameras[1]
    assert camera.name == "wrist"
    msg = _message(camera, 3)
    assert type(msg).__name__ == kind
    np.testing.assert_array_equal(
        camera_source(camera, decoded=True).decode(msg), synthetic_image("wrist", (48, 64), 3)
    )


def test_it_is_refused_where_pictures_that_are_not_real_do_harm():
    cameras = two_cameras().cameras
    allowed = {"checkpoint": "x", "allow_synthetic": True}
    _check(PolicyParams(**allowed, dry_run=True), cameras)
    _check(PolicyParams(**allowed, dry_run=False, policy="scripted"), cameras)
    with pytest.raises(ParameterError, match=r"policy 'lerobot' would move the arm by pictures that are not real"):
        _check(PolicyParams(**allowed, dry_run=False), cameras)
    with pytest.raises(ParameterError, match="in lockstep simulated time waits for every camera"):
        _check(PolicyParams(**allowed, lockstep=True), cameras)
    depth = two_cameras(**{"size: [48, 64],": "size: [48, 64], depth: true,"}).cameras
    with pytest.raises(ParameterError, match="no pictures can be made for wrist"):
        _check(PolicyParams(**allowed), depth)


def test_a_silent_camera_is_replaced_until_it_sends(cell):
    profile = two_cameras()
    c = cell(runner=RampRunner(profile), profile=profile, dry_run=True, allow_synthetic=True)
    seen = []
    c.client_node.create_subscription(PolicyStatus, "policy/status", seen.append, LATCHED)
    wait_until(lambda: c.node._synthetic.names, what="the replacement")
    assert c.node._synthetic.names == {"wrist"}, "the front camera sends"
    _, result = c.result(c.send(max_duration=1.0))
    assert (result.termination, result.goals_sent) == (RunPolicy.Result.TERMINATION_TIMEOUT, 0), result.error_msg
    assert result.chunks >= 1
    assert "SYNTHETIC cameras: wrist; " in seen[-1].detail
    level, text, _ = c.node._synthetic._diagnosis()
    assert (level, text) == (b"\x01", "SYNTHETIC cameras: wrist")
    publisher = c.client_node.create_publisher(Image, "wrist/image_raw", 10)

    def real():
        now = c.client_node.get_clock().now()
        msg = image(now.nanoseconds, np.zeros((48, 64, 3), dtype=np.uint8))
        sent = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes(msg.data), header=Image().header)
        sent.header.stamp = now.to_msg()
        publisher.publish(sent)
        return not c.node._synthetic.names

    wait_until(real, what="the real camera in its place")
    assert c.node._synthetic.note() == ""


def test_without_it_a_silent_camera_is_named(cell):
    profile = two_cameras()
    c = cell(runner=RampRunner(profile), profile=profile, dry_run=True, start_timeout_s=1.0)
    _, result = c.result(c.send(max_duration=9.0))
    assert result.error_code == RunPolicy.Result.NO_OBSERVATION
    assert "observation.images.wrist: no message" in result.error_msg
    assert not c.node._synthetic.names
