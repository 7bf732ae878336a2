# SPDX-License-Identifier: Apache-2.0

"""The recorder against a driver with a camera, joints and commands, in one process over real DDS."""

import json
import os
import random
import threading
from pathlib import Path

import pytest
import rclpy
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from vla_common.params import overrides
from vla_common.services import call_service, send_goal
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import EpisodeEvent
from vla_msgs.srv import DiscardEpisode, SetTask, StartEpisode, StopEpisode
from vla_recorder.recorder_node import RecorderNode
from vla_recorder.testing import PROFILE, wait_for, write_profile

Result = RecordEpisode.Result


class Driver(Node):
    """Publishes what the profile names, with a best-effort camera as real drivers may have."""

    def __init__(self) -> None:
        super().__init__("driver")
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.images = self.create_publisher(Image, "front/image_raw", best_effort)
        self.joints = self.create_publisher(JointState, "joint_states", 10)
        self.commands = self.create_publisher(JointState, "command/arm", 10)
        self.create_publisher(String, "robot_description", latched).publish(String(data="<robot/>"))
        self.target = 0.0
        self.count = 0
        self.silent = False
        self.create_timer(0.02, self.step)

    def step(self) -> None:
        if self.silent:
            return
        stamp = self.get_clock().now().to_msg()
        state = JointState(name=["wrist_joint", "elbow_joint"], position=[0.5, self.target])
        state.header.stamp = stamp
        self.joints.publish(state)
        if self.count % 2 == 0:
            command = JointState(name=["elbow_joint", "wrist_joint"], position=[self.target, 0.5])
            command.header.stamp = stamp
            self.commands.publish(command)
            image = Image(height=24, width=32, encoding="rgb8", step=96, data=bytes([self.count % 256]) * 24 * 96)
            image.header.stamp = stamp
            self.images.publish(image)
        self.count += 1


class Bench:
    """Driver, recorder and a client node, spun by one thread each."""

    def __init__(self, folder: Path, **parameters: object) -> None:
        values = {"profile": str(write_profile(folder)), "output_dir": str(folder / "bags"), "min_free_gb": 0.0}
        self.recorder = RecorderNode(parameter_overrides=overrides({**values, **parameters}))
        self.driver = Driver()
        self.client = Node("client")
        self.nodes = [self.recorder, self.driver, self.client]
        self.executors = []
        self.threads = []
        for node in self.nodes:
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            thread = threading.Thread(target=executor.spin, daemon=True)
            thread.start()
            self.executors.append(executor)
            self.threads.append(thread)
        self.action = ActionClient(self.client, RecordEpisode, "recorder/record_episode")

    def call(self, kind, name, **fields):
        client = self.client.create_client(kind, f"recorder/{name}")
        return call_service(client, kind.Request(**fields))

    def ready(self) -> None:
        observed = [tap for tap in self.recorder._controller.taps.taps.values() if tap.plan.role == "observation"]
        wait_for(lambda: all(tap.last_ns for tap in observed), what="first messages of every observation")
        wait_for(lambda: any(tap.latched for tap in self.recorder._controller.taps.taps.values()), what="latched")

    def messages(self) -> int:
        return self.recorder._controller.snapshot().get("messages", 0)

    def close(self) -> None:
        for executor, thread in zip(self.executors, self.threads, strict=True):
            executor.shutdown(timeout_sec=2.0)
            thread.join(2.0)
        for node in self.nodes:
            node.destroy_node()


@pytest.fixture(scope="module", autouse=True)
def ros():
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def read_bag(folder: Path) -> tuple[dict, dict]:
    meta = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    topics: dict[str, list] = {}
    with (folder / meta["relative_file_paths"][0]).open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages(log_time_order=False):
            topics.setdefault(channel.topic, []).append((message, decoded))
    return meta, topics


def test_services_record_complete_bags(bench: Bench, tmp_path: Path) -> None:
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


def test_action_with_feedback_cancel_and_time_limit(bench: Bench) -> None:
    bench.ready()
    feedback = []
    goal = RecordEpisode.Goal(task="fold", max_duration=0.0, seed=7)
    run = send_goal(bench.action, goal, feedback=feedback.append)
    wait_for(lambda: feedback, what="feedback")
    run.cancel()
    outcome = run.wait(10.0)
    assert outcome.status == 5  # canceled
    assert outcome.result.termination == Result.TERMINATION_CANCELED
    assert outcome.result.error_code == Result.NONE
    assert Path(outcome.result.bag_path).is_dir()
    assert read_bag(Path(outcome.result.bag_path))[0]["custom_data"]["task"] == "fold"

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


def test_discard_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.ready()
    assert "no episode is open" in bench.call(DiscardEpisode, "discard").message
    assert "no episode is open" in bench.call(StopEpisode, "stop").message
    assert "the task is empty" in bench.call(SetTask, "set_task", task=" ").message
    assert bench.call(SetTask, "set_task", task="stack").success
    assert bench.call(StartEpisode, "start").success
    wait_for(lambda: bench.messages() > 10)
    assert bench.recorder._controller.snapshot()["task"] == "stack"
    assert bench.call(DiscardEpisode, "discard").success
    assert list((tmp_path / "bags").iterdir()) == []


def test_refuses_to_record_without_observations(bench: Bench, tmp_path: Path) -> None:
    bench.driver.silent = True
    answer = bench.call(StartEpisode, "start")
    if answer.success:  # the driver spoke before it was silenced
        pytest.skip("driver was quicker")
    assert "camera 'front': nothing received on /front/image_raw" in answer.message
    assert "Is the driver running?" in answer.message
    result = send_goal(bench.action, RecordEpisode.Goal()).wait(10.0).result
    assert result.error_code == Result.MISSING_TOPIC
    assert not (tmp_path / "bags").exists()


def test_unwritable_output_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = Bench(tmp_path, output_dir=str(tmp_path / "file" / "bags"))
    try:
        bench.ready()
        answer = bench.call(StartEpisode, "start")
        assert not answer.success
        assert "a part of the path is a file; choose another output_dir" in answer.message
    finally:
        bench.close()


def test_shutdown_closes_the_episode_as_incomplete(bench: Bench) -> None:
    bench.ready()
    run = send_goal(bench.action, RecordEpisode.Goal())
    wait_for(lambda: bench.messages() > 10)
    bench.recorder.close()
    outcome = run.wait(5.0)
    assert outcome.status == 6
    assert outcome.result.termination == Result.TERMINATION_SHUTDOWN
    meta, _ = read_bag(Path(outcome.result.bag_path))
    assert meta["custom_data"]["termination"] == "shutdown"


def test_profile_without_cameras_records(tmp_path: Path) -> None:
    lines = [line for line in PROFILE.splitlines() if "cameras" not in line and "front" not in line]
    profile = write_profile(tmp_path, "\n".join(lines) + "\n")
    bench = Bench(tmp_path)
    profile.write_text("\n".join(lines) + "\n")
    bench.close()
    recorder = RecorderNode(
        parameter_overrides=overrides({"profile": str(profile), "output_dir": str(tmp_path / "b"), "min_free_gb": 0.0})
    )
    try:
        assert "/front/image_raw" not in recorder._controller.taps.taps
    finally:
        recorder.destroy_node()
