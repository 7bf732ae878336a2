# SPDX-License-Identifier: Apache-2.0

"""What the page knows of the robot: topics and services in, plain values out."""
