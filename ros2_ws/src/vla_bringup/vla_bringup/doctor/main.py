# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_bringup doctor``: what is wrong here, and what to do about it. Moves nothing, publishes nothing."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from vla_core.errors import VlaError
from vla_core.profile import Profile, load_profile

from vla_bringup.doctor.findings import EXIT_USAGE, DoctorError, Group, conclude
from vla_bringup.doctor.graph import middleware
from vla_bringup.doctor.host import Host, judge_devices, judge_disk, judge_machine, judge_versions
from vla_bringup.doctor.live import live_groups
from vla_bringup.doctor.network import judge_network
from vla_bringup.doctor.profile_checks import judge_profile
from vla_bringup.doctor.profiles import DEFAULT_ROBOT, find_profile
from vla_bringup.doctor.ur import addresses, judge_ur

DESCRIPTION = """Check this machine, a robot profile and, with --live, the running graph. Each finding is one line: green, yellow
(works, but may disappoint) or red (does not work), with the remedy on the same line. Moves nothing.

  ros2 run vla_bringup doctor
  ros2 run vla_bringup doctor --robot ur5e_2f85_realsense --live
  ros2 run vla_bringup doctor --profile my_robot.yaml --live --seconds 10 --json report.json
  ros2 run vla_bringup doctor --robot sim_ur5e --live --namespace /cell_2

Exit status: 0 without red, 1 with, 2 if the arguments or the profile cannot be used."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="doctor", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = made.add_mutually_exclusive_group()
    which.add_argument("--robot", help=f"shipped robot profile by name (default with --live: {DEFAULT_ROBOT})")
    which.add_argument("--profile", help="path of a robot profile (YAML) of your own")
    made.add_argument(
        "--live", action="store_true", help="also look at the running graph: topics, rates, controllers, …"
    )
    add_live_arguments(made)
    made.add_argument(
        "--robot-ip", default="", help="ask the UR at this address too; with --live the default is the profile's"
    )
    made.add_argument("--left-robot-ip", default="", help="the same for the left one of two arms")
    made.add_argument("--right-robot-ip", default="", help="the same for the right one of two arms")
    made.add_argument("--output-dir", default="recordings", help="folder of the bags (default: recordings)")
    made.add_argument("--json", metavar="FILE", help="also write the findings as JSON, for a bug report")
    return made


def add_live_arguments(made: argparse.ArgumentParser) -> None:
    """Add what says how the running graph is looked at."""
    made.add_argument("--seconds", type=seconds, default=3.0, help="how long to listen [s] (default: 3)")
    made.add_argument("--namespace", default="", help="namespace of the nodes to look at (default: none)")
    made.add_argument(
        "--camera-settings", metavar="FILE", help="settings that calibrate_cameras saved; the cameras must have them"
    )


def seconds(text: str) -> float:
    """Return a time between 0.5 s and ten minutes."""
    value = float(text)
    if not (math.isfinite(value) and 0.5 <= value <= 600.0):
        raise argparse.ArgumentTypeError(f"{text}: give a time from 0.5 to 600 s")
    return value


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0 without red findings, 1 with, 2 if it could not be done."""
    options = parser().parse_args(args)
    try:
        return _run(options)
    except VlaError as error:
        print(f"doctor: {error}", file=sys.stderr)  # noqa: T201  (a command line tool)
        return EXIT_USAGE


def _run(options: argparse.Namespace) -> int:
    groups = run_checks(options)
    return conclude(groups, options.json, about(options, _profile(options)))


def run_checks(options: argparse.Namespace) -> list[Group]:
    """Return the findings that a command line asks for.

    Raises:
        VlaError: the profile cannot be used.
    """
    profile = _profile(options)
    groups = host_groups(options, profile)
    if profile is not None:
        here = tuple(judge_profile(profile, needs_drivers=not options.live))
        groups.append(Group(f"profile {profile.source}", here))
        groups += _arms(options, profile)
    elif options.robot_ip or options.left_robot_ip or options.right_robot_ip:
        raise DoctorError("--robot-ip belongs to a robot; add --robot or --profile")
    if options.live and profile is not None:
        groups += live_groups(profile, options)
    return groups


def host_groups(options: argparse.Namespace, profile: Profile | None) -> list[Group]:
    """Return what is found about this machine."""
    host, rmw = Host(), middleware()
    shipped = Path(get_package_share_directory("vla_bringup")) / "config" / "fastdds_shm.xml"
    return [
        Group("software", tuple(judge_versions(host, rmw))),
        Group("machine", (*judge_machine(host), *judge_disk(Path(options.output_dir), profile), *judge_devices(host))),
        Group("network", tuple(judge_network(host, rmw, profile, shipped))),
    ]


def _arms(options: argparse.Namespace, profile: Profile) -> list[Group]:
    """Ask the controllers whose address was given; with --live all of the profile."""
    given = {"": options.robot_ip, "left": options.left_robot_ip, "right": options.right_robot_ip}
    arms = addresses(profile, given) if options.live or any(given.values()) else {}
    return [Group("robot controllers", tuple(judge_ur(arms, running=options.live)))] if arms else []


def _profile(options: argparse.Namespace) -> Profile | None:
    given = options.profile or options.robot or (DEFAULT_ROBOT if options.live else "")
    return load_profile(find_profile(given)) if given else None


def about(options: argparse.Namespace, profile: Profile | None) -> dict[str, Any]:
    """Return what else a report says: the profile, and how was looked."""
    return {
        "robot": profile.robot if profile else "",
        "profile_sha256": profile.sha256 if profile else "",
        "live": options.live,
        "seconds": options.seconds,
        "namespace": options.namespace,
    }


if __name__ == "__main__":
    sys.exit(main())
