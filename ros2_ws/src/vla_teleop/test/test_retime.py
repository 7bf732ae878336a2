# SPDX-License-Identifier: Apache-2.0

"""A running segment goes on at another speed: the same path, without a jump, within the accelerations of its table."""

from types import SimpleNamespace

import numpy as np
import pytest
from vla_core.trajectory import Trajectory
from vla_teleop.skills.retime import change_rate, retimed, timing

SPEED, ACCELERATION, LENGTH = 0.5, 1.0, 1.0  # of a joint that moves by a trapezoidal profile
RATE = ACCELERATION / SPEED
SHARE = np.array([1.0, -0.4])


def segment(dt=0.02):
    """A straight stretch of two joints at full speed."""
    up = SPEED / ACCELERATION
    total = LENGTH / SPEED + up
    times = np.append(np.arange(0.0, total, dt), total)
    v = np.clip(np.minimum(times, total - times) * ACCELERATION, 0.0, SPEED)
    s = np.where(times < up, ACCELERATION * times**2 / 2, SPEED * (times - up / 2))
    s = np.where(times > total - up, LENGTH - ACCELERATION * (total - times) ** 2 / 2, s)
    return SimpleNamespace(times=times, positions=s[:, None] * SHARE, velocities=v[:, None] * SHARE)


def trajectory(way):
    return Trajectory(
        joint_names=("a", "b"),
        start_ns=0,
        time_from_start=way.times,
        positions=way.positions,
        velocities=way.velocities,
        first_step=0,
        from_start=True,
    )


def changed(before, part, seconds):
    plan = segment()
    now = timing(plan, before)
    state = trajectory(now).state_at(int(seconds * 1e9))
    return plan, now, state, retimed(plan, now, seconds, state, part=part, rate=RATE)


def test_a_whole_segment_at_half_speed_takes_twice_the_time():
    plan = segment()
    way = timing(plan, 0.5)
    assert way.duration == pytest.approx(2.0 * plan.times[-1])
    assert np.abs(way.velocities).max() == pytest.approx(0.5 * SPEED)
    assert way.planned_at(way.duration / 2) == pytest.approx(plan.times[-1] / 2)


@pytest.mark.parametrize(("before", "part"), [(1.0, 0.5), (0.5, 1.0), (0.3, 0.35), (1.0, 0.25)])
@pytest.mark.parametrize("at", [0.1, 0.4, 0.77])
def test_position_and_velocity_do_not_jump(before, part, at):
    plan = segment()
    seconds = at * plan.times[-1] / before
    _, _now, state, way = changed(before, part, seconds)
    assert np.allclose(way.positions[0], state[0])
    assert np.allclose(way.velocities[0], state[1])
    assert np.array_equal(way.positions[-1], plan.positions[-1])
    assert not way.velocities[-1].any()
    fine = trajectory(way)
    t = np.arange(0.0, way.duration, 0.001)
    q, dq = fine.states_at((t * 1e9).astype(np.int64))
    speed = np.diff(q, axis=0) / 0.001
    assert np.abs(speed - (dq[1:] + dq[:-1]) / 2).max() < 2e-3 * SPEED, "velocities are those of the path"
    acceleration = np.abs(np.diff(dq[:, 0]) / 0.001).max()
    most = ACCELERATION * max(before, part) ** 2 + SPEED * RATE
    assert acceleration < 1.2 * most  # cubic splines between samples
    settled = t > abs(part - before) / RATE + 0.02 / part  # a sample of the plan
    assert np.abs(dq[settled]).max(initial=0.0) <= part * SPEED * (1.0 + 1e-6)


def test_the_path_stays_the_same():
    plan, _, _, way = changed(1.0, 0.5, 0.8)
    where = way.planned_at(1.0)
    expected = np.interp(where, plan.times, plan.positions[:, 0])
    assert trajectory(way).position_at(1_000_000_000)[0] == pytest.approx(expected, abs=1e-3)
    assert np.allclose(way.positions @ [SHARE[1], -SHARE[0]], 0.0, atol=1e-12)


def test_time_is_won_and_lost_as_the_change_says():
    plan, _, _, slower = changed(1.0, 0.5, 1.0)
    left = plan.times[-1] - 1.0
    ramp = 0.5 / RATE
    assert slower.duration == pytest.approx(ramp + (left - 0.75 * ramp) / 0.5)
    assert slower.part_at(ramp / 2) == pytest.approx(0.75, abs=0.01)
    assert slower.part_at(slower.duration) == 0.5


def test_a_change_can_follow_a_change():
    plan, _, _, way = changed(1.0, 0.5, 0.8)
    seconds = 0.1  # in the midst of it
    state = trajectory(way).state_at(int(seconds * 1e9))
    again = retimed(plan, way, seconds, state, part=1.0, rate=RATE)
    assert again.parts[0] == pytest.approx(1.0 - RATE * seconds, abs=0.01)
    assert np.abs(again.velocities).max() <= SPEED * (1.0 + 1e-9)
    assert again.parts[-1] == 1.0


def test_the_end_of_a_segment_is_left_alone():
    plan = segment()
    assert changed(1.0, 0.5, plan.times[-1] - 0.01)[3] is None
    assert changed(1.0, 0.5, plan.times[-1] + 1.0)[3] is None


def test_the_rate_of_change_keeps_the_accelerations_of_the_table():
    spec = SimpleNamespace(linear_acceleration=0.04, linear_speed=0.1, angular_acceleration=0.5, angular_speed=0.5)
    assert change_rate(spec) == pytest.approx(0.4)
