# SPDX-License-Identifier: Apache-2.0

"""Say where the packages of ROS come from, and fail if a stand-in hides a real one.

docker run --rm vla-dev python docker/scripts/real_ros.py
"""

import argparse
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

REAL = ("rclpy", "launch", "launch_ros", "rosbag2_py", "cv_bridge", "ros2cli", "rosidl_runtime_py")


def origins(names: Iterable[str]) -> dict[str, Path]:
    """Package -> the folder that it is imported from.

    Raises:
        ImportError: a package is not there at all.
    """
    return {name: Path(str(importlib.import_module(name).__file__)).parent for name in names}


def main() -> int:
    """Entry point; exit code 1 if a package does not come from the ROS that was sourced."""
    parser = argparse.ArgumentParser(
        description="Say where the packages of ROS come from.", epilog="example: real_ros.py launch rosbag2_py"
    )
    parser.add_argument("names", nargs="*", default=REAL, help=f"packages to look at (default: {', '.join(REAL)})")
    names = parser.parse_args().names
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p.startswith("/opt/ros/")]
    strangers = 0
    for name, folder in origins(names).items():
        real = any(folder.is_relative_to(prefix) for prefix in prefixes)
        strangers += not real
        sys.stdout.write(f"{name:<20} {folder}{'' if real else '   NOT of the sourced ROS'}\n")
    if strangers:
        sys.stderr.write(
            f"{strangers} package(s) do not come from {':'.join(map(str, prefixes)) or 'a ROS below /opt/ros'}. "
            "Source it before the set-up: docker/scripts/with_ros.sh\n"
        )
    return 1 if strangers else 0


if __name__ == "__main__":
    sys.exit(main())
