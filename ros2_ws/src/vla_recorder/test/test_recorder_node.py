# SPDX-License-Identifier: Apache-2.0

"""The recorder against a driver with a camera, joints and commands, in one process over real DDS."""

import json
from pathlib import Path

import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from vla_common.qos import EVENT, LATCHED
from vla_common.services import send_goal
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import EpisodeEvent, PolicyStatus, SimTick, SimTickDone
from vla_msgs.srv import DiscardEpisode, SetTask, StartEpisode, StopEpisode
from vla_recorder.testing import PROFILE, read_bag, wait_for, write_profile

Result = RecordEpisode.Result


def test_services_record_complete_bags(bench, tmp_path: Path) -> None:
    bench.ready()
    assert not (tmp_path / "bags").exists(), "nothing may be written before it is asked for"
    folders = []
    for seed in (3, 4):
        started = bench.call(StartEpisode, "start", task="", seed=seed)
        assert started.success, started.message
        assert started.bag_path.endswith(".open")
        again = bench.call(StartEpisode, "start")
        assert not again.success
        assert "is being recorded; stop or discard it" in again.message
        wait_for(lambda: bench.messages() > 40)
        bench.driver.target = 0.1 * seed
        wait_for(lambda: bench.recorder._controller.snapshot().get("phase") == EpisodeEvent.TELEOP, what="TELEOP")
        stopped = bench.call(StopEpisode, "stop", outcome=Result.OUTCOME_SUCCESS)
        assert stopped.success, stopped.message
        folders.append(Path(stopped.bag_path))
    assert sorted(path.name for path in (tmp_path / "bags").iterdir()) == sorted(path.name for path in folders)
    for seed, folder in zip((3, 4), folders, strict=True):
        meta, topics = read_bag(folder)
        custom = meta["custom_data"]
        assert (custom["task"], custom["outcome"], custom["seed"]) == ("lift the block", "success", str(seed))
        assert custom["termination"] == "stopped"
        assert "robot: test_arm" in custom["profile"]
        assert json.loads(custom["topics"])["/joint_states"]["messages"] == len(topics["/joint_states"])
        assert topics["/robot_description"][0][1].data == "<robot/>", "latched messages belong into every bag"
        assert [event.phase for _, event in topics["/episode/event"]] == [
            EpisodeEvent.ARMED,
            EpisodeEvent.TELEOP,
            EpisodeEvent.IDLE,
        ]
        for message, image in topics["/front/image_raw"]:
            stamp = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
            assert message.publish_time == stamp <= message.log_time
            assert bytes(image.data) == bytes([image.data[0]]) * 24 * 96
        counts = {t["topic_metadata"]["name"]: t["message_count"] for t in meta["topics_with_message_count"]}
        assert counts["/front/image_raw"] == len(topics["/front/image_raw"]) > 5
        reliability = {
            t["topic_metadata"]["name"]: [q["reliability"] for q in t["topic_metadata"]["offered_qos_profiles"]]
            for t in meta["topics_with_message_count"]
        }
        assert reliability["/front/image_raw"] == ["best_effort"]


def test_bags_are_read_by_rosbag2(bench) -> None:
    import rosbag2_py

    bench.ready()
    assert bench.call(StartEpisode, "start").success
    wait_for(lambda: bench.messages() > 20)
    folder = bench.call(StopEpisode, "stop").bag_path
    reader = rosbag2_py.SequentialReader()
    reader.open(
        rosbag2_py.StorageOptions(uri=folder, storage_id="mcap"),
        rosbag2_py.ConverterOptions(input_serialization_format="cdr", output_serialization_format="cdr"),
    )
    types = {topic.name: topic.type for topic in reader.get_all_topics_and_types()}
    assert types["/front/image_raw"] == "sensor_msgs/msg/Image"
    found = 0
    while reader.has_next():
        topic, data, _ = reader.read_next()
        if topic == "/joint_states":
            assert sorted(deserialize_message(data, JointState).name) == ["elbow_joint", "wrist_joint"]
            found += 1
    assert found > 5


def test_lockstep_ticks_are_answered_after_their_messages_are_in_the_bag(make_bench) -> None:
    bench = make_bench(lockstep=True)
    bench.ready()
    bench.driver.silent = True
    assert bench.call(StartEpisode, "start").success
    answered = []
    bench.client.create_subscription(SimTickDone, "sim/tick_done", lambda msg: answered.append(msg.number), EVENT)
    ticks = bench.driver.create_publisher(SimTick, "sim/tick", LATCHED)
    wait_for(lambda: ticks.get_subscription_count() >= 1, what="the recorder listens to ticks")
    wait_for(lambda: bench.driver.count_subscribers("/joint_states") >= 1)
    stamp = bench.driver.get_clock().now().to_msg()
    ticks.publish(SimTick(stamp=stamp, number=1, topics=["/joint_states"], last_stamps=[stamp]))
    before = bench.messages()
    state = JointState(name=["wrist_joint", "elbow_joint"], position=[0.0, 0.0])
    state.header.stamp = stamp
    bench.driver.joints.publish(state)
    wait_for(lambda: answered, what="the answer to the tick")
    assert answered == [1]
    assert bench.messages() > before
    assert bench.call(StopEpisode, "stop").success


def test_motion_while_a_policy_runs_is_its_own_phase(bench) -> None:
    bench.ready()
    status = bench.driver.create_publisher(PolicyStatus, "policy/status", LATCHED)
    status.publish(PolicyStatus(state=PolicyStatus.RUNNING))
    wait_for(lambda: bench.recorder._controller._policy_drives, what="the policy's status")
    assert bench.call(StartEpisode, "start").success
    wait_for(lambda: bench.messages() > 20)
    bench.driver.target = 0.3
    wait_for(lambda: bench.recorder._controller.snapshot().get("phase") == EpisodeEvent.POLICY, what="POLICY")
    _, topics = read_bag(Path(bench.call(StopEpisode, "stop").bag_path))
    assert topics["/policy/status"][0][1].state == PolicyStatus.RUNNING


def test_action_with_feedback_cancel_and_time_limit(bench) -> None:
    bench.ready()
    feedback = []
    goal = RecordEpisode.Goal(task="fold", max_duration=0.0, seed=7, operator_name="ada", notes="left lamp is off")
    run = send_goal(bench.action, goal, feedback=feedback.append)
    wait_for(lambda: feedback, what="feedback")
    run.cancel()
    outcome = run.wait(10.0)
    assert outcome.status == 5  # canceled
    assert outcome.result.termination == Result.TERMINATION_CANCELED
    assert outcome.result.error_code == Result.NONE
    assert Path(outcome.result.bag_path).is_dir()
    custom = read_bag(Path(outcome.result.bag_path))[0]["custom_data"]
    assert (custom["task"], custom["seed"], custom["operator"], custom["notes"]) == (
        "fold",
        "7",
        "ada",
        "left lamp is off",
    )

    limited = send_goal(bench.action, RecordEpisode.Goal(max_duration=0.3)).wait(10.0)
    assert limited.succeeded
    assert limited.result.termination == Result.TERMINATION_TIMEOUT
    assert 0.3 <= limited.result.duration < 2.0

    first = send_goal(bench.action, RecordEpisode.Goal())
    second = send_goal(bench.action, RecordEpisode.Goal()).wait(10.0)
    assert second.status == 6  # aborted
    assert second.result.error_code == Result.ALREADY_RECORDING
    stopped = bench.call(StopEpisode, "stop", outcome=Result.OUTCOME_FAILURE)
    assert stopped.success
    assert first.wait(10.0).result.outcome == Result.OUTCOME_FAILURE


def test_discard_leaves_nothing(bench, tmp_path: Path) -> None:
    bench.ready()
    assert "no episode is open" in bench.call(DiscardEpisode, "discard").message
    assert "no episode is open" in bench.call(StopEpisode, "stop").message
    assert "the task is empty" in bench.call(SetTask, "set_task", task=" ").message
    assert bench.call(SetTask, "set_task", task="stack").success
    assert bench.call(StartEpisode, "start").success
    wait_for(lambda: bench.messages() > 10)
    assert bench.recorder._controller.snapshot()["task"] == "stack"
    assert bench.call(DiscardEpisode, "discard").success
    assert [path.name for path in (tmp_path / "bags").iterdir()] == [".discarded"]
    bench.recorder.close()
    assert list((tmp_path / "bags").iterdir()) == [], "discarded episodes are gone when the recorder ends"


def test_refuses_to_record_without_observations(bench, tmp_path: Path) -> None:
    bench.driver.silent = True
    answer = bench.call(StartEpisode, "start")
    if answer.success:  # the driver spoke before it was silenced
        pytest.skip("driver was quicker")
    assert "camera 'front': nothing received on /front/image_raw" in answer.message
    assert "Is the driver running?" in answer.message
    result = send_goal(bench.action, RecordEpisode.Goal()).wait(10.0).result
    assert result.error_code == Result.MISSING_TOPIC
    assert not (tmp_path / "bags").exists()


def test_unwritable_output_is_reported(make_bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = make_bench(output_dir=str(tmp_path / "file" / "bags"))
    bench.ready()
    answer = bench.call(StartEpisode, "start")
    assert not answer.success
    assert "a part of the path is a file; choose another output_dir" in answer.message


def test_shutdown_closes_the_episode_as_incomplete(bench) -> None:
    bench.ready()
    run = send_goal(bench.action, RecordEpisode.Goal())
    wait_for(lambda: bench.messages() > 10)
    bench.recorder.close()
    outcome = run.wait(5.0)
    assert outcome.status == 6
    assert outcome.result.termination == Result.TERMINATION_SHUTDOWN
    meta, _ = read_bag(Path(outcome.result.bag_path))
    assert meta["custom_data"]["termination"] == "shutdown"


def test_shutdown_while_armed_leaves_nothing(make_bench, tmp_path: Path) -> None:
    bench = make_bench(record_from="motion")
    bench.ready()
    run = send_goal(bench.action, RecordEpisode.Goal())
    wait_for(lambda: bench.recorder._controller.recording)
    bench.recorder.close()
    result = run.wait(5.0).result
    assert (result.termination, result.bag_path, result.messages) == (Result.TERMINATION_SHUTDOWN, "", 0)
    assert list((tmp_path / "bags").iterdir()) == []


def test_a_start_may_bring_its_own_time_limit(bench) -> None:
    bench.ready()
    started = bench.call(StartEpisode, "start", max_duration=0.3, operator_name="ada")
    assert started.success
    wait_for(lambda: bench.recorder._controller.shelf.last, what="the time limit")
    custom = read_bag(Path(started.bag_path.removesuffix(".open")))[0]["custom_data"]
    assert (custom["termination"], custom["skill_outcome"], custom["operator"]) == ("timeout", "timeout", "ada")


def test_profile_without_cameras_records(make_bench, tmp_path: Path) -> None:
    lines = [line for line in PROFILE.splitlines() if "cameras" not in line and "front" not in line]
    bench = make_bench(profile=str(write_profile(tmp_path, "\n".join(lines) + "\n", "blind.yaml")))
    bench.ready()
    assert bench.call(StartEpisode, "start").success
    wait_for(lambda: bench.messages() > 10)
    answer = bench.call(StopEpisode, "stop")
    assert answer.success
    _, topics = read_bag(Path(answer.bag_path))
    assert "/front/image_raw" not in topics
    assert topics["/joint_states"]
