# SPDX-License-Identifier: Apache-2.0

"""Keys: what a terminal sends, how long they count, a real terminal that is given back."""

import os
import pty
import termios
import time
from types import SimpleNamespace

import numpy as np
import pytest
from device_fixtures import CONFIGS, NS
from vla_core.errors import ProfileError
from vla_core.yamltree import parse
from vla_teleop.devices.device import DeviceError
from vla_teleop.devices.keyboard import Keyboard, KeyboardCore, legend, read_keyboard_spec
from vla_teleop.devices.keys import FOCUS_IN, FOCUS_OFF, FOCUS_ON, FOCUS_OUT, Decoder, HeldKeys
from vla_teleop.devices.settings import read_tree

MS = 1_000_000
SPEC = read_keyboard_spec(read_tree(CONFIGS / "keyboard.yaml"))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["wW", "1 "], ["w", "W", "1", "space"]),
        (["\r\n\t\x7f"], ["enter", "enter", "tab", "backspace"]),
        (["\x1b[A\x1b[D\x1bOB"], ["up", "left", "down"]),
        (["\x1b", "[", "C"], ["right"]),
        (["\x1b[I", "\x1b[O"], [FOCUS_IN, FOCUS_OUT]),
        (["\x1b[1;5Aw"], ["w"]),  # ctrl with an arrow: no name, and nothing of it leaks
        (["\x1bxw"], ["w"]),  # alt with a key
        (["\x01\x02é"], ["é"]),
        (["\x1b\x1b[A"], ["esc", "up"]),
    ],
)
def test_decoder(sent, expected):
    decoder = Decoder()
    assert [key for text in sent for key in decoder.feed(text)] == expected
    assert decoder.flush() == []


def test_escape_alone():
    decoder = Decoder()
    assert decoder.feed("\x1b") == []
    assert decoder.flush() == ["esc"]
    assert decoder.feed("w") == ["w"]


def test_repetitions_hold_a_key_and_are_no_new_press():
    held = HeldKeys(hold_s=0.15, again_s=0.7)
    assert held.press("w", 0)
    assert held.held(149 * MS) == {"w"}
    assert held.held(151 * MS) == frozenset()  # the terminal waits half a second before it repeats
    assert not held.press("w", 500 * MS)
    for t in range(533, 2000, 33):
        assert not held.press("w", t * MS)
        assert held.held((t + 30) * MS) == {"w"}
    assert held.held(2200 * MS) == frozenset()
    assert held.press("w", 2700 * MS)
    held.release()
    assert held.held(2700 * MS) == frozenset()


def test_keys_move_and_let_go():
    core = KeyboardCore(SPEC)
    core.feed("w", NS)
    command = core.read(NS)
    np.testing.assert_allclose(command.twist, [0.025, 0, 0, 0, 0, 0])  # first gain: 0.5
    assert command.moving
    assert command.t_ns == NS
    core.feed("o", NS + 20 * MS)
    np.testing.assert_allclose(core.read(NS + 20 * MS).twist, [0.025, 0, 0, 0, 0, -0.125])
    command = core.read(NS + 200 * MS)
    assert not command.twist.any()
    assert not command.moving
    core.feed("g", NS + 300 * MS)
    core.feed("s", NS + 300 * MS)
    assert core.read(NS + 300 * MS).twist[0] == pytest.approx(-0.05)
    core.feed("v", 3 * NS)
    assert core.read(3 * NS).gripper_rate == pytest.approx(-128.0 / 255.0)


def test_every_motion_key_has_its_direction():
    pairs = ["ws", "ad", "rf", "lj", "ik", "uo"]
    for component, pair in enumerate(pairs):
        for sign, key in zip((1, -1), pair, strict=True):
            core = KeyboardCore(SPEC)
            core.feed(key, NS)
            twist = core.read(NS).twist
            assert np.flatnonzero(twist).tolist() == [component]
            assert np.sign(twist[component]) == sign


def test_events_once_per_press():
    core = KeyboardCore(SPEC)
    events = []
    for t in (0, 500, 533, 566, 599):
        core.feed(" ", NS + t * MS)
        events += core.read(NS + t * MS).pressed
    assert events == ["interrupt"]
    core.feed("h\r ", 3 * NS)
    assert core.read(3 * NS).pressed == ("interrupt", "record")
    core.feed("yn", 5 * NS)
    assert core.read(5 * NS).pressed == ("success",)


def test_loss_of_focus_lets_go():
    core = KeyboardCore(SPEC)
    core.feed("w", NS)
    core.feed("\x1b[O", NS)
    assert not core.focus
    assert not core.read(NS).twist.any()
    core.feed("\x1b[I", NS)
    assert core.focus
    assert not core.read(NS).twist.any()
    core.feed("w", NS)
    assert core.read(NS).twist.any()


def test_raw_shows_the_mapped_keys():
    core = KeyboardCore(SPEC)
    core.feed("w", NS)
    raw = core.raw(NS)
    assert raw["key.w"] == 1.0
    assert raw["key.s"] == 0.0
    assert "key.space" in raw


def test_legend_names_every_key():
    text = legend(SPEC)
    assert "vx +w -s" in text
    assert "gripper +c -v" in text
    assert "interrupt space" in text
    assert "next speed g" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("+key.w", "+keys.w", "twist.vx.0.: unknown input 'keys'; keys are written 'key.<name>'"),
        ("+key.w", "+key.shift", "unknown key 'shift'; write one printable character, or one of space, enter, tab"),
        ("hold_s: 0.15", "hold_s: 0", "hold_s: must be larger than 0"),
    ],
)
def test_errors_name_the_place(old, new, message):
    text = (CONFIGS / "keyboard.yaml").read_text().replace(old, new, 1)
    with pytest.raises(ProfileError, match=message):
        read_keyboard_spec(parse(text, "my.yaml"))


class Clock:
    """A node's clock."""

    def now(self):
        return SimpleNamespace(nanoseconds=time.monotonic_ns())


@pytest.fixture
def terminal():
    leader, follower = pty.openpty()
    yield leader, follower
    os.close(leader)
    os.close(follower)


NODE = SimpleNamespace(get_clock=Clock)


def until(condition, what):
    end = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def test_a_real_terminal_is_read_and_given_back(terminal):
    leader, follower = terminal
    before = termios.tcgetattr(follower)
    keyboard = Keyboard(NODE, SPEC, os.ttyname(follower))
    try:
        shown = os.read(leader, 4096).decode()
        assert shown.startswith(FOCUS_ON)
        assert "vx +w -s" in shown
        assert not termios.tcgetattr(follower)[3] & (termios.ECHO | termios.ICANON)
        assert termios.tcgetattr(follower)[3] & termios.ISIG  # ctrl-c ends the program
        assert keyboard.lost is None
        assert keyboard.age_s(time.monotonic_ns()) < 2.0
        os.write(leader, b"h")
        until(lambda: "home" in keyboard.read(time.monotonic_ns()).pressed, "the event")
        os.write(leader, b"\x1b[O")
        until(lambda: keyboard.lost, "the loss of the focus")
        assert keyboard.lost.startswith("keyboard: the terminal's window has lost the focus; click on it")
        os.write(leader, b"w")
        until(lambda: keyboard.raw()["key.w"] == 1.0, "the key")
        assert keyboard.lost is None
    finally:
        keyboard.close()
        keyboard.close()
    assert termios.tcgetattr(follower) == before
    assert FOCUS_OFF in os.read(leader, 4096).decode()


def test_a_terminal_that_closes_is_a_loss():
    leader, follower = pty.openpty()
    keyboard = Keyboard(NODE, SPEC, os.ttyname(follower))
    try:
        os.close(follower)
        os.write(leader, b"w")
        os.close(leader)
        until(lambda: keyboard.lost, "the loss")
        assert "keyboard: the terminal can no longer be read (" in keyboard.lost
        assert "start the node again in a terminal" in keyboard.lost
        assert keyboard.age_s(time.monotonic_ns()) == float("inf")
        assert not keyboard.read(time.monotonic_ns()).moving
    finally:
        keyboard.close()


def test_no_terminal_says_what_to_do():
    with pytest.raises(
        DeviceError, match=r"keyboard: no terminal.*/no/tty: No such file.*Start the program in a terminal.*ssh -t"
    ):
        Keyboard(NODE, SPEC, "/no/tty")
