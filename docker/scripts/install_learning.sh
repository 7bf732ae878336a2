#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make a Python environment without ROS for the images server and trainer, in two steps so that a change of the sources
# does not fetch torch again.
#
#   install_learning.sh packages REQUIREMENTS PREFIX [--dry-run]     what REQUIREMENTS names, in the versions of the lock
#   install_learning.sh own PREFIX PACKAGE...                        packages of this checkout, without their dependencies
#
# example: install_learning.sh packages docker/requirements-server.in /opt/vla/.venv
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

usage() {
  sed -n '6,9s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

packages() {
  [ $# -ge 2 ] || usage
  local requirements=$1 prefix=$2
  shift 2
  [ -x "$prefix/bin/python" ] || python3.12 -m venv "$prefix"
  command -v uv >/dev/null || "$prefix/bin/python" -m pip install -q "uv==$(uv_version)"
  PATH="$prefix/bin:$PATH" uv pip install --python "$prefix/bin/python" --system-certs --compile-bytecode \
    --constraints "$root/setup/requirements.lock" --requirements "$requirements" "$@"
}

uv_version() { sed -n 's/^UV_VERSION = "\(.*\)"$/\1/p' "$root/setup/environment.py"; }

own() {
  [ $# -ge 2 ] || usage
  local prefix=$1
  shift
  "$prefix/bin/python" -m pip install -q --no-deps --no-build-isolation "${@/#/$root/ros2_ws/src/}"
}

case "${1:-}" in
  packages | own) "$@" ;;
  *) usage ;;
esac
