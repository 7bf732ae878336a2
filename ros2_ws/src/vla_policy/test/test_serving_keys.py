# SPDX-License-Identifier: Apache-2.0

import dataclasses

import numpy as np
import pytest
from policy_fixtures import small_frame, small_profile
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.frames import Frame
from vla_core.kinematics import forward
from vla_core.profile import load_profile, with_codec
from vla_policy.policies.runner import Prefix
from vla_policy.serving import keys_openpi
from vla_policy.serving.errors import ObservationError, ReplyError
from vla_policy.serving.images import crop_to, fitted, resize_with_pad
from vla_policy.serving.keys_exact import ExactKeys
from vla_policy.serving.keys_openpi import OpenpiKeys, delta_mask, to_absolute, to_delta
from vla_policy.serving.keys_openvla import OpenVlaKeys, from_json, openvla_prompt, to_json
from vla_policy.serving.keys_positronic import PositronicKeys
from vla_policy.serving.rig import Rig

ROBOTS = __file__.split("/vla_policy/")[0] + "/vla_bringup/robots"
Q = np.array([0.1, -1.6, 1.5, -1.5, -1.57, 0.2])


@pytest.fixture(scope="module")
def ur5e():
    return load_profile(f"{ROBOTS}/sim_ur5e_tiny.yaml")


def ur5e_frame(profile, grip=0.25):
    rng = np.random.default_rng(1)
    images = {c.name: rng.integers(0, 255, (*c.frame_size, 3), dtype=np.uint8) for c in profile.cameras}
    return Rig(profile).frame(Q, grip, images, 77)


def row_chunk(frame: Frame, values) -> ActionChunk:
    return ActionChunk(t0_ns=frame.t_ns, dt_s=0.1, values=np.asarray(values, np.float32))


# --- images


def test_padding_has_the_geometry_of_openpi():
    image = np.full((240, 320, 3), 200, np.uint8)
    padded = resize_with_pad(image, (224, 224))
    assert padded.shape == (224, 224, 3)
    rows = np.flatnonzero(padded.any(axis=(1, 2)))
    assert (rows[0], rows[-1]) == (28, 195)  # 320 -> 224 makes 240 -> 168, and 56 black rows are split in two
    assert (padded[28:196] == 200).all()
    tall = resize_with_pad(np.full((60, 20, 3), 9, np.uint8), (30, 30))
    assert np.flatnonzero(tall.any(axis=(0, 2))).tolist() == list(range(10, 20))


def test_cropping_takes_the_bars_off_again():
    image = np.repeat(np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4, 1), 80, 0), 80, 1).repeat(3, 2)
    back = crop_to(resize_with_pad(image, (224, 224)), (240, 320))
    assert back.shape == image.shape
    assert np.abs(back.astype(int) - image)[40:200:80, 40:280:80].max() <= 1


def test_refusing_names_both_sizes_and_the_ways_out():
    with pytest.raises(ObservationError, match=r"image.front: 10x20 pixels .*takes 30x30; .*--image-fit pad or crop"):
        fitted(np.zeros((10, 20, 3), np.uint8), (30, 30), "refuse", "image.front")


def test_an_image_of_the_right_size_is_not_touched():
    image = np.zeros((30, 30, 3), np.uint8)
    assert all(fitted(image, (30, 30), fit, "x") is image for fit in ("pad", "crop", "refuse"))


# --- the profile's own keys


def test_exact_keys_carry_every_bit():
    profile = small_profile()
    keys, frame = ExactKeys(profile), small_frame(profile, t_ns=123)
    assert set(keys.observe(keys.ask(frame, "go")).frame.joints) == {"arm", "gripper"}  # they are in the state
    frame = dataclasses.replace(frame, joints={"arm": np.array([1 / 3, 2 / 3])})
    prefix = Prefix(values=np.ones((4, 3), np.float32), frozen=2)
    seen = keys.observe(keys.ask(frame, "go", prefix, [small_frame(profile, t_ns=23)]))
    assert seen.frame.state.tobytes() == frame.state.tobytes()
    assert seen.frame.joints["arm"].tobytes() == frame.joints["arm"].tobytes()
    assert np.array_equal(seen.frame.images["front"], frame.images["front"])
    assert (seen.frame.t_ns, seen.task, seen.prefix.frozen, seen.history[0].t_ns) == (123, "go", 2, 23)
    chunk = row_chunk(frame, np.random.default_rng(0).normal(size=(5, 3)))
    for back in (keys.chunk_of_result(keys.result(chunk, frame), frame), keys.chunk_of_actions(chunk.values, frame)):
        assert back.values.tobytes() == chunk.values.tobytes()
        assert (back.t0_ns, back.dt_s) == (123, 0.1)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"observation.state": None}, "lacks 'observation.state'.*it has: obs_time_ns, observation.images.front"),
        ({"observation.images.front": None}, r"lacks 'observation.images.front' \(\(32, 32, 3\) uint8 RGB\)"),
        ({"observation.state": np.zeros(2)}, r"observation.state: expected numbers of shape \(3,\), got shape \(2,\)"),
        ({"observation.state": np.array(["a", "b", "c"])}, "observation.state: .*dtype <U1"),
        ({"observation.state": "text"}, "observation.state: .*got a str"),
        ({"observation.state": [0.0, np.nan, 0.0]}, r"observation.state\[1\] is nan; every number must be finite"),
        (
            {"observation.images.front": np.zeros((16, 32, 3), np.uint8)},
            r"expected \(32, 32, 3\) uint8, got \(16, 32, 3\)",
        ),
        ({"observation.images.front": np.zeros((32, 32, 3))}, r"uint8 RGB image, got float64 \(32, 32, 3\)"),
        ({"observation.images.front": b"jpeg"}, "got a bytes"),
        ({"task": 3}, "task: expected text, got a int"),
        ({"obs_time_ns": 1.5}, "obs_time_ns: expected a whole number"),
        ({"prefix": np.zeros((2, 3))}, "prefix_frozen: expected a whole number from 0 to the 2 rows"),
        ({"prefix": np.zeros((2, 2)), "prefix_frozen": 0}, r"prefix: expected numbers of shape \(any, 3\)"),
        ({"observation.joints.arm": np.zeros(3)}, r"observation.joints.arm: expected numbers of shape \(2,\)"),
        ({"history": 3}, "history: expected a list"),
        ({"history": [{}]}, "lacks 'observation.state'"),
    ],
)
def test_wrong_observations_are_named(changed, says):
    profile = small_profile()
    message = {**ExactKeys(profile).ask(small_frame(profile), "go"), **changed}
    with pytest.raises(ObservationError, match=says):
        ExactKeys(profile).observe({key: value for key, value in message.items() if value is not None})


def test_an_observation_that_is_no_map_is_named():
    with pytest.raises(ObservationError, match="a map of keys to values, got a list"):
        ExactKeys(small_profile()).observe([1])


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (None, "expected a list of actions from the server, got None"),
        ([], "expected a list of actions"),
        ([{"action": np.zeros(3)}, 4], "expected a list of actions"),
        ([{"robot_command": {}}], "lack 'action'; their keys are .'robot_command'."),
        ([{"action": np.zeros(2)}], r"actions: expected numbers of shape \(any, 3\), got shape \(1, 2\)"),
        ([{"action": np.full(3, np.inf)}], r"actions\[0\]\[0\] is inf"),
        ([{"action": np.zeros(3), "timestamp": 0.0}, {"action": np.zeros(3)}], "1 of 2 actions .* 'timestamp'"),
        ([{"action": np.zeros(3), "timestamp": t} for t in (0.0, 0.1, 0.3)], "not evenly spaced"),
        ([{"action": np.zeros(3), "timestamp": t} for t in (0.5, 0.6)], "not evenly spaced from 0"),
    ],
)
def test_wrong_answers_are_named(result, says):
    with pytest.raises(ReplyError, match=says):
        ExactKeys(small_profile()).chunk_of_result(result, small_frame(small_profile()))


# --- Positronic's keys


def test_positronic_keys_lead_to_the_frame_and_back(ur5e):
    keys, frame = PositronicKeys(ur5e, "refuse"), ur5e_frame(ur5e)
    message = keys.ask(frame, "pick")
    assert np.allclose(message["robot_state.q"], Q)
    assert message["grip"] == pytest.approx(0.25)
    assert message["obs_time_ns"] == 77
    seen = keys.observe(message)
    assert np.allclose(seen.frame.state, frame.state, atol=1e-6)
    assert np.allclose(seen.frame.joints["arm"], Q, atol=1e-6)
    assert seen.task == "pick"
    chunk = row_chunk(frame, frame.state + 0.01 * np.arange(4)[:, None])
    rows = keys.result(chunk, frame)
    assert rows[3]["robot_command"]["type"] == "joint_pos"
    assert np.allclose(rows[3]["robot_command"]["positions"], Q + 0.03)
    assert rows[3]["target_grip"] == pytest.approx(0.28)
    assert rows[3]["timestamp"] == pytest.approx(0.3)
    assert np.allclose(keys.chunk_of_result(rows, frame).values, chunk.values, atol=1e-6)


@pytest.mark.parametrize("codec", ["joints_delta", "eepose_absolute", "eepose_delta"])
def test_other_spaces_of_the_profile_become_joint_targets(ur5e, codec):
    profile = with_codec(ur5e, codec)
    keys, frame = PositronicKeys(profile, "refuse"), ur5e_frame(profile)
    targets = {"arm": Q + 0.02 * np.arange(3)[:, None], "gripper": np.full((3, 1), 0.4)}
    chunk = row_chunk(frame, ActionMap(profile).encode(targets, frame.state))
    rows = keys.result(chunk, frame)
    assert np.allclose([row["robot_command"]["positions"] for row in rows], targets["arm"], atol=1e-4)
    assert np.allclose(keys.chunk_of_result(rows, frame).values, chunk.values, atol=1e-4)


def test_poses_of_the_tool_go_through_inverse_kinematics(ur5e):
    keys, frame = PositronicKeys(ur5e, "refuse"), ur5e_frame(ur5e)
    poses = forward(ur5e.kinematics, Q + 0.01 * np.arange(3)[:, None])
    rows = [
        {
            "robot_command": {b"__cmd__": {"type": "cartesian_pos", "pose": [*T[:3, 3], *T[:3, :3].ravel()]}},
            "target_grip": 1,
        }
        for T in poses
    ]
    values = keys.chunk_of_result(rows, frame).values
    assert np.allclose(values[:, :6], Q + 0.01 * np.arange(3)[:, None], atol=1e-4)
    assert np.allclose(values[:, 6], 1.0)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {"robot_command": {"type": "cartesian_delta"}, "target_grip": 0},
            "of type 'cartesian_delta'.*follows joint_pos",
        ),
        ({"target_grip": 0}, "of type None"),
        ({"robot_command": {"type": "joint_pos", "positions": [1.0]}, "target_grip": 0}, "positions of action 0"),
        ({"robot_command": {"type": "joint_pos", "positions": Q}}, "action 0 .* no 'target_grip'"),
        ({"robot_command": {"type": "cartesian_pos", "pose": [5.0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]}}, "out of reach"),
    ],
)
def test_commands_that_cannot_be_followed_are_named(ur5e, row, says):
    with pytest.raises(ReplyError, match=says):
        PositronicKeys(ur5e, "refuse").chunk_of_result([row], ur5e_frame(ur5e))


def test_a_gripper_counted_to_255_is_refused(ur5e):
    message = {**PositronicKeys(ur5e, "pad").ask(ur5e_frame(ur5e), ""), "grip": 128}
    with pytest.raises(ObservationError, match=r"grip is 128; it must lie between 0 \(open\) and 1 \(closed\)"):
        PositronicKeys(ur5e, "pad").observe(message)


def test_profiles_that_these_keys_cannot_mean_are_refused():
    profile = small_profile()
    assert Rig(profile).joints == 2
    without_scale = small_profile(
        **{"joints: [finger]\n    scale: {from: [0.0, 0.8], to: [0.0, 1.0]}": "joints: [finger]"}
    )
    with pytest.raises(ObservationError, match=r"gripper 'gripper'.* has no scale.*observation.state"):
        Rig(without_scale)
    two_arms = small_profile(parallel_gripper_command="follow_joint_trajectory")
    with pytest.raises(ObservationError, match="has 2 arms and 0 grippers"):
        Rig(two_arms)
    velocity = small_profile(**{"position.elbow]": "position.elbow, velocity.elbow]"})
    with pytest.raises(ObservationError, match="more than the positions of elbow, finger, shoulder"):
        Rig(velocity)


# --- openpi's keys


def test_request_of_openpi_has_the_documented_shapes(ur5e):
    message = OpenpiKeys(ur5e, image_fit="refuse").ask(ur5e_frame(ur5e), "pick up the block")
    assert set(message) == {"observation/image", "observation/wrist_image", "observation/state", "prompt"}
    for key in ("observation/image", "observation/wrist_image"):
        assert (message[key].shape, message[key].dtype) == ((224, 224, 3), np.uint8)
    assert (message["observation/state"].shape, message["observation/state"].dtype) == ((7,), np.float32)
    assert np.allclose(message["observation/state"], [*Q, 0.25])
    assert message["prompt"] == "pick up the block"


@pytest.mark.parametrize(("spare", "mask"), [(False, [True, True, False]), (True, [True, True, True])])
def test_slots_of_the_model_and_their_masks(ur5e, spare, mask):
    keys = OpenpiKeys(ur5e, image_fit="refuse", slots=True, spare_mask=spare)
    message = keys.ask(ur5e_frame(ur5e), "go")
    names = ["base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"]
    assert list(message["image"]) == names
    assert [bool(message["image_mask"][name]) for name in names] == mask
    assert message["image"]["left_wrist_0_rgb"].any()
    assert not message["image"]["right_wrist_0_rgb"].any()


def test_a_missing_wrist_camera_leaves_its_slot_empty():
    profile = small_profile()
    message = OpenpiKeys(profile, image_fit="refuse", slots=True).ask(small_frame(profile), "go")
    assert [bool(seen) for seen in message["image_mask"].values()] == [True, False, False]
    assert "observation/wrist_image" not in OpenpiKeys(profile, image_fit="refuse").ask(small_frame(profile), "go")


def test_delta_actions_and_back():
    mask = delta_mask(6, True)
    assert mask.tolist() == [True] * 6 + [False]
    state = np.array([*Q, 0.25])
    actions = np.random.default_rng(0).normal(size=(50, 7))
    delta = to_delta(actions, state, mask)
    assert np.allclose(delta[:, :6], actions[:, :6] - Q)
    assert np.array_equal(delta[:, 6], actions[:, 6])
    assert np.allclose(to_absolute(delta, state, mask), actions)


def test_the_first_columns_of_padded_actions_count(ur5e):
    frame = ur5e_frame(ur5e)
    actions = np.zeros((50, 32), np.float32)
    actions[:, :7] = [*(Q + 0.1), 0.5]
    assert np.allclose(OpenpiKeys(ur5e, image_fit="refuse").chunk_of_actions(actions, frame).values, [*(Q + 0.1), 0.5])
    actions[:, :6] = 0.1
    deltas = OpenpiKeys(ur5e, image_fit="refuse", deltas=True).chunk_of_actions(actions, frame)
    assert np.allclose(deltas.values, [*(Q + 0.1), 0.5], atol=1e-6)
    with pytest.raises(ReplyError, match="have 6 columns; the profile needs 7"):
        OpenpiKeys(ur5e, image_fit="refuse").chunk_of_actions(actions[:, :6], frame)
    with pytest.raises(ReplyError, match="actions: expected numbers of shape"):
        OpenpiKeys(ur5e, image_fit="refuse").chunk_of_actions(actions[0], frame)


@pytest.mark.parametrize("kind", ["uint8 HWC", "float CHW"])
def test_both_image_forms_of_openpi_are_read(ur5e, kind):
    frame = ur5e_frame(ur5e)
    message = OpenpiKeys(ur5e, image_fit="refuse", image_side=96).ask(frame, "go")
    if kind == "float CHW":
        for key in ("observation/image", "observation/wrist_image"):
            message[key] = message[key].transpose(2, 0, 1).astype(np.float32) / 255
    seen = OpenpiKeys(ur5e, image_fit="refuse").observe(message)
    for name, image in frame.images.items():
        assert np.abs(seen.frame.images[name].astype(int) - image).max() <= (0 if kind == "uint8 HWC" else 1)
    assert np.allclose(seen.frame.state, frame.state, atol=1e-6)


def test_float_images_out_of_range_are_refused(ur5e):
    message = OpenpiKeys(ur5e, image_fit="pad").ask(ur5e_frame(ur5e), "go")
    message["observation/image"] = message["observation/image"].astype(np.float32)
    with pytest.raises(ObservationError, match="observation/image: a float32 image must hold numbers from 0 to 1"):
        OpenpiKeys(ur5e, image_fit="pad").observe(message)


def test_three_cameras_have_no_meaning_in_openpi(ur5e):
    cameras = (*ur5e.cameras, dataclasses.replace(ur5e.cameras[0], name="top"))
    with pytest.raises(ObservationError, match=r"has 3 cameras \(front, wrist, top\)"):
        keys_openpi.base_and_wrist(dataclasses.replace(ur5e, cameras=cameras))
    base, wrist = keys_openpi.base_and_wrist(dataclasses.replace(ur5e, cameras=ur5e.cameras[::-1]))
    assert (base.name, wrist.name) == ("front", "wrist")


# --- OpenVLA


def test_prompt_of_openvla():
    assert openvla_prompt("Pick up the Ball ") == ("In: What action should the robot take to pick up the ball?\nOut:")


def test_openvla_action_is_a_difference_with_an_inverted_gripper(ur5e):
    frame = ur5e_frame(ur5e)
    keys = OpenVlaKeys(ur5e, unnorm_key="ur5e_vla_e2e", hold_s=0.5)
    message = from_json(to_json(keys.ask(frame, "Lift")))
    assert (message["image"].shape, message["image"].dtype) == ((224, 224, 3), np.uint8)
    assert (message["instruction"], message["unnorm_key"]) == ("Lift", "ur5e_vla_e2e")
    chunk = keys.chunk_of_action(np.array([0.01] * 6 + [1.0]), frame)
    assert chunk.values.shape == (5, 7)  # half a second at 10 Hz
    assert np.allclose(chunk.values, [*(Q + 0.01), 0.0], atol=1e-6)
    prompt = OpenVlaKeys(ur5e, send="prompt").ask(frame, "Lift")["instruction"]
    assert prompt == openvla_prompt("Lift")
    with pytest.raises(ReplyError, match=r"action: expected numbers of shape \(7,\), got shape \(6,\)"):
        keys.chunk_of_action(np.zeros(6), frame)


def test_answers_that_were_encoded_twice_are_read():
    assert np.array_equal(from_json(to_json(to_json({"a": np.arange(3)}).decode()))["a"], np.arange(3))
    assert from_json(b'"error"') == "error"
