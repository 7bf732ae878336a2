# SPDX-License-Identifier: Apache-2.0

"""From action chunks to commands in time: no rclpy, no torch."""
