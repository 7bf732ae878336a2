# SPDX-License-Identifier: Apache-2.0

"""The web server of the page: files, one WebSocket, commands. Knows no ROS."""
