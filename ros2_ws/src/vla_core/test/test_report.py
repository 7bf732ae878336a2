# SPDX-License-Identifier: Apache-2.0

import json

import pytest
from vla_core.errors import CodecError
from vla_core.frames import FrameBuilder
from vla_core.profile import parse_profile
from vla_core.report import format_dropped, format_streams, stream_summary, table
from vla_core.stamps import tick_ns
from vla_core.testing import T0_NS, synthetic_events


def test_table():
    assert table(["name", "n", "rate"], [["arm", 10, 1.23456], ["gripper", 2, 30.0]]) == (
        "name      n   rate\narm      10  1.235\ngripper   2     30"
    )
    assert table(["a"], []) == "a"


def test_streams_of_a_builder(profile):
    builder = FrameBuilder(profile, actions=True)
    for event in synthetic_events(profile, 1.0):
        builder.push_topic(event.topic, event.receive_ns, event.msg)
    for i in range(10):
        builder.sample(tick_ns(T0_NS, i, profile.fps))
    builder.sample(T0_NS - 1)
    summary = json.loads(json.dumps(stream_summary(builder)))
    state = summary["observation.state.1"]
    assert (state["pushed"], state["ignored"], state["hit"], state["empty"]) == (100, 100, 10, 1)
    text = format_streams(summary)
    assert text.splitlines()[0].split()[:4] == ["stream", "messages", "hit", "empty"]
    assert len(text.splitlines()) == 6
    assert builder.dropped == {"observation.images.front: empty": 1}


def test_dropped():
    assert format_dropped(10, {}) == "10 frames, none dropped"
    assert format_dropped(7, {"a: stale": 1, "b: empty": 2}) == (
        "7 frames, 3 dropped of 10 (30.0 %): 2 x b: empty, 1 x a: stale"
    )


def test_synthetic_streams_are_the_same_every_time(profile, changed):
    first, second = synthetic_events(profile, 0.3), synthetic_events(profile, 0.3)
    assert first == second
    assert first != synthetic_events(profile, 0.3, seed=1)
    assert [e.receive_ns for e in first] == sorted(e.receive_ns for e in first)
    other = changed("fields: [position.finger_joint]", "type: sensor_msgs/msg/Joy, fields: ['axes[0]']").replace(
        "topic: joint_states, type", "topic: joy, type"
    )
    with pytest.raises(CodecError, match="no synthetic sensor_msgs/msg/Joy for topic joy; use JointState or Image"):
        synthetic_events(parse_profile(other), 0.1)
