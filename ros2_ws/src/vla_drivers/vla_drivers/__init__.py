# SPDX-License-Identifier: Apache-2.0

"""Thin drivers of an SO-101 arm and of a Robotiq gripper, and checks before a robot is started."""
