# SPDX-License-Identifier: Apache-2.0

"""Skills from waypoint files: table, files, planning; pure, no rclpy."""
