#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run a command with the image's ROS sourced.      example: with_ros.sh python3 setup/bootstrap.py
set -euo pipefail

setup="${VLA_ROS_PREFIX:-/opt/ros/${ROS_DISTRO:-jazzy}}/setup.bash"
if [ ! -r "$setup" ]; then
  echo "with_ros.sh: $setup: not there, so this is no image with ROS; build from ros:jazzy-ros-base-noble" >&2
  exit 1
fi
set +u # ROS's own scripts read variables that are not set
# shellcheck disable=SC1090
. "$setup"
set -u
exec "$@"
