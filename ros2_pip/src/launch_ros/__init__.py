# SPDX-License-Identifier: Apache-2.0

"""Clean-room subset of the ROS 2 package ``launch_ros`` for machines that do not have it.

Nodes with parameters, remappings and namespaces; components and lifecycle nodes are refused by name.
"""

from launch_ros import actions, parameter_descriptions, substitutions

__all__ = ["actions", "parameter_descriptions", "substitutions"]
