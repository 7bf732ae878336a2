# SPDX-License-Identifier: Apache-2.0

"""The same events through a bag and live: the frames are equal, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from vla_core.errors import BagError
from vla_core.frames import Frame, FrameBuilder, Missing
from vla_core.stamps import tick_ns
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.testing import PROFILE, Scene, scene_events, small_profile, write_episode

FPS = 10
PROFILES = {
    "hold": PROFILE,
    "nearest": PROFILE.replace("max_age_s: 0.3}", "max_age_s: 0.3, strategy: nearest}"),
    "interpolate": PROFILE.replace("max_age_s: 0.2\n", "max_age_s: 0.2\n    strategy: interpolate\n"),
    "receive": PROFILE.replace("max_age_s: 0.2\n", "max_age_s: 0.2\n    stamp: receive\n"),
    "delta": PROFILE.replace("task: lift", "action_space: delta_joint\ntask: lift"),
    "resize": PROFILE.replace("size: [24, 32]", "size: [24, 32], resize: [12, 16]"),
}
SCENES = {
    "smooth": Scene(),
    "late camera": Scene(latency_s=0.2, seed=1),
    "gap": Scene(silence=(("front/image_raw", 1.0, 2.0),), seed=2),
    "late command": Scene(silence=(("command/arm", 0.0, 1.4),), seed=3),
}


def live(profile, events, t0_ns: int, count: int) -> list[Frame | Missing]:
    """The way of a policy node: messages come in, ticks are sampled once their look-ahead and the latency are over."""
    builder = FrameBuilder(profile, actions=True)
    frames: list[Frame | Missing] = []
    for event in events:
        while len(frames) < count and event.receive_ns > tick_ns(t0_ns, len(frames), FPS) + 300_000_000:
            frames.append(builder.sample(tick_ns(t0_ns, len(frames), FPS)))
        builder.push_topic(event.topic, event.receive_ns, event.message)
    while len(frames) < count:
        frames.append(builder.sample(tick_ns(t0_ns, len(frames), FPS)))
    return frames


@pytest.mark.parametrize("strategy", PROFILES)
@pytest.mark.parametrize("scene", SCENES)
def test_bag_and_live_frames_are_equal(tmp_path: Path, strategy: str, scene: str) -> None:
    profile = small_profile(PROFILES[strategy])
    events = scene_events(profile, SCENES[scene])
    door = BagFrames(open_episode(write_episode(tmp_path / "episode", events, profile)), profile, FPS)
    from_bag = list(door)
    from_live = live(profile, events, door.t0_ns, len(from_bag))

    built = [frame for frame in from_bag if isinstance(frame, Frame)]
    assert len(built) > 10
    for ours, theirs in zip(from_bag, from_live, strict=True):
        assert type(ours) is type(theirs)
        if isinstance(ours, Missing):
            assert ours == theirs
            continue
        assert ours.t_ns == theirs.t_ns
        assert ours.state.tobytes() == theirs.state.tobytes()
        assert ours.action.tobytes() == theirs.action.tobytes()
        assert ours.ages_s == theirs.ages_s
        assert ours.images.keys() == theirs.images.keys()
        for name, picture in ours.images.items():
            assert picture.dtype == np.uint8
            assert picture.tobytes() == theirs.images[name].tobytes()


def test_grid_neither_drifts_nor_begins_early(tmp_path: Path) -> None:
    profile = small_profile()
    events = scene_events(profile, SCENES["late command"])
    door = BagFrames(open_episode(write_episode(tmp_path / "episode", events, profile)), profile, FPS)
    frames = list(door)
    first = {topic: min(event.stamp_ns for event in events if event.topic == topic) for topic in door_topics(events)}
    assert door.t0_ns == max(first.values()) == first["/command/arm"]
    assert [frame.t_ns for frame in frames] == [door.t0_ns + i * 100_000_000 for i in range(len(frames))]


def test_a_gap_drops_frames_and_names_the_reason(tmp_path: Path) -> None:
    profile = small_profile()
    events = scene_events(profile, SCENES["gap"])
    door = BagFrames(open_episode(write_episode(tmp_path / "episode", events, profile)), profile, FPS)
    frames = list(door)
    missing = [frame for frame in frames if isinstance(frame, Missing)]
    assert 6 <= len(missing) <= 8  # a silence of 1 s, of which the profile bridges 0.3 s
    assert door.builder.dropped == {"observation.images.front: stale": len(missing)}
    assert "front/image_raw (limit 0.3 s)" in missing[0].detail


def test_a_stream_that_never_spoke_is_named(tmp_path: Path) -> None:
    profile = small_profile()
    events = [event for event in scene_events(profile, Scene()) if event.topic != "/command/arm"]
    door = BagFrames(open_episode(write_episode(tmp_path / "episode", events, profile)), profile, FPS)
    with pytest.raises(BagError, match=r"no usable message of action\.arm \(/command/arm: 0 messages\)"):
        list(door)


def door_topics(events) -> set[str]:
    return {event.topic for event in events}
