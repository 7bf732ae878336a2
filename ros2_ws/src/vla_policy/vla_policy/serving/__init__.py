# SPDX-License-Identifier: Apache-2.0

"""Policies over a network: server and client, without ROS."""
