# SPDX-License-Identifier: Apache-2.0

"""Descriptions of parameters under their second address; composable nodes are refused by name."""

from launch.unsupported import refuse

from launch_ros.parameter_descriptions import Parameter, ParameterFile, ParameterValue

__all__ = ["Parameter", "ParameterFile", "ParameterValue"]

__getattr__ = refuse(__name__, frozenset({"ComposableNode", "ComposableLifecycleNode"}))
