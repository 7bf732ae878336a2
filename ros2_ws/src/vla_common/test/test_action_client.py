# SPDX-License-Identifier: Apache-2.0

"""An answer that overtakes the bookkeeping of its request still arrives."""

import threading
import time

import pytest
import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionServer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_common.action_client import GoalClient
from vla_common.services import send_goal
from vla_msgs.action import RecordEpisode


@pytest.fixture
def served():
    started = not rclpy.ok()
    if started:
        rclpy.init()
    nodes = [Node("server"), Node("client")]

    def finish(handle):
        handle.succeed()
        return RecordEpisode.Result(episode_uuid="done")

    ActionServer(nodes[0], RecordEpisode, "race/record", finish)
    executors = []
    for node in nodes:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        threading.Thread(target=executor.spin, daemon=True).start()
        executors.append(executor)
    yield nodes[1]
    for executor in executors:
        executor.shutdown(timeout_sec=2.0)
    for node in nodes:
        node.destroy_node()
    if started:
        rclpy.try_shutdown()


class _Slow:
    """The middleware's client, with a thread switch right after each request was sent."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        attribute = getattr(self._inner, name)
        if not name.startswith("send_"):
            return attribute

        def send(*args):
            number = attribute(*args)
            time.sleep(0.05)  # the answer arrives meanwhile
            return number

        return send


def test_answers_that_come_at_once_are_not_lost(served: Node) -> None:
    client = GoalClient(served, RecordEpisode, "race/record")
    assert client.wait_for_server(timeout_sec=10.0)
    handle = client._client_handle
    client._client_handle = _Slow(handle)
    try:
        outcome = send_goal(client, RecordEpisode.Goal(), timeout_s=5.0).wait(5.0)
    finally:
        client._client_handle = handle
    assert outcome.status == GoalStatus.STATUS_SUCCEEDED
    assert outcome.result.episode_uuid == "done"
