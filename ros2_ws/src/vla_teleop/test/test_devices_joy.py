# SPDX-License-Identifier: Apache-2.0

"""Calibration, buttons and loss of the two sticks."""

import numpy as np
import pytest
from device_fixtures import NS, PERIOD_NS, Sticks, joy_core
from vla_teleop.devices.buttons import Buttons, ButtonSpec
from vla_teleop.devices.calibration import Calibration, CalibrationSpec

LEFT_BUTTONS = {25: "record", 34: "home", 38: "reorient", 16: "interrupt", 23: "waypoint_add"}
RIGHT_BUTTONS = {
    25: "interrupt",
    34: "skill/cpu",
    38: "skill/ram",
    8: "rotate_cw",
    9: "rotate_ccw",
    17: "skill/connector",
    18: "skill/skill_4",
    4: "waypoint_undo",
}


def feed(calibration, start_s, end_s, value, rate_hz=100.0):
    for t in np.arange(start_s, end_s, 1.0 / rate_hz):
        calibration.feed(round(t * NS), np.atleast_1d(np.asarray(value(t) if callable(value) else value, float)))


def test_calibration_is_a_mean_of_samples_of_one_grid():
    calibration = Calibration(CalibrationSpec(), (0,), "left")
    # a message every 50 ms holds for 50 ms: 50 samples, 10 ms apart, are 25 of each value
    for k in range(30):
        calibration.feed(round(0.05 * k * NS), np.array([0.1 if k % 2 else 0.12]))
        assert calibration.center is None
    calibration.feed(round(1.5 * NS), np.array([0.1]))
    assert calibration.center == {0: pytest.approx(0.11, abs=1e-3)}
    assert calibration.status == ""


def test_calibration_waits_first():
    calibration = Calibration(CalibrationSpec(), (0,), "left")
    feed(calibration, 0.0, 0.9, lambda t: np.sin(9.0 * t))  # moved, but before the samples
    feed(calibration, 0.9, 1.52, 0.02)
    assert calibration.center == {0: pytest.approx(0.02)}


def test_calibration_begins_again_when_the_stick_moves():
    calibration = Calibration(CalibrationSpec(), (0, 3), "left")
    feed(calibration, 0.0, 1.2, [0.1, 9.0, 9.0, 0.0])
    feed(calibration, 1.2, 1.3, [0.1, 9.0, 9.0, 0.4])
    assert "axis 3 moved by 0.40 (limit 0.05)" in calibration.status
    assert "keep your hands off the stick" in calibration.status
    feed(calibration, 1.3, 2.6, [0.1, 9.0, 9.0, 0.0])
    assert calibration.center is None
    feed(calibration, 2.6, 2.8, [0.1, 9.0, 9.0, 0.0])
    assert calibration.center == {0: pytest.approx(0.1), 3: 0.0}


def test_calibration_does_not_believe_a_held_stick():
    calibration = Calibration(CalibrationSpec(), (1,), "right")
    feed(calibration, 0.0, 1.6, [0.0, 0.8])
    assert calibration.center is None
    assert "axis 1 rests at +0.80, further from zero than 0.3: is the stick held" in calibration.status
    feed(calibration, 1.6, 3.2, [0.0, 0.05])
    assert calibration.center == {1: pytest.approx(0.05)}


def test_calibration_begins_again_after_a_gap():
    calibration = Calibration(CalibrationSpec(), (0,), "left")
    feed(calibration, 0.0, 1.3, [0.1])
    feed(calibration, 2.0, 3.4, [0.1])
    assert calibration.center is None
    assert "no message came for 0.7" in calibration.status
    feed(calibration, 3.4, 3.6, [0.1])
    assert calibration.center == {0: pytest.approx(0.1)}


def test_nothing_moves_before_the_calibration_is_done():
    sticks = Sticks(rest={"left": {0: 0.2, 1: 0.2, 2: 1.0, 4: -0.2}, "right": {1: 0.2, 3: -0.2, 4: 0.2, 5: 0.2}})
    assert sticks.core.age_s(sticks.t_ns) == float("inf")
    assert "left: no message on left/joy yet. Is its driver running? ros2 run joy" in sticks.core.lost(sticks.t_ns)
    sticks.send(1.0)
    assert sticks.read() is None
    assert "left: calibrating, keep your hands off the stick (0 of 50)" in sticks.core.lost(sticks.t_ns)
    sticks.calibrate()
    command = sticks.send().read()
    assert not command.twist.any()
    assert command.gripper_rate == 0.0
    assert not command.moving
    assert command.t_ns == sticks.t_ns


@pytest.mark.parametrize(
    ("stick", "button", "event"),
    [("left", b, e) for b, e in LEFT_BUTTONS.items()] + [("right", b, e) for b, e in RIGHT_BUTTONS.items()],
)
def test_a_held_button_is_one_event(stick, button, event):
    sticks = Sticks().calibrate()
    assert sticks.press((stick, button)) == (event,)
    assert sticks.press((stick, button)) == (event,)  # and another one when it is pressed again


def test_buttons_without_a_meaning_do_nothing():
    sticks = Sticks().calibrate()
    others = [("left", i) for i in range(40) if i not in LEFT_BUTTONS]
    others += [("right", i) for i in range(40) if i not in RIGHT_BUTTONS]
    assert sticks.press(*others) == ()


@pytest.mark.parametrize(
    ("buttons", "events"),
    [
        ([("left", 34), ("left", 25)], ("record",)),
        ([("left", 38), ("left", 34)], ("home",)),
        ([("right", 34), ("left", 38)], ("reorient",)),
        ([("right", 38), ("right", 34)], ("skill/cpu",)),
        ([("right", 9), ("right", 8)], ("rotate_cw",)),
        ([("left", 25), ("right", 8), ("left", 16)], ("interrupt", "record", "rotate_cw")),
        ([("left", 16), ("right", 25)], ("interrupt",)),
    ],
)
def test_priority_of_buttons_pressed_together(buttons, events):
    assert Sticks().calibrate().press(*buttons) == events


def test_a_press_between_two_reads_is_not_missed():
    sticks = Sticks().calibrate()
    sticks.down["left"].add(25)
    sticks.send()
    sticks.down["left"].clear()
    sticks.send()
    assert sticks.read().pressed == ("record",)
    assert sticks.read().pressed == ()


def test_buttons_that_are_held_at_the_start_are_no_press():
    buttons = Buttons([ButtonSpec(event="home", press=("a", "b"))])
    buttons.feed({"a": True, "b": False})
    assert buttons.take() == ()
    buttons.feed({"b": True})
    assert buttons.take() == ("home",)
    buttons.feed({"a": False})
    buttons.feed({"a": True})
    assert buttons.take() == ("home",)


def test_silence_is_zero_speed_and_says_so():
    sticks = Sticks(rest={"left": {2: 1.0}}).calibrate()
    sticks.axes["left"][0] = 1.0
    sticks.axes["right"][1] = 1.0
    assert np.count_nonzero(sticks.send().read().twist) == 2
    sticks.send(0.12, silent=("right",))
    command = sticks.read()
    assert not command.twist.any()
    assert not command.moving
    assert sticks.core.age_s(sticks.t_ns) == pytest.approx(0.12)
    text = sticks.core.lost(sticks.t_ns)
    assert text.startswith("right: silent for 0.12 s on right/joy (limit 0.1 s). Is it plugged in")
    assert "__ns:=/right" in text
    sticks.send()
    assert sticks.core.lost(sticks.t_ns) is None
    assert np.count_nonzero(sticks.read().twist) == 2


def test_the_other_stick_still_interrupts():
    sticks = Sticks().calibrate()
    sticks.send(1.0, silent=("right",))
    sticks.down["left"].add(16)
    sticks.send(silent=("right",))
    assert sticks.read().pressed == ("interrupt",)


def test_after_a_loss_the_calibration_stays_and_held_buttons_are_no_press():
    sticks = Sticks(rest={"left": {0: 0.2, 2: 1.0}}).calibrate()
    sticks.send(2.0, silent=("left", "right"))
    sticks.down["left"] |= {25, 16}
    command = sticks.send(0.1).read()
    assert command.pressed == ()
    assert not command.twist.any()  # the rest of axis 0 is known
    sticks.down["left"].clear()
    sticks.send()
    sticks.down["left"].add(25)
    assert sticks.send().read().pressed == ("record",)


def test_an_unplugged_stick_is_named():
    sticks = Sticks().calibrate()
    sticks.core.feed("left", sticks.t_ns + PERIOD_NS, [], [])
    assert sticks.core.lost(sticks.t_ns) == "left: unplugged (empty message on left/joy); plug it in again"
    assert not sticks.read().twist.any()
    sticks.down["left"].add(25)
    assert sticks.send(0.04).read().pressed == ()


def test_another_device_is_named():
    sticks = Sticks().calibrate()
    sticks.core.feed("right", sticks.t_ns, [0.0] * 3, [0] * 12)
    text = sticks.core.lost(sticks.t_ns)
    assert "right: the messages on right/joy have 3 axes, the mapping uses 6: is it another device?" in text
    assert "joy_enumerate_devices" in text
    sticks.core.feed("right", sticks.t_ns, [float("nan")] * 8, [])
    assert "a value on right/joy is not finite" in sticks.core.lost(sticks.t_ns)
    assert not sticks.read().twist.any()


def test_raw_values_are_as_they_came():
    sticks = Sticks().calibrate()
    sticks.axes["left"][0] = 0.25
    sticks.down["right"].add(34)
    raw = sticks.send().core.raw()
    assert raw["left.0"] == 0.25
    assert raw["right.button34"] == 1.0
    assert raw["right.button35"] == 0.0
    assert joy_core("gamepad").raw() == {}
