# SPDX-License-Identifier: Apache-2.0

"""The driver of a camera and its place, as a profile says them."""

from pathlib import Path

import pytest
from vla_core.errors import ProfileError
from vla_core.profile import load_profile, parse_profile


@pytest.mark.parametrize(
    ("topic", "node", "settings"),
    [
        ("camera/wrist/color/image_raw", "camera/wrist", "realsense"),
        ("/camera/wrist/color/image_raw", "/camera/wrist", "realsense"),
        ("oak/rgb/image_raw", "oak", "depthai"),
        ("usb_cam/left/image_raw", "usb_cam", "none"),
        ("front/image_raw", "", "none"),
        ("image", "", "none"),
    ],
)
def test_the_topic_tells_the_driver(changed, topic, node, settings):
    camera = parse_profile(changed("topic: front/image_raw", f"topic: {topic}")).cameras[0]
    assert (camera.node, camera.settings, camera.mount) == (node, settings, None)


def test_what_the_profile_says_wins(changed):
    mount = "mount: {parent: tool0, child: cam_link, xyz: [0.0, 0.1, 0.05], rpy: [0.0, 0.0, 1.5]}"
    text = changed("size: [24, 32]", f"size: [24, 32], node: /cam, settings: depthai, {mount}")
    camera = parse_profile(text).cameras[0]
    assert (camera.node, camera.settings) == ("/cam", "depthai")
    assert (camera.mount.parent, camera.mount.child) == ("tool0", "cam_link")
    assert camera.mount.xyz == (0.0, 0.1, 0.05)
    assert camera.mount.rpy == (0.0, 0.0, 1.5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("settings: realsense", "cameras.front.node: missing key: the topic 'front/image_raw' does not tell the node"),
        (
            "node: cam, settings: realsens",
            "'realsens' is not one of realsense, depthai, none; did you mean 'realsense'",
        ),
        ("mount: {parent: tool0, xyz: [0, 0, 0]}", "cameras.front.mount.child: missing key"),
        ("mount: {parent: tool0, child: c, xyz: [0, 0]}", "cameras.front.mount.xyz: expected 3 numbers, got 2"),
    ],
)
def test_mistakes(changed, more, message):
    with pytest.raises(ProfileError, match=message.replace(".", r"\.").split(";")[0]):
        parse_profile(changed("size: [24, 32]", f"size: [24, 32], {more}"))


def test_the_shipped_profiles_name_their_cameras_drivers():
    names = ("sim_ur5e", "ur5e_2f85_realsense")
    robots = Path(__file__).parents[2] / "vla_bringup" / "robots"
    nodes = {robot: [camera.node for camera in load_profile(robots / f"{robot}.yaml").cameras] for robot in names}
    assert nodes["sim_ur5e"] == ["front_camera", "wrist_camera"]
    assert nodes["ur5e_2f85_realsense"] == ["camera/front_camera", "camera/wrist_camera"]
