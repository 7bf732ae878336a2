# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop find_port``: which serial port is the arm? The one that is gone when its cable is unplugged."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_core.errors import listing

from vla_teleop.devices.device import DeviceError

DESCRIPTION = """Find the serial port of an arm by unplugging it, or list the ports there are.

  ros2 run vla_teleop find_port
  ros2 run vla_teleop find_port --list"""
PATTERNS = ("ttyACM*", "ttyUSB*")
_WAIT_S = 5.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port: its path, its name that stays the same (empty where there is none), and whether it may be opened."""

    path: Path
    stable: str
    allowed: bool

    def text(self) -> str:
        """Return one line for people."""
        stable = f"  stays the same: {self.stable}" if self.stable else ""
        denied = "" if self.allowed else "  NOT ALLOWED: sudo usermod -aG dialout $USER, then log in again"
        return f"{self.path}{stable}{denied}"


def ports(dev: Path = Path("/dev")) -> dict[str, Port]:
    """Return the USB serial ports below `dev` by name, in order."""
    links = {link.resolve(): str(link) for link in sorted((dev / "serial" / "by-id").glob("*"))}
    found = sorted(path for pattern in PATTERNS for path in dev.glob(pattern))
    return {path.name: Port(path, links.get(path.resolve(), ""), os.access(path, os.R_OK | os.W_OK)) for path in found}


def unplugged(before: dict[str, Port], look: Callable[[], dict[str, Port]], wait_s: float = _WAIT_S) -> Port:
    """Return the port that is gone.

    Args:
        before: The ports while everything was plugged in.
        look: Returns the ports that are there now.
        wait_s: How long to wait for one to go [s].

    Raises:
        DeviceError: none or more than one is gone.
    """
    end = time.monotonic() + wait_s
    while not (gone := sorted(before.keys() - look().keys())):
        if time.monotonic() >= end:
            raise DeviceError(
                f"no port went away; still there: {listing(before)}. Was the cable of the arm unplugged, and is it a cable for "
                "data, not for charging only?"
            )
        time.sleep(_POLL_S)
    if len(gone) > 1:
        raise DeviceError(f"{listing(gone)} went away together; unplug one arm only")
    return before[gone[0]]


def main(args: Sequence[str] | None = None, dev: Path = Path("/dev"), ask: Callable[[str], str] = input) -> int:
    """Entry point; 0, or 1 with a message on standard error.

    Args:
        args: The command line, None for `sys.argv`.
        dev: Where the ports are.
        ask: Shows a text and waits for enter.
    """
    parser = argparse.ArgumentParser(
        prog="find_port", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="list the USB serial ports, and end")
    options = parser.parse_args(args)
    try:
        text = _listed(dev) if options.list else _found(dev, ask)
    except DeviceError as error:
        sys.stderr.write(f"find_port: {error}\n")
        return 1
    sys.stdout.write(text)
    return 0


def _present(dev: Path) -> dict[str, Port]:
    present = ports(dev)
    if not present:
        raise DeviceError(
            f"no USB serial port ({', '.join(f'{dev}/{pattern}' for pattern in PATTERNS)}). Is the arm plugged in and powered? "
            "In a container, pass the port through with --device."
        )
    return present


def _listed(dev: Path) -> str:
    return "".join(f"{port.text()}\n" for port in _present(dev).values())


def _found(dev: Path, ask: Callable[[str], str]) -> str:
    before = _present(dev)
    try:
        ask(f"ports: {listing(before)}\nUnplug the USB cable of the arm, then press enter. ")
    except EOFError:
        raise DeviceError("standard input is no terminal; use --list") from None
    return f"the arm is on {unplugged(before, lambda: ports(dev)).text()}\nPlug it in again.\n"


if __name__ == "__main__":
    sys.exit(main())
