# SPDX-License-Identifier: Apache-2.0

"""Launch files, robot profiles and parameters of the ROS 2 VLA workspace."""
