# SPDX-License-Identifier: Apache-2.0

"""Actions for ROS nodes and their surroundings."""

from launch.unsupported import refuse

from launch_ros.actions.node import Node
from launch_ros.actions.settings import (
    PushROSNamespace,
    PushRosNamespace,
    SetParameter,
    SetParametersFromFile,
    SetRemap,
    SetUseSimTime,
)

__all__ = [
    "Node",
    "PushROSNamespace",
    "PushRosNamespace",
    "SetParameter",
    "SetParametersFromFile",
    "SetRemap",
    "SetUseSimTime",
]

__getattr__ = refuse(
    __name__,
    frozenset(
        {
            "ComposableNodeContainer",
            "LifecycleNode",
            "LifecycleTransition",
            "LoadComposableNodes",
            "RosTimer",
            "ROSTimer",
            "SetROSLogDir",
        }
    ),
)
