# SPDX-License-Identifier: Apache-2.0

"""A Robotiq 2F-85 behind the socket of its URCap: client, motion without ROS, and the node."""
