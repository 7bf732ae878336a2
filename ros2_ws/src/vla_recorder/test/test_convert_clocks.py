# SPDX-License-Identifier: Apache-2.0

"""Pauses and clocks that are set: what is kept is exact, nothing is searched for hours, and it is said what happened."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
from vla_core.frames import Frame, Missing
from vla_recorder.bags.frames import PAUSE, BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.testing import Event, Scene, image, joint_state, scene_events, small_profile, write_episode

NS = 1_000_000_000
SCENE = Scene(duration_s=12.0)
PROFILE = small_profile()


def moved(event: Event, stamp_s: float, receive_s: float) -> Event:
    """The same message at another time."""
    receive, stamp = event.receive_ns + int(receive_s * NS), event.stamp_ns + int(stamp_s * NS)
    if event.topic == "/front/image_raw":
        pixels = np.frombuffer(event.message.data, np.uint8).reshape(24, 32, 3)
        return image(event.topic, receive, stamp, pixels)
    return joint_state(event.topic, receive, stamp, event.message.name, event.message.position)


def frames_of(folder: Path, events: list[Event]) -> tuple[list[Frame], BagFrames, Counter[str]]:
    door = BagFrames(open_episode(write_episode(folder, events, PROFILE)), PROFILE, 10)
    found = list(door)
    missing = Counter(f"{one.stream}: {one.reason}" for one in found if isinstance(one, Missing))
    return [one for one in found if isinstance(one, Frame)], door, missing


def seconds(event: Event) -> float:
    return (event.receive_ns - SCENE.start_ns) / NS


def test_a_pause_of_the_recording_is_counted_and_what_is_around_it_is_exact(tmp_path: Path) -> None:
    events = scene_events(PROFILE, SCENE)
    whole, _, _ = frames_of(tmp_path / "whole", events)
    kept, door, missing = frames_of(tmp_path / "pause", [e for e in events if not 2.0 <= seconds(e) < 10.0])
    assert missing[PAUSE] == door.dropped[PAUSE] >= 20
    assert dict(missing) == door.dropped
    assert len(kept) + sum(missing.values()) == len(whole)
    clean = {frame.t_ns: frame for frame in whole}
    for frame in kept:
        np.testing.assert_array_equal(frame.state, clean[frame.t_ns].state)
        np.testing.assert_array_equal(frame.images["front"], clean[frame.t_ns].images["front"])
    assert len([frame for frame in kept if frame.t_ns > SCENE.start_ns + 10 * NS]) >= 15
    assert door.warnings == []


def test_a_recording_that_goes_on_two_hours_later_is_cut(tmp_path: Path) -> None:
    events = [moved(e, 7200, 7200) if seconds(e) >= 6.0 else e for e in scene_events(PROFILE, SCENE)]
    kept, door, _ = frames_of(tmp_path / "jump", events)
    assert 50 <= len(kept) <= 60
    (warning,) = door.warnings
    assert "the recorder's clock jumped ahead by 720" in warning
    assert "what follows is left out" in warning


def test_stamps_of_one_sender_that_jump_away_are_left_out(tmp_path: Path) -> None:
    events = scene_events(PROFILE, SCENE)
    whole, _, _ = frames_of(tmp_path / "whole", events)
    for name, step in (("ahead", 3600.0), ("back", -40.0)):
        strange = [moved(e, step, 0) if e.topic == "/front/image_raw" and 4 <= seconds(e) < 6 else e for e in events]
        kept, door, missing = frames_of(tmp_path / name, strange)
        (warning,) = door.warnings
        assert warning.startswith("observation.images.front: 40 messages are left out, because their stamps jumped to")
        (jump,) = re.findall(r"jumped to ([+-][0-9.]+) s", warning)
        assert abs(float(jump) - step) < 0.1
        assert set(missing) <= {"observation.images.front: stale", "observation.images.front: empty"}
        assert len(kept) + sum(missing.values()) == len(whole)
        clean = {frame.t_ns: frame for frame in whole}
        # An older picture may be held for max_age_s; outside of that the rows are those of the whole recording.
        sure = [frame for frame in kept if not 3.9 <= (frame.t_ns - SCENE.start_ns) / NS < 6.1]
        assert len(sure) >= 90
        for frame in sure:
            np.testing.assert_array_equal(frame.images["front"], clean[frame.t_ns].images["front"])


def test_a_recording_under_another_clock_throughout_is_taken_as_it_is(tmp_path: Path) -> None:
    events = [moved(e, -500_000.0 / 1000, 0) for e in scene_events(PROFILE, SCENE)]
    kept, door, missing = frames_of(tmp_path / "other", events)
    assert door.warnings == []
    assert not missing
    assert len(kept) == 120
