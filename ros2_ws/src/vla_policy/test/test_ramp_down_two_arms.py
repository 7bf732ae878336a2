# SPDX-License-Identifier: Apache-2.0

"""Two arms whose chunks are over slow down along their ways, unless that leads them to each other."""

from pathlib import Path

import numpy as np
from vla_core.arm_distance import ArmDistance
from vla_core.profile import load_profile
from vla_core.trajectory import Trajectory
from vla_policy.execution.ramp_down import RampDown

PROFILE = load_profile(Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_bimanual.yaml")
DT_S = 1.0 / 30.0
SPEED = {"left_arm": -1.0, "right_arm": 1.2}  # of the feet [rad/s], towards each other


def chunk(turns):
    """Five waypoints of both arms that end at these angles of the feet, against the ready pose [rad]."""
    found = {}
    for spec in PROFILE.action:
        if spec.is_gripper:
            continue
        times, first = DT_S * np.arange(5), np.eye(6)[0]
        q = (
            np.array(PROFILE.ready[spec.name])
            + (turns[spec.name] + SPEED[spec.name] * (times - times[-1]))[:, None] * first
        )
        rest = np.concatenate([np.tile(SPEED[spec.name] * first, (4, 1)), np.zeros((1, 6))])
        found[spec.name] = Trajectory(
            joint_names=spec.joints, start_ns=0, time_from_start=times, positions=q, velocities=rest, first_step=0
        )
    return found


def test_arms_that_are_apart_slow_down_along_their_ways():
    given = chunk({"left_arm": 0.0, "right_arm": 0.0})
    found = RampDown(PROFILE)(given, DT_S)
    for name, trajectory in found.items():
        assert len(trajectory.positions) == len(trajectory.velocities) > 5
        further = trajectory.positions[-1][0] - given[name].positions[-1][0]
        assert further * SPEED[name] > 0.0, "on in the same direction"
        assert not trajectory.velocities[-1].any()


def test_an_arm_that_would_slow_down_into_the_other_stops_at_the_end_of_its_chunk():
    distance = ArmDistance(*PROFILE.arms, PROFILE.safety.arms_min_distance_m)
    for turned in np.arange(0.0, 1.2, 0.02):  # until the ends are near, and still allowed
        ends = {"left_arm": -turned, "right_arm": 1.2 * turned}
        given = chunk(ends)
        if distance.distances(*(t.positions for t in given.values()))[-1].min() < 0.07:
            break
    found = RampDown(PROFILE)(given, DT_S)
    assert any(len(trajectory.positions) == 5 for trajectory in found.values())
    last = [trajectory.positions[-1:] for trajectory in found.values()]
    assert distance.distances(*last).min() >= 0.05
