# SPDX-License-Identifier: Apache-2.0

import random
import threading
import time

import numpy as np
import pytest
from vla_core.errors import FrameError, StampError
from vla_core.frames import ACTION_KEY, STATE_KEY, Frame, FrameBuilder, Missing, features, resolve_topic
from vla_core.images import resize
from vla_core.profile import parse_profile
from vla_core.stamps import tick_ns
from vla_core.testing import PROFILE, T0_NS, CompressedImage, Data, image, joint_state, synthetic_events, test_pixels

MS = 1_000_000
FRONT = "observation.images.front"


def filled(profile, actions=True, skip=(), t_ns=T0_NS):
    """Return a builder with one message on every topic, except those in `skip`."""
    builder = FrameBuilder(profile, actions=actions)
    messages = {
        "front/image_raw": [image(t_ns, test_pixels((24, 32), 1))],
        "joint_states": [
            joint_state(t_ns, ["wrist_joint", "elbow_joint"], [0.2, 0.1]),
            joint_state(t_ns, ["finger_joint"], [0.4]),
        ],
        "command/arm": [joint_state(t_ns, ["elbow_joint", "wrist_joint"], [0.3, 0.4])],
        "command/gripper": [joint_state(t_ns, ["finger_joint"], [0.8])],
    }
    for topic, found in messages.items():
        for msg in found:
            if topic not in skip and builder.reads_topic(topic):
                builder.push_topic(topic, t_ns + MS, msg)
    return builder


def test_a_frame_holds_everything_in_the_order_of_the_profile(profile):
    frame = filled(profile).sample(T0_NS + 10 * MS)
    assert isinstance(frame, Frame)
    assert frame.state.dtype == np.float32
    assert frame.state.tolist() == pytest.approx([0.1, 0.2, 0.5])  # the gripper is scaled
    assert frame.action.tolist() == pytest.approx([0.3, 0.4, 1.0])
    assert (frame.images["front"] == test_pixels((24, 32), 1)).all()
    assert set(frame.ages_s) == {FRONT, "observation.state.0", "observation.state.1", "action.arm", "action.gripper"}
    assert set(frame.ages_s.values()) == {0.01}


def test_without_actions_the_command_topics_are_not_read(profile):
    builder = filled(profile, actions=False)
    assert builder.topics == {"front/image_raw": "sensor_msgs/msg/Image", "joint_states": "sensor_msgs/msg/JointState"}
    frame = builder.sample(T0_NS)
    assert frame.action is None
    with pytest.raises(FrameError, match=r"no stream reads topic 'command/arm'; topics: front/image_raw, joint_states"):
        builder.push_topic("command/arm", 0, joint_state(1, ["a"], [1]))


def test_streams_of_one_topic_take_their_own_messages(profile):
    builder = FrameBuilder(profile, actions=False)
    arm = joint_state(T0_NS, ["elbow_joint", "wrist_joint"], [0.1, 0.2])
    assert builder.push_topic("joint_states", T0_NS, arm) == ("stored", "ignored")
    assert builder.push("observation.state.1", T0_NS, arm) == "ignored"
    # One message with all joints feeds both.
    both = joint_state(T0_NS, ["finger_joint", "wrist_joint", "elbow_joint"], [0.0, 0.2, 0.1])
    assert builder.push_topic("joint_states", T0_NS, both) == ("stored", "stored")
    assert builder.skipped()["observation.state.1"] == {"ignored": 2, "unstamped": 0}
    assert builder.stats()["observation.state.0"].pushed == 2


def test_topics_by_any_name(profile):
    builder = FrameBuilder(profile, actions=False, namespace="/left")
    msg = joint_state(T0_NS, ["finger_joint"], [0.0])
    assert builder.push_topic("joint_states", 0, msg) == builder.push_topic("/left/joint_states", 0, msg)
    assert not builder.reads_topic("/joint_states")
    assert resolve_topic("a/b") == "/a/b"
    assert resolve_topic("a", "left/") == "/left/a"
    assert resolve_topic("/a", "left") == "/a"
    with pytest.raises(
        FrameError, match=r"no stream 'observation.state.2'; streams: .*did you mean 'observation.state"
    ):
        builder.push("observation.state.2", 0, msg)


@pytest.mark.parametrize(
    ("skip", "stream"),
    [
        (("front/image_raw",), FRONT),
        (("joint_states",), "observation.state.0"),
        (("command/gripper",), "action.gripper"),
    ],
)
def test_a_silent_stream_is_named_and_counted(profile, skip, stream):
    builder = filled(profile, skip=skip)
    missing = builder.sample(T0_NS)
    assert (missing.stream, missing.reason, missing.lasting) == (stream, "empty", False)
    assert f"no message at or before this tick on {skip[0]}. Is its publisher running?" in missing.detail
    builder.sample(T0_NS + 1)
    assert builder.dropped == {f"{stream}: empty": 2}


def test_nothing_is_held_past_its_age(profile):
    builder = filled(profile)
    assert isinstance(builder.sample(T0_NS + 50 * MS), Frame)
    missing = builder.sample(T0_NS + 51 * MS)
    assert (missing.stream, missing.reason) == ("observation.state.0", "stale")
    assert "no message for 0.051 s on joint_states (limit 0.05 s)" in missing.detail
    assert "ros2 topic hz joint_states" in missing.detail


def test_nothing_is_there_before_the_first_message(profile):
    assert isinstance(filled(profile).sample(T0_NS - 1), Missing)


def test_a_message_with_some_of_the_names_is_a_lasting_fault(profile):
    builder = filled(profile)
    builder.push_topic("joint_states", T0_NS, joint_state(T0_NS + MS, ["elbow_joint"], [0.0]))
    missing = builder.sample(T0_NS + 2 * MS)
    assert (missing.reason, missing.lasting) == ("partial", True)
    assert "the message carries elbow_joint but not wrist_joint" in missing.detail
    assert "topic joint_states" in missing.detail


def test_a_camera_of_another_size_says_what_to_do(profile):
    builder = filled(profile)
    builder.push(FRONT, T0_NS, image(T0_NS + MS, test_pixels((48, 64), 0)))
    missing = builder.sample(T0_NS + 2 * MS)
    assert (missing.stream, missing.reason, missing.lasting) == (FRONT, "size", True)
    assert "camera 'front' sends [48, 64] (height, width) on front/image_raw, but the profile says size: [24, 32]" in (
        missing.detail
    )
    assert "set 'size: [48, 64]' and 'resize: [24, 32]' in the profile" in missing.detail


def test_values_that_are_not_finite_are_not_used(profile):
    builder = filled(profile)
    builder.push_topic("joint_states", 0, joint_state(T0_NS + MS, ["elbow_joint", "wrist_joint"], [np.nan, 0.0]))
    missing = builder.sample(T0_NS + 2 * MS)
    assert missing.reason == "not_finite"
    assert "a value on topic joint_states is not finite: [nan, 0.0]" in missing.detail


def test_damaged_and_unsupported_images(profile, changed):
    builder = filled(profile)
    cut = image(T0_NS + MS, test_pixels((24, 32), 0))
    cut.data = cut.data[:100]
    builder.push(FRONT, T0_NS, cut)
    missing = builder.sample(T0_NS + 2 * MS)
    assert (missing.reason, missing.lasting) == ("damaged", False)
    builder.push(FRONT, T0_NS, image(T0_NS + 3 * MS, np.zeros((24, 32), np.uint16), "16UC1"))
    missing = builder.sample(T0_NS + 4 * MS)
    assert (missing.reason, missing.lasting) == ("unsupported", True)
    assert "uint16 pixels are no colour; name the colour topic" in missing.detail

    packed = parse_profile(changed("topic: front/image_raw", "topic: front, type: sensor_msgs/msg/CompressedImage"))
    builder = FrameBuilder(packed, actions=False)
    msg = CompressedImage(format="theora", data=b"OggS1234")
    msg.header = cut.header
    for msg_other in (joint_state(T0_NS, ["elbow_joint", "wrist_joint", "finger_joint"], [0, 0, 0]),):
        builder.push_topic("joint_states", T0_NS, msg_other)
    builder.push_topic("front", T0_NS, msg)
    missing = builder.sample(T0_NS + MS)
    assert missing.reason == "unsupported"
    assert "neither JPEG nor PNG" in missing.detail


def test_unstamped_messages_are_dropped_with_one_warning(profile):
    warnings = []
    builder = FrameBuilder(profile, actions=False, warn=warnings.append)
    for _ in range(3):
        assert builder.push(FRONT, T0_NS, image(0, test_pixels((24, 32), 0))) == "unstamped"
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{FRONT}: messages on front/image_raw have no header stamp and are dropped; let the")
    assert builder.skipped()[FRONT]["unstamped"] == 3


def test_default_warning_goes_to_the_log(profile, caplog):
    FrameBuilder(profile, actions=False).push(FRONT, T0_NS, image(0, test_pixels((24, 32), 0)))
    assert "have no header stamp" in caplog.text


def test_messages_of_another_type_are_named(profile):
    builder = FrameBuilder(profile, actions=False)
    with pytest.raises(
        FrameError, match=r"a Data came on joint_states, which is no sensor_msgs/msg/JointState: .*'name'"
    ):
        builder.push_topic("joint_states", 0, Data(1.0))
    with pytest.raises(StampError, match="Data has no header stamp; use 'stamp: receive'"):
        builder.push(FRONT, 0, Data(1.0))


def test_names_that_no_message_carries_are_named(profile):
    builder = filled(profile, skip=("joint_states",))
    for _ in range(3):
        builder.push_topic("joint_states", T0_NS, joint_state(T0_NS, ["left_elbow", "left_wrist"], [0, 0]))
    missing = builder.sample(T0_NS)
    assert missing.stream == "observation.state.0"
    assert "3 messages on joint_states, but none carries position.elbow_joint, position.wrist_joint" in missing.detail
    assert "the last one carries left_elbow, left_wrist. Is that driver running" in missing.detail


def test_a_stream_that_is_silent_because_of_its_stamps_says_so(profile):
    builder = filled(profile, skip=("front/image_raw",))
    builder.push(FRONT, T0_NS, image(0, test_pixels((24, 32), 0)))
    assert "all 1 messages on front/image_raw came without a header stamp" in builder.sample(T0_NS).detail


def test_actions_in_the_space_of_the_tool(six_axes):
    builder = FrameBuilder(six_axes("delta_eef"), actions=True)
    names = ["pan", "lift", "elbow", "wrist_1", "wrist_2", "wrist_3", "finger"]
    builder.push_topic("joint_states", T0_NS, joint_state(T0_NS, names, [0, -1.5, 1.5, -1.5, -1.5, 0, 0]))
    builder.push_topic("command/arm", T0_NS, joint_state(T0_NS, names[:6], [0, -1.5, 1.5, -1.5, -1.5, 0.1]))
    builder.push_topic("command/gripper", T0_NS, joint_state(T0_NS, names[6:], [0.3]))
    action = builder.sample(T0_NS).action
    assert action[:3] == pytest.approx([0, 0, 0], abs=1e-6)
    assert np.linalg.norm(action[3:6]) == pytest.approx(0.1, abs=1e-6)
    assert action[6] == pytest.approx(0.3)


def test_late_messages_and_a_jump_of_the_clock(profile):
    builder = filled(profile)
    early = joint_state(T0_NS - 10**10, ["finger_joint"], [0.0])
    assert builder.push("observation.state.1", T0_NS, early) == "late"
    builder.clear()
    assert builder.newest_ns("observation.state.1") is None
    assert builder.push("observation.state.1", T0_NS, early) == "stored"
    assert builder.newest_ns("observation.state.1") == T0_NS - 10**10


def test_receive_timeline_interpolation_and_lookahead(changed):
    text = changed(
        "fields: [position.finger_joint], rate_hz: 100, max_age_s: 0.05,",
        "fields: [position.finger_joint], rate_hz: 100, max_age_s: 0.05, stamp: receive, strategy: interpolate,",
    )
    builder = filled(parse_profile(text), skip=("joint_states",))
    assert builder.lookahead_s == pytest.approx(0.015)
    builder.push("observation.state.0", 0, joint_state(T0_NS, ["elbow_joint", "wrist_joint"], [0, 0]))
    for receive_ms, position in ((0, 0.0), (10, 0.8)):
        builder.push("observation.state.1", T0_NS + receive_ms * MS, joint_state(0, ["finger_joint"], [position]))
    assert builder.sample(T0_NS + 4 * MS).state[2] == pytest.approx(0.4)
    missing = builder.sample(T0_NS + 11 * MS)
    assert (missing.reason, "around this tick" in missing.detail) == ("empty", True)
    builder.push("observation.state.1", T0_NS + 14 * MS, joint_state(0, ["other", "finger_joint"], [np.inf, np.inf]))
    assert builder.sample(T0_NS + 12 * MS).reason == "not_finite"


def test_images_are_decoded_once_and_only_when_needed(profile, monkeypatch):
    decoded = []
    builder = filled(profile)
    source = builder._sources[FRONT]
    original = source.decode
    monkeypatch.setattr(source, "decode", lambda msg: decoded.append(1) or original(msg))
    for i in range(5):
        builder.push(FRONT, T0_NS, image(T0_NS + 20 * MS + i, test_pixels((24, 32), i)))
    without = builder.sample(T0_NS + 30 * MS, images=False)
    assert (without.images, FRONT in without.ages_s) == ({}, True)
    assert not decoded
    first, second = builder.sample(T0_NS + 30 * MS), builder.sample(T0_NS + 31 * MS)
    assert first.state.tolist() == without.state.tolist()
    assert len(decoded) == 1
    assert first.images["front"] is second.images["front"]
    with pytest.raises(ValueError, match="read-only"):
        first.images["front"][0, 0, 0] = 1


def test_resize_is_part_of_the_frame(changed):
    small = parse_profile(changed("size: [24, 32]", "size: [24, 32], resize: [12, 16]"))
    frame = filled(small).sample(T0_NS)
    assert (frame.images["front"] == resize(test_pixels((24, 32), 1), (12, 16))).all()
    assert features(small)[FRONT]["shape"] == (12, 16, 3)


def test_features(profile):
    assert features(profile) == {
        STATE_KEY: {
            "dtype": "float32",
            "shape": (3,),
            "names": ["elbow_joint.pos", "wrist_joint.pos", "finger_joint.pos"],
        },
        FRONT: {"dtype": "video", "shape": (24, 32, 3), "names": ["height", "width", "channels"]},
        ACTION_KEY: {
            "dtype": "float32",
            "shape": (3,),
            "names": ["elbow_joint.pos", "wrist_joint.pos", "finger_joint.pos"],
        },
    }


def frames_of(profile, events, delay_ns):
    """Push events in order and sample each tick as soon as the clock is `delay_ns` past it."""
    builder = FrameBuilder(profile, actions=True)
    frames, tick = [], 0
    for event in events:
        while event.receive_ns >= tick_ns(T0_NS, tick, profile.fps) + delay_ns:
            frames.append(builder.sample(tick_ns(T0_NS, tick, profile.fps)))
            tick += 1
        builder.push_topic(event.topic, event.receive_ns, event.msg)
    return frames, builder


def same(a, b):
    if isinstance(a, Missing) or isinstance(b, Missing):
        return a == b
    return (
        a.t_ns == b.t_ns
        and a.state.tobytes() == b.state.tobytes()
        and a.action.tobytes() == b.action.tobytes()
        and all(a.images[name].tobytes() == b.images[name].tobytes() for name in a.images)
        and a.ages_s == b.ages_s
    )


@pytest.mark.parametrize("strategy", ["hold", "nearest"])
def test_frames_do_not_depend_on_when_they_are_asked_for(profile, strategy):
    text = PROFILE.replace("max_age_s: 0.05,", f"max_age_s: 0.05, strategy: {strategy},")
    profile = parse_profile(text)
    events = synthetic_events(profile, 3.0, latency_s=0.004)
    # Some gaps, so that there are missing frames to compare as well.
    events = [e for e in events if not (e.topic == "front/image_raw" and 1.0e9 < e.receive_ns - T0_NS < 1.5e9)]
    live, builder = frames_of(profile, events, 30 * MS)
    from_bag, _ = frames_of(profile, events, 700 * MS)
    assert len(from_bag) > 20
    assert all(same(a, b) for a, b in zip(live, from_bag, strict=False))
    assert sum(builder.dropped.values()) == sum(isinstance(f, Missing) for f in live) > 2


def test_frames_do_not_depend_on_the_order_of_arrival(profile):
    events = synthetic_events(profile, 0.5)
    mixed = events.copy()
    random.Random(1).shuffle(mixed)
    builders = [FrameBuilder(profile, actions=True) for _ in range(2)]
    for builder, order in zip(builders, (events, mixed), strict=True):
        for event in order:
            builder.push_topic(event.topic, event.receive_ns, event.msg)
    for i in range(5):
        t_ns = tick_ns(T0_NS, i, profile.fps)
        frames = [builder.sample(t_ns) for builder in builders]
        assert isinstance(frames[0], Frame)
        assert same(*frames)


def test_pushing_takes_microseconds(profile):
    builder = FrameBuilder(profile, actions=False)
    messages = [image(T0_NS + i * MS, np.zeros((480, 640, 3), np.uint8)) for i in range(20)]
    joints = [joint_state(T0_NS + i * MS, ["elbow_joint", "wrist_joint"], [0, 0]) for i in range(1000)]
    best = min(
        _seconds(lambda: [builder.push_topic("joint_states", 0, msg) for msg in joints]) / 1000 for _ in range(5)
    )
    assert best < 20e-6
    assert _seconds(lambda: [builder.push(FRONT, 0, msg) for msg in messages]) / 20 < 200e-6


def _seconds(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def test_pushing_and_sampling_in_two_threads(profile):
    builder = FrameBuilder(profile, actions=True)
    events = synthetic_events(profile, 2.0)
    failures = []

    def push():
        try:
            for event in events:
                builder.push_topic(event.topic, event.receive_ns, event.msg)
        except Exception as error:  # noqa: BLE001 - reported by the assertion below
            failures.append(error)

    thread = threading.Thread(target=push)
    thread.start()
    while thread.is_alive():
        for i in range(20):
            builder.sample(tick_ns(T0_NS, i, profile.fps))
    thread.join()
    assert not failures
    assert isinstance(builder.sample(tick_ns(T0_NS, 19, profile.fps)), Frame)
