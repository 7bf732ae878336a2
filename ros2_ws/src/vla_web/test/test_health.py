# SPDX-License-Identifier: Apache-2.0

import pytest
from vla_web.ros.health import IDLE, OK, SLOW, STALE, WAITING, StreamWatch


def watch(role="camera", hz=30.0):
    stream = StreamWatch("camera front", "/front/image", role, expected_hz=hz, max_age_s=0.1)
    stream.restart(100.0)
    return stream


def look(stream, seconds, hz, begin, *, number=0, driven=False, counted=True):
    """Look ten times a second at a stream of `hz`; returns the time, the count and all events."""
    events, t = [], begin
    for step in range(round(10 * seconds)):
        t = begin + 0.1 * (step + 1)
        count = number + int(hz * 0.1 * (step + 1))
        new = int(hz > 0)
        stream.note(t, count if new and counted else None, new, all_seen=False)
        events += stream.judge(t, driven=driven)
    return t, number + int(hz * seconds), events


def test_a_stream_at_its_rate_is_ok_and_silent():
    stream = watch()
    t, _, events = look(stream, 5, 30, 100.0)
    assert stream.level == OK
    assert events == []
    assert stream.rate_hz() == pytest.approx(30.0, rel=0.02)
    assert stream.row(t, 3) == {
        "label": "camera front",
        "topic": "/front/image",
        "role": "camera",
        "level": "ok",
        "rate": pytest.approx(30.0, rel=0.02),
        "expected": 30.0,
        "age": 0.0,
        "limit": 0.1,
        "lost": 3,
        "problem": "",
    }


def test_a_stream_that_freezes_is_told_once_with_the_remedy_and_so_is_its_return():
    stream = watch()
    t, number, _ = look(stream, 3, 30, 100.0)
    t, _, events = look(stream, 2, 0, t)
    assert stream.level == STALE
    assert [event.level for event in events] == ["error"]
    assert events[0].text == (
        "camera front: silent for 0.4 s (limit 0.1 s) on /front/image. Is its driver running? "
        "Look: ros2 topic hz /front/image"
    )
    _, _, events = look(stream, 1, 30, t, number=number)
    assert [(event.level, event.text) for event in events] == [("info", "camera front: as expected again after 2.1 s")]


def test_a_stream_that_never_spoke_is_stale_after_three_seconds():
    stream = watch()
    _, _, events = look(stream, 2.9, 0, 100.0)
    assert stream.level == WAITING
    assert events == []
    _, _, events = look(stream, 0.5, 0, 102.9)
    assert stream.level == STALE
    assert "nothing received on /front/image" in events[0].text


def test_a_slow_stream_is_told_after_two_seconds():
    stream = watch()
    t, _, events = look(stream, 3.0, 20, 100.0)
    assert stream.level == OK
    assert events == []
    _, _, events = look(stream, 2.0, 20, t, number=60)
    assert stream.level == SLOW
    assert [event.text.split(".")[0] for event in events] == ["camera front: 20"]
    assert "Hz instead of 30 Hz on /front/image" in events[0].text


def test_commands_may_be_silent_while_nobody_drives():
    stream = watch("command")
    look(stream, 5, 0, 100.0)
    assert stream.level == IDLE
    t, _, events = look(stream, 2.9, 0, 105.0, driven=True)
    assert events == []  # who drives has only begun to
    look(stream, 1, 0, t, driven=True)
    assert stream.level == STALE


def test_without_numbers_a_rate_is_not_guessed():
    stream = watch()
    look(stream, 4, 30, 100.0, counted=False)
    assert stream.rate_hz() is None
    assert stream.level == OK


def test_a_clock_that_is_set_back_begins_anew():
    stream = watch()
    look(stream, 3, 30, 100.0)
    stream.note(5.0, 1, 1, all_seen=False)
    assert stream.age_s(5.1) == pytest.approx(0.1)
    assert stream.judge(5.1, driven=False) == []
    assert stream.level == OK


def test_another_publisher_does_not_make_a_rate_of_thousands():
    stream = watch()
    t, _, _ = look(stream, 3, 30, 100.0)
    stream.note(t + 0.1, 10_000_000, 1, all_seen=False)
    assert stream.rate_hz() < 31.0
