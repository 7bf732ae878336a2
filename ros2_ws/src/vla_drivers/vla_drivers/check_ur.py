# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_drivers check_ur``: can the UR at this address be driven? Nothing on it is changed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from vla_drivers.ur_prerequisites import UrPorts, check_ur, worst

DESCRIPTION = """Ask a UR whether ur_robot_driver can drive it; says what is missing and what to do. Changes nothing.
Exit code: 0 nothing red, 1 something red.

  ros2 run vla_drivers check_ur --robot-ip 192.168.56.101
  ros2 run vla_drivers check_ur --robot-ip 192.168.56.101 --headless --json"""


def main(args: Sequence[str] | None = None, ports: UrPorts | None = None) -> int:
    """Entry point; 0 where nothing is red, else 1.

    Args:
        args: The command line, None for `sys.argv`.
        ports: Other ports than those of a real robot.
    """
    parser = argparse.ArgumentParser(
        prog="check_ur", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robot-ip", required=True, help="address of the robot, as its pendant shows it")
    parser.add_argument("--headless", action="store_true", help="the driver is to run with headless_mode:=true")
    parser.add_argument("--driver-running", action="store_true", help="the driver runs already: its ports may be taken")
    parser.add_argument("--timeout", type=float, default=2.0, help="longest wait for all answers together [s]")
    parser.add_argument("--json", action="store_true", help="write the findings as JSON")
    options = parser.parse_args(args)
    findings = check_ur(
        options.robot_ip,
        timeout_s=options.timeout,
        headless=options.headless,
        driver_running=options.driver_running,
        ports=ports,
    )
    if options.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{finding}\n" for finding in findings))
    return 1 if worst(findings) == "red" else 0


if __name__ == "__main__":
    sys.exit(main())
