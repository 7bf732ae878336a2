# SPDX-License-Identifier: Apache-2.0

"""A node of a recording ends: then everything ends, and whoever reads the terminal is told what remains to be done."""

import signal

from launch import Action, LaunchContext
from launch.actions import LogInfo, OpaqueFunction, Shutdown
from vla_core.profile import Profile

_ASKED = (0, -signal.SIGINT, -signal.SIGTERM)


def ended(name: str, hint: str) -> list[Action]:
    """Actions for `on_exit` of a node: shut down, and say `hint` if the node died by itself.

    Args:
        name: Of the node.
        hint: What remains, and what to do.
    """

    def tell(context: LaunchContext) -> list[Action]:
        code = context.locals.event.returncode
        if context.is_shutdown or code in _ASKED:
            return []
        return [LogInfo(msg=f"the node {name} died (exit code {code}), so everything is ended. {hint}")]

    return [OpaqueFunction(function=tell), Shutdown(reason=f"the node {name} ended")]


def recorder_hint(folder: str) -> str:
    """What remains when the recorder has died; `folder` has the episodes."""
    return (
        f"What was recorded up to then is kept: close the open episode with `ros2 run vla_recorder repair {folder}`, then "
        "start again"
    )


def arm_hint(profile: Profile) -> str:
    """What remains when a node that drives the arm has died."""
    text = "The open episode is saved as incomplete, the arm stands still. Start again"
    for teleop in profile.teleops:
        manager = "" if len(profile.teleops) == 1 else f" -c {teleop.manager}"
        text += (
            f"; if the robot's driver runs on and {teleop.stream_controller} has the arm, give it back first: ros2 control "
            f"switch_controllers{manager} --deactivate {teleop.stream_controller} --activate "
            f"{teleop.trajectory_controller}"
        )
    return text
