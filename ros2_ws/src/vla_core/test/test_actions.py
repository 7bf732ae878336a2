# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from vla_core.actions import ActionMap
from vla_core.errors import ActionError, KinematicsError
from vla_core.kinematics import forward, rotation_vector
from vla_core.profile import parse_profile
from vla_core.specs import ACTION_SPACES

RNG = np.random.default_rng(2)
HOME = np.array([0.1, -1.6, 1.8, -1.8, -1.57, 0.3])
# The state lists the joints the other way round, and then the finger.
STATE = np.array([*HOME[::-1], 0.2], dtype=np.float32)


def path(steps=8):
    return {
        "arm": HOME + np.cumsum(RNG.uniform(-0.05, 0.05, (steps, 6)), axis=0),
        "gripper": np.linspace(0.2, 0.7, steps)[:, None],
    }


@pytest.mark.parametrize("space", ACTION_SPACES)
def test_round_trip(six_axes, space):
    action_map = ActionMap(six_axes(space))
    targets = path()
    values = action_map.encode(targets, STATE)
    assert values.dtype == np.float32
    assert values.shape == (8, 7)
    decoded = action_map.to_joint_targets(values, STATE)
    assert decoded["arm"] == pytest.approx(targets["arm"], abs=1e-4 if "eef" in space else 1e-6)
    assert decoded["gripper"] == pytest.approx(targets["gripper"], abs=1e-6)
    assert action_map.decode(values, STATE)["arm"].tolist() == decoded["arm"].tolist()


def test_names(six_axes):
    assert ActionMap(six_axes("delta_joint")).names[0] == "pan.delta"
    eef = ActionMap(six_axes("absolute_eef"))
    assert eef.names == ("tool0.x", "tool0.y", "tool0.z", "tool0.rx", "tool0.ry", "tool0.rz", "finger.pos")
    assert ActionMap(six_axes("delta_eef")).names[0] == "tool0.dx"
    assert [(g.spec.name, g.values) for g in eef.groups] == [("arm", slice(0, 6)), ("gripper", slice(6, 7))]
    assert six_axes("delta_eef").action[1].space == "absolute_joint"


def test_delta_joint_counts_from_the_state_of_the_observation(six_axes):
    values = ActionMap(six_axes("delta_joint")).encode({"arm": [HOME, HOME + 0.1], "gripper": [[0.1], [0.2]]}, STATE)
    assert values[:, :6] == pytest.approx(np.array([[0.0] * 6, [0.1] * 6]), abs=1e-6)
    assert values[:, 6].tolist() == pytest.approx([0.1, 0.2])


def test_absolute_eef_is_the_pose_counted_from_the_reference(six_axes):
    profile = six_axes("absolute_eef")
    values = ActionMap(profile).encode({"arm": HOME[None], "gripper": [[0.0]]})
    T = forward(profile.kinematics, HOME)
    assert values[0, :3] == pytest.approx(T[:3, 3], abs=1e-6)
    reference = np.diag([1.0, -1.0, -1.0])  # half a turn about x: the tool points down
    assert values[0, 3:6] == pytest.approx(rotation_vector(reference.T @ T[:3, :3]), abs=1e-6)
    assert np.linalg.norm(values[0, 3:6]) < np.pi / 2 + 0.4  # this arm's tool does point down, roughly


def test_delta_eef_counts_from_the_tool_of_the_observation(six_axes):
    profile = six_axes("delta_eef")
    action_map = ActionMap(profile)
    still = action_map.encode({"arm": HOME[None], "gripper": [[0.0]]}, STATE)
    assert still[0, :6] == pytest.approx(np.zeros(6), abs=1e-6)
    up = action_map.to_joint_targets([[0.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0]], STATE)["arm"][0]
    move = forward(profile.kinematics, up)[:3, 3] - forward(profile.kinematics, STATE[:6][::-1])[:3, 3]
    assert move == pytest.approx([0.0, 0.0, 0.05], abs=1e-5)


def test_scale_of_the_gripper(profile):
    action_map = ActionMap(profile)
    values = action_map.encode({"arm": [[0.1, 0.2]], "gripper": [[0.4]]})
    assert values[0].tolist() == pytest.approx([0.1, 0.2, 0.5])
    assert action_map.to_joint_targets(values)["gripper"][0, 0] == pytest.approx(0.4)


def test_current_joints_undo_the_scale_of_the_state(profile, six_axes):
    current = ActionMap(profile).current_joints([0.1, 0.2, 0.5])
    assert current["arm"].tolist() == pytest.approx([0.1, 0.2])
    assert current["gripper"].tolist() == pytest.approx([0.4])
    assert ActionMap(six_axes()).current_joints(STATE)["arm"] == pytest.approx(HOME, abs=1e-6)


def test_joints_that_the_state_lacks_are_left_out(changed):
    text = changed("fields: [position.finger_joint]", "fields: [velocity.finger_joint]")
    assert set(ActionMap(parse_profile(text)).current_joints([0.0, 0.0, 0.0])) == {"arm"}


@pytest.mark.parametrize("space", ["delta_joint", "delta_eef"])
def test_rows_of_a_dataset_become_a_chunk(six_axes, space):
    action_map = ActionMap(six_axes(space))
    targets = path(4)
    states = np.array([[*(HOME + 0.02 * i)[::-1], 0.2] for i in range(4)], dtype=np.float32)
    rows = np.concatenate(
        [
            action_map.encode({name: value[i : i + 1] for name, value in targets.items()}, state)
            for i, state in enumerate(states)
        ]
    )
    chunk = action_map.rebase(rows, states)
    assert chunk == pytest.approx(action_map.encode(targets, states[0]), abs=1e-4)
    with pytest.raises(ActionError, match="expected one state per row, got 4 rows and 3 states"):
        action_map.rebase(rows, states[:3])


def test_mistakes_are_named(six_axes):
    action_map = ActionMap(six_axes("delta_joint"))
    targets = path(2)
    with pytest.raises(
        ActionError, match=r"an action chunk of this profile is \(T, 7\) with pan.delta, .*; got \(7,\)"
    ):
        action_map.to_joint_targets(np.zeros(7))
    bad = np.zeros((2, 7))
    bad[1, 2] = np.nan
    with pytest.raises(ActionError, match=r"the action is not finite: elbow.delta at step 1 is nan"):
        action_map.to_joint_targets(bad, STATE)
    with pytest.raises(ActionError, match="'arm' in the space delta_joint needs the state vector"):
        action_map.to_joint_targets(np.zeros((2, 7)))
    with pytest.raises(ActionError, match="expected joint targets for arm, gripper, got arm"):
        action_map.encode({"arm": targets["arm"]}, STATE)
    with pytest.raises(ActionError, match=r"joint targets of 'gripper' must be \(T, 1\), got \(2,\)"):
        action_map.encode({"arm": targets["arm"], "gripper": [0.0, 0.0]}, STATE)
    with pytest.raises(ActionError, match=r"different numbers of steps: \[2, 1\]"):
        action_map.encode({"arm": targets["arm"], "gripper": [[0.0]]}, STATE)
    with pytest.raises(ActionError, match=r"the profile's state has 7 values, got an array of shape \(3,\)"):
        action_map.current_joints([0, 0, 0])


def test_a_pose_out_of_reach_is_an_error(six_axes):
    with pytest.raises(KinematicsError, match="out of reach"):
        ActionMap(six_axes("absolute_eef")).to_joint_targets([[3.0, 0, 0, 0, 0, 0, 0]], STATE)


def test_a_codec_that_does_not_lead_back_is_found(six_axes, monkeypatch):
    action_map = ActionMap(six_axes("delta_joint"))
    original = action_map._decode
    monkeypatch.setattr(action_map, "_decode", lambda spec, values, origin: original(spec, values, origin) * 1.01)
    with pytest.raises(ActionError, match=r"'arm' in the space delta_joint comes back .* away from what went in"):
        action_map.check_round_trip()
