# SPDX-License-Identifier: Apache-2.0

"""The policy node: ROS interfaces around the execution."""
