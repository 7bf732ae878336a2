# SPDX-License-Identifier: Apache-2.0

"""What the policy predicts, as a topic for who watches."""

import numpy as np
import pytest
from policy_cell import wait_until
from policy_fixtures import small_profile
from trajectory_msgs.msg import JointTrajectory
from vla_common.qos import COMMAND
from vla_core.stamps import time_ns
from vla_policy.execution.timeline import Timeline
from vla_policy.node.chunk_publisher import ChunkPublisher, chunk_message

DT = 0.1


class CountedNode:
    """Stands in for a node; its publisher has as many subscribers as the test says."""

    def __init__(self, subscribers):
        self.subscribers, self.published = subscribers, []

    def create_publisher(self, kind, topic, qos):
        assert (kind, topic, qos) == (JointTrajectory, "~/chunk", COMMAND)
        return self

    def get_subscription_count(self):
        return self.subscribers

    def publish(self, msg):
        self.published.append(msg)


class Plan:
    predicted = Timeline(
        t0_ns=1_500_000_000,
        dt_s=DT,
        rows={"gripper": np.array([[0.0], [0.8], [0.8]]), "arm": np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])},
    )


def test_a_chunk_is_joint_targets_by_name_with_their_times():
    msg = chunk_message(small_profile(), Plan.predicted)
    assert list(msg.joint_names) == ["shoulder", "elbow", "finger"], "the profile's order, whatever the dictionary's"
    assert time_ns(msg.header.stamp) == 1_500_000_000
    assert [list(point.positions) for point in msg.points] == [[0.1, 0.2, 0.0], [0.3, 0.4, 0.8], [0.5, 0.6, 0.8]]
    assert [time_ns(point.time_from_start) for point in msg.points] == [0, 100_000_000, 200_000_000]


def test_nothing_is_computed_while_nobody_listens():
    node = CountedNode(0)
    ChunkPublisher(node, None).publish(None)
    assert node.published == []
    node.subscribers = 1
    ChunkPublisher(node, small_profile()).publish(Plan)
    assert len(node.published) == 1


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_node_publishes_each_chunk_that_it_follows(cell, dry_run):
    c = cell(dry_run=dry_run)
    seen = []
    c.robot.create_subscription(JointTrajectory, "policy/chunk", seen.append, COMMAND)
    _, result = c.result(c.send(max_duration=1.5))
    wait_until(lambda: len(seen) >= result.chunks - 1 > 0, what="a message per chunk")
    assert len(seen) <= result.chunks
    assert len(seen[0].points) == 8
    assert bool(c.robot.arm_goals) != dry_run
