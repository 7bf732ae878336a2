# SPDX-License-Identifier: Apache-2.0

"""Actions a launch description can hold."""

from launch.actions.declare_launch_argument import DeclareLaunchArgument
from launch.actions.environment import AppendEnvironmentVariable, SetEnvironmentVariable, UnsetEnvironmentVariable
from launch.actions.events import EmitEvent, RegisterEventHandler, Shutdown, UnregisterEventHandler
from launch.actions.execute_process import ExecuteLocal, ExecuteProcess
from launch.actions.general import LogInfo, OpaqueFunction
from launch.actions.group_action import GroupAction
from launch.actions.include_launch_description import IncludeLaunchDescription
from launch.actions.scopes import (
    PopEnvironment,
    PopLaunchConfigurations,
    PushEnvironment,
    PushLaunchConfigurations,
    ResetLaunchConfigurations,
    SetLaunchConfiguration,
    UnsetLaunchConfiguration,
)
from launch.actions.timer_action import TimerAction
from launch.unsupported import refuse

__all__ = [
    "AppendEnvironmentVariable",
    "DeclareLaunchArgument",
    "EmitEvent",
    "ExecuteLocal",
    "ExecuteProcess",
    "GroupAction",
    "IncludeLaunchDescription",
    "LogInfo",
    "OpaqueFunction",
    "PopEnvironment",
    "PopLaunchConfigurations",
    "PushEnvironment",
    "PushLaunchConfigurations",
    "RegisterEventHandler",
    "ResetLaunchConfigurations",
    "SetEnvironmentVariable",
    "SetLaunchConfiguration",
    "Shutdown",
    "TimerAction",
    "UnregisterEventHandler",
    "UnsetEnvironmentVariable",
    "UnsetLaunchConfiguration",
]

__getattr__ = refuse(
    __name__,
    frozenset({"ForEach", "ForLoop", "OpaqueCoroutine", "ReplaceEnvironmentVariables", "ResetEnvironment"}),
)
