# SPDX-License-Identifier: Apache-2.0

"""The shipped profiles: each real one has a simulated twin with the same mapping, whose robot the cell knows."""

from pathlib import Path

import pytest
from vla_core.profile import load_profile, mapping_differences

ROBOTS = Path(__file__).resolve().parents[1] / "robots"
TWINS = {
    "ur5e_2f85_realsense": "sim_ur5e",
    "ur5e_2f85_realsense_oak": "sim_ur5e_oak",
    "ur5e_bimanual": "sim_ur5e_bimanual",
    "so101": "sim_so101",
    "tatbot_bimanual": "sim_tatbot_bimanual",
}
NAMES = sorted(path.stem for path in ROBOTS.glob("*.yaml"))


def test_every_real_robot_has_a_twin():
    assert {name for name in NAMES if not name.startswith("sim_")} == set(TWINS)


@pytest.mark.parametrize(("real", "twin"), TWINS.items())
def test_a_policy_sees_the_same_of_a_robot_and_of_its_twin(real, twin):
    robot, cell = (load_profile(ROBOTS / f"{name}.yaml") for name in (real, twin))
    assert mapping_differences(cell, robot) == ()
    assert [spec.command for spec in robot.action] == [spec.command for spec in cell.action]
    assert [spec.topic for spec in robot.state] == [spec.topic for spec in cell.state]
    for slow, fast in zip(robot.action, cell.action, strict=True):
        if not slow.is_gripper:
            assert slow.limits.max_velocity < fast.limits.max_velocity, "a real arm begins slowly"


@pytest.mark.parametrize(
    ("name", "count"), [("sim_ur5e_bimanual", 14), ("sim_tatbot_bimanual", 14), ("sim_so101", 6), ("sim_ur5e_oak", 7)]
)
def test_vectors_are_concatenated_left_then_right_and_state_and_action_agree(name, count):
    profile = load_profile(ROBOTS / f"{name}.yaml")
    assert profile.state_names == profile.action_names
    assert len(profile.action_names) == count
    if count == 14:
        assert all(value.startswith("left_") for value in profile.action_names[:7])
        assert all(value.startswith("right_") for value in profile.action_names[7:])
        for part in (*profile.state, *(spec.record for spec in profile.action)):
            side = part.topic.partition("/")[0]
            assert all(field.startswith(f"position.{side}_") for field in part.fields), part


def test_an_so101_is_written_in_lerobot_s_numbers():
    profile = load_profile(ROBOTS / "so101.yaml")
    assert profile.action_names == tuple(
        f"{joint}.pos"
        for joint in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
    )
    scale = profile.action[0].scale
    assert scale.gain == pytest.approx(57.29577951)
    assert scale.bias == pytest.approx(0.0)
    assert 1.7453 * scale.gain == pytest.approx(100.0, abs=0.01), "the driver's open gripper is LeRobot's 100"
