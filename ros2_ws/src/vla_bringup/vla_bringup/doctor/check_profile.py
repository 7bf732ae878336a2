# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_bringup check_profile``: all mistakes of a robot profile at once, and what it means."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_core.errors import ProfileError, VlaError
from vla_core.profile import Profile
from vla_core.profile_problems import profile_problems

from vla_bringup.doctor.findings import EXIT_USAGE, Finding, Group, conclude, red
from vla_bringup.doctor.live import live_groups
from vla_bringup.doctor.main import about, add_live_arguments
from vla_bringup.doctor.profile_checks import judge_profile, vectors
from vla_bringup.doctor.profiles import find_profile

DESCRIPTION = """Check a robot profile: all mistakes at once with file, line, dotted key and nearest name; then the state and action
vectors that it means, and what looks wrong though it is allowed.

  ros2 run vla_bringup check_profile ur5e_2f85_realsense
  ros2 run vla_bringup check_profile my_robot.yaml
  ros2 run vla_bringup check_profile my_robot.yaml --live

Exit status: 0 without red findings, 1 with, 2 if there is no such profile."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="check_profile", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("profile", help="path of a profile (YAML), or the name of a shipped robot")
    made.add_argument("--live", action="store_true", help="also compare it with the running graph, as doctor --live")
    add_live_arguments(made)
    made.add_argument("--json", metavar="FILE", help="also write the findings as JSON")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0 without red findings, 1 with, 2 if there is no such profile."""
    options = parser().parse_args(args)
    try:
        return _run(options)
    except VlaError as error:
        print(f"check_profile: {error}", file=sys.stderr)  # noqa: T201  (a command line tool)
        return EXIT_USAGE


def _run(options: argparse.Namespace) -> int:
    path = find_profile(options.profile)
    profile, problems = profile_problems(path)
    groups = [check_file(path, profile, problems)]
    if profile is not None:
        print(vectors(profile), end="\n\n")  # noqa: T201  (a command line tool)
        if options.live:
            groups += live_groups(profile, options)
    return conclude(groups, options.json, about(options, profile))


def check_file(path: Path, profile: Profile | None, problems: Sequence[ProfileError]) -> Group:
    """Return the findings about a file."""
    findings: list[Finding] = [
        red("", str(problem), "correct it; docs/reference/profile.md has all keys") for problem in problems
    ]
    if profile is not None:
        findings += judge_profile(profile, needs_drivers=False)
    return Group(f"profile {path}", tuple(findings))


if __name__ == "__main__":
    sys.exit(main())
