# SPDX-License-Identifier: Apache-2.0

"""Late joiners, latched and mixed publishers, patterns, compressed cameras, streams that fail: over real DDS."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vla_core.codecs import COMPRESSED_IMAGE
from vla_core.frames import Frame
from vla_core.profile import parse_profile
from vla_msgs.msg import EpisodeEvent, RecorderStatus
from vla_msgs.srv import StartEpisode, StopEpisode
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.capture.topic_plan import SelectionError
from vla_recorder.testing import PROFILE, read_bag, wait_for, write_profile

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
VOLATILE = QoSProfile(depth=10)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


def taps(bench):
    return bench.recorder._streams.taps.taps


def stop(bench):
    answer = bench.call(StopEpisode, "stop")
    assert answer.success, answer.message
    return read_bag(Path(answer.bag_path))[1]


def test_late_topics_are_recorded_by_pattern_and_foreign_types_named_once(make_bench, capfd) -> None:
    bench = make_bench(include=["/force/.*"], exclude=["/force/noise", "/rosout"])
    bench.ready()
    assert "/rosout" not in taps(bench)
    assert bench.call(StartEpisode, "start").success
    force = bench.driver.create_publisher(JointState, "force/wrist", BEST_EFFORT)
    bench.driver.create_publisher(JointState, "force/noise", 10)
    bench.driver.create_publisher(String, "other", 10)
    wait_for(lambda: "/force/wrist" in taps(bench), what="the late topic")
    wait_for(lambda: force.get_subscription_count() >= 1, what="the subscription to match")
    for value in (1.0, 2.0):
        force.publish(JointState(name=["fx"], position=[value]))
    wait_for(lambda: taps(bench)["/force/wrist"].messages == 2)
    topics = stop(bench)
    assert [message.position[0] for _, message in topics["/force/wrist"]] == [1.0, 2.0]
    assert {"/force/noise", "/other", "/rosout"}.isdisjoint(topics)


def test_record_all_takes_everything_but_other_image_transports(make_bench) -> None:
    bench = make_bench(record_all=True, prefer_compressed=False)
    bench.ready()
    bench.driver.create_publisher(String, "late", 10)
    bench.driver.create_publisher(CompressedImage, "front/image_raw/compressed", 10)
    wait_for(lambda: "/late" in taps(bench), what="the late topic")
    assert "/recorder/status" in taps(bench)
    assert "/front/image_raw/compressed" not in taps(bench)
    assert "/episode/event" not in taps(bench), "written by the recorder itself"
    assert not [name for name in taps(bench) if "/_action/" in name]


def test_a_type_that_is_not_installed_is_named_once_and_left_out(make_bench, capfd, monkeypatch) -> None:
    bench = make_bench(include=["/exotic"])
    real = bench.recorder.get_topic_names_and_types
    monkeypatch.setattr(
        bench.recorder, "get_topic_names_and_types", lambda: [*real(), ("/exotic", ["nowhere_msgs/msg/Thing"])]
    )
    monkeypatch.setattr(bench.recorder, "count_publishers", lambda _: 1)
    said: list[str] = []

    def named() -> int:
        said.append(capfd.readouterr().err)
        return "".join(said).count("not recorded: /exotic: the message type 'nowhere_msgs/msg/Thing' is not installed")

    wait_for(named, what="the warning")
    bench.recorder._streams.taps.discover(lambda name: name == "/exotic", lambda *_: pytest.fail("asked again"))
    assert named() == 1


def test_every_publishers_static_transforms_are_in_every_episode(bench) -> None:
    publishers = [bench.driver.create_publisher(TFMessage, "/tf_static", LATCHED) for _ in range(2)]
    for publisher, child in zip(publishers, ("camera", "tool"), strict=True):
        publisher.publish(TFMessage(transforms=[TransformStamped(child_frame_id=child)]))
    bench.ready()
    wait_for(lambda: len(taps(bench)["/tf_static"].latched) == 2, what="both transforms")
    for _ in range(2):
        assert bench.call(StartEpisode, "start").success
        wait_for(lambda: bench.messages() > 10)
        topics = stop(bench)
        assert {m.transforms[0].child_frame_id for _, m in topics["/tf_static"]} == {"camera", "tool"}


def test_only_the_newest_of_a_latched_state_is_written_again(make_bench) -> None:
    bench = make_bench(include=["/mode"])
    mode = bench.driver.create_publisher(String, "mode", LATCHED)
    wait_for(lambda: "/mode" in taps(bench), what="the topic")
    bench.ready()
    for text in ("a", "b", "c"):
        mode.publish(String(data=text))
    wait_for(lambda: taps(bench)["/mode"].messages == 3)
    assert bench.call(StartEpisode, "start").success
    wait_for(lambda: bench.messages() > 10)
    assert [message.data for _, message in stop(bench)["/mode"]] == ["c"]


def test_mixed_publishers_lose_nothing_that_was_latched(make_bench) -> None:
    bench = make_bench(include=["/mixed"])
    loose = bench.driver.create_publisher(String, "mixed", BEST_EFFORT)
    wait_for(lambda: "/mixed" in taps(bench), what="the topic")
    kept = bench.driver.create_publisher(String, "mixed", LATCHED)
    kept.publish(String(data="from before"))
    wait_for(lambda: taps(bench)["/mixed"].latch is not None, what="the second subscription")
    wait_for(lambda: taps(bench)["/mixed"].latched, what="the latched message")
    assert taps(bench)["/mixed"].qos.reliability == ReliabilityPolicy.BEST_EFFORT
    bench.ready()
    assert bench.call(StartEpisode, "start").success
    loose.publish(String(data="live"))
    wait_for(lambda: taps(bench)["/mixed"].messages >= 1)
    wait_for(lambda: bench.messages() > 10)
    assert [message.data for _, message in stop(bench)["/mixed"]] == ["from before", "live"]


def test_compressed_images_are_preferred_and_the_profile_in_the_bag_says_so(bench) -> None:
    bench.ready()
    compressed = bench.driver.create_publisher(CompressedImage, "front/image_raw/compressed", 10)
    name = "/front/image_raw/compressed"
    wait_for(lambda: name in taps(bench), what="the compressed camera")
    assert "/front/image_raw" not in taps(bench), "one image stream per camera"
    refused = bench.call(StartEpisode, "start")
    assert f"camera 'front': nothing received on {name} ({COMPRESSED_IMAGE})" in refused.message
    wait_for(lambda: compressed.get_subscription_count() >= 1)
    red = cv2.imencode(".jpg", np.full((24, 32, 3), (0, 0, 255), np.uint8))[1].tobytes()

    def send() -> None:
        image = CompressedImage(format="rgb8; jpeg compressed bgr8", data=red)
        image.header.stamp = bench.driver.get_clock().now().to_msg()
        compressed.publish(image)

    sending = bench.driver.create_timer(0.04, send)
    wait_for(lambda: taps(bench)[name].messages)
    started = bench.call(StartEpisode, "start")
    assert started.success, started.message
    before = taps(bench)[name].messages
    wait_for(lambda: taps(bench)[name].messages > before + 20)
    path = Path(bench.call(StopEpisode, "stop").bag_path)
    bag = open_episode(path)
    profile = parse_profile(bag.custom["profile"])
    assert (profile.cameras[0].topic, profile.cameras[0].type) == (name.lstrip("/"), COMPRESSED_IMAGE)
    assert "/front/image_raw" not in bag.counts
    frames = [frame for frame in BagFrames(bag, profile, profile.fps) if isinstance(frame, Frame)]
    assert len(frames) >= 4
    assert frames[-1].images["front"].mean(axis=(0, 1)) == pytest.approx([254, 0, 0], abs=3)
    sending.cancel()
    bench.driver.executor.create_task(bench.driver.destroy_publisher, compressed)
    wait_for(lambda: "/front/image_raw" in taps(bench), what="the raw camera again")


def test_a_topic_of_another_type_is_explained(make_bench, tmp_path: Path) -> None:
    text = PROFILE.replace("front/image_raw", "odd/image_raw")
    bench = make_bench(profile=str(write_profile(tmp_path, text, "odd.yaml")))
    context = rclpy.Context()  # one participant cannot have a topic of two types
    context.init()
    stranger = Node("stranger", context=context)
    stranger.create_publisher(String, "odd/image_raw", 10)
    wrong = (
        "camera 'front': /odd/image_raw is published as std_msgs/msg/String, but the profile says sensor_msgs/msg/Image"
    )
    try:
        wait_for(lambda: wrong in bench.call(StartEpisode, "start").message, what="the explanation")
    finally:
        stranger.destroy_node()
        context.try_shutdown()


def test_encoded_video_keeps_its_own_stamp(make_bench) -> None:
    video = pytest.importorskip("foxglove_msgs.msg").CompressedVideo
    bench = make_bench(include=["/video"])
    packets = bench.driver.create_publisher(video, "video", 10)
    wait_for(lambda: "/video" in taps(bench), what="the video")
    wait_for(lambda: packets.get_subscription_count() >= 1)
    bench.ready()
    assert bench.call(StartEpisode, "start").success
    packet = video(format="h264", data=[0, 0, 0, 1, 9])
    packet.timestamp = (bench.driver.get_clock().now() - Duration(seconds=0.04)).to_msg()
    packets.publish(packet)
    wait_for(lambda: taps(bench)["/video"].messages == 1)
    ((message, decoded),) = stop(bench)["/video"]
    assert message.publish_time == packet.timestamp.sec * 10**9 + packet.timestamp.nanosec < message.log_time
    assert bytes(decoded.data) == b"\0\0\0\1\x09"


def test_exclude_may_not_take_a_stream(make_bench) -> None:
    with pytest.raises(SelectionError, match=r"exclude: '/joint\.\*' takes away /joint_states"):
        make_bench(exclude=["/joint.*"])


def test_a_camera_that_stops_pauses_the_episode_within_a_second(make_bench) -> None:
    bench = make_bench(on_missing_stream="pause")
    events: list[EpisodeEvent] = []
    arrays: list[DiagnosticArray] = []
    bench.client.create_subscription(EpisodeEvent, "episode/event", events.append, 10)
    bench.client.create_subscription(DiagnosticArray, "/diagnostics", arrays.append, 10)
    status: list[RecorderStatus] = []
    bench.client.create_subscription(RecorderStatus, "recorder/status", status.append, 10)
    bench.ready()
    wait_for(lambda: arrays, what="diagnostics")
    assert bench.call(StartEpisode, "start").success
    bench.driver.target = 0.2
    wait_for(lambda: events and events[-1].phase == EpisodeEvent.TELEOP, what="TELEOP")
    bench.driver.camera_works = False
    stopped = bench.driver.get_clock().now().nanoseconds
    wait_for(lambda: events[-1].paused, what="the pause")
    began = events[-1].stamp.sec * 10**9 + events[-1].stamp.nanosec
    assert (began - stopped) * 1e-9 < 1.0
    assert "camera 'front': /front/image_raw silent for" in events[-1].label
    wait_for(lambda: any(status_of(a, "camera 'front'").level == DiagnosticStatus.STALE for a in arrays[-2:]))
    wait_for(lambda: status[-1].paused and status[-1].line.startswith("PAUSED"), what="the status")
    bench.driver.camera_works = True
    wait_for(lambda: events[-1].phase == EpisodeEvent.TELEOP and not events[-1].paused, what="going on")
    stop(bench)


def status_of(array: DiagnosticArray, name: str) -> DiagnosticStatus:
    return next((s for s in array.status if s.name == f"recorder: {name}"), DiagnosticStatus())


def test_diagnostics_show_rate_gap_and_losses(bench) -> None:
    arrays: list[DiagnosticArray] = []
    bench.client.create_subscription(DiagnosticArray, "/diagnostics", arrays.append, 10)
    bench.ready()
    wait_for(lambda: arrays and "Hz" in status_of(arrays[-1], "state joint_states").message, what="a rate")
    values = {pair.key: pair.value for pair in status_of(arrays[-1], "state joint_states").values}
    assert values["topic"] == "/joint_states"
    assert float(values["rate [Hz]"]) > 20
    assert set(values) == {
        "topic", "rate [Hz]", "expected [Hz]", "largest gap [s]", "age [s]", "lost", "gaps in stamps", "messages",
    }  # fmt: skip
    assert status_of(arrays[-1], "episode").message.startswith("idle")
