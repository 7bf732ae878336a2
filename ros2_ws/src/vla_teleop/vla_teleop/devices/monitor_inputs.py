# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop monitor_inputs``: what a device sends and what becomes of it, live in the terminal. Moves nothing."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from rclpy.utilities import remove_ros_args
from vla_common.run import EXIT_FAILURE, EXIT_OK, ManagedNode, run_node

from vla_teleop.devices.device import NEVER, Command, Device
from vla_teleop.devices.mapping import KEYS
from vla_teleop.devices.registry import find_config, kinds, make_device, shipped

DESCRIPTION = """Show the inputs of a teleoperation device, raw and mapped, and its events. Moves nothing.

  ros2 run vla_teleop monitor_inputs --device sol_r2
  ros2 run vla_teleop monitor_inputs --device my_pedals.yaml --seconds 10
  ros2 run vla_teleop monitor_inputs --device gamepad --once
  ros2 run vla_teleop monitor_inputs --list"""
POLL_HZ = 200.0
_NS = 1_000_000_000
_ONCE_S = 5.0
_SHOW_TERMINAL_S, _SHOW_LINES_S = 0.1, 1.0
_RATE_WINDOW_S = 1.0
_JOINTS = "joints"
_UP, _CLEAR_BELOW = "\033[{}F", "\033[J"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for: the device, how long to watch [s] (0: until ctrl-c), and whether one reading is enough."""

    device: str
    seconds: float = 0.0
    once: bool = False


class View:
    """Text of the view; remembers what is needed for the rate."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: deque[int] = deque()
        self._newest_ns: int | None = None

    def notice(self, command: Command | None, now_ns: int) -> None:
        """Count an input when the command is newer than the one before."""
        if command is not None and command.t_ns != self._newest_ns:
            self._newest_ns = command.t_ns
            self._inputs.append(now_ns)
        while self._inputs and now_ns - self._inputs[0] > _RATE_WINDOW_S * _NS:
            self._inputs.popleft()

    def text(self, command: Command | None, age_s: float, raw: Mapping[str, float], lost: str | None) -> str:
        """Return the view, several lines."""
        age = "never" if age_s == NEVER else f"{age_s * 1000.0:.0f} ms ago"
        lines = [f"{self._name}  last input {age}  {len(self._inputs) / _RATE_WINDOW_S:.0f} inputs/s"]
        if lost:
            lines.append(f"! {lost}")
        lines += raw_lines(raw)
        if command is not None:
            lines += mapped_lines(command)
        return "\n".join(lines)


def raw_lines(raw: Mapping[str, float]) -> list[str]:
    """Return one line per input: its axes with their numbers, then the buttons that are down."""
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for name, value in raw.items():
        group, dot, rest = name.partition(".")
        values, down = groups.setdefault(group if dot else _JOINTS, ([], []))
        if rest.startswith("button") or group == KEYS:
            down += [rest.removeprefix("button")] if value else []
        else:
            values.append(f"{rest or name} {value:+.2f}")
    return [
        "  ".join([f"raw     {group}:", *values, f"down: {' '.join(down) or '-'}" if group != _JOINTS else ""]).rstrip()
        for group, (values, down) in groups.items()
    ]


def mapped_lines(command: Command) -> list[str]:
    """Return what the raw values mean."""
    if command.joints is not None:
        joints = "  ".join(f"{name} {angle:+.3f}" for name, angle in command.joints.items())
        gripper = "-" if command.gripper is None else f"{command.gripper:.2f}"
        return [
            f"mapped  joints [rad]: {joints}",
            f"        gripper {gripper} (0 open, 1 closed)  {'moving' if command.moving else 'still'}",
        ]
    numbers = [f"{value:+.3f}" for value in command.twist]
    deadman = "" if command.deadman is None else f"  deadman {'held' if command.deadman else 'up'}"
    return [
        f"mapped  linear {' '.join(numbers[:3])} m/s  angular {' '.join(numbers[3:])} rad/s  in {command.frame}",
        f"        gripper {command.gripper_rate:+.2f} 1/s  gain {command.gain:.2f}{deadman}  "
        f"{'moving' if command.moving else 'still'}",
    ]


class MonitorNode(ManagedNode):
    """Reads a device and shows it."""

    def __init__(self, options: Options, sink: TextIO | None = None, **kwargs: Any) -> None:
        """Open the device.

        Args:
            options: What was asked for.
            sink: Where the view goes; standard output if left out. Not a terminal: one view per second, one below the other.
            **kwargs: Of the node.

        Raises:
            VlaError: there is no such device, or its mapping cannot be used.
        """
        self._options = options
        config = find_config(options.device)
        super().__init__("monitor_inputs", **kwargs)
        self._sink = sink or sys.stdout
        self._live = self._sink.isatty()
        self._lines = 0
        self._device: Device = make_device(self, config)
        self._view = View(self._device.name)
        self._seen = False
        self._thread = self.start_thread(self._watch, "view")

    def close(self) -> None:
        """Release the device."""
        self.stop.set()
        self._thread.join(timeout=2.0)
        self._device.close()

    def _watch(self) -> None:
        begin = shown = self.get_clock().now().nanoseconds
        while not self.stop.wait(1.0 / POLL_HZ):
            now = self.get_clock().now().nanoseconds
            command = self._device.read(now)
            self._view.notice(command, now)
            for event in command.pressed if command is not None else ():
                self._print(f"{(now - begin) / _NS:8.2f} s  event {event}\n")
            self._seen |= command is not None and self._device.lost is None
            last = self._last(now - begin)
            if last or now - shown >= (_SHOW_TERMINAL_S if self._live else _SHOW_LINES_S) * _NS:
                shown = now
                self._show(command, now)
            if last:
                self._end()
                return

    def _last(self, elapsed_ns: int) -> bool:
        options = self._options
        if options.once and self._seen:
            return True
        limit_s = options.seconds or (_ONCE_S if options.once else 0.0)
        return limit_s > 0.0 and elapsed_ns >= limit_s * _NS

    def _end(self) -> None:
        if self._seen:
            self.stop.set(EXIT_OK)
        else:
            self.stop.set(EXIT_FAILURE, f"no usable input came: {self._device.lost}")

    def _show(self, command: Command | None, now_ns: int) -> None:
        device = self._device
        text = self._view.text(command, device.age_s(now_ns), device.raw(), device.lost)
        self._print(f"{text}\n", keep=text.count("\n") + 1)

    def _print(self, text: str, keep: int = 0) -> None:
        """Write below what stays; on a terminal the view (of `keep` lines) is overwritten by what comes next."""
        back = _UP.format(self._lines) + _CLEAR_BELOW if self._live and self._lines else ""
        self._lines = keep
        self._sink.write(back + text)
        self._sink.flush()


def main(args: Sequence[str] | None = None) -> int:
    """Entry point: 0 after ctrl-c or when inputs came, 1 when none came, 2 for a mapping that cannot be used."""
    given = list(sys.argv[1:] if args is None else args)
    parser = _parser()
    options = parser.parse_args(remove_ros_args(["monitor_inputs", *given])[1:])
    if options.list:
        sys.stdout.write(f"shipped mappings: {', '.join(shipped())}\nkinds: {', '.join(kinds())}\n")
        return EXIT_OK
    if options.seconds < 0.0:
        parser.error(f"--seconds must not be negative, got {options.seconds:g}")
    chosen = Options(device=options.device, seconds=options.seconds, once=options.once)
    ros_only = given[given.index("--ros-args") :] if "--ros-args" in given else []
    return run_node(lambda: MonitorNode(chosen), ros_only)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="monitor_inputs", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", default="sol_r2", help="name of a shipped mapping, or path of a YAML file (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        help="end after this time [s]; 0 goes on until ctrl-c (default: %(default)s)",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help=f"end after the first usable input, or after --seconds (then {_ONCE_S:g}) without",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the shipped mappings and the kinds of devices, and end"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
