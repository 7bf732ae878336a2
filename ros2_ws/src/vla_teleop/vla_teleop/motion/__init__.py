# SPDX-License-Identifier: Apache-2.0

"""Motion of the arm by twists, joint streams and prepared motions; pure, no rclpy."""
