# SPDX-License-Identifier: Apache-2.0

"""Nodes that leave the graph while a command asks them; a second process could not do it at the right moment."""

from collections.abc import Iterator

import pytest
from rclpy._rclpy_pybind11 import RCLError
from ros2_pip_cli.action import _nodes_of

ACTION = ("/gripper", ["control_msgs/action/GripperCommand"])


class Graph:
    """The lists of nodes that a command sees, one after the other."""

    node = None

    def __init__(self, *lists: list[str]):
        self._lists: Iterator[list[str]] = iter(lists)

    def nodes(self) -> list[str]:
        return next(self._lists)


def ask(_node, name, _namespace):
    if name == "left":
        raise RCLError("Failed to get action server names and type: error not set")
    return [ACTION] if name == "arm" else []


def test_a_node_that_has_left_is_passed_over():
    graph = Graph(["/left", "/my_ns/arm", "/other"], ["/my_ns/arm"])
    assert _nodes_of(graph, ask, "/gripper") == [("/my_ns/arm", ACTION[1])]


def test_a_node_that_is_there_and_cannot_be_asked_is_an_error():
    with pytest.raises(RCLError):
        _nodes_of(Graph(["/left"], ["/left"]), ask, "/gripper")
