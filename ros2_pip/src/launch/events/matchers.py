# SPDX-License-Identifier: Apache-2.0

"""Matchers that choose processes for :class:`launch.events.process.SignalProcess` and the like."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launch.action import Action

Matcher = Callable[[Any], bool]


def matches_action(target_action: "Action") -> Matcher:
    """Match the process of this action."""
    return lambda action: action is target_action


def matches_pid(pid: int) -> Matcher:
    """Match the process with this id."""
    return lambda action: bool((action.process_details or {}).get("pid") == pid)


def matches_name(name: str) -> Matcher:
    """Match the process with this name, e.g. ``talker-1``."""
    return lambda action: bool((action.process_details or {}).get("name") == name)


def matches_executable(executable_name: str) -> Matcher:
    """Match processes whose executable has this file name."""
    return lambda action: Path((action.process_details or {"cmd": [""]})["cmd"][0]).name == executable_name
