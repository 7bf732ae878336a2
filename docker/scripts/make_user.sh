#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make the user that everything in the image runs as, and the folders that belong to it.
#
#   make_user.sh NAME UID GID [PREFIX]      example: make_user.sh vla 1000 1000
#
# A user or group of that number that the base image brings along (ubuntu:24.04 has "ubuntu", 1000) is removed first. The user
# joins the groups of serial ports, cameras and USB devices where they exist. PREFIX: work on the system below that folder.
set -euo pipefail

if [ $# -lt 3 ] || [ $# -gt 4 ]; then
  echo "usage: make_user.sh NAME UID GID [PREFIX]" >&2
  exit 2
fi
name=$1 uid=$2 gid=$3 prefix=${4:-}
for number in "$uid" "$gid"; do
  if ! [[ "$number" =~ ^[1-9][0-9]*$ ]]; then
    echo "make_user.sh: '$number' is no user or group number above 0; the images run without root (see VLA_UID in docker/.env)" >&2
    exit 2
  fi
done
where=()
[ -z "$prefix" ] || where=(--prefix "$prefix")

present=$(awk -F: -v uid="$uid" '$3 == uid { print $1 }' "$prefix/etc/passwd")
if [ -n "$present" ]; then userdel "${where[@]}" "$present"; fi
present=$(awk -F: -v gid="$gid" '$3 == gid { print $1 }' "$prefix/etc/group")
if [ -n "$present" ]; then groupdel "${where[@]}" "$present"; fi

groupadd "${where[@]}" --gid "$gid" "$name"
useradd "${where[@]}" --uid "$uid" --gid "$gid" --no-create-home --shell /bin/bash "$name"
for group in dialout video plugdev render input; do
  if awk -F: -v group="$group" '$1 == group { found = 1 } END { exit !found }' "$prefix/etc/group"; then
    usermod "${where[@]}" --append --groups "$group" "$name"
  fi
done
# empty folders that volumes and caches are mounted on: a mount takes over their owner
install -d -o "$uid" -g "$gid" "$prefix/home/$name" "$prefix/home/$name/.cache" "$prefix/home/$name/.cache/uv" \
  "$prefix/home/$name/.cache/pip" "$prefix/data" "$prefix/opt/vla"
