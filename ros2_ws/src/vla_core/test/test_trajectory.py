# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from vla_core.chunks import ActionChunk
from vla_core.errors import ActionError, StaleChunkError, StampError, TrajectoryError
from vla_core.stamps import split_ns, stamp_ns, tick_ns, time_ns, to_ns, to_s
from vla_core.testing import Data, Joy, header
from vla_core.trajectory import build_trajectory

T0 = 1_700_000_000_123_456_789
JOINTS = ("a", "b")
RAMP = np.stack([np.linspace(0, 0.9, 10), np.linspace(0, -1.8, 10)], axis=1)


def build(targets=RAMP, now_ns=T0, dt_s=0.1, **options):
    return build_trajectory(targets, T0, dt_s, now_ns, joint_names=JOINTS, **options)


def test_the_first_point_is_at_least_one_step_ahead():
    trajectory = build()
    assert (trajectory.first_step, trajectory.start_ns) == (1, T0)
    assert trajectory.time_from_start == pytest.approx(np.arange(1, 10) * 0.1)
    assert (trajectory.positions == RAMP[1:]).all()
    assert build(now_ns=T0 + 1_000_000).first_step == 2
    assert build(now_ns=T0 - to_ns(0.1)).first_step == 0
    assert build(lead_s=0.0).first_step == 0
    assert build(lead_s=0.35).first_step == 4


def test_past_steps_are_skipped_and_the_rest_keeps_its_time():
    late = build(now_ns=T0 + to_ns(0.42))
    assert late.first_step == 6
    assert late.time_from_start[0] == pytest.approx(0.18)
    for trajectory in (build(), late):
        stamps = trajectory.start_ns + np.array([to_ns(t) for t in trajectory.time_from_start])
        wanted = [T0 + to_ns(0.1 * i) for i in range(trajectory.first_step, 10)]
        assert np.abs(stamps - wanted).max() <= 1
        assert (np.diff(trajectory.time_from_start) > 0).all()
        assert (trajectory.velocities[-1] == 0).all()
    assert late.end_ns == pytest.approx(T0 + to_ns(0.9), abs=1)


def test_a_chunk_of_the_past_is_refused():
    with pytest.raises(
        StaleChunkError, match=r"all 10 steps .* observed 1.000 s ago and lasts 0.900 s; use longer chunks"
    ):
        build(now_ns=T0 + to_ns(1.0))
    assert build(now_ns=T0 + to_ns(0.8)).first_step == 9
    with pytest.raises(StaleChunkError):
        build(now_ns=T0 + to_ns(0.81))


def test_velocities_follow_the_slope_and_vanish_where_a_joint_turns():
    trajectory = build()
    assert trajectory.velocities[:-1] == pytest.approx(np.tile([1.0, -2.0], (8, 1)))
    there_and_back = np.array([[0.0, 0.0], [0.1, 0.1], [0.2, 0.1], [0.1, 0.1], [0.0, 0.2]])
    velocities = build(there_and_back).velocities
    assert velocities[1].tolist() == [0.0, 0.0]  # a turns, b stands
    assert velocities[0] == pytest.approx([1.0, 0.0])
    # Without a step before it, the first point takes the slope after it, or the one from where the arm is.
    ahead = build(now_ns=T0 - to_ns(0.1))
    assert ahead.velocities[0] == pytest.approx([1.0, -2.0])
    from_rest = build(now_ns=T0 - to_ns(0.1), current=RAMP[0])
    assert from_rest.velocities[0] == pytest.approx([0.0, 0.0])
    on_the_way = build(now_ns=T0 - to_ns(0.1), current=RAMP[0] - [0.1, -0.2])
    assert on_the_way.velocities[0] == pytest.approx([1.0, -2.0])


def test_the_spline_passes_its_points_and_does_not_overshoot():
    rng = np.random.default_rng(0)
    for _ in range(20):
        targets = np.cumsum(rng.normal(size=(12, 2)), axis=0)
        trajectory = build(targets)
        for i, t in enumerate(trajectory.time_from_start):
            assert trajectory.position_at(T0 + to_ns(t)) == pytest.approx(trajectory.positions[i], abs=1e-6)
        for i in range(len(trajectory.positions) - 1):
            low = np.minimum(*trajectory.positions[i : i + 2]) - 1e-9
            high = np.maximum(*trajectory.positions[i : i + 2]) + 1e-9
            for u in np.linspace(0, 1, 11):
                t = trajectory.time_from_start[i] * (1 - u) + trajectory.time_from_start[i + 1] * u
                value = trajectory.position_at(T0 + to_ns(t))
                assert (value >= low).all()
                assert (value <= high).all()
    assert (trajectory.position_at(T0 - 5) == trajectory.positions[0]).all()
    assert (trajectory.position_at(T0 + to_ns(99)) == trajectory.positions[-1]).all()


def test_one_point_stands_still():
    trajectory = build(now_ns=T0 + to_ns(0.8))
    assert trajectory.velocities.tolist() == [[0.0, 0.0]]
    assert (trajectory.position_at(T0 + to_ns(5)) == RAMP[-1]).all()


def test_a_start_becomes_the_first_point_so_that_a_controller_goes_on_from_it():
    running = build()
    now = T0 + to_ns(0.437)
    position, velocity = running.state_at(now)
    following = build(RAMP + 0.02, now_ns=now, start=(position, velocity))
    assert (following.from_start, following.time_from_start[0], following.first_step) == (True, 0.0, 6)
    assert following.first_waypoint_s == pytest.approx(0.163)
    assert following.waypoints == pytest.approx(RAMP[6:] + 0.02)
    assert (running.waypoints == running.positions).all()
    got, slope = following.state_at(now)
    assert got == pytest.approx(position)
    assert slope == pytest.approx(velocity)
    single = build(now_ns=T0 + to_ns(0.8), start=(RAMP[8], [0.0, 0.0]))
    assert single.velocities.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert single.position_at(T0 + to_ns(0.85)) == pytest.approx((RAMP[8] + RAMP[9]) / 2)
    with pytest.raises(TrajectoryError, match=r"a position and a velocity of 2 joints, got \(3,\) and \(2,\)"):
        build(start=(np.zeros(3), np.zeros(2)))


def test_the_velocity_of_the_spline_is_its_slope():
    trajectory = build(np.cumsum(np.random.default_rng(1).normal(size=(12, 2)), axis=0))
    for t in np.linspace(0.11, 1.05, 40):
        now = T0 + to_ns(t)
        slope = (trajectory.position_at(now + 10_000) - trajectory.position_at(now - 10_000)) / 2e-5
        assert trajectory.state_at(now)[1] == pytest.approx(slope, abs=2e-3)
    assert trajectory.state_at(trajectory.end_ns)[1].tolist() == [0.0, 0.0]
    assert trajectory.state_at(T0)[1].tolist() == [0.0, 0.0], "before its first point it says nothing"


def by_hand(trajectory, t_ns):
    """One point of the spline, in the arithmetic of one number at a time."""
    times, t = trajectory.time_from_start, to_s(t_ns - trajectory.start_ns)
    if t < times[0] or t >= times[-1]:
        end = trajectory.positions[0 if t < times[0] else -1]
        return end.tolist(), [0.0] * len(end)
    i = max(i for i in range(len(times)) if times[i] <= t)
    h = float(times[i + 1] - times[i])
    u = (t - float(times[i])) / h
    position, velocity = [], []
    for j in range(trajectory.positions.shape[1]):
        p0, p1 = (float(trajectory.positions[n, j]) for n in (i, i + 1))
        v0, v1 = (float(trajectory.velocities[n, j]) * h for n in (i, i + 1))
        square, cube = 3.0 * (p1 - p0) - 2.0 * v0 - v1, v0 + v1 - 2.0 * (p1 - p0)
        position.append(p0 + u * (v0 + u * (square + u * cube)))
        velocity.append((v0 + u * (2.0 * square + u * 3.0 * cube)) / h)
    return position, velocity


def test_many_times_at_once_give_the_same_bits_as_one_by_one():
    rng = np.random.default_rng(2)
    for count in (1, 2, 12):
        trajectory = build(np.cumsum(rng.normal(size=(count, 2)), axis=0), now_ns=T0 - to_ns(0.1))
        at_points = [trajectory.start_ns + to_ns(t) for t in trajectory.time_from_start]
        times = [*at_points, *(T0 + to_ns(t) for t in rng.uniform(-0.3, 1.5, 200)), T0 - to_ns(3600), T0 + to_ns(3600)]
        positions, velocities = trajectory.states_at(times)
        expected = [by_hand(trajectory, t) for t in times]
        assert positions.tolist() == [p for p, _ in expected]
        assert velocities.tolist() == [v for _, v in expected]
        assert trajectory.positions_at(np.array(times)).tolist() == positions.tolist()
        assert [trajectory.position_at(t).tolist() for t in times] == positions.tolist()


def test_mistakes_are_named():
    with pytest.raises(TrajectoryError, match=r"targets must be \(T, 2\), one column per joint, got \(10, 3\)"):
        build(np.zeros((10, 3)))
    bad = RAMP.copy()
    bad[3, 0] = np.inf
    with pytest.raises(TrajectoryError, match="a target is not finite; check the chunk with the safety filter"):
        build(bad)


def chunk(count=5, dt_s=1 / 30):
    return ActionChunk(T0, dt_s, np.arange(count * 2, dtype=np.float64).reshape(count, 2))


def test_chunk_times_do_not_drift():
    long = chunk(3001)
    assert long.values.dtype == np.float32
    assert long.time_ns(3000) == T0 + 100 * 10**9
    assert long.end_ns == long.time_ns(3000)
    assert len(long) == 3001


def test_chunk_index_of_a_time():
    steps = chunk()
    for i in range(5):
        assert steps.first_at_or_after(steps.time_ns(i)) == i
        assert steps.first_at_or_after(steps.time_ns(i) + 1) == i + 1
        assert steps.in_force(steps.time_ns(i)).tolist() == steps.values[i].tolist()
        assert steps.in_force(steps.time_ns(i + 1) - 1).tolist() == steps.values[i].tolist()
    assert steps.first_at_or_after(T0 - 10**12) == 0
    assert steps.first_at_or_after(T0 + 10**12) == 5
    assert steps.remaining(steps.time_ns(3)) == 2
    assert steps.in_force(T0 - 1) is None
    assert steps.in_force(steps.time_ns(5)) is None


def test_impossible_chunks():
    with pytest.raises(ActionError, match=r"a non-empty \(T, m\) array, got shape \(0, 3\)"):
        ActionChunk(T0, 0.1, np.zeros((0, 3)))
    with pytest.raises(ActionError, match=r"must be positive, got dt_s=0\.0"):
        ActionChunk(T0, 0.0, np.zeros((1, 3)))


def test_stamps():
    assert stamp_ns(Joy(header=header(T0))) == T0
    assert split_ns(T0) == (1_700_000_000, 123_456_789)
    assert time_ns(header(T0).stamp) == T0
    assert [tick_ns(T0, i, 30.0) - T0 for i in (0, 1, 2, 3)] == [0, 33_333_333, 66_666_667, 100_000_000]
    with pytest.raises(StampError, match="Data has no header stamp; use 'stamp: receive'"):
        stamp_ns(Data())
    with pytest.raises(StampError, match=r"Data is no time stamp: .* pass message.header.stamp"):
        time_ns(Data())
