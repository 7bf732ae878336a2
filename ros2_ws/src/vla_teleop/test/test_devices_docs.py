# SPDX-License-Identifier: Apache-2.0

"""The pages about devices say what the mappings say."""

import re
from pathlib import Path

import pytest
from device_fixtures import CONFIGS, INPUTS, Sticks
from vla_core.yamltree import parse
from vla_teleop.devices import keyboard, leader_arm, settings
from vla_teleop.devices.device import EVENTS, Device
from vla_teleop.devices.joined import KIND as JOINED
from vla_teleop.devices.joy_device import read_joy_spec
from vla_teleop.devices.monitor_inputs import DESCRIPTION
from vla_teleop.devices.registry import BUILT_IN
from vla_teleop.devices.settings import read_tree

DOCS = Path(__file__).resolve().parents[4] / "docs"
PAGE = (DOCS / "reference" / "teleop_devices.md").read_text()
HOW_TO = (DOCS / "how-to" / "add_a_teleop_device.md").read_text()


def section(title):
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_buttons_of_the_sticks():
    spec = read_joy_spec(read_tree(CONFIGS / "sol_r2.yaml"), INPUTS["sol_r2"], calibrated=True)
    shipped = {
        ", ".join(name.replace(".button", " ") for name in one.press): f"`{one.event}`" for one in spec.controls.buttons
    }
    assert {row[0]: row[1] for row in rows(section("SOL-R2 as shipped")) if len(row) == 2 and "`" in row[1]} == shipped


def test_axes_of_the_sticks():
    directions = {"right": -1.0, "forward": 1.0, "back": -1.0, "left": 1.0}  # in the messages of joy_node
    letters = {"+x": 0, "+y": 1, "+z": 2, "about +x": 3, "about +y": 4, "about +z": 5}
    seen = 0
    for row in rows(section("SOL-R2 as shipped")):
        if len(row) != 5 or row[3] not in letters:
            continue
        sticks = Sticks(rest={"left": {2: 1.0}}).calibrate()
        sticks.axes[row[0]][int(row[1].split()[0])] = directions[row[2]]
        twist = sticks.send().read().twist
        assert twist[letters[row[3]]] == pytest.approx(float(row[4].split()[0])), row
        seen += 1
    assert seen == 6


def test_keys_of_the_keyboard():
    spec = keyboard.read_keyboard_spec(read_tree(CONFIGS / "keyboard.yaml"))
    text = section("Keyboard as shipped")
    named = {}
    for row in rows(text)[2:]:
        named |= dict(zip(re.findall(r"`([^`]+)`", row[2]), re.findall(r"`([^`]+)`", row[3]), strict=True))
    assert named == {name.split(".", 1)[1]: one.event for one in spec.controls.buttons for name in one.press}
    motion = [re.findall(r"`([^`]+)`", row[0]) for row in rows(text)[2:9]]
    terms = [*spec.controls.motion.twist, spec.controls.motion.gripper]
    assert sorted(map(tuple, motion)) == sorted(tuple(term.source[4:] for term in part) for part in terms)


def test_every_key_is_described():
    keys = {*settings.COMMON_KEYS, *settings.MOTION_KEYS, *keyboard.KeyboardSpec.__slots__, *leader_arm._KEYS}
    keys |= {*settings._SPEED_KEYS, *settings._SLIDER_KEYS, *settings._CYCLE_KEYS, *settings._DRIVER_KEYS}
    keys |= {
        "wait_s",
        "samples",
        "period_s",
        "still",
        "limit",
        "gap_s",
        "reconnect_s",
        "window_s",
        "distance",
        "open",
        "closed",
    }
    for key in keys - {"common", "controls"}:
        assert re.search(rf"[`.]{key}[`.]", PAGE), key
    for word in (*EVENTS, *BUILT_IN, JOINED, *(path.stem for path in CONFIGS.glob("*.yaml"))):
        assert f"`{word}`" in PAGE, word


def test_defaults_are_those_of_the_code():
    spec = read_joy_spec(
        parse(
            "kind: gamepad\ninputs: {pad: {topic: joy, sign: 1, driver: {package: joy, executable: joy_node}}}\n"
            "twist: {vx: pad.0}\nspeed: {linear: 0.1, angular: [0.1, 0.1, 0.1]}\ncalibration: {}\n",
            "my_pad.yaml",
        ),
        ("pad",),
        calibrated=True,
    )
    assert (spec.common.name, spec.common.frame, spec.common.timeout_s) == ("my_pad", "base", 0.1)
    assert (spec.controls.motion.deadzone, spec.controls.motion.moving, spec.reconnect_s) == (0.05, 0.001, 0.5)
    calibration = spec.calibration
    assert (calibration.wait_s, calibration.samples, calibration.period_s) == (1.0, 50, 0.01)
    assert (calibration.still, calibration.limit, calibration.gap_s) == (0.05, 0.3, 0.5)
    for key, value in (("still", "0.05"), ("limit", "0.3"), ("wait_s", "1.0"), ("gap_s", "0.5")):
        assert re.search(rf"`calibration.{key}` \| number, default {value} ", PAGE)


def test_the_pedal_of_the_how_to_is_a_device():
    code = HOW_TO.split("```python\n", 1)[1].split("```", 1)[0]
    scope = {}
    exec(code, scope)
    pedal = scope["make"](None, parse("{kind: pedal, name: pedal}", "pedal.yaml"))
    assert isinstance(pedal, Device)
    assert pedal.read(5).gripper_rate == 0.5
    assert pedal.name == "pedal"


def test_the_page_shows_the_command():
    for line in DESCRIPTION.splitlines():
        if "--device sol_r2" in line or "--list" in line:
            assert line.strip() in PAGE
