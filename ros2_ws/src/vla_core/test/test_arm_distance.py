# SPDX-License-Identifier: Apache-2.0

"""Distance between the links of two arms: the geometry against scipy, the command against dense sampling."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from vla_core.arm_distance import TOLERANCE_M, ArmCapsules, ArmDistance, line_distances
from vla_core.errors import ActionError
from vla_core.kinematics import forward
from vla_core.profile import load_profile, parse_profile
from vla_core.safety import DISTANCE, WORKSPACE, SafetyFilter

ROBOTS = Path(__file__).parents[2] / "vla_bringup" / "robots"
TURN = np.array([1.0, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def two():
    return load_profile(ROBOTS / "sim_ur5e_bimanual.yaml")


def ready(profile):
    return {name: np.array(values) for name, values in profile.ready.items()}


def swing(profile, left, right, count=50):
    """Both arms turn about their feet by `left` and `right` rad."""
    here, share = ready(profile), np.linspace(0.0, 1.0, count)[:, None]
    return {name: here[name] + share * angle * TURN for name, angle in (("left_arm", left), ("right_arm", right))}


def by_optimiser(a, b):
    def squared(x):
        return np.sum((a[0] + x[0] * (a[1] - a[0]) - b[0] - x[1] * (b[1] - b[0])) ** 2)

    starts = ((0.5, 0.5), (0.0, 1.0), (1.0, 0.0))
    return min(np.sqrt(minimize(squared, s, bounds=[(0, 1)] * 2, tol=1e-14).fun) for s in starts)


def test_distances_of_lines_are_those_of_an_optimiser():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 60, 2, 3))
    second[:10, 1] = second[:10, 0] + 2.0 * (first[:10, 1] - first[:10, 0])  # parallel
    first[10:20, 1] = first[10:20, 0]  # a point
    second[15:25, 1] = second[15:25, 0]
    second[25:30] = first[25:30]  # the same
    expected = [by_optimiser(a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(line_distances(first, second), expected, atol=1e-5)
    np.testing.assert_allclose(line_distances(second, first), expected, atol=1e-5)


def test_lines_are_where_the_arm_is(two):
    left, right = two.arms
    assert (left.name, right.name, left.mount_xyz) == ("left_arm", "right_arm", (0.0, 0.45, 0.0))
    q = np.random.default_rng(1).uniform(-2, 2, (4, 6))
    lines = ArmCapsules(right).lines(q)
    names = [link.name for link in right.links]
    gripper = lines[:, names.index("gripper")]
    T = forward(right.kinematics, q)
    for end, along in ((0, -0.01), (1, 0.11)):
        point = T[:, :3, 3] + along * T[:, :3, 2] + np.array(right.mount_xyz)
        np.testing.assert_allclose(gripper[:, end], point, atol=1e-12)
    np.testing.assert_allclose(lines[:, names.index("base"), 1], np.tile((0.0, -0.45, 0.16), (4, 1)))


def test_no_link_moves_further_than_is_said(two):
    rng, arm = np.random.default_rng(2), ArmCapsules(two.arms[0])
    q = rng.uniform(-3, 3, (200, 6))
    moves = rng.normal(size=(200, 6)) * 0.05
    moved = np.linalg.norm(arm.lines(q + moves) - arm.lines(q), axis=-1).max(axis=-1)
    assert (moved <= arm.furthest(moves) + 1e-9).all()


def test_arms_that_pass_each_other_are_free_and_arms_that_meet_are_not(two):
    check = SafetyFilter(two).check
    assert check(swing(two, 0.8, -0.8), 1 / 30, ready(two)).ok, "away from each other"
    report = check(swing(two, -1.2, 1.5), 1 / 30, ready(two))
    assert report.targets is None
    (item,) = [item for item in report.items if item.kind == DISTANCE]
    assert item.group == "left_arm and right_arm"
    assert item.value < item.limit == 0.05
    text = str(item)
    assert "left_arm camera and right_arm gripper are -0." in text
    assert "at least 0.050 m must stay between the arms (and in" in text


def test_what_happens_between_waypoints_counts(two):
    """One long step through the other arm: both of its ends are free."""
    way = swing(two, -3.1, 0.0, 200)
    way["right_arm"] += 1.2 * TURN  # it points at the left arm's side and stays there
    distance = ArmDistance(*two.arms, 0.05)
    ends = {name: rows[[0, -1]] for name, rows in way.items()}
    smallest = distance.distances(*way.values()).min(axis=(1, 2))
    assert smallest[[0, -1]].min() > 0.05 > smallest.min(), "the case is not what it is to be"
    near = distance.check(*ends.values(), starts=True)
    assert near is not None
    assert near.step == 0
    assert near.distance_m < 0.05


def test_the_check_agrees_with_dense_sampling(two):
    rng, found = np.random.default_rng(3), {True: 0, False: 0}
    distance = ArmDistance(*two.arms, 0.05)
    for _ in range(60):
        begins = [
            np.array(two.ready[arm.name]) + rng.normal(size=6) * [0.6, 0.3, 0.3, 0.3, 0.3, 0.3] + side * TURN
            for arm, side in zip(two.arms, (-0.7, 0.7), strict=True)
        ]
        ways = [begin + np.linspace(0, 1, 6)[:, None] * rng.normal(size=6) * 0.3 for begin in begins]
        dense = [np.concatenate([np.linspace(a, b, 50) for a, b in itertools.pairwise(way)]) for way in ways]
        truth = distance.distances(*dense).min()
        if abs(truth - 0.05) > TOLERANCE_M:
            near = distance.check(*ways, starts=False)
            assert (near is not None) == (truth < 0.05), truth
            found[near is None] += 1
    assert min(found.values()) > 5, f"the cases are one-sided: {found}"


def test_arms_that_are_too_near_may_go_apart_and_not_nearer(two):
    way = swing(two, -1.2, 1.5, 200)
    distance = ArmDistance(*two.arms, 0.05)
    smallest = distance.distances(*way.values()).min(axis=(1, 2))
    inside = int(np.argmax(smallest < 0.03))
    back = {name: rows[inside - 1 : inside - 30 : -1] for name, rows in way.items()}
    on = {name: rows[inside + 1 : inside + 5] for name, rows in way.items()}
    here = {name: rows[inside] for name, rows in way.items()}
    check = SafetyFilter(two).check
    assert check(back, 1 / 30, here).ok
    report = check(on, 1 / 30, here)
    assert [item.kind for item in report.items] == [DISTANCE]
    assert not check(back, 1 / 30).ok, "without the present place nothing says that they are apart already"


def test_an_arm_without_targets_stays_where_it_is(two):
    way = swing(two, -1.2, 1.5)
    check = SafetyFilter(two).check
    here = {"left_arm": way["left_arm"][0], "right_arm": way["right_arm"][-1]}
    report = check({"left_arm": way["left_arm"]}, 1 / 30, here)
    assert DISTANCE in {item.kind for item in report.items}
    assert check({"left_arm": way["left_arm"]}, 1 / 30, ready(two)).ok
    assert check({"left_gripper": [[0.1]]}, 1 / 30).ok
    with pytest.raises(ActionError, match="nothing says where 'right_arm' is; pass its targets or its measured joints"):
        check({"left_arm": way["left_arm"]}, 1 / 30)


def test_each_arm_has_a_box_in_the_frame_of_its_base(two):
    text = two.text.replace("- 0.95\n      - 0.95\n      - 1.2", "- 0.95\n      - 0.1\n      - 1.2", 1)
    assert text != two.text
    here = ready(two)
    y = [forward(arm.kinematics, here[arm.name])[1, 3] for arm in two.arms]
    assert y[0] == y[1], "the same pose from both bases"
    profile = parse_profile(text)
    targets = {name: here[name][None] + 0.5 * TURN for name in ("left_arm", "right_arm")}
    report = SafetyFilter(profile).check(targets, 1.0)
    assert [(item.kind, item.group, item.where) for item in report.items] == [(WORKSPACE, "left_arm", "tool y")]
    assert "left_arm: workspace of tool y at step 0 is " in report.violations[0]
    assert "the limit is 0.1 m" in report.violations[0]
