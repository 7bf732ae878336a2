# SPDX-License-Identifier: Apache-2.0

"""Parts of the skill node: what is in force on a slowed arm, and profiles that are not enough for skills."""

from dataclasses import replace

import numpy as np
import pytest
from skill_bench import PROFILE
from vla_core.errors import ProfileError
from vla_core.profile import load_profile
from vla_core.trajectory import Trajectory
from vla_teleop.node.joint_watch import JointWatch
from vla_teleop.node.progress import Progress
from vla_teleop.node.skill_robot import arm_and_gripper

MS = 1_000_000


def there_and_back():
    """One joint from 0 to 1 rad and back, 1 rad/s."""
    times = np.linspace(0.0, 2.0, 101)
    places = 1.0 - np.abs(1.0 - times)
    speeds = np.where(times < 1.0, 1.0, -1.0)
    speeds[[0, 50, 100]] = 0.0
    return Trajectory(
        joint_names=("a",), start_ns=0, time_from_start=times, positions=places[:, None], velocities=speeds[:, None], first_step=0
    )  # fmt: skip


def test_an_arm_that_follows_has_the_planned_target():
    way = there_and_back()
    progress = Progress(way)
    for t_ms in range(0, 2000, 20):
        lagging = way.position_at(max(0, t_ms - 30) * MS)
        assert progress.update(t_ms * MS, lagging) == pytest.approx(way.position_at(t_ms * MS))
    assert progress.seconds == pytest.approx(1.95, abs=0.03)


def test_a_slowed_arm_has_the_target_of_where_it_is_also_on_the_way_back():
    way = there_and_back()
    progress = Progress(way)
    seen = []
    for t_ms in range(0, 8020, 20):
        measured = way.position_at(t_ms * MS // 4)  # speed slider at 25 %
        target = progress.update(t_ms * MS, measured)
        seen.append(progress.seconds)
        assert np.abs(target - measured).max() < 0.105
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(2.0, abs=0.03)
    assert progress.moved_ns > 7900 * MS
    stood = progress.update(9000 * MS, way.position_at(2000 * MS))
    assert stood == pytest.approx(way.position_at(2000 * MS))


def test_profiles_that_are_not_enough_say_what_is_missing():
    profile = load_profile(PROFILE)
    with pytest.raises(
        ProfileError, match=r"skills need 'kinematics' and a section 'teleop' with arm, gripper and tcp"
    ):
        arm_and_gripper(replace(profile, teleop=None))
    streamed = load_profile(PROFILE.with_name("sim_ur5e_stream.yaml"))
    with pytest.raises(ProfileError, match=r"action 'arm' takes joint_group_position; use a profile that commands"):
        arm_and_gripper(streamed)
    with pytest.raises(ProfileError, match=r"no entry of 'state' says on which JointState topic thumb is measured"):
        JointWatch(None, profile, None, ("elbow_joint", "thumb"))
