# SPDX-License-Identifier: Apache-2.0

import math

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from vla_common.diagnostics import StreamMonitor

S = 10**9


def feed(monitor, times_s):
    for t in times_s:
        monitor.tick(round(t * S))


def test_rate_age_jitter():
    monitor = StreamMonitor("front", expected_hz=30.0, max_age_s=0.1)
    feed(monitor, [0.0, 0.03, 0.07, 0.1])
    health = monitor.health(round(0.15 * S))
    assert health.level == DiagnosticStatus.OK
    assert health.rate_hz == pytest.approx(30.0)
    assert health.age_s == pytest.approx(0.05)
    assert health.jitter_s == pytest.approx(math.sqrt((2 * 0.00333**2 + 0.00667**2) / 3), abs=1e-4)
    assert health.count == 4


def test_levels():
    monitor = StreamMonitor("front", expected_hz=30.0, max_age_s=0.1)
    assert (monitor.health(S).level, monitor.health(S).message) == (DiagnosticStatus.STALE, "no message yet")
    feed(monitor, [0.0, 0.1, 0.2])
    health = monitor.health(round(0.25 * S))
    assert (health.level, health.message) == (DiagnosticStatus.WARN, "10.0 Hz instead of 30 Hz")
    health = monitor.health(round(1.4 * S))
    assert (health.level, health.message) == (DiagnosticStatus.STALE, "silent for 1.20 s (limit 0.1 s)")


def test_clock_going_back_starts_anew():
    monitor = StreamMonitor("front")
    feed(monitor, [10.0, 11.0, 1.0, 1.5])
    health = monitor.health(2 * S)
    assert health.rate_hz == pytest.approx(2.0)
    assert health.count == 4
