# SPDX-License-Identifier: Apache-2.0

"""The recorded files of a real UR5e: read whole, cut right, planned completely; kinematics against what was measured."""

import numpy as np
import pytest
from skill_examples import ARM, BASE, LIMITS, RECORDED, TCP, WORKSPACE, needs_recorded, spec
from vla_core.kinematics import forward, rotation_from_vector
from vla_teleop.skills.plan import plan_skill, segment_rows, target_poses
from vla_teleop.skills.ur_ik import follow
from vla_teleop.skills.waypoints import load_waypoints

pytestmark = needs_recorded
# rows whose pose was edited by hand after teaching: their joints belong to another pose
EDITED = {"CPU": (10, 11, 12, 13, 18), "RAM": (0, 3)}
RELATIVE = {"CPU": 20, "RAM": 5}


@pytest.fixture(params=["CPU", "RAM"])
def name(request):
    return request.param


@pytest.fixture
def waypoints(name):
    return load_waypoints(RECORDED / f"{name}_Skills.csv")


@pytest.fixture
def skill(name):
    values = {"CPU": (155.0, "blend"), "RAM": (225.0, "points")}[name]
    return spec(name=name.lower(), relative_count=RELATIVE[name], grasp_threshold=values[0], path_mode=values[1])


def test_all_rows_are_read_and_cut_where_the_gripper_changes(name, waypoints):
    assert len(waypoints) == {"CPU": 23, "RAM": 8}[name]
    assert (
        segment_rows(waypoints)
        == {
            "CPU": ((0, 13), (14, 16), (17, 18), (19, 21), (22, 22)),
            "RAM": ((0, 1), (2, 3), (4, 6), (7, 7)),
        }[name]
    )
    assert [i for i, row in enumerate(waypoints) if row.verification] == [{"CPU": 18, "RAM": 3}[name]]


def mismatches(waypoints):
    """Position error of the tool centre point from the joints ``(n, 3)`` in the tool's axes [m]."""
    T = np.linalg.inv(BASE) @ forward(ARM, np.stack([row.joints for row in waypoints])) @ TCP
    return np.stack([row.T[:3, :3].T @ (at[:3, 3] - row.T[:3, 3]) for row, at in zip(waypoints, T, strict=True)])


def test_joints_and_poses_agree_where_nobody_edited_them():
    offsets = []
    for name, edited in EDITED.items():
        errors = mismatches(load_waypoints(RECORDED / f"{name}_Skills.csv"))
        sizes = np.linalg.norm(errors, axis=1)
        kept = [i for i in range(len(sizes)) if i not in edited]
        assert sizes[kept].max() <= 1.1e-3
        assert sizes[list(edited)].min() > 5e-3
        offsets.append(errors[kept])
    together = np.concatenate(offsets)
    assert np.linalg.norm(together - together.mean(axis=0), axis=1).max() <= 0.8e-3


def test_the_relative_part_moves_with_the_trigger(skill, waypoints):
    rng = np.random.default_rng(2)
    origin = np.linalg.inv(waypoints[0].T)
    for _ in range(50):
        trigger = np.eye(4)
        trigger[:3, :3] = rotation_from_vector(rng.uniform(-2.0, 2.0, 3))
        trigger[:3, 3] = rng.uniform(-0.5, 0.5, 3)
        poses = target_poses(skill, waypoints, ARM, trigger)
        for i in range(skill.relative_count):
            assert np.abs(np.linalg.inv(trigger) @ poses[i] - origin @ waypoints[i].T).max() < 1e-9
        for i in range(skill.relative_count, len(waypoints)):
            assert np.abs(poses[i] - BASE @ waypoints[i].T).max() < 1e-9


def from_first_pose(waypoints):
    q, problem = follow(ARM, (BASE @ waypoints[0].T @ np.linalg.inv(TCP))[None], waypoints[0].joints)
    assert problem == ""
    return q[0]


def test_the_whole_skill_can_be_planned_from_its_own_first_pose(skill, waypoints):
    plan = plan_skill(skill, waypoints, ARM, TCP, None, from_first_pose(waypoints), limits=LIMITS, workspace=WORKSPACE)
    assert [end.waypoint for segment in plan.segments for end in segment.ends] == list(range(len(waypoints)))
    assert plan.grasp_commanded == {"cpu": 168, "ram": 229}[skill.name]
    for segment in plan.segments:
        for end in segment.ends:
            at = forward(ARM, segment.positions[end.sample]) @ TCP
            wanted = BASE @ waypoints[end.waypoint].T
            distance = np.linalg.norm(at[:3, 3] - wanted[:3, 3])
            assert distance < (0.002 if end.rounded else 1e-9)
        p = (forward(ARM, segment.positions) @ TCP)[:, :3, 3]
        v = np.diff(p, axis=0) / np.diff(segment.times)[:, None]
        assert np.linalg.norm(v, axis=1).max() <= 0.1 * 1.01
    again = plan_skill(
        skill, waypoints, ARM, TCP, None, plan.segments[2].positions[0], limits=LIMITS, workspace=WORKSPACE, resume=True
    )
    assert [end.waypoint for s in again.segments for end in s.ends] == list(range(skill.relative_count, len(waypoints)))


def test_planned_joints_are_those_that_were_taught(skill, name, waypoints):
    plan = plan_skill(skill, waypoints, ARM, TCP, None, from_first_pose(waypoints), limits=LIMITS, workspace=WORKSPACE)
    for segment in plan.segments:
        for end in segment.ends:
            if end.waypoint not in EDITED[name] and not end.rounded:
                taught = waypoints[end.waypoint].joints
                assert np.abs(segment.positions[end.sample] - taught).max() < 0.01, "the same branch and whole turn"
