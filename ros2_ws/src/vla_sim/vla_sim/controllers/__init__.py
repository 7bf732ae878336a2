# SPDX-License-Identifier: Apache-2.0

"""What the robot's controllers do, without ROS: trajectories, streaming, gripper, exclusivity, program state."""
