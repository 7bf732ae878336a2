# SPDX-License-Identifier: Apache-2.0

"""Lines by which OpenVLA, OpenVLA-OFT and OpenPI learn of a dataset of six joints and one gripper."""
