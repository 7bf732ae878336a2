# SPDX-License-Identifier: Apache-2.0

"""Handlers for the common events."""

from launch.event_handler import EventHandler
from launch.event_handlers.general import OnExecutionComplete, OnIncludeLaunchDescription, OnShutdown
from launch.event_handlers.on_process import OnProcessExit, OnProcessIO, OnProcessStart

__all__ = [
    "EventHandler",
    "OnExecutionComplete",
    "OnIncludeLaunchDescription",
    "OnProcessExit",
    "OnProcessIO",
    "OnProcessStart",
    "OnShutdown",
]
