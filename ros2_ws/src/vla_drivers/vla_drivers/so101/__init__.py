# SPDX-License-Identifier: Apache-2.0

"""An SO-101 arm: calibration, bus, motion without ROS, and the node."""
