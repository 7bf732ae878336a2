# SPDX-License-Identifier: Apache-2.0

"""What a recorder must not lose or change: messages while the machine is busy, and those of cameras that misbehave."""

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from vla_msgs.srv import StartEpisode, StopEpisode
from vla_recorder.testing import read_bag, wait_for
from vla_recorder.testing.load import kept_messages
from vla_recorder.testing.site import CAMERAS, SMALL, STREAMS, Site, exact, file_of, growing, rarest

NS = 1_000_000_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


# ---------------------------------------------------------------------------------------------------- busy machine


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_a_recorder_that_stands_still_for_a_second_loses_nothing(site: Site, monkeypatch, reliability: str) -> None:
    shipped = Path(__file__).resolve().parents[2] / "vla_bringup" / "config" / "fastdds_shm.xml"
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(shipped))
    many = tuple(replace(stream, rate_hz=500.0) for stream in SMALL)
    for streams in (*((camera,) for camera in CAMERAS), many):
        site.publish(*streams, reliability=reliability)
    program = site.record()
    folder = site.operator.start(30.0)
    wait_for(growing(folder, 200_000), what="data on the disk")
    program.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    program.process.send_signal(signal.SIGCONT)
    resumed_ns = time.time_ns()

    def caught_up() -> bool:
        times = [kept.log_ns for kept in kept_messages(file_of(folder), many)["joint_states"]]
        return max(times) > resumed_ns + NS // 2

    wait_for(caught_up, what="data of later")
    answer = site.operator.stop()
    assert answer.success, answer.message
    kept = kept_messages(file_of(Path(answer.bag_path)), STREAMS, digests=True)
    counts = exact(kept, site.sent())
    assert counts["joint_states"] > 500


def test_messages_wait_while_the_executor_stands_still(make_bench) -> None:
    bench = make_bench(record_from="start")
    bench.ready()
    publisher = bench.driver.create_publisher(JointState, "joint_states", 1000)
    wait_for(lambda: publisher.get_subscription_count() >= 1, what="the recorder listens")
    assert bench.call(StartEpisode, "start").success
    blocked, release = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        release.wait(10)

    bench.recorder.executor.create_task(block)
    assert blocked.wait(5)
    for number in range(600):  # more than a second at 500 Hz
        publisher.publish(JointState(name=["elbow_joint", "wrist_joint"], position=[0.0, 0.0], effort=[number, 0.0]))
    assert publisher.wait_for_all_acked(Duration(seconds=5))
    tap = bench.recorder._controller.taps.taps["/joint_states"]
    before = tap.messages
    release.set()
    wait_for(lambda: tap.messages >= before + 600, what="what has waited")
    answer = bench.call(StopEpisode, "stop")
    _, topics = read_bag(Path(answer.bag_path))
    numbers = [state.effort[0] for _, state in topics["/joint_states"] if state.effort]
    assert numbers == list(range(600))
    received = [message.log_time for message, state in topics["/joint_states"] if state.effort]
    assert received == sorted(received)
    assert received[-1] - received[0] > 0, "the time of reception is the middleware's, not the executor's"


# ------------------------------------------------------------------------------------------------ strange publishers


def test_cameras_that_restart_and_clocks_that_jump_are_recorded_as_they_are(site: Site) -> None:
    front, wrist = CAMERAS
    joints, command, wrench = SMALL
    site.publish(replace(front, stamp="zero"))
    other = site.publish(wrist)
    site.publish(replace(joints, stamp="back"), command, wrench)
    site.record(on_missing_stream="warn")
    folder = site.operator.start(30.0)
    wait_for(growing(folder, 300_000), what="data on the disk")
    sent = other.stop()
    wait_for(growing(folder, 300_000), what="data without the camera")
    site.publish(wrist, first=100_000)

    def back() -> bool:
        return any(kept.number >= 100_000 for kept in kept_messages(file_of(folder), [wrist])[wrist.topic])

    wait_for(back, what="the camera is back")
    answer = site.operator.stop()
    assert answer.success, answer.message
    assert "camera 'wrist': gap of" in answer.message
    sent += site.sent()
    episode = Path(answer.bag_path)
    kept = kept_messages(file_of(episode), STREAMS, digests=True)
    assert rarest(exact({topic: kept[topic] for topic in kept if topic != wrist.topic}, sent)) > 0
    numbers = [message.number for message in kept[wrist.topic]]
    turn = next(index for index, number in enumerate(numbers) if number >= 100_000)
    for part in (kept[wrist.topic][:turn], kept[wrist.topic][turn:]):
        exact({wrist.topic: part}, sent)
    _, topics = read_bag(episode)
    assert all(image.header.stamp.sec == 0 for _, image in topics["/front/image_raw"])
    log_times = [message.log_time for messages in topics.values() for message, _ in messages]
    assert max(log_times) - min(log_times) < 60 * NS, "receive times do not follow the stamps"
    stamps = [state.header.stamp.sec for _, state in topics["/joint_states"]]
    assert any(later < earlier for earlier, later in pairwise(stamps)), "the jump is in the bag"
