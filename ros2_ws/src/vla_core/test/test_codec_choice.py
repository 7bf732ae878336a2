# SPDX-License-Identifier: Apache-2.0

"""The codecs of a profile: joints or the pose of the tool, absolute or as a difference, in four notations."""

import numpy as np
import pytest
from vla_core.actions import ActionMap
from vla_core.errors import ActionError, ProfileError
from vla_core.frames import STATE_KEY, FrameBuilder, features
from vla_core.kinematics import forward
from vla_core.profile import CODECS, mapping_differences, parse_profile, with_codec
from vla_core.rotations import AXES
from vla_core.states import StateMap
from vla_core.testing import T0_NS, joint_state

Rotation = pytest.importorskip("scipy.spatial.transform", reason="SciPy is the reference").Rotation

RNG = np.random.default_rng(8)
JOINTS = ["pan", "lift", "elbow", "wrist_1", "wrist_2", "wrist_3"]
HOME = np.array([0.1, -1.6, 1.8, -1.8, -1.57, 0.3])
EEF = ("eepose_absolute", "eepose_delta")
# Six joints without a reference: the tool points down, so its plain roll sits at half a turn.
PLAIN = ("  reference_rpy: [3.141592653589793, 0.0, 0.0]\n", "")


@pytest.fixture(scope="module")
def base(six_axes):
    return six_axes()


def coded(base, codec, rotation="rotvec"):
    return with_codec(base, codec, rotation if codec in EEF else "rotvec")


def pushed(profile, joints, finger, target, finger_target):
    builder = FrameBuilder(profile, actions=True)
    builder.push_topic("joint_states", T0_NS, joint_state(T0_NS, [*JOINTS, "finger"], [*joints, finger]))
    builder.push_topic("command/arm", T0_NS, joint_state(T0_NS, JOINTS, target))
    builder.push_topic("command/gripper", T0_NS, joint_state(T0_NS, ["finger"], [finger_target]))
    return builder.sample(T0_NS)


@pytest.mark.parametrize("rotation", AXES)
@pytest.mark.parametrize("codec", CODECS)
def test_what_is_learnt_leads_back_to_the_joints(base, codec, rotation):
    profile = coded(base, codec, rotation)
    decoder = ActionMap(profile)
    for _ in range(12):
        joints, step = HOME + RNG.uniform(-0.3, 0.3, 6), RNG.uniform(-0.05, 0.05, 6)
        frame = pushed(profile, joints, 0.2, joints + step, 0.5)
        assert frame.state.shape == (len(profile.state_names),)
        assert frame.action.shape == (len(profile.action_names),)
        assert frame.joints["arm"] == pytest.approx(joints)
        assert frame.targets["arm"].tolist() == (joints + step).tolist()
        back = decoder.to_joint_targets(frame.action[None], frame.state, frame.joints)
        assert back["arm"][0] == pytest.approx(joints + step, abs=2e-4)
        assert back["gripper"][0] == pytest.approx([0.5], abs=1e-6)


@pytest.mark.parametrize("rotation", AXES)
def test_the_state_holds_the_pose_and_keeps_the_gripper(base, rotation):
    profile = with_codec(base, "eepose_absolute", rotation)
    wanted = [f"tool0.{axis}" for axis in ("x", "y", "z", *AXES[rotation])]
    assert list(profile.state_names) == [*wanted, "finger.pos"]
    assert features(profile)[STATE_KEY]["names"] == [*wanted, "finger.pos"]
    assert list(profile.action_names) == [*wanted, "finger.pos"]
    assert [name.partition(".")[2] for name in with_codec(base, "eepose_delta", rotation).action_names[:4]] == [
        "dx", "dy", "dz", f"d{AXES[rotation][0]}",
    ]  # fmt: skip
    frame = pushed(profile, HOME, 0.2, HOME, 0.2)
    T = forward(profile.kinematics, HOME)
    assert frame.state64[:3] == pytest.approx(T[:3, 3])
    assert frame.state64[-1] == 0.2
    assert StateMap(profile).pose(frame.state) == pytest.approx(T, abs=1e-6)
    # The arm commanded to where it is: the action is the state.
    assert frame.action.tolist() == frame.state.tolist()


def test_plain_roll_pitch_yaw_without_a_reference(changed, six_axes_text):
    from_zero = parse_profile(changed(*PLAIN, text=six_axes_text))
    profile = with_codec(from_zero, "eepose_absolute", "rpy")
    frame = pushed(profile, HOME, 0.2, HOME, 0.2)
    wanted = Rotation.from_matrix(forward(profile.kinematics, HOME)[:3, :3]).as_euler("xyz")
    assert frame.state64[3:6] == pytest.approx(wanted)
    assert abs(wanted[0]) > 2.5


@pytest.mark.parametrize("rotation", AXES)
@pytest.mark.parametrize("reference", [True, False])
def test_differences_stay_small_where_angles_jump(changed, six_axes_text, rotation, reference):
    text = six_axes_text if reference else changed(*PLAIN, text=six_axes_text)
    profile = with_codec(parse_profile(text), "eepose_delta", rotation)
    still = pushed(profile, HOME, 0.2, HOME, 0.2).action
    jumped = False
    for _ in range(60):
        # Around a tool that points straight down: plain roll is pi or -pi by chance.
        joints = np.array(
            [0.0, -1.6, 1.8, -1.6 - 0.2 + RNG.normal(scale=0.02), -np.pi / 2 + RNG.normal(scale=0.02), 0.0]
        )
        target = joints + RNG.normal(scale=0.01, size=6)
        frame = pushed(profile, joints, 0.2, target, 0.2)
        rolls = [
            Rotation.from_matrix(forward(profile.kinematics, q)[:3, :3]).as_euler("xyz")[0] for q in (joints, target)
        ]
        jumped |= abs(rolls[0] - rolls[1]) > 6.0
        assert np.abs(frame.action - still).max() < 0.1
    assert jumped


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rotation", ["quaternion", "rpy"])
def test_rows_become_a_chunk_also_from_poses(base, codec, rotation):
    profile = coded(base, codec, rotation)
    frames = [pushed(profile, HOME + 0.02 * i, 0.2, HOME + 0.02 * i + 0.03, 0.1 * i) for i in range(4)]
    action_map = ActionMap(profile)
    rows, states = np.stack([f.action for f in frames]), np.stack([f.state for f in frames])
    targets = {name: np.stack([f.targets[name] for f in frames]) for name in ("arm", "gripper")}
    assert action_map.rebase(rows, states) == pytest.approx(action_map.encode(targets, states[0]), abs=2e-6)


def test_the_text_of_a_coded_profile_travels(base):
    assert with_codec(base, "joints_absolute") is base
    profile = with_codec(base, "eepose_delta", "rot6d")
    assert (profile.action_space, profile.rotation, profile.state_space) == ("delta_eef", "rot6d", "eef")
    again = parse_profile(profile.text)
    assert again == profile
    assert again.sha256 == profile.sha256 != base.sha256
    assert with_codec(profile, "eepose_delta", "rot6d") is profile
    assert mapping_differences(base, with_codec(profile, "joints_absolute")) == ()
    differences = mapping_differences(with_codec(profile, "eepose_delta", "rpy"), profile)
    assert differences == ("rotation: trained with rpy, now rot6d",)
    assert "state_space: trained with joint, now eef" in mapping_differences(base, profile)


def test_a_part_with_a_space_of_its_own_follows_the_codec(base):
    text = base.text.replace("- name: arm", "- name: arm\n  space: delta_joint")
    assert with_codec(parse_profile(text), "joints_absolute").action[0].space == "absolute_joint"
    kept = base.text.replace("- name: gripper", "- name: gripper\n  space: delta_joint")
    assert [spec.space for spec in with_codec(parse_profile(kept), "eepose_absolute").action] == [
        "absolute_eef",
        "delta_joint",
    ]


def test_constants_stand_where_they_are_written(base):
    text = base.text.replace(
        "- topic: joint_states\n  fields:\n  - position.finger",
        "- constant: [0.0]\n  names: [pad]\n- topic: joint_states\n  fields:\n  - position.finger",
    )
    padded = parse_profile(text)
    assert padded.state_names[-2:] == ("pad", "finger.pos")
    frame = pushed(padded, HOME, 0.2, HOME, 0.4)
    assert frame.state.tolist() == pytest.approx([*HOME[::-1], 0.0, 0.2])
    assert ActionMap(padded).current_joints(frame.state)["gripper"].tolist() == pytest.approx([0.2])
    seed = with_codec(padded, "eepose_absolute", "rpy")
    assert [name.partition(".")[2] or name for name in seed.state_names] == [
        "x",
        "y",
        "z",
        "roll",
        "pitch",
        "yaw",
        "pad",
        "pos",
    ]
    assert pushed(seed, HOME, 0.2, HOME, 0.4).state[6:].tolist() == pytest.approx([0.0, 0.2])
    # From the padded joints back to what was measured, and from there to the pose.
    measured = StateMap(padded).measured_values(frame.state64[None])
    assert measured[0].tolist() == [*HOME[::-1], 0.2]
    assert StateMap(seed).encode(measured)[0].tolist() == pushed(seed, HOME, 0.2, HOME, 0.4).state64.tolist()
    assert mapping_differences(base, padded) == (
        "constants[0].before: trained with absent, now 1",
        "constants[0].values: trained with absent, now (0.0,)",
        "constants[0].names: trained with absent, now ('pad',)",
    )


def test_a_state_without_joints_says_what_it_needs(base):
    action_map = ActionMap(with_codec(base, "eepose_delta"))
    frame = pushed(with_codec(base, "eepose_delta"), HOME, 0.2, HOME, 0.4)
    assert set(action_map.current_joints(frame.state)) == {"gripper"}
    with pytest.raises(ActionError, match=r"'arm' in the space delta_eef needs the measured joints .*Frame\.joints"):
        action_map.to_joint_targets(frame.action[None], frame.state)
    with pytest.raises(ActionError, match="the state vector does not hold the joints; keep them beside it"):
        action_map.state.measured_values(frame.state[None])
    with pytest.raises(ActionError, match=r"the profile's state has 7 values, got an array of shape \(1, 3\)"):
        StateMap(base).measured_values(np.zeros((1, 3)))
    with pytest.raises(ActionError, match=r"the profile measures 7 values, got an array of shape \(1, 3\)"):
        action_map.state.encode(np.zeros((1, 3)))


MISTAKES = {
    "delta joints of a pose": (("action_space: absolute_joint", "action_space: delta_joint\nstate_space: eef"), "action[0]: the action space delta_joint counts from the joints in the state vector, but with state_space eef it holds the pose of the tool instead; use 'state_space: joint'"),
    "rotation of joints": (("action_space: absolute_joint", "rotation: rpy"), "rotation: no space of this profile has an orientation"),
    "unknown rotation": (("action_space: absolute_joint", "rotation: quat"), "rotation: 'quat' is not one of rotvec, quaternion, rot6d, rpy"),
    "a joint is missing": (("action_space: absolute_joint", "state_space: eef"), ("position.pan]", "velocity.pan]"), "state_space: eef needs every joint of 'kinematics' in 'state' as 'position.<joint>'; missing: pan"),
    "names of constants": (("  - {topic: joint_states, fields: [position.finger]", "  - {constant: [0, 1], names: [pad]}\n  - {topic: joint_states, fields: [position.finger]"), "state[1].names: expected 2 names, one per constant, got 1"),
    "name of a constant twice": (("  - {topic: joint_states, fields: [position.finger]", "  - {constant: [0], names: [pan.pos]}\n  - {topic: joint_states, fields: [position.finger]"), "state[1]: the state name 'pan.pos' is used twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name, changed, six_axes_text):
    *replaced, wanted = MISTAKES[name]
    text = six_axes_text
    for old, new in replaced:
        text = changed(old, new, text=text)
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "robot.yaml")
    assert wanted in str(caught.value)


def test_constants_alone_are_no_state(six_axes_text):
    start, end = six_axes_text.index("state:\n"), six_axes_text.index("action:\n")
    text = f"{six_axes_text[:start]}state: [{{constant: [0], names: [pad]}}]\n{six_axes_text[end:]}"
    with pytest.raises(ProfileError, match="state: the list measures nothing; a policy needs at least one state value"):
        parse_profile(text)


def test_codecs_that_cannot_be_are_named(base, profile):
    with pytest.raises(
        ProfileError, match=r"'eepose' is no codec; allowed: joints_absolute, .*; did you mean 'eepose_"
    ):
        with_codec(base, "eepose")
    with pytest.raises(ProfileError, match="'quat' is no rotation; allowed: rotvec, quaternion, rot6d, rpy"):
        with_codec(base, "eepose_absolute", "quat")
    with pytest.raises(ProfileError, match="the codec joints_delta has no orientation, so rotation rpy means nothing"):
        with_codec(base, "joints_delta", "rpy")
    with pytest.raises(ProfileError, match="eef needs the key 'kinematics'"):
        with_codec(profile, "eepose_absolute")
