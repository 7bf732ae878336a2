# SPDX-License-Identifier: Apache-2.0

"""Leader arms: names, signs, offsets, units, motion, loss."""

import math

import pytest
from device_fixtures import CONFIGS, NS
from vla_core.errors import ProfileError
from vla_core.yamltree import parse
from vla_teleop.devices.leader_arm import read_leader_spec
from vla_teleop.devices.leader_mapping import LeaderCore
from vla_teleop.devices.settings import read_tree

TEXT = """
kind: leader_arm
topic: leader/joint_states
driver: {package: so101, executable: leader, parameters: {port: /dev/ttyACM0}}
unit: deg
joints:
  wrist: {from: b, sign: -1, offset: 10.0}
  shoulder: {from: a, offset: -90.0}
gripper: {from: g, open: 80.0, closed: 20.0}
moving: {window_s: 0.2, distance: 0.005, gripper: 0.01}
"""


def leader(text=TEXT):
    return LeaderCore(read_leader_spec(parse(text, "my.yaml")))


def test_degrees_with_sign_and_offset_become_radians_by_name():
    core = leader()
    assert core.read(NS) is None
    core.feed(NS, ["g", "a", "other", "b"], [50.0, 0.0, 9.0, 40.0])
    command = core.read(NS)
    assert command.joints == {"wrist": pytest.approx(math.radians(-30.0)), "shoulder": pytest.approx(math.pi / 2)}
    assert command.gripper == pytest.approx(0.5)
    assert not command.twist.any()
    assert command.pressed == ()
    assert core.raw() == {"g": 50.0, "a": 0.0, "other": 9.0, "b": 40.0}


@pytest.mark.parametrize(("value", "closing"), [(80.0, 0.0), (20.0, 1.0), (100.0, 0.0), (0.0, 1.0), (65.0, 0.25)])
def test_gripper_is_clamped(value, closing):
    core = leader()
    core.feed(NS, ["a", "b", "g"], [0.0, 0.0, value])
    assert core.read(NS).gripper == pytest.approx(closing)


def test_radians_are_taken_as_they_are():
    core = leader(TEXT.replace("deg", "rad"))
    core.feed(NS, ["a", "b", "g"], [-89.0, 10.5, 80.0])
    assert core.read(NS).joints == {"wrist": pytest.approx(-0.5), "shoulder": pytest.approx(1.0)}


def test_motion_is_a_distance_within_a_window():
    core = leader(TEXT.replace("deg", "rad"))

    def feed(first, count, step):
        moving = []
        for i in range(count):
            core.feed(first + i * 10_000_000, ["a", "b", "g"], [i * step, 0.0, 80.0])
            moving.append(core.read(first + i * 10_000_000).moving)
        return moving

    assert not any(feed(NS, 50, 0.0002))  # 0.02 rad/s: 0.004 rad in 0.2 s
    fast = feed(3 * NS, 50, 0.0005)
    assert not any(fast[:11])
    assert all(fast[11:])
    assert core.read(3 * NS + 700_000_000).moving is False  # silent
    core.feed(5 * NS, ["a", "b", "g"], [0.0, 0.0, 80.0])
    core.feed(5 * NS + 10_000_000, ["a", "b", "g"], [0.0, 0.0, 79.0])
    assert core.read(5 * NS + 10_000_000).moving  # the gripper by 1/60


def test_silence_gives_no_joints():
    core = leader()
    assert core.lost(NS) == (
        "leader arm: no message on leader/joint_states yet. Is its driver running? ros2 run so101 leader "
        "--ros-args -p port:=/dev/ttyACM0"
    )
    assert core.age_s(NS) == math.inf
    core.feed(NS, ["a", "b", "g"], [0.0, 0.0, 80.0])
    assert core.lost(NS) is None
    later = NS + 250_000_000
    assert core.age_s(later) == pytest.approx(0.25)
    command = core.read(later)
    assert command.joints is None
    assert command.gripper is None
    assert not command.moving
    assert core.lost(later).startswith(
        "leader arm: silent for 0.25 s on leader/joint_states (limit 0.2 s). Is it plugged"
    )


@pytest.mark.parametrize(
    ("names", "positions", "message"),
    [
        (["a", "b"], [0.0, 0.0], "have no joint 'g', only a, b; correct 'from' in the mapping"),
        (["a", "b", "g"], [0.0, 0.0], "3 names but 2 positions on leader/joint_states"),
        (
            ["a", "b", "g"],
            [0.0, math.nan, 0.0],
            "joint 'b' on leader/joint_states is not finite; restart its driver ros2 run so101",
        ),
    ],
)
def test_messages_that_cannot_be_used(names, positions, message):
    core = leader()
    core.feed(NS, names, positions)
    assert core.read(NS) is None
    assert message in core.lost(NS)
    core.feed(NS, ["a", "b", "g"], [0.0, 0.0, 80.0])
    assert core.read(NS).joints is not None
    core.feed(NS, names, positions)
    assert core.read(NS).joints is None


def test_gripper_with_a_topic_of_its_own():
    core = LeaderCore(read_leader_spec(read_tree(CONFIGS / "gello.yaml")))
    names = [one.leader for one in core.spec.joints]
    core.feed(NS, names, [0.1] * 6)
    assert core.read(NS).gripper is None
    core.feed_gripper(NS, 0.25)
    assert core.read(NS).gripper == pytest.approx(0.75)
    assert core.read(NS).joints == dict.fromkeys(names, 0.1)
    core.feed(2 * NS, names, [0.1] * 6)
    assert core.read(2 * NS).gripper is None  # too old


def test_so101_in_degrees():
    core = LeaderCore(read_leader_spec(read_tree(CONFIGS / "so101_leader.yaml")))
    names = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
    core.feed(NS, names, [90.0, -45.0, 30.0, 0.0, 180.0, 25.0])
    command = core.read(NS)
    assert list(command.joints.values()) == pytest.approx([math.pi / 2, -math.pi / 4, math.pi / 6, 0.0, math.pi])
    assert command.gripper == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("from: a", "from: b", "my.yaml:8: joints.shoulder: joint 'b' of the leader already drives 'wrist'"),
        ("sign: -1", "sign: 0.5", "joints.wrist.sign: must be 1 or -1, got 0.5"),
        ("unit: deg", "unit: degrees", "unit: 'degrees' is not one of rad, deg; did you mean 'deg'?"),
        ("closed: 20.0", "closed: 80.0", r"gripper.closed: equals 'open' \(80\), so the gripper has no travel"),
        ("driver: {package", "driver: {pakage", "driver.pakage: unknown key 'pakage'.*did you mean 'package'"),
        ("{from: g,", "{", "gripper: give either 'from' .* or 'topic'"),
        ("window_s: 0.2", "window_s: 0.0", "moving.window_s: must be larger than 0"),
        ("from: a", "fom: a", "unknown key 'fom'.*did you mean 'from'"),
    ],
)
def test_errors_name_the_place(old, new, message):
    with pytest.raises(ProfileError, match=message):
        leader(TEXT.replace(old, new, 1))


def test_a_leader_needs_joints():
    text = TEXT.replace("  wrist: {from: b, sign: -1, offset: 10.0}\n  shoulder: {from: a, offset: -90.0}\n", "  {}\n")
    with pytest.raises(ProfileError, match="joints: no joint; write <joint of the robot>"):
        leader(text)
