# SPDX-License-Identifier: Apache-2.0

"""Motion through poses: inside the blend radius, within speeds and accelerations, at the waypoints, the shorter way round."""

from itertools import pairwise

import numpy as np
import pytest
from vla_core.kinematics import pose_matrix, rotation_from_vector, rotation_vector
from vla_teleop.skills.cartesian import CartesianPath, Speeds

SPEEDS = Speeds(linear=0.1, linear_acceleration=0.04, angular=0.5, angular_acceleration=0.5)
FINE_S = 0.004


def pose(xyz=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0)):
    return pose_matrix(xyz, rotation_from_vector(turn))


def random_poses(seed, count=8):
    rng = np.random.default_rng(seed)
    return [pose(rng.uniform(-0.15, 0.15, 3), rng.uniform(-1.0, 1.0, 3)) for _ in range(count)]


def angle(A, B):
    return float(np.linalg.norm(rotation_vector(A[:3, :3].T @ B[:3, :3])))


def rates(path, dt=FINE_S):
    """Largest speed and acceleration, linear and angular, from differences of finely sampled poses."""
    times = np.arange(0.0, path.duration, dt)
    T, _ = path.sample(times)
    v = np.diff(T[:, :3, 3], axis=0) / dt
    w = np.stack([a[:3, :3] @ rotation_vector(a[:3, :3].T @ b[:3, :3]) for a, b in pairwise(T)]) / dt
    sizes = [np.linalg.norm(x, axis=1).max() for x in (v, np.diff(v, axis=0) / dt, w, np.diff(w, axis=0) / dt)]
    return dict(zip(("speed", "acceleration", "turn", "turn_acceleration"), sizes, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_speed_and_acceleration_keep_to_the_table(seed):
    path = CartesianPath(random_poses(seed), [0.0] + [0.002] * 6 + [0.0], SPEEDS)
    seen = rates(path)
    assert seen["speed"] <= 0.1 * 1.01
    assert seen["acceleration"] <= 0.04 * 1.01
    assert seen["turn"] <= 0.5 * 1.01
    assert seen["turn_acceleration"] <= 0.5 * 1.01
    assert max(seen["speed"] / 0.1, seen["acceleration"] / 0.04, seen["turn_acceleration"] / 0.5) > 0.9, "not used up"


def test_a_translation_speeds_up_cruises_and_slows_down():
    path = CartesianPath([pose(), pose((1.0, 0.0, 0.0))], [0.0, 0.0], SPEEDS)
    assert path.duration == pytest.approx(1.0 / 0.1 + 0.1 / 0.04)
    T, twist = path.sample(np.array([0.0, 2.5, 5.0, path.duration]))
    assert twist[:, 0] == pytest.approx([0.0, 0.1, 0.1, 0.0])
    assert T[1, 0, 3] == pytest.approx(0.5 * 0.04 * 2.5**2)
    assert T[-1, :3, 3] == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)


def test_a_short_stretch_never_reaches_the_speed():
    path = CartesianPath([pose(), pose((0.01, 0.0, 0.0))], [0.0, 0.0], SPEEDS)
    assert path.duration == pytest.approx(2.0 * np.sqrt(0.01 / 0.04))


def test_a_turn_on_the_spot_takes_the_angular_speed():
    path = CartesianPath([pose(), pose(turn=(0.0, 0.0, 2.0))], [0.0, 0.0], SPEEDS)
    assert path.duration == pytest.approx(2.0 / 0.5 + 0.5 / 0.5)


def test_translation_and_rotation_arrive_together():
    end = pose((0.2, 0.0, 0.0), (0.0, 0.4, 0.0))
    path = CartesianPath([pose(), end], [0.0, 0.0], SPEEDS)
    T, _ = path.sample(np.linspace(0.0, path.duration, 50))
    assert [angle(T[0], row) / 0.4 for row in T] == pytest.approx((T[:, 0, 3] / 0.2).tolist(), abs=1e-9)


@pytest.mark.parametrize("radius", [0.002, 0.0001])
def test_a_rounded_corner_stays_within_its_radius(radius):
    poses = random_poses(11)
    path = CartesianPath(poses, [0.0] + [radius] * 6 + [0.0], SPEEDS)
    T, twist = path.sample(np.array(path.passed))
    for i in range(1, 7):
        assert np.linalg.norm(T[i, :3, 3] - poses[i][:3, 3]) <= radius
        assert np.linalg.norm(twist[i]) > 0.0, "it passes without a stop"
    assert np.linalg.norm(twist[[0, -1]]) == pytest.approx(0.0, abs=1e-12)
    # away from the corners the tool is on the straight line between the waypoints
    fine, _ = path.sample(np.linspace(0.0, path.duration, 1500))
    for p in fine[:, :3, 3]:
        corner = min(np.linalg.norm(p - q[:3, 3]) for q in poses)
        line = min(off_line(p, a[:3, 3], b[:3, 3]) for a, b in pairwise(poses))
        assert line < 1e-9 or corner <= radius


def off_line(p, a, b):
    s = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    return np.linalg.norm(a + s * (b - a) - p)


def test_without_a_radius_the_tool_stops_at_each_waypoint_exactly():
    poses = random_poses(5)
    path = CartesianPath(poses, [0.0] * 8, SPEEDS)
    T, twist = path.sample(np.array(path.passed))
    assert np.abs(T - np.stack(poses)).max() < 1e-12
    assert np.abs(twist).max() < 1e-9


def test_a_radius_longer_than_the_way_takes_half_of_it():
    poses = [pose((0.001 * i, 0.001 * (i % 2), 0.0)) for i in range(6)]
    path = CartesianPath(poses, [0.0] + [0.005] * 4 + [0.0], SPEEDS)
    T, _ = path.sample(np.linspace(0.0, path.duration, 3000))
    steps = np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1)
    assert steps.max() <= 0.1 * path.duration / 2999, "the path has no gaps"
    assert np.abs(path.sample(np.array([path.duration]))[0][0] - poses[-1]).max() < 1e-12
    for p in poses[1:-1]:
        assert np.linalg.norm(T[:, :3, 3] - p[:3, 3], axis=1).min() <= 0.001 * np.sqrt(2.0) / 2.0


def test_waypoints_in_line_are_passed_at_full_speed():
    path = CartesianPath([pose(), pose((0.5, 0, 0)), pose((1.0, 0, 0))], [0.0, 0.002, 0.0], SPEEDS)
    assert path.duration == pytest.approx(1.0 / 0.1 + 0.1 / 0.04)


def test_rotation_vectors_that_flip_their_sign_are_one_short_turn():
    a = pose(turn=(np.pi - 0.01, 0.0, 0.0))
    b = pose((0.1, 0.0, 0.0), turn=(-np.pi + 0.01, 0.0, 0.0))
    path = CartesianPath([a, b], [0.0, 0.0], SPEEDS)
    T, _ = path.sample(np.linspace(0.0, path.duration, 100))
    assert max(angle(a, row) for row in T) == pytest.approx(0.02, abs=1e-9)


def test_the_twist_is_the_rate_of_the_pose():
    path = CartesianPath(random_poses(2), [0.0] + [0.02] * 6 + [0.0], SPEEDS)
    middle = np.linspace(0.1, path.duration - 0.1, 300)
    h = 1e-5
    (before, _), (after, _), (_, twist) = path.sample(middle - h), path.sample(middle + h), path.sample(middle)
    assert (after - before)[:, :3, 3] / (2 * h) == pytest.approx(twist[:, :3], abs=1e-5)
    turn = [rotation_vector(b[:3, :3] @ a[:3, :3].T) / (2 * h) for a, b in zip(before, after, strict=True)]
    assert np.stack(turn) == pytest.approx(twist[:, 3:], abs=2e-5)


def test_waypoints_at_the_same_place_take_no_time():
    path = CartesianPath([pose(), pose(), pose((0.1, 0, 0)), pose((0.1, 0, 0))], [0.0, 0.002, 0.002, 0.0], SPEEDS)
    assert path.passed[1] == 0.0
    assert path.passed[2] == path.passed[3] == path.duration
    still = CartesianPath([pose(), pose()], [0.0, 0.0], SPEEDS)
    assert still.duration == 0.0
    assert still.times(0.02).tolist() == [0.0]
    T, twist = still.sample(np.zeros(1))
    assert T.shape == (1, 4, 4)
    assert not twist.any()


def test_scaled_speeds_give_the_same_path_slower():
    poses, radii = random_poses(3), [0.0] + [0.002] * 6 + [0.0]
    path, slow = CartesianPath(poses, radii, SPEEDS), CartesianPath(poses, radii, SPEEDS.scaled(0.5))
    assert slow.duration == pytest.approx(2.0 * path.duration)
    times = np.linspace(0.0, path.duration, 200)
    assert slow.sample(2.0 * times)[0] == pytest.approx(path.sample(times)[0], abs=1e-9)


def test_times_hold_every_change_of_acceleration_and_no_long_step():
    path = CartesianPath(random_poses(7), [0.0] + [0.002] * 6 + [0.0], SPEEDS)
    times = path.times(0.02)
    assert np.diff(times).max() <= 0.02 + 1e-12
    assert np.diff(times).min() > 0.0
    assert times[-1] == pytest.approx(path.duration)
    # with every change among the samples, differences of the twist never exceed the limit either
    _, twist = path.sample(times)
    steps = np.diff(times)
    assert (np.linalg.norm(np.diff(twist[:, :3], axis=0), axis=1) / steps).max() <= 0.04 * 1.001
