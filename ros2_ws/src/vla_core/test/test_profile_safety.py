# SPDX-License-Identifier: Apache-2.0

"""Ready pose, monitors, emergency stop services and acceleration limits of a profile."""

import pytest
from vla_core.errors import ProfileError
from vla_core.profile import parse_profile
from vla_core.testing import PROFILE

MONITOR = "monitors: {mode: {topic: robot/mode, type: std_msgs/msg/UInt8, field: data, allowed: [1, 2]"


def test_without_the_keys_there_is_nothing(profile):
    assert profile.ready is None
    assert profile.monitors == profile.estop == ()
    assert profile.action[0].limits.max_acceleration is None


def test_a_monitor_has_sensible_defaults():
    found = parse_profile(PROFILE + "monitors: {power: {topic: robot/on, type: std_msgs/msg/Bool, allowed: [true]}}\n")
    (monitor,) = found.monitors
    assert (monitor.name, monitor.topic, monitor.field, monitor.allowed) == ("power", "robot/on", "data", (True,))
    assert (monitor.qos, monitor.max_age_s, monitor.required) == ("latched", None, True)


def test_all_keys_are_read():
    text = PROFILE + MONITOR + ", qos: sensor, max_age_s: 0.5, required: false, hint: reset it}}\n"
    found = parse_profile(text + "estop: [arm/stop, /cell/off]\nready: {arm: [0.5, -0.5]}\n")
    (monitor,) = found.monitors
    assert (monitor.allowed, monitor.qos, monitor.max_age_s, monitor.required) == ((1.0, 2.0), "sensor", 0.5, False)
    assert monitor.hint == "reset it"
    assert found.estop == ("arm/stop", "/cell/off")
    assert found.ready == {"arm": (0.5, -0.5)}
    assert parse_profile(found.text).monitors == found.monitors


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("ready: {leg: [0.0]}", "ready.leg: the profile has no action 'leg'; actions: arm, gripper"),
        ("ready: {arm: [0.0]}", "ready.arm: expected 2 positions, one per joint, got 1"),
        ("ready: {arm: [0.0, 3.5]}", "ready.arm: wrist_joint at 3.5 is outside its limits -3 to 3"),
        ("ready: {}", "ready: the map is empty"),
        (MONITOR.replace("[1, 2]", "[]") + "}}", "monitors.mode.allowed: the list is empty"),
        (MONITOR.replace("std_msgs/msg/UInt8", "UInt8") + "}}", "monitors.mode.type: 'UInt8' is no message type"),
        (MONITOR + ", min: 3}}", "monitors.mode.min: unknown key 'min'"),
        (MONITOR + ", max_age_s: 0.0}}", "monitors.mode.max_age_s: must be larger than 0"),
        ("estop: [stop it]", "estop[0]: 'stop it' is no topic name"),
        ("estop: []", "estop: the list is empty"),
    ],
)
def test_each_mistake_is_named(more, message):
    with pytest.raises(ProfileError) as caught:
        parse_profile(PROFILE + more + "\n", "test.yaml")
    assert message in str(caught.value)


def test_a_ready_pose_outside_the_workspace_is_refused(six_axes):
    six_axes(more="ready: {arm: [0.0, -1.5708, 1.5708, -1.5708, -1.5708, 0.0]}\n")
    with pytest.raises(ProfileError, match=r"ready: the tool of 'arm' is at \[.*\], outside safety.workspace"):
        six_axes(more="ready: {arm: [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]}\n")


@pytest.mark.parametrize(("given", "expected"), [("8.0", (8.0, 8.0)), ("[8.0, 9.0]", (8.0, 9.0))])
def test_acceleration_limits_are_one_number_or_one_per_joint(given, expected):
    text = PROFILE.replace("max_step: 0.3", f"max_step: 0.3, max_acceleration: {given}")
    assert text != PROFILE
    assert parse_profile(text).action[0].limits.max_acceleration == expected
