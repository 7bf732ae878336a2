#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install the Debian packages that lists name: one package a line, "#" begins a comment.
#
#   apt_install.sh [--dry-run] LIST...      example: apt_install.sh docker/apt/base.txt docker/apt/robot.txt
#
# --dry-run prints the packages, one a line, and installs nothing.
set -euo pipefail

dry_run=false
if [ "${1:-}" = --dry-run ]; then
  dry_run=true
  shift
fi
if [ $# -eq 0 ]; then
  echo "apt_install.sh: no list of packages given; name at least one file of docker/apt" >&2
  exit 2
fi

packages=()
for list in "$@"; do
  if [ ! -r "$list" ]; then
    echo "apt_install.sh: $list: no such list; those that ship are docker/apt/*.txt" >&2
    exit 2
  fi
  while read -r package rest || [ -n "$package" ]; do
    case "$package" in
      '' | '#'*) continue ;;
    esac
    if [ -n "$rest" ]; then
      echo "apt_install.sh: $list: '$package $rest': one package a line" >&2
      exit 2
    fi
    packages+=("$package")
  done <"$list"
done

if $dry_run; then
  printf '%s\n' "${packages[@]}"
  exit 0
fi
# the base images delete what was downloaded; the build keeps it in a cache of its own
rm -f /etc/apt/apt.conf.d/docker-clean
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}"
