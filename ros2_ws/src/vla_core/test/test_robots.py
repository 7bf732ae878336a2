# SPDX-License-Identifier: Apache-2.0

"""The profiles that are shipped."""

from pathlib import Path

import numpy as np
import pytest
from vla_core.actions import ActionMap
from vla_core.frames import Frame, FrameBuilder
from vla_core.kinematics import forward
from vla_core.profile import load_profile, mapping_differences, parse_profile
from vla_core.safety import SafetyFilter
from vla_core.specs import ACTION_SPACES
from vla_core.stamps import tick_ns
from vla_core.testing import T0_NS, synthetic_events

ROBOTS = Path(__file__).parents[2] / "vla_bringup" / "robots"

VECTORS = {"so101": 6, "ur5e_bimanual": 14, "tatbot_bimanual": 14}  # joints and grippers; a UR5e has 7


@pytest.mark.parametrize("path", sorted(ROBOTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_profile_loads_and_gives_frames(path):
    profile = load_profile(path)
    assert profile.robot == path.stem
    assert parse_profile(profile.text) == profile
    assert all(not camera.topic.startswith("/") for camera in profile.cameras)
    if not profile.robot.startswith("sim_"):
        return  # the same streams as those of its twin, only larger pictures
    builder = FrameBuilder(profile, actions=True)
    for event in synthetic_events(profile, 0.3, latency_s=0.0):
        builder.push_topic(event.topic, event.receive_ns, event.msg)
    frame = builder.sample(tick_ns(T0_NS, 2, profile.fps))
    assert isinstance(frame, Frame)
    size = VECTORS.get(profile.robot.removeprefix("sim_").removesuffix("_tiny"), 7)
    assert frame.state.shape == frame.action.shape == (size,)


def test_simulation_and_robot_share_the_mapping():
    simulated, real = load_profile(ROBOTS / "sim_ur5e.yaml"), load_profile(ROBOTS / "ur5e_2f85_realsense.yaml")
    assert mapping_differences(simulated, real) == ()
    assert {driver.name for driver in real.drivers} == {"arm", "gripper", "front_camera", "wrist_camera"}
    assert max(real.action[0].limits.max_velocity) < min(simulated.action[0].limits.max_velocity)


def test_ur5e_zero_pose_in_base_link():
    # The published table gives (-0.8172, -0.2329, 0.0628) m in `base`, which is turned by half a turn about z.
    T = forward(load_profile(ROBOTS / "sim_ur5e.yaml").kinematics, np.zeros(6))
    assert T[:3, 3] == pytest.approx([0.8172, 0.2329, 0.0628], abs=1e-9)


@pytest.mark.parametrize("space", ACTION_SPACES)
def test_every_action_space_fits_the_arm(space):
    text = load_profile(ROBOTS / "sim_ur5e.yaml").text
    profile = parse_profile(text.replace("action_space: absolute_joint", f"action_space: {space}"))
    assert len(profile.action_names) == 7
    assert profile.action_names[6] == "robotiq_85_left_knuckle_joint.pos"


def test_tool_down_is_the_reference_of_absolute_eef():
    profile = load_profile(ROBOTS / "sim_ur5e.yaml")
    down = np.array([0.0, -1.5708, 1.5708, -1.5708, -1.5708, 0.0])
    T = forward(profile.kinematics, down)
    assert T[:3, 2] == pytest.approx([0, 0, -1], abs=1e-4)
    eef = parse_profile(profile.text.replace("action_space: absolute_joint", "action_space: absolute_eef"))
    values = ActionMap(eef).encode({"arm": down[None], "gripper": [[0.0]]})
    # Only the turn about the vertical is left.
    assert values[0, 3:5] == pytest.approx([0, 0], abs=1e-4)
    assert SafetyFilter(profile).check({"arm": down[None]}, 0.1, {"arm": down}).ok
