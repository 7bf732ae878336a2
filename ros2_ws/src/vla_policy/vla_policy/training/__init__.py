# SPDX-License-Identifier: Apache-2.0

"""Launcher of LeRobot's training."""
