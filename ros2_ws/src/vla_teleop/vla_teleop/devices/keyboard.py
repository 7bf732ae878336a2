# SPDX-License-Identifier: Apache-2.0

"""The keyboard of the terminal that the node runs in, also over ssh."""

from __future__ import annotations

import atexit
import os
import select
import sys
import termios
import threading
import traceback
import tty
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from vla_core.errors import listing
from vla_core.yamltree import Section, Tree

from vla_teleop.devices import keys
from vla_teleop.devices.device import NEVER, Command, DeviceError
from vla_teleop.devices.mapping import KEYS, TWIST_AXES, Term
from vla_teleop.devices.panel import Panel
from vla_teleop.devices.settings import COMMON_KEYS, MOTION_KEYS, Common, Controls, read_common, read_controls

TIMEOUT_S = 0.2
_POLL_S = 0.02
_NS = 1_000_000_000
_NO_FOCUS = "keyboard: the terminal's window has lost the focus; click on it to go on"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyboardSpec:
    """A keyboard.

    Attributes:
        common: Name, frame, and the age above which the terminal counts as gone.
        controls: What keys mean.
        hold_s: How long a key counts as held after the terminal reported it [s].
        again_s: A report of the same key sooner than this is its repetition, not another press [s].
    """

    common: Common
    controls: Controls
    hold_s: float
    again_s: float


class KeyboardCore:
    """Feed it what the terminal sends, read commands. Pure and thread-safe."""

    def __init__(self, spec: KeyboardSpec) -> None:
        self.spec = spec
        self._panel = Panel(spec.common, spec.controls)
        self._decoder = keys.Decoder()
        self._held = keys.HeldKeys(spec.hold_s, spec.again_s)
        self._lock = threading.Lock()
        self._focus = True
        self._newest_ns = 0

    def feed(self, text: str, now_ns: int) -> None:
        """Take what the terminal sent; an empty text says that it sent nothing for a moment."""
        with self._lock:
            for key in self._decoder.feed(text) if text else self._decoder.flush():
                if key in (keys.FOCUS_IN, keys.FOCUS_OUT):
                    self._focus = key == keys.FOCUS_IN
                    self._held.release()
                else:
                    self._press(key, now_ns)

    def read(self, now_ns: int) -> Command:
        """See `Device.read`."""
        with self._lock:
            values = {f"{KEYS}.{key}": 1.0 for key in self._held.held(now_ns)} if self._focus else {}
            return self._panel.command(self._newest_ns, values, self._panel.take())

    def raw(self, now_ns: int) -> Mapping[str, float]:
        """The mapped keys: 1 while held."""
        with self._lock:
            held = self._held.held(now_ns)
            names = dict.fromkeys(term.source for term in self.spec.controls.terms())
            return {name: float(name.split(".", 1)[1] in held) for name in names}

    @property
    def focus(self) -> bool:
        """Whether the terminal's window has the focus; True where the terminal does not say."""
        with self._lock:
            return self._focus

    def _press(self, key: str, now_ns: int) -> None:
        self._focus = True  # a key that arrives proves it
        self._newest_ns = now_ns
        name = f"{KEYS}.{key}"
        if self._held.press(key, now_ns):
            self._panel.feed({name: False})
            self._panel.feed({name: True})


class Keyboard:
    """A `Device` that reads keys on a thread of its own and gives the terminal back at the end."""

    def __init__(self, node: Node, spec: KeyboardSpec, terminal: str = "") -> None:
        """Open the terminal.

        Args:
            node: Whose clock counts.
            spec: The mapping.
            terminal: Path of the terminal; empty for the one that the program was started in.

        Raises:
            DeviceError: there is no terminal, or it belongs to another job.
        """
        self.name = spec.common.name
        self.timeout_s = spec.common.timeout_s
        self._node = node
        self._core = KeyboardCore(spec)
        self._fd = _open_terminal(terminal)
        self._before: list[Any] = termios.tcgetattr(self._fd)
        self._end = threading.Event()
        self._gone = ""
        self._polled_ns = self._now_ns()
        tty.setcbreak(self._fd, termios.TCSANOW)  # single keys without echo; ctrl-c still ends the program
        atexit.register(self.close)
        self._write(f"{keys.FOCUS_ON}{legend(spec)}\n")
        self._thread = threading.Thread(target=self._read_keys, name="keyboard", daemon=True)
        self._thread.start()

    def read(self, now_ns: int) -> Command | None:
        """See `Device.read`. A command without a held key is zero."""
        command = self._core.read(now_ns)
        if self._gone or self.age_s(now_ns) > self.timeout_s:
            return Command(t_ns=command.t_ns, frame=command.frame, gain=command.gain, pressed=command.pressed)
        return command

    def age_s(self, now_ns: int) -> float:
        """Time since the terminal was last looked at [s]; `NEVER` when it is gone."""
        return NEVER if self._gone else max(0.0, (now_ns - self._polled_ns) / _NS)

    def raw(self) -> Mapping[str, float]:
        """See `Device.raw`."""
        return self._core.raw(self._now_ns())

    @property
    def lost(self) -> str | None:
        """See `Device.lost`."""
        return self._gone or (None if self._core.focus else _NO_FOCUS)

    def close(self) -> None:
        """Give the terminal back as it was. Idempotent."""
        if self._end.is_set():
            return
        self._end.set()
        atexit.unregister(self.close)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)
        self._write(keys.FOCUS_OFF)
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
        except termios.error as error:  # the terminal is gone, so there is nothing to restore
            self._gone = self._gone or f"keyboard: the terminal is gone ({error})"
        os.close(self._fd)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _read_keys(self) -> None:
        try:
            while not self._end.is_set():
                ready = select.select([self._fd], [], [], _POLL_S)[0]
                sent = os.read(self._fd, 256) if ready else b""
                if ready and not sent:
                    self._lose("it was closed")
                    return
                self._polled_ns = self._now_ns()
                self._core.feed(sent.decode(errors="ignore"), self._polled_ns)
        except OSError as error:
            self._lose(str(error))
        except Exception as error:  # noqa: BLE001  (border of a thread)
            self._node.get_logger().fatal(f"keyboard: {error}\n{traceback.format_exc()}")
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        self._gone = f"keyboard: the terminal can no longer be read ({why}); start the node again in a terminal"

    def _write(self, text: str) -> None:
        try:
            os.write(self._fd, text.encode())
        except OSError as error:
            self._lose(str(error))


def make(node: Node, tree: Tree, callback_group: CallbackGroup | None = None) -> Keyboard:
    """Return the keyboard of a mapping, in the terminal of this program; it needs no subscription."""
    return Keyboard(node, read_keyboard_spec(tree))


def read_keyboard_spec(tree: Tree) -> KeyboardSpec:
    """Return the mapping of a keyboard.

    Raises:
        ProfileError: a key or value that cannot be used.
    """
    section = Section(tree, (*COMMON_KEYS, *MOTION_KEYS, "hold_s", "again_s"))

    def check(term: Term) -> str:
        if term.input != KEYS:
            return f"unknown input '{term.input}'; keys are written '{KEYS}.<name>'"
        name = term.source.split(".", 1)[1]
        if not keys.is_key(name):
            return f"unknown key '{name}'; write one printable character, or one of {listing(keys.SPECIAL)}"
        return ""

    return KeyboardSpec(
        common=read_common(section, TIMEOUT_S),
        controls=read_controls(section, check),
        hold_s=section.number("hold_s", above=0.0),
        again_s=section.number("again_s", above=0.0),
    )


def legend(spec: KeyboardSpec) -> str:
    """Return what the keys do, for people: one line of motions and one of events."""

    def named(terms: tuple[Term, ...]) -> str:
        signs = [("+" if term.sign > 0.0 else "-") + term.source.split(".", 1)[1] for term in terms]
        return " ".join(signs) or "none"

    motion = spec.controls.motion
    moves = [f"{axis} {named(terms)}" for axis, terms in zip(TWIST_AXES, motion.twist, strict=True)]
    moves.append(f"gripper {named(motion.gripper)}")
    events = [f"{one.event} {' '.join(name.split('.', 1)[1] for name in one.press)}" for one in spec.controls.buttons]
    if spec.controls.gain is not None:
        events.append(f"next speed {spec.controls.gain.source.split('.', 1)[1]}")
    return f"keys (hold to move): {'   '.join(moves)}\nevents: {'   '.join(events)}"


def _open_terminal(path: str) -> int:
    wanted = path or (os.ttyname(sys.stdin.fileno()) if sys.stdin is not None and sys.stdin.isatty() else "/dev/tty")
    remedy = (
        "Start the program in a terminal (a launch file that was started in one will do; not in the background with &, over "
        "ssh with `ssh -t`). `ros2 run vla_teleop monitor_inputs --device keyboard` shows whether keys arrive."
    )
    try:
        fd = os.open(wanted, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        raise DeviceError(
            f"keyboard: no terminal, so no key can be read ({wanted}: {error.strerror}). {remedy}"
        ) from None
    try:
        foreground = os.tcgetpgrp(fd)
    except OSError:  # not the terminal that this program was started in, so jobs do not matter
        return fd
    if foreground != os.getpgrp():
        os.close(fd)
        raise DeviceError(f"keyboard: the terminal {wanted} belongs to another job now. {remedy}")
    return fd
