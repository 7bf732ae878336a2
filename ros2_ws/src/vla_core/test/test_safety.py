# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from vla_core.errors import ActionError, SafetyError
from vla_core.profile import parse_profile
from vla_core.safety import SafetyFilter, Watchdog
from vla_core.testing import PROFILE

REST = {"arm": np.zeros(2), "gripper": np.array([0.4])}


def check(profile, arm, gripper=None, current=REST, dt_s=0.1, **options):
    targets = {"arm": arm}
    if gripper is not None:
        targets["gripper"] = gripper
    return SafetyFilter(profile).check(targets, dt_s, current, **options)


@pytest.fixture(scope="module")
def clamping():
    return parse_profile(PROFILE + "safety: {clamp: true}\n")


def test_a_quiet_motion_passes(profile):
    report = check(profile, [[0.1, -0.1], [0.2, -0.2]], [[0.0], [0.8]])
    assert report.ok
    assert report.violations == report.clamped == ()
    assert report.raise_if_bad()["arm"].tolist() == [[0.1, -0.1], [0.2, -0.2]]


@pytest.mark.parametrize(
    ("arm", "options", "message"),
    [
        ([[0.1, np.nan]], {}, "arm: wrist_joint at step 0 is nan"),
        ([[0.1, 0.0], [np.inf, 0.0]], {}, "arm: elbow_joint at step 1 is inf"),
        ([[3.1, 0.0]], {"current": None}, "arm: position of elbow_joint at step 0 is 3.1 rad, the limit is 3 rad"),
        ([[0.0, -3.5]], {"current": None}, "arm: position of wrist_joint at step 0 is -3.5 rad, the limit is -3 rad"),
        (
            [[0.0, 0.0], [0.4, 0.0]],
            {"dt_s": 1.0},
            "arm: step of elbow_joint at step 1 is 0.4 rad per step, the limit is 0.3",
        ),
        ([[0.35, 0.0]], {"dt_s": 1.0}, "arm: step of elbow_joint at step 0 is 0.35 rad per step"),
        ([[0.0, 0.0], [0.0, 0.25]], {}, "arm: velocity of wrist_joint at step 1 is 2.5 rad/s, the limit is 2 rad/s"),
        ([[-0.25, 0.0]], {}, "arm: velocity of elbow_joint at step 0 is 2.5 rad/s"),
    ],
)
def test_each_limit_is_reported_with_place_value_and_limit(profile, arm, options, message):
    report = check(profile, arm, **options)
    assert not report.ok
    assert report.targets is None
    assert len(report.violations) == 1
    assert message in report.violations[0]
    with pytest.raises(SafetyError, match="the command was refused: arm: "):
        report.raise_if_bad()


def test_the_worst_step_is_shown_and_the_others_counted(profile):
    report = check(profile, [[3.2, 0.0], [3.4, 0.0], [3.3, 0.0]], current=None)
    item = report.items[0]
    assert (item.kind, item.where, item.step, item.value, item.limit, item.count) == (
        "position",
        "elbow_joint",
        1,
        pytest.approx(3.4),
        3.0,
        3,
    )
    assert report.violations[0].endswith("(and in 2 more steps)")


def test_every_group_and_limit_is_checked(profile):
    report = check(profile, [[1.0, 3.5]], [[0.9]])
    assert [(item.group, item.kind, item.where) for item in report.items] == [
        ("arm", "position", "wrist_joint"),
        ("arm", "step", "elbow_joint"),
        ("arm", "step", "wrist_joint"),
        ("arm", "velocity", "elbow_joint"),
        ("arm", "velocity", "wrist_joint"),
        ("gripper", "position", "finger_joint"),
    ]


def test_time_to_the_first_point_counts(profile):
    assert not check(profile, [[0.25, 0.0]]).ok
    assert check(profile, [[0.25, 0.0]], first_dt_s=0.2).ok


def test_a_target_on_its_limit_survives_float32(profile):
    assert check(profile, np.float32([[3.0, -3.0]]), np.float32([[0.8]]), current=None).ok


def test_unknown_start_checks_only_between_the_steps(profile):
    assert check(profile, [[2.0, 0.0], [2.1, 0.0]], current=None).ok
    assert check(profile, [[2.0, 0.0]], current={"gripper": [0.0]}).ok
    report = check(profile, [[0.0, 0.0]], current={"arm": [0.0, np.nan]})
    assert report.violations == ("arm: measured wrist_joint at step 0 is nan",)


def test_workspace_box(six_axes):
    profile = six_axes()
    home = np.array([0.0, -1.6, 1.8, -1.8, -1.57, 0.0])
    assert SafetyFilter(profile).check({"arm": home[None]}, 0.1, {"arm": home}).ok
    report = SafetyFilter(profile).check({"arm": np.zeros((1, 6))}, 0.1)
    assert [item.where for item in report.items] == ["tool z"]
    assert "arm: workspace of tool z at step 0 is 0.0628 m" in report.violations[0]
    assert "the limit is 0.1 m" in report.violations[0]


def test_clamping_is_reported_never_silent(clamping):
    report = check(clamping, [[0.5, 0.0], [3.5, 0.0]], dt_s=1.0)
    assert report.ok
    assert report.targets["arm"].tolist() == [[0.3, 0.0], [0.6, 0.0]]
    assert len(report.clamped) == 2
    assert report.clamped[0] == "arm: position of elbow_joint at step 1 is 3.5 rad, the limit is 3 rad"
    assert report.clamped[1].startswith("arm: step of elbow_joint at step 1 is 2.5 rad per step")
    gripper = check(clamping, [[0.0, 0.0]], [[0.9]])
    assert gripper.targets["gripper"].tolist() == [[0.8]]
    untouched = check(clamping, [[0.1, 0.0]])
    assert untouched.clamped == ()
    assert check(clamping, [[2.0, 0.0], [3.1, 0.0]], current=None, dt_s=1.0).targets["arm"][0, 0] == 2.0


def test_clamping_never_hides_speed_or_nonsense(clamping):
    report = check(clamping, [[0.3, 0.0]])
    assert [item.kind for item in report.items] == ["velocity"]
    assert not check(clamping, [[np.nan, 0.0]]).ok


def test_wrong_shapes_and_names(profile):
    with pytest.raises(ActionError, match="the profile has no action 'leg'; actions: arm, gripper"):
        SafetyFilter(profile).check({"leg": [[0.0]]}, 0.1)
    with pytest.raises(ActionError, match=r"joint targets 'arm' must have the shape \(T, 2\), got \(2,\)"):
        check(profile, [0.0, 0.0])
    with pytest.raises(ActionError, match=r"'current arm' must have the shape \(2\), got \(3,\)"):
        check(profile, [[0.0, 0.0]], current={"arm": [0, 0, 0]})
    with pytest.raises(ActionError, match=r"got \(0, 2\)"):
        check(profile, np.zeros((0, 2)))


def test_watchdog():
    watchdog = Watchdog(0.5)
    assert watchdog.expired(0)
    assert watchdog.age_s(0) is None
    watchdog.feed(1_000_000_000)
    watchdog.feed(900_000_000)  # an older sign of life does not count
    assert watchdog.age_s(1_500_000_000) == 0.5
    assert not watchdog.expired(1_500_000_000)
    assert watchdog.expired(1_500_000_001)
    with pytest.raises(SafetyError, match=r"time-out must be positive, got 0.0 s"):
        Watchdog(0.0)


@pytest.fixture(scope="module")
def careful():
    return parse_profile(PROFILE.replace("max_step: 0.3", "max_step: 0.3, max_acceleration: 5.0"))


def test_acceleration_is_the_change_of_velocity_from_step_to_step(careful):
    # 0.5, 0.5, 1.0 rad/s at 0.1 s: 5 rad/s^2 is allowed, 6 is not.
    assert check(careful, [[0.05, 0.0], [0.1, 0.0], [0.2, 0.0]]).ok
    report = check(careful, [[0.05, 0.0], [0.1, 0.0], [0.21, 0.0]])
    assert report.violations == ("arm: acceleration of elbow_joint at step 2 is 6 rad/s^2, the limit is 5 rad/s^2",)


def test_the_first_acceleration_counts_from_the_velocity_where_it_is_known(careful):
    assert check(careful, [[0.05, 0.0]]).ok
    assert check(careful, [[0.05, 0.0]], velocity={"arm": [0.5, 0.0]}).ok
    report = check(careful, [[0.05, 0.0]], velocity={"arm": [0.0, 0.0]})
    assert report.violations == ("arm: acceleration of elbow_joint at step 0 is 10 rad/s^2, the limit is 5 rad/s^2",)
    with pytest.raises(ActionError, match=r"joint targets 'velocity arm' must have the shape \(2\), got \(3,\)"):
        check(careful, [[0.05, 0.0]], velocity={"arm": [0.0, 0.0, 0.0]})


def test_without_a_start_the_way_to_the_first_target_is_not_judged(careful):
    assert check(careful, [[0.0, 0.0], [0.1, 0.0]], current=None).ok
    assert not check(careful, [[0.0, 0.0], [0.1, 0.0], [0.1, 0.0]], current=None).ok


def test_clamping_does_not_hide_an_acceleration():
    text = PROFILE.replace("max_step: 0.3", "max_step: 0.3, max_acceleration: 5.0") + "safety: {clamp: true}\n"
    report = check(parse_profile(text), [[0.05, 0.0], [0.2, 0.0]])
    assert not report.ok
    assert report.violations[0].startswith("arm: acceleration of elbow_joint at step 1 is 10 rad/s^2")
