# SPDX-License-Identifier: Apache-2.0

"""Robots with several arms and hands: every number is where its name is, however the robot publishes it."""

import numpy as np
import pytest
from vla_core.frames import STATE_KEY, FrameBuilder, features
from vla_core.profile import parse_profile
from vla_core.testing import T0_NS, joint_state

ARM = ["shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw"]
HAND = ["pinky", "ring", "middle", "index", "thumb_bend", "thumb_rotation"]
WAIST = ["waist_yaw", "waist_roll", "waist_pitch"]
RNG = np.random.default_rng(6)


def side(which, joints):
    return [f"{which}_{joint}" for joint in joints]


LEFT, RIGHT = side("left", ARM), side("right", ARM)
LEFT_HAND, RIGHT_HAND = side("left", HAND), side("right", HAND)
BASE = side("head", ["yaw", "pitch"]) + WAIST + side("base", ["x", "y", "turn"])
LAYOUTS = {
    "14: two arms": [LEFT, RIGHT],
    "26: arm, hand, arm, hand": [LEFT, LEFT_HAND, RIGHT, RIGHT_HAND],
    "26: arms, then hands": [LEFT, RIGHT, LEFT_HAND, RIGHT_HAND],
    "34: hands around the body": [RIGHT_HAND, BASE, LEFT, LEFT_HAND, RIGHT],
}


def value_of(joint):
    """Return the one number that this joint has in a test."""
    return (sum(ord(letter) * (i + 1) for i, letter in enumerate(joint)) % 997) / 331.0


def profile_of(parts, topic_of):
    lines = ["robot: two_arms", "fps: 30", "base_frame: pelvis", "tool_frame: hands", "task: pick", "state:"]
    stream = "rate_hz: 100, max_age_s: 0.1"
    for i, joints in enumerate(parts):
        fields = ", ".join(f"position.{joint}" for joint in joints)
        lines.append(f"  - {{topic: {topic_of(i)}, {stream}, fields: [{fields}]}}")
    lines.append("action:")
    for i, joints in enumerate(parts):
        ends = f"lower: {[-9.0] * len(joints)}, upper: {[9.0] * len(joints)}"
        lines.append(
            f"  - {{name: part_{i}, record: {{topic: {topic_of(i)}/command, {stream}}}, command: {{interface: none}},"
            f" joints: [{', '.join(joints)}], limits: {{{ends}}}}}"
        )
    return parse_profile("\n".join(lines))


def sampled(profile, groups):
    """Publish groups of joints, each group shuffled; return the frame."""
    builder = FrameBuilder(profile, actions=True)
    for topic, joints in groups:
        mixed = list(RNG.permutation([*joints, f"unused_{len(joints)}"]))
        positions = np.array([value_of(joint) for joint in mixed])
        builder.push_topic(topic, T0_NS, joint_state(T0_NS, mixed, positions))
        builder.push_topic(f"{topic}/command", T0_NS, joint_state(T0_NS, mixed[::-1], positions[::-1] + 1.0))
    return builder.sample(T0_NS)


@pytest.mark.parametrize("publishing", ["one topic", "one message", "a topic each"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_names_decide(name, publishing):
    parts = LAYOUTS[name]
    names = [joint for joints in parts for joint in joints]
    profile = profile_of(parts, (lambda i: f"joints_{i}") if publishing == "a topic each" else (lambda i: "joints"))
    groups = {
        "one topic": [("joints", joints) for joints in parts],
        "one message": [("joints", [joint for joints in parts for joint in joints])],
        "a topic each": [(f"joints_{i}", joints) for i, joints in enumerate(parts)],
    }[publishing]
    frame = sampled(profile, groups)
    assert len(frame.state) == int(name.partition(":")[0])
    assert features(profile)[STATE_KEY]["names"] == [f"{joint}.pos" for joint in names]
    assert frame.state64.tolist() == [value_of(joint) for joint in names]
    assert frame.action.tolist() == [np.float32(value_of(joint) + 1.0) for joint in names]
    assert frame.joints["part_1"].tolist() == [value_of(joint) for joint in parts[1]]
    assert len({value_of(joint) for joint in names}) > len(names) - 3  # numbers tell the joints apart
