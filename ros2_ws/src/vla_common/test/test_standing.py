# SPDX-License-Identifier: Apache-2.0

"""Targets stand while an arm goes from hand to hand, and no longer: one value at a time, never silent for 0.1 s."""

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from vla_common.action_channel import time_message
from vla_common.standing import AWAY, LONGEST_NS, QUIET_NS, StandingTargets
from vla_common.targets import TargetPublisher
from vla_core.profile import parse_profile
from vla_core.stamps import stamp_ns
from vla_core.testing import PROFILE

MS = 1_000_000
ARM, GRIPPER = np.array([0.1, -0.2]), np.array([0.02])
FRESH_NS = 100 * MS


class Wire:
    """Topics of one process: what is published is heard by every node at once."""

    def __init__(self):
        self.listeners, self.sent = [], []

    def node(self, name):
        return Peer(self, name)


class Peer:
    """As much of a node as publishers and subscriptions of targets need."""

    def __init__(self, wire, name):
        self.wire, self.name = wire, name

    def get_fully_qualified_name(self):
        return f"/{self.name}"

    def create_publisher(self, kind, topic, qos):
        peer = self

        class Publisher:
            def publish(self, msg):
                peer.wire.sent.append((topic, msg))
                for heard, callback in peer.wire.listeners:
                    if heard == topic:
                        callback(msg)

        return Publisher()

    def create_subscription(self, kind, topic, callback, qos):
        self.wire.listeners.append((topic, callback))


class Driver:
    """A node that drives arm and gripper."""

    def __init__(self, wire, name):
        node, profile = wire.node(name), parse_profile(PROFILE)
        self.targets = TargetPublisher(node, profile)
        self.standing = StandingTargets(node, profile, self.targets, ["arm", "gripper"])

    def command(self, t_ns, arm):
        self.targets.publish("arm", t_ns, arm)
        self.targets.publish("gripper", t_ns, GRIPPER)

    def keep(self, t_ns, measured=ARM, *, taking=False):
        self.standing.publish(t_ns, {"arm": measured}, taking=taking)


@pytest.fixture
def wire():
    return Wire()


def arm_values(wire):
    """Stamp [ms] and first joint of what was said of the arm."""
    return [(stamp_ns(msg) // MS, msg.position[0]) for topic, msg in wire.sent if topic == "command/arm"]


def test_nothing_is_said_before_something_stands(wire):
    driver = Driver(wire, "giver")
    driver.keep(0)
    assert wire.sent == []
    assert not driver.standing.held
    assert driver.standing.heard("arm") is None


def test_what_was_commanded_last_stands(wire):
    driver = Driver(wire, "giver")
    driver.command(0, ARM)
    driver.standing.stand(0, driver.targets.last)
    driver.keep(20 * MS)
    assert arm_values(wire) == [(0, 0.1), (20, 0.1)]
    assert {msg.header.frame_id for _, msg in wire.sent} == {"/giver"}
    assert [topic for topic, _ in wire.sent] == ["command/arm", "command/gripper"] * 2


def test_a_hand_over_is_neither_silent_nor_two_valued(wire):
    """The taker speaks up for the standing target, is silent while it plans, and then drives."""
    giver, taker = Driver(wire, "giver"), Driver(wire, "taker")
    giver.command(0, ARM)
    giver.standing.stand(0, giver.targets.last)
    taking, planned, driven = range(60, 160, 20), 160, range(400, 500, 20)
    for t in range(20, 500, 20):
        if t == taking.start:
            taker.standing.stand(t * MS, {name: taker.standing.heard(name) for name in ("arm", "gripper")})
        if t in taking or t == driven.start - 20:
            taker.keep(t * MS, taking=True)
        elif t in driven:
            taker.command(t * MS, ARM + 0.001 * (t - driven.start + 20))
        giver.keep(t * MS)
        assert giver.standing.held == (t < driven.start)
    values = arm_values(wire)
    gaps = np.diff(sorted(t for t, _ in values))
    assert gaps.max() * MS < FRESH_NS
    by_time = {t: {value for at, value in values if at == t} for t, _ in values}
    assert all(len(said) == 1 for said in by_time.values()), by_time
    changes = [value for t, said in sorted(by_time.items()) for value in said]
    assert changes == sorted(changes), "the old value came back after a new one"
    alone = [
        t for t, msg in ((stamp_ns(m) // MS, m) for _, m in wire.sent) if msg.header.frame_id == "/giver" and t > 60
    ]
    assert min(alone) * MS >= taking[-1] * MS + QUIET_NS > planned * MS, "the giver is silent while the taker speaks"


@pytest.mark.parametrize("why", ["new command", "moved", "too long"])
def test_what_no_longer_stands_is_not_said(wire, why):
    giver, other = Driver(wire, "giver"), Driver(wire, "other")
    giver.standing.stand(0, {"arm": ARM, "gripper": GRIPPER})
    measured, t = ARM, 20 * MS
    if why == "new command":
        other.command(10 * MS, ARM + 0.001)
    elif why == "moved":
        measured = ARM + 2 * AWAY
    else:
        t = LONGEST_NS + 1
    before = len(wire.sent)
    giver.keep(t, measured)
    giver.keep(t + 200 * MS, ARM)
    assert len(wire.sent) == before
    assert not giver.standing.held


def test_what_was_said_before_does_not_end_it(wire):
    """Messages that were on their way when the arm was handed over."""
    giver, other = Driver(wire, "giver"), Driver(wire, "other")
    other.command(10 * MS, ARM + 0.5)
    giver.standing.stand(10 * MS, {"arm": ARM, "gripper": GRIPPER})
    giver.keep(20 * MS)
    assert giver.standing.held
    assert arm_values(wire)[-1] == (20, 0.1)


def test_messages_of_other_joints_are_not_heard(wire):
    driver = Driver(wire, "giver")
    msg = JointState(name=["elbow_joint"], position=[1.0])
    msg.header.stamp = time_message(1)
    for topic, callback in wire.listeners:
        if topic == "command/arm":
            callback(msg)
    assert driver.standing.heard("arm") is None
