#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes docs/media/rerun.png: a simulated run as rerun shows it, drawn without a screen. A minute; needs Vulkan, software will do.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$(dirname "$0")/../.."
ros2 launch vla_bringup infer.launch.py policy:=scripted policy_options:=amplitude=0.25 n_action_steps:=25 \
  sim:=true robot:=sim_ur5e episodes:=1 monitor:=rerun rerun_mode:=save rerun_file:="$folder/run.rrd"
python docs/media/rerun_picture.py "$folder/run.rrd" docs/media/rerun.png
