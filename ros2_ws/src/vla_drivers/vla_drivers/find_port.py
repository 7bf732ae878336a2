# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_drivers find_port``: which serial port is which arm? Nothing moves.

Three ways: a list of the ports; the one that is gone when its cable is unplugged; or, with ``--scan``, the one on which the six
servos of an SO-101 answer, compared with the calibrations that LeRobot has stored.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import serial
from serial.tools import list_ports
from vla_core.errors import VlaError, listing

from vla_drivers.errors import DriverError
from vla_drivers.so101 import calibration as files
from vla_drivers.so101 import packets
from vla_drivers.so101.packets import Packet

DESCRIPTION = """Find the serial port of an SO-101 arm: list the ports, ask which one is unplugged, or ping the servos. Nothing moves.

  ros2 run vla_drivers find_port
  ros2 run vla_drivers find_port --list
  ros2 run vla_drivers find_port --scan"""
_WAIT_S, _POLL_S = 5.0, 0.1
_BAUD = 1_000_000
_IDS = range(1, 7)
_OFFSET, _VOLTAGE = 31, 62
_SIGN = 1 << 11


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port.

    Attributes:
        device: Its path.
        stable: Its path below /dev/serial/by-id, which stays the same; empty where there is none.
        what: Vendor, product and serial number, as far as they are known.
    """

    device: str
    stable: str
    what: str

    def __str__(self) -> str:
        stable = f"  stays the same: {self.stable}" if self.stable else ""
        return f"{self.device}{f'  ({self.what})' if self.what else ''}{stable}"


@dataclass(frozen=True, slots=True)
class Scan:
    """What answered on a port: homing offsets by servo id [steps], the voltage [V], or why nothing could be asked."""

    offsets: dict[int, int]
    voltage: float
    problem: str = ""


def ports(by_id: Path = Path("/dev/serial/by-id")) -> dict[str, Port]:
    """Return the USB serial ports by device path, in order."""
    links = {str(link.resolve()): str(link) for link in sorted(by_id.glob("*"))} if by_id.is_dir() else {}
    found = {}
    for info in sorted(list_ports.comports(), key=lambda info: str(info.device)):
        if info.vid is None:
            continue  # a port of the mainboard; arms hang on USB adapters
        parts = [info.manufacturer, info.product, info.serial_number and f"serial {info.serial_number}"]
        found[info.device] = Port(info.device, links.get(info.device, ""), ", ".join(p for p in parts if p))
    return found


def unplugged(before: dict[str, Port], look: Callable[[], dict[str, Port]], wait_s: float = _WAIT_S) -> Port:
    """Return the port that is gone.

    Args:
        before: The ports while everything was plugged in.
        look: Returns the ports that are there now.
        wait_s: How long to wait for one to go [s].

    Raises:
        DriverError: none or more than one is gone.
    """
    end = time.monotonic() + wait_s
    while not (gone := sorted(before.keys() - look().keys())):
        if time.monotonic() >= end:
            raise DriverError(
                f"no port went away; still there: {listing(before)}. Was the cable of the arm unplugged, and is it a cable for "
                "data, not for charging only?"
            )
        time.sleep(_POLL_S)
    if len(gone) > 1:
        raise DriverError(f"{listing(gone)} went away together; unplug one arm only")
    return before[gone[0]]


def scan(device: str, answer_s: float = 0.05, tries: int = 2) -> Scan:
    """Ask the servos 1 to 6 of a port who they are; only reads.

    Args:
        device: Path of the port.
        answer_s: Longest wait for each answer [s].
        tries: How often each is asked.
    """
    try:
        with serial.Serial(device, _BAUD, timeout=0.005) as line:
            offsets, voltage = {}, 0.0
            for number in _IDS:
                offset = _read(line, number, _OFFSET, 2, answer_s, tries)
                if offset is None:
                    continue
                raw = int.from_bytes(offset, "little")
                offsets[number] = -(raw & ~_SIGN) if raw & _SIGN else raw
                volts = _read(line, number, _VOLTAGE, 1, answer_s, tries)
                voltage = volts[0] / 10.0 if volts else voltage
    except (OSError, serial.SerialException) as error:
        denied = "permission" in str(error).lower()
        hint = "sudo usermod -aG dialout $USER, then log in again" if denied else "does another program use it?"
        return Scan({}, 0.0, f"{error}; {hint}")
    return Scan(offsets, voltage)


def known_as(offsets: dict[int, int]) -> list[str]:
    """Return which stored calibrations fit to homing offsets, such as ``follower my_arm``."""
    found = []
    for role in files.ROLES:
        for path in sorted(files.folder(role).glob("*.json")):
            try:
                stored = files.read(path, role)
            except DriverError:
                continue  # of another kind of arm
            if {joint.id: joint.homing_offset for joint in stored.values()} == offsets:
                found.append(f"{role} {path.stem}")
    return found


def _read(line: serial.Serial, number: int, address: int, count: int, answer_s: float, tries: int) -> bytes | None:
    for _ in range(tries):
        line.reset_input_buffer()
        line.write(Packet(number, packets.READ, bytes([address, count])).encode())
        buffer, end = bytearray(), time.monotonic() + answer_s
        while time.monotonic() < end:
            buffer += line.read(64)
            answer = packets.take(buffer)
            if answer is not None and answer.id == number and len(answer.parameters) == count:
                return answer.parameters
    return None


def main(args: Sequence[str] | None = None, ask: Callable[[str], str] = input) -> int:
    """Entry point; 0, or 1 with a message on standard error.

    Args:
        args: The command line, None for `sys.argv`.
        ask: Shows a text and waits for enter.
    """
    parser = argparse.ArgumentParser(
        prog="find_port", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="list the USB serial ports, and end")
    how.add_argument("--scan", action="store_true", help="ask for the servos 1 to 6 on each port; reads only")
    parser.add_argument("--port", action="append", default=[], help="with --scan: this port only; may be repeated")
    options = parser.parse_args(args)
    try:
        if options.port and not options.scan:
            raise DriverError("--port goes with --scan")
        text = _scanned(options.port) if options.scan else _listed() if options.list else _found(ask)
    except VlaError as error:
        sys.stderr.write(f"find_port: {error}\n")
        return 1
    sys.stdout.write(text)
    return 0


def _present() -> dict[str, Port]:
    present = ports()
    if not present:
        raise DriverError(
            "no USB serial port. Is the arm plugged in and powered? In a container, pass the port through with --device."
        )
    return present


def _listed() -> str:
    return "".join(f"{port}\n" for port in _present().values())


def _scanned(given: list[str]) -> str:
    chosen = {device: Port(device, "", "") for device in given} or _present()
    return "".join(f"{port}\n    {_verdict(scan(port.device))}\n" for port in chosen.values())


def _verdict(found: Scan) -> str:
    if found.problem:
        return f"could not be asked: {found.problem}"
    if not found.offsets:
        return "no servo answers; no SO-101, or its power supply is off"
    missing = [str(number) for number in _IDS if number not in found.offsets]
    if missing:
        return (
            f"servos {', '.join(map(str, found.offsets))} answer, {', '.join(missing)} do not: check the cables between the servos, "
            "and their ids (lerobot-setup-motors)"
        )
    names = known_as(found.offsets)
    whose = f"calibrated as {', '.join(names)}" if names else "no stored calibration fits to it (lerobot-calibrate)"
    return f"an SO-101 at {found.voltage:.1f} V; {whose}"


def _found(ask: Callable[[str], str]) -> str:
    before = _present()
    try:
        ask(f"ports: {listing(before)}\nUnplug the USB cable of the arm, then press enter. ")
    except EOFError:
        raise DriverError("standard input is no terminal; use --list or --scan") from None
    return f"the arm is on {unplugged(before, ports)}\nPlug it in again.\n"


if __name__ == "__main__":
    sys.exit(main())
