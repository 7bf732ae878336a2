# SPDX-License-Identifier: Apache-2.0

"""rclpy helpers shared by the nodes of the ROS 2 VLA workspace."""
