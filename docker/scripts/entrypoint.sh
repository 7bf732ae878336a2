#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Entry point of all images: the environment of ROS (where the image has it) and of the workspace, then the command.
set -euo pipefail

VLA_ROOT="${VLA_ROOT:-/opt/vla}"
export VLA_ROOT
ros="${VLA_ROS_PREFIX:-/opt/ros/${ROS_DISTRO:-jazzy}}/setup.bash"
set +u # ROS's own scripts read variables that are not set
if [ -r "$ros" ]; then
  # shellcheck disable=SC1090
  . "$ros"
fi
if [ -r "$VLA_ROOT/.state/workspace.sh" ]; then
  # shellcheck disable=SC1091
  . "$VLA_ROOT/setup/env.sh"
elif [ -r "$ros" ]; then
  echo "entrypoint.sh: $VLA_ROOT/.state/workspace.sh: not there, so the workspace is not built; run: source ./activate" >&2
fi
set -u
exec "$@"
