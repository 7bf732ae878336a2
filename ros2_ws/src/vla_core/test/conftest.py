# SPDX-License-Identifier: Apache-2.0

"""Profiles that several tests use."""

import re

import pytest
from vla_core.profile import parse_profile
from vla_core.testing import PROFILE

UR5E_KINEMATICS = """\
kinematics:
  joints: [pan, lift, elbow, wrist_1, wrist_2, wrist_3]
  a: [0.0, -0.425, -0.3922, 0.0, 0.0, 0.0]
  d: [0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996]
  alpha: [1.5707963267948966, 0.0, 0.0, 1.5707963267948966, -1.5707963267948966, 0.0]
  reference_rpy: [3.141592653589793, 0.0, 0.0]
"""

SIX_AXES = f"""\
robot: six_axes
fps: 10
base_frame: base
tool_frame: tool0
task: reach
action_space: SPACE
state:
  - topic: joint_states
    fields: [position.wrist_3, position.wrist_2, position.wrist_1, position.elbow, position.lift, position.pan]
    rate_hz: 100
    max_age_s: 0.1
  - {{topic: joint_states, fields: [position.finger], rate_hz: 100, max_age_s: 0.1}}
action:
  - name: arm
    record: {{topic: command/arm, rate_hz: 20, max_age_s: 0.2}}
    command: {{interface: follow_joint_trajectory, name: arm_controller/follow_joint_trajectory}}
    joints: [pan, lift, elbow, wrist_1, wrist_2, wrist_3]
    limits: {{lower: [-6, -6, -3, -6, -6, -6], upper: [6, 6, 3, 6, 6, 6], max_velocity: 2.0, max_step: 0.3}}
  - name: gripper
    record: {{topic: command/gripper, rate_hz: 20, max_age_s: 0.2}}
    command: {{interface: parallel_gripper_command, name: gripper_controller/gripper_cmd}}
    joints: [finger]
    limits: {{lower: [0.0], upper: [0.8]}}
safety:
  workspace: {{min: [-0.9, -0.9, 0.1], max: [0.9, 0.9, 1.1]}}
{UR5E_KINEMATICS}"""


@pytest.fixture(scope="session")
def profile():
    return parse_profile(PROFILE, "test.yaml")


@pytest.fixture(scope="session")
def six_axes():
    """Return the profile of a six-axis arm in one of the action spaces, with more keys."""
    return lambda space="absolute_joint", more="": parse_profile(SIX_AXES.replace("SPACE", space) + more, "six.yaml")


@pytest.fixture(scope="session")
def six_axes_text():
    """Return the text of that profile, with joint targets as actions."""
    return SIX_AXES.replace("SPACE", "absolute_joint")


@pytest.fixture(scope="session")
def changed():
    """Return the small profile with one piece of its text replaced."""

    def change(old, new, text=PROFILE):
        assert re.search(re.escape(old), text), f"'{old}' is not in the profile"
        return text.replace(old, new, 1)

    return change
