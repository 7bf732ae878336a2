# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_bringup monitor_config``: write the rviz2 configuration or the Foxglove layout of a robot."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_common.profiles import find_profile
from vla_core.errors import VlaError

from vla_bringup.foxglove_layout import foxglove_layout
from vla_bringup.rviz_config import rviz_config

WRITERS = {"rviz": rviz_config, "foxglove": foxglove_layout}
EXAMPLE = """example:
  ros2 run vla_bringup monitor_config foxglove --profile ur5e_2f85_realsense --output my_layout.json"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="ros2 run vla_bringup monitor_config",
        description=__doc__.split(": ", 1)[1],
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("kind", choices=tuple(WRITERS), help="for which program")
    made.add_argument("--profile", required=True, help="shipped robot profile by name, or a YAML file")
    made.add_argument("--namespace", default="", help="namespace of the robot's topics (default: none)")
    made.add_argument("--output", type=Path, help="file to write (default: standard output)")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Entry point; exit code 2 where the profile or the file is unusable."""
    given = parser().parse_args(args)
    try:
        text = WRITERS[given.kind](find_profile(given.profile), given.namespace)
    except VlaError as error:
        print(error, file=sys.stderr)  # noqa: T201  (a command)
        return 2
    if given.output is None:
        sys.stdout.write(text)
        return 0
    try:
        given.output.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"{given.output}: cannot be written: {error.strerror}; name another file", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
