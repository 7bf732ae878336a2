#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes docs/media/correction_episode.png and .gif: a played operator, a grasp that fails, its correction. Two minutes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$(dirname "$0")/../.."
python benchmarks/scenarios.py --episodes 1 --first-seed 3 --scenarios failed_grasp --robot sim_ur5e --keep "$folder"
ros2 run vla_demo plot_episode "$folder"/failed_grasp/bags/episode_* --speed 3 \
  --output docs/media/correction_episode.png --gif docs/media/correction_episode.gif
