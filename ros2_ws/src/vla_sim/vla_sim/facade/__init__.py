# SPDX-License-Identifier: Apache-2.0

"""The ROS interfaces of the real drivers (arm, gripper, cameras), served by the simulated plant."""
