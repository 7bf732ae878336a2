# SPDX-License-Identifier: Apache-2.0

"""The doctor's look at a running graph, in groups of findings."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from vla_core.profile import Profile
from vla_teleop.cameras.session import session

from vla_bringup.doctor.findings import Group
from vla_bringup.doctor.graph import NAME, look
from vla_bringup.doctor.live_cameras import judge_cameras
from vla_bringup.doctor.live_robot import judge_commands, judge_joints, judge_monitors, judge_nodes
from vla_bringup.doctor.live_streams import judge_clock, judge_streams
from vla_bringup.doctor.samples import Graph


def live_groups(
    profile: Profile, options: argparse.Namespace, *, name: str = NAME, over: Callable[[], bool] = lambda: False
) -> list[Group]:
    """Listen to the graph and judge it.

    Args:
        profile: Of the robot.
        options: With seconds, namespace and camera_settings.
        name: Of the node that listens.
        over: Whether to listen no longer; what was heard up to then is judged.
    """
    arguments = ["--ros-args", "-r", f"__ns:=/{options.namespace.strip('/')}"] if options.namespace.strip("/") else []
    with session(name, arguments) as node:
        graph = look(node, profile, options.seconds, over=over)
    return judge(profile, graph, options.camera_settings)


def judge(profile: Profile, graph: Graph, camera_settings: str | None = None) -> list[Group]:
    """Return all findings about a graph.

    Args:
        profile: Of the robot.
        graph: What was seen.
        camera_settings: File with the settings that the cameras must have.
    """
    return [
        Group("nodes and time", (*judge_nodes(graph), *judge_clock(graph))),
        Group("streams", tuple(judge_streams(profile, graph))),
        Group("cameras", tuple(judge_cameras(profile, graph, camera_settings))),
        Group("robot", (*judge_monitors(profile, graph), *judge_commands(profile, graph))),
        Group("joints", tuple(judge_joints(profile, graph))),
    ]
