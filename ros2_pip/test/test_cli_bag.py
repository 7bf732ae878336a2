# SPDX-License-Identifier: Apache-2.0

"""``ros2 bag``: what was recorded is played again; only the command line is used, so the original passes, too."""

import signal

import pytest


@pytest.fixture(scope="module")
def bag(ros2, cli_node, tmp_path_factory):
    """Record the node for a moment: a sensor topic, a latched one, and one that appears later."""
    folder = tmp_path_factory.mktemp("bags") / "a bag"
    topics = ("/my_ns/joint_states", "/my_ns/description", "/late")
    command = ros2("bag", "record", "-s", "mcap", "-o", folder, "--topics", *topics)
    command.wait_for(lambda running: "joint_states'" in running.err and "description'" in running.err)
    late = ros2("topic", "pub", "-r", "20", "/late", "std_msgs/msg/String", "data: later")
    command.wait_for(lambda running: "late'" in running.err)
    late.wait_for(lambda running: running.out.count("publishing") >= 60).interrupt().wait(None)
    command.interrupt().wait(0)
    return folder


def test_info(ros2, bag):
    text = ros2("bag", "info", bag).wait().out
    assert "Storage id:        mcap" in text
    counts = {}
    for line in text.splitlines():
        if "Topic: " in line:
            parts = dict(part.split(": ") for part in line[line.index("Topic: ") :].split(" | "))
            counts[parts["Topic"]] = (parts["Type"], int(parts["Count"]))
    assert counts["/my_ns/description"] == ("std_msgs/msg/String", 1)
    assert counts["/my_ns/joint_states"][0] == "sensor_msgs/msg/JointState"
    assert counts["/my_ns/joint_states"][1] > 10
    assert counts["/late"][1] > 1


def test_play(ros2, bag):
    clock = ros2("topic", "echo", "--csv", "/clock", "rosgraph_msgs/msg/Clock")
    latched = ros2("topic", "echo", "--once", "/again", "std_msgs/msg/String", "--qos-durability", "transient_local")
    joints = ros2("topic", "echo", "--field", "header.frame_id", "/my_ns/joint_states", "sensor_msgs/msg/JointState")
    play = ros2("bag", "play", bag, "--clock", "50", "--rate", "2", "-d", "1", "-m", "/my_ns/description:=/again")
    assert latched.wait().lines == ["data: <robot/>", "---"]
    play.wait(0)
    assert joints.interrupt().wait(signal.SIGINT).lines.count("base_link") > 5
    stamps = [tuple(map(int, line.split(","))) for line in clock.interrupt().wait(signal.SIGINT).lines]
    assert len(stamps) > 10
    assert stamps == sorted(stamps)


def test_play_only_some_topics_in_a_loop_until_interrupted(ros2, bag):
    late = ros2("topic", "echo", "/late", "std_msgs/msg/String")
    play = ros2("bag", "play", bag, "--loop", "--rate", "20", "--topics", "/late")
    late.wait_for(lambda running: running.lines.count("data: later") > 30).interrupt().wait(signal.SIGINT)
    play.interrupt().wait(None)


def test_what_cannot_be_done_is_refused(ros2, bag):
    existing = ros2("bag", "record", "-a", "-o", bag)
    nothing = ros2("bag", "record")
    missing = ros2("bag", "play", bag / "nope")
    assert "already exists" in existing.wait(1).err
    assert "--all" in nothing.wait(1).err
    assert "does not exist" in missing.wait(2).err
