# SPDX-License-Identifier: Apache-2.0

import random

import pytest
from vla_core.sync import StreamBuffer

MS = 1_000_000


def buffer(strategy="hold", max_age_s=0.05, rate_hz=100.0, times=()):
    made = StreamBuffer(strategy=strategy, max_age_s=max_age_s, rate_hz=rate_hz)
    for t in times:
        made.push(t * MS, t)
    return made


def test_hold_takes_the_last_at_or_before_the_tick():
    stream = buffer(times=[1000, 1010, 1020])
    assert stream.find(1010 * MS).item == 1010  # exactly on the tick belongs to the tick
    assert stream.find(1019 * MS).item == 1010
    found = stream.find(1070 * MS)
    assert (found.status, found.item, found.age_ns) == ("ok", 1020, 50 * MS)
    found = stream.find(1070 * MS + 1)
    assert (found.status, found.item) == ("stale", 1020)
    assert stream.find(999 * MS).status == "empty"
    assert stream.lookahead_s == 0.0


def test_nearest_looks_ahead_and_prefers_the_earlier():
    stream = buffer("nearest", times=[1000, 1010])
    assert stream.lookahead_s == pytest.approx(0.015)
    assert stream.find(1004 * MS).item == 1000
    assert stream.find(1005 * MS).item == 1000
    assert stream.find(1006 * MS).item == 1010
    assert stream.find(990 * MS).item == 1000
    assert stream.find(984 * MS).status == "empty"  # past the look-ahead


def test_nearest_does_not_depend_on_what_came_later():
    # A message past the look-ahead may or may not be there yet; it must not matter.
    early, late = buffer("nearest", times=[1000]), buffer("nearest", times=[1000, 1029])
    assert early.find(1013 * MS) == late.find(1013 * MS)


def test_interpolate_needs_both_sides():
    stream = buffer("interpolate", times=[1000, 1010])
    found = stream.find(1004 * MS)
    assert (found.item, found.after, found.weight, found.age_ns) == (1000, 1010, 0.4, -6 * MS)
    exact = stream.find(1010 * MS)
    assert (exact.status, exact.item, exact.after) == ("ok", 1010, None)
    assert stream.find(1011 * MS).status == "empty"
    assert stream.find(999 * MS).status == "empty"
    gap = buffer("interpolate", max_age_s=0.02, rate_hz=50.0, times=[1000, 1030])
    assert gap.find(1015 * MS).status == "ok"
    assert gap.find(1025 * MS).status == "stale"


def test_order_of_arrival_does_not_matter():
    times = list(range(1000, 1400, 7))
    ordered = buffer(times=times)
    mixed_times = times.copy()
    random.Random(3).shuffle(mixed_times)
    mixed = buffer(times=mixed_times)
    for t in range(990, 1450):
        assert ordered.find(t * MS) == mixed.find(t * MS)


def test_of_two_with_the_same_stamp_the_later_arrival_counts():
    stream = buffer(times=[1000])
    stream.push(1000 * MS, "again")
    assert stream.find(1000 * MS).item == "again"


def test_memory_is_bounded_in_time_and_count():
    stream = buffer(max_age_s=0.05, rate_hz=100.0)
    for i in range(20_000):
        stream.push(i * MS // 10, i)  # a hundred times the stated rate
    assert len(stream) <= 1.05 * 100 * 2 + 17
    assert stream.newest_ns == 19_999 * MS // 10
    slow = buffer(max_age_s=0.05, rate_hz=100.0, times=range(0, 10_000, 10))
    assert len(slow) <= 107


def test_late_messages_are_dropped_and_counted():
    stream = buffer(times=[5000])
    assert not stream.push(3000 * MS, "late")
    assert stream.push(4500 * MS, "in time")
    assert stream.stats().late == 1
    stream.clear()
    assert stream.newest_ns is None
    assert stream.push(3000 * MS, "after the clock jumped back")


def test_stats():
    stream = buffer(times=[1000])
    assert stream.stats().age_p95_s == 0.0
    for t in (990, 1000, 1020, 1040, 1200):
        stream.find(t * MS)
    stats = stream.stats()
    assert (stats.pushed, stats.tried, stats.hit, stats.empty, stats.stale) == (1, 5, 3, 1, 1)
    assert stats.age_mean_s == pytest.approx(0.02)
    assert stats.age_max_s == pytest.approx(0.04)
    assert stats.age_p95_s == pytest.approx(0.038)
