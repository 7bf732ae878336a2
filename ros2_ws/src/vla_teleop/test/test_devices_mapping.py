# SPDX-License-Identifier: Apache-2.0

"""The SOL-R2's axes: signs, gain, dead zone, speeds; and what a mapping may hold."""

import numpy as np
import pytest
from device_fixtures import CONFIGS, INPUTS, Sticks
from vla_core.errors import ProfileError
from vla_core.yamltree import parse
from vla_teleop.devices.device import EVENTS, skill_of
from vla_teleop.devices.joy_device import read_joy_spec
from vla_teleop.devices.mapping import Slider, Term, parse_term
from vla_teleop.devices.settings import read_tree

SLIDER_UP = {"left": {2: 1.0}}
# stick, axis, the value in the message of joy_node, component of the twist, its value at gain 1. joy_node turns SDL's sign:
# right is -1 and forward is +1. In SDL's signs: vx = +X, vy = -Y, vz = -Y, wz = -twist, wy = -mini X, wx = +mini Y.
SIGNS = [
    ("left", 0, -1.0, 0, 0.05),
    ("left", 0, 1.0, 0, -0.05),
    ("left", 1, 1.0, 1, 0.05),
    ("left", 1, -1.0, 1, -0.05),
    ("right", 1, 1.0, 2, 0.05),
    ("right", 1, -1.0, 2, -0.05),
    ("right", 4, -1.0, 3, 0.10),
    ("right", 4, 1.0, 3, -0.10),
    ("right", 3, 1.0, 4, 0.10),
    ("right", 3, -1.0, 4, -0.10),
    ("right", 5, 1.0, 5, 0.25),
    ("right", 5, -1.0, 5, -0.25),
]


@pytest.mark.parametrize(("stick", "axis", "value", "component", "expected"), SIGNS)
def test_one_axis_moves_one_component(stick, axis, value, component, expected):
    sticks = Sticks(rest=SLIDER_UP).calibrate()
    sticks.axes[stick][axis] = value
    command = sticks.send().read()
    twist = np.zeros(6)
    twist[component] = expected
    np.testing.assert_allclose(command.twist, twist, atol=1e-12)
    assert command.gripper_rate == 0.0
    assert command.moving
    assert command.frame == "base"


@pytest.mark.parametrize("other", [("left", 3), ("left", 5), ("right", 0), ("right", 2), ("right", 6)])
def test_other_axes_do_nothing(other):
    sticks = Sticks(rest=SLIDER_UP).calibrate()
    sticks.axes[other[0]][other[1]] = 1.0
    command = sticks.send().read()
    assert not command.twist.any()
    assert not command.moving


@pytest.mark.parametrize(("value", "units"), [(1.0, 2000.0), (-0.5, -1000.0), (0.04, 0.0)])
def test_gripper_is_a_rate_without_gain(value, units):
    sticks = Sticks(rest={"left": {2: -1.0}}).calibrate()
    sticks.axes["left"][4] = value
    command = sticks.send().read()
    assert command.gripper_rate * 255.0 == pytest.approx(units)  # forward closes
    assert command.gain == pytest.approx(0.1)
    assert command.moving == (units != 0.0)


@pytest.mark.parametrize(("down", "gain"), [(0.0, 1.0), (0.5, 0.55), (1.0, 0.1), (1.2, 0.1), (-0.2, 1.0)])
def test_slider_is_the_gain(down, gain):
    """`down`: part of the slider's way from up to down; joy_node reports +1 up and -1 down."""
    sticks = Sticks(rest={"left": {2: 1.0}}).calibrate()
    sticks.axes["left"][2] = 1.0 - 2.0 * down
    sticks.axes["left"][1] = 1.0
    command = sticks.send().read()
    assert command.gain == pytest.approx(gain)
    assert command.twist[1] == pytest.approx(0.05 * gain)


@pytest.mark.parametrize(("value", "expected"), [(0.049, 0.0), (-0.049, 0.0), (0.05, 0.05), (0.06, 0.06), (-0.5, -0.5)])
def test_dead_zone_is_not_rescaled(value, expected):
    sticks = Sticks(rest=SLIDER_UP).calibrate()
    sticks.axes["left"][1] = value
    assert sticks.send().read().twist[1] == pytest.approx(0.05 * expected)


def test_dead_zone_counts_after_calibration_and_speed_stays_limited():
    sticks = Sticks(rest={"left": {2: 1.0, 1: 0.2}}).calibrate()
    assert not sticks.send().read().twist.any()
    sticks.axes["left"][1] = 0.24
    assert not sticks.send().read().twist.any()
    sticks.axes["left"][1] = 0.3
    assert sticks.send().read().twist[1] == pytest.approx(0.1 * 0.05)
    sticks.axes["left"][1] = -1.0
    assert sticks.send().read().twist[1] == pytest.approx(-0.05)  # not 1.2 times the limit


@pytest.mark.parametrize(("value", "moving"), [(0.3, True), (0.15, False)])
def test_motion_begins_above_a_milli(value, moving):
    sticks = Sticks(rest={"left": {2: -1.0}}).calibrate()
    sticks.axes["left"][1] = value  # times 0.05 m/s times gain 0.1
    assert sticks.send().read().moving is moving


def test_gamepad_sums_terms_and_needs_the_deadman():
    pad = Sticks("gamepad").calibrate()
    pad.axes["pad"][5] = -1.0  # right trigger pulled
    command = pad.send().read()
    assert command.gripper_rate == pytest.approx(1.0)
    assert command.deadman is False
    pad.axes["pad"][4] = -1.0
    pad.down["pad"] = {9, 11}
    command = pad.send().read()
    assert command.gripper_rate == 0.0
    assert command.deadman is True
    np.testing.assert_allclose(command.twist, [0, 0, 0, 0, 0.10, 0], atol=1e-12)


def test_gamepad_cycles_the_gain():
    pad = Sticks("gamepad").calibrate()
    gains = [pad.send().read().gain]
    for _ in range(3):
        assert pad.press(("pad", 10)) == ()
        gains.append(pad.send().read().gain)
    assert gains == [1.0, 0.3, 0.1, 1.0]


def test_spacemouse_needs_no_calibration():
    mouse = Sticks("spacemouse")
    mouse.axes["mouse"][:] = [0.1, -0.2, 0.3, 0.04, -0.5, 1.0]
    command = mouse.send().read()
    np.testing.assert_allclose(command.twist, [0.005, -0.01, 0.015, 0.0, -0.05, 0.25])
    assert command.gain == 1.0
    assert command.deadman is None
    mouse.core.feed("mouse", mouse.t_ns, [0.0] * 6, [0, 1])  # the message grew by two buttons
    assert mouse.read().gripper_rate == pytest.approx(1.0)


def test_terms():
    assert parse_term("-left.1") == Term(-1.0, "left.1")
    assert parse_term("+pad.button11").button == 11
    assert parse_term("key.[").axis is None
    assert parse_term("left") is None
    assert (parse_term("left.12").axis, parse_term("left.12").button) == (12, None)


def test_slider_that_reports_half_the_range():
    slider = Slider(source="left.2", full=0.0, lowest=1.0, smallest=0.1, largest=1.0)
    assert [slider.gain(value) for value in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.55, 0.1])


def test_events_are_those_of_the_message():
    text = (CONFIGS.parents[2] / "vla_msgs" / "msg" / "TeleopEvent.msg").read_text()
    line = next(line for line in text.splitlines() if line.startswith("string name"))
    named = {word.strip() for word in line.split("#")[1].split(",")}
    assert named == {*EVENTS, "skill/<name>"}
    assert skill_of("skill/cpu") == "cpu"
    assert skill_of("home") is None


def changed(old, new):
    text = (CONFIGS / "sol_r2.yaml").read_text()
    assert old in text
    return parse(text.replace(old, new, 1), "my.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "vx: +left.0",
            "vx: +lefd.0",
            r"my.yaml:\d+: twist.vx: unknown input 'lefd'; this device has left, right; did",
        ),
        ("vx: +left.0", "vx: +left.x", r"twist.vx: 'left.x' is no source of a joystick; write left.0 \(axis\)"),
        ("vx: +left.0", "vx: left", r"'left' is no source; write \[\+\|-\]<input>.<axis>"),
        (
            "event: home",
            "event: hom",
            r"buttons\[2\].event: unknown event 'hom'; allowed: record, .*did you mean 'home'",
        ),
        ("event: skill/cpu", "event: skill/", r"unknown event 'skill/'"),
        ("press: left.button34", "press: left.34", r"buttons\[2\].press: 'left.34' is an axis; a button is written"),
        ("press: left.button34", "press: -left.button34", r"'-left.button34': a button or a key has no sign"),
        ("press: left.button34", "press: []", r"buttons\[2\].press: the list is empty"),
        ("deadzone: 0.05", "deadzone: 1.0", r"deadzone: must lie in 0 to 1"),
        ("deadzone: 0.05", "dead_zone: 0.05", r"unknown key 'dead_zone'.*did you mean 'deadzone'"),
        ("sign: -1.0", "sign: -2.0", r"inputs.left.sign: must be 1 or -1, got -2"),
        ("samples: 50", "samples: 2.5", r"calibration.samples: expected a whole number, got 2.5"),
        ("wait_s: 1.0", "wait_s: -1.0", r"calibration.wait_s: must not be negative, got -1"),
        ("lowest: 1.0", "lowest: -1.0", r"gain.lowest: equals 'full' \(-1\), so the slider has no travel"),
        ("largest: 1.0", "largest: 1.5", r"gain.largest: must lie between 'smallest' \(0.1\) and 1, got 1.5"),
        ("slider: left.2", "slider: left.button2", r"gain.slider: 'left.button2' is no axis"),
        ("  slider: left.2", "  cycle: left.button2\n  slider: left.2", r"gain: give either 'slider' .* or 'cycle'"),
        ("[0.10, 0.10, 0.25]", "[0.10, 0.0, 0.25]", r"speed.angular: must be larger than 0, got 0"),
        ("  linear: 0.05 ", "  linear: 0 ", r"speed.linear: must be larger than 0"),
        ("  gripper: 2000.0", "  # gripper", r"speed.gripper: missing key"),
        ("frame: base", "frame: bse", r"frame: 'bse' is not one of base, tool; did you mean 'base'"),
        ("timeout_s: 0.1", "timeout_s: 0", r"timeout_s: must be larger than 0"),
        ("topic: right/joy", "topics: right/joy", r"inputs.right.topics: unknown key 'topics'.*did you mean 'topic'"),
    ],
)
def test_errors_name_the_place(old, new, message):
    with pytest.raises(ProfileError, match=message):
        read_joy_spec(changed(old, new), INPUTS["sol_r2"], calibrated=True)


def test_a_cycle_takes_gains():
    pad = (CONFIGS / "gamepad.yaml").read_text()
    wrong = pad.replace("values: [1.0, 0.3, 0.1]", "values: [1.0, 0.0]")
    with pytest.raises(ProfileError, match=r"gain.values: every gain must be above 0 and at most 1, got \[1.0, 0.0\]"):
        read_joy_spec(parse(wrong, "my.yaml"), INPUTS["gamepad"], calibrated=True)
    mixed = pad.replace("values: [", "full: 1.0, values: [")
    with pytest.raises(ProfileError, match=r"gain.full: unknown key 'full'; allowed: cycle, values"):
        read_joy_spec(parse(mixed, "my.yaml"), INPUTS["gamepad"], calibrated=True)


def test_spacemouse_refuses_a_calibration():
    text = (CONFIGS / "spacemouse.yaml").read_text() + "calibration: {samples: 5}\n"
    with pytest.raises(ProfileError, match="unknown key 'calibration'"):
        read_joy_spec(parse(text, "my.yaml"), INPUTS["spacemouse"], calibrated=False)


def test_speeds_are_those_of_the_two_stick_setup():
    motion = read_joy_spec(read_tree(CONFIGS / "sol_r2.yaml"), INPUTS["sol_r2"], calibrated=True).controls.motion
    assert (motion.linear, motion.angular, motion.deadzone, motion.moving) == (0.05, (0.10, 0.10, 0.25), 0.05, 0.001)
    assert motion.gripper_rate == pytest.approx(10 * 200 / 255)  # 10 units in each of 200 cycles per second
