# SPDX-License-Identifier: Apache-2.0

"""Teleoperation, skills and the operator's day: devices, motion, waypoint skills, episodes, camera calibration."""
