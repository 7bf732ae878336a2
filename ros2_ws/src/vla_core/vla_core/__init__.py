# SPDX-License-Identifier: Apache-2.0

"""Profiles, codecs, frames, chunks and safety of the ROS 2 VLA workspace; NumPy and YAML only."""
