# SPDX-License-Identifier: Apache-2.0

import hashlib

import pytest
import yaml
from vla_core.errors import ProfileError
from vla_core.profile import load_profile, mapping_differences, parse_profile
from vla_core.testing import PROFILE


def error_of(text):
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "robot.yaml")
    return str(caught.value)


def test_values_and_defaults(profile):
    front = profile.cameras[0]
    assert (front.name, front.size, front.resize, front.frame_size) == ("front", (24, 32), None, (24, 32))
    assert (front.type, front.strategy, front.stamp, front.info_topic) == (
        "sensor_msgs/msg/Image",
        "hold",
        "header",
        None,
    )
    arm, gripper = profile.action
    assert arm.record.fields == ("position.elbow_joint", "position.wrist_joint")
    assert arm.limits.max_velocity == (2.0, 2.0)
    assert arm.command.controller == "arm_controller"
    assert gripper.limits.max_step is None
    assert gripper.is_gripper
    assert not arm.is_gripper
    assert profile.safety.workspace_min is None
    assert not profile.safety.clamp
    assert profile.kinematics is None
    assert profile.state_names == ("elbow_joint.pos", "wrist_joint.pos", "finger_joint.pos")
    assert profile.action_names == profile.state_names
    assert profile.camera_names == ("front",)


def test_text_is_a_fixed_point_and_hash_ignores_comments(profile):
    again = parse_profile(profile.text)
    assert again.text == profile.text
    assert again == profile
    assert parse_profile("# a comment\n" + PROFILE).sha256 == profile.sha256
    assert hashlib.sha256(profile.text.encode()).hexdigest() == profile.sha256
    assert yaml.safe_load(profile.text) == yaml.safe_load(PROFILE)


# What is replaced in the small profile, by what, and what the message must say.
MISTAKES = {
    "unknown key": ("size: [24, 32]", "sise: [24, 32]", "robot.yaml:7: cameras.front.sise: unknown key 'sise'", "'size'"),
    "unknown top key": ("fps: 10", "fsp: 10", "fsp: unknown key 'fsp'; allowed: extends, robot, fps", "did you mean 'fps'"),
    "missing key": ("fps: 10\n", "", "fps: missing key; it has no default"),
    "missing inner key": ("rate_hz: 20, ", "", "cameras.front.rate_hz: missing key"),
    "empty value": ("task: lift the block", "task:", "task: expected text, got nothing"),
    "wrong type": ("fps: 10", "fps: thirty", "robot.yaml:2: fps: expected a number, got the text 'thirty'"),
    "exponent": ("max_age_s: 0.05}", "max_age_s: 5e-2}", "YAML 1.1 reads 5e-2 as text; write", "1.0e-3"),
    "zero": ("fps: 10", "fps: 0", "fps: must be larger than 0, got 0"),
    "infinite": ("fps: 10", "fps: .inf", "fps: expected a finite number, got .inf"),
    "boolean as text": ("robot: test_arm", "robot: off", "robot: expected text, but YAML reads off as the boolean False", "quotes"),
    "number as text": ("robot: test_arm", "robot: 5", "expected text, but YAML reads 5 as the integer 5"),
    "bad robot name": ("robot: test_arm", "robot: test arm", "'test arm' is no robot name"),
    "bad camera name": ("  front: {", "  front.left: {", "'front.left' is no camera name: use letters"),
    "map wanted": ("{topic: front/image_raw, size: [24, 32], rate_hz: 20, max_age_s: 0.2}", "7", "cameras.front: expected a map with topic, type"),
    "list wanted": ("fields: [position.finger_joint]", "fields: position.finger_joint", "state[1].fields: expected a list, got the text"),
    "unknown type": ("topic: front/image_raw", "topic: a, type: sensor_msgs/Image", "'sensor_msgs/Image' is not one of sensor_msgs/msg/Image", "did you mean 'sensor_msgs/msg/Image'"),
    "image as state": ("fields: [position.finger_joint]", "type: sensor_msgs/msg/Image, fields: [a]", "state[1].type: 'sensor_msgs/msg/Image' is not one of"),
    "unknown field": ("position.finger_joint]", "positon.finger_joint]", "state[1].fields[0]: 'positon.finger_joint' is no field path", "did you mean 'position'"),
    "field twice": ("[position.elbow_joint, position.wrist_joint]", "[position.a, position.a]", "fields[1]: 'position.a' is listed twice"),
    "no fields": ("[position.elbow_joint, position.wrist_joint]", "[]", "state[0].fields: the list is empty"),
    "state name twice": ("fields: [position.finger_joint]", "fields: [position.elbow_joint]", "state[1]: the state name 'elbow_joint.pos' is used twice"),
    "names of another length": ("fields: [position.finger_joint]", "names: [a, b], fields: [position.finger_joint]", "expected 1 names, one per field, got 2"),
    "unknown strategy": ("size: [24, 32]", "size: [24, 32], strategy: neerest", "'neerest' is not one of hold, nearest, interpolate; did you mean 'nearest'"),
    "interpolated image": ("size: [24, 32]", "size: [24, 32], strategy: interpolate", "images cannot be interpolated"),
    "header of an array": ("fields: [position.finger_joint]", "type: std_msgs/msg/Float64MultiArray, stamp: header, fields: ['data[0]']", "Float64MultiArray has no header; use 'receive'"),
    "interpolated quaternion": ("fields: [position.finger_joint]", "type: geometry_msgs/msg/PoseStamped, strategy: interpolate, fields: [pose.orientation.x]", "a quaternion cannot be interpolated"),
    "age below the period": ("max_age_s: 0.05}", "max_age_s: 0.001}", "0.001 s is shorter than one period"),
    "point of a joint state": ("fields: [position.finger_joint]", "point: first, fields: [position.finger_joint]", "only trajectory_msgs/msg/JointTrajectory has points"),
    "bad topic": ("topic: front/image_raw", "topic: front//image-raw", "'front//image-raw' is no topic name"),
    "half a pixel": ("[24, 32]", "[24.5, 32]", "size: expected [height, width] in whole pixels"),
    "three pixels": ("[24, 32]", "[24, 32, 3]", "size: expected 2 numbers, got 3"),
    "flat scale": ("from: [0.0, 0.8]", "from: [0.8, 0.8]", "scale.from: both ends are 0.8, so the scale has no inverse"),
    "no state": (PROFILE[PROFILE.index("state:") : PROFILE.index("action:")], "state: []\n", "state: the list is empty"),
    "no action": (PROFILE[PROFILE.index("action:") :], "action: []\n", "action: the list is empty"),
    "action twice": ("name: gripper", "name: arm", "action[1]: the name 'arm' is used twice"),
    "joint twice": ("joints: [finger_joint]", "joints: [wrist_joint]", "joint 'wrist_joint' already belongs to action 'arm'"),
    "unknown interface": ("interface: gripper_command", "interface: gripper_comand", "did you mean 'gripper_command'"),
    "fields for joints": ("{topic: command/gripper,", "{topic: command/gripper, fields: [position.a, position.b],", "record.fields: expected 1 fields, one per joint, got 2"),
    "limits of another length": ("lower: [-3.0, -3.0]", "lower: [-3.0]", "limits.lower: expected 2 numbers, got 1"),
    "limits the wrong way": ("upper: [0.8]", "upper: [-0.8]", "limits.upper: element 0 must be larger than lower[0] = 0, got -0.8"),
    "negative velocity": ("max_velocity: 2.0", "max_velocity: [2.0, -1.0]", "max_velocity: must be larger than 0, got -1"),
    "unknown action space": ("task: lift the block", "task: a\naction_space: absolute_joints", "did you mean 'absolute_joint'"),
    "eef without kinematics": ("task: lift the block", "task: a\naction_space: absolute_eef", "action[0]: the action space absolute_eef needs the key 'kinematics'"),
    "scale of deltas": ("scale: {from: [0.0, 0.8], to: [0.0, 1.0]}\n    limits", "space: delta_joint\n    scale: {from: [0, 1], to: [0, 2]}\n    limits", "a scale has no meaning in the action space delta_joint"),
    "depth as text": ("size: [24, 32]", "size: [24, 32], depth: 16UC1", "cameras.front.depth: expected true or false, got the text '16UC1'"),
    "flag": ("task: lift the block", "task: a\nsafety: {clamp: 1}", "safety.clamp: expected true or false, got the integer 1"),
    "box without kinematics": ("task: lift the block", "task: a\nsafety: {workspace: {min: [0, 0, 0], max: [1, 1, 1]}}", "the workspace box needs 'kinematics'"),
    "box the wrong way": ("task: lift the block", "task: a\nsafety: {workspace: {min: [0, 0, 2], max: [1, 1, 1]}}", "workspace.max: every element must be larger"),
    "topic with two types": ("topic: front/image_raw", "topic: joint_states", "topic 'joint_states' is given two types"),
    "bad message type": ("task: lift the block", "task: a\nrecord_topics: [{topic: a, type: String}]", "record_topics[0].type: 'String' is no message type; write it like 'std_msgs/msg/String'"),
    "driver argument": ("task: lift the block", "task: a\ndrivers: {arm: {package: p, launch: l, args: {rviz: false}}}", "drivers.arm.args.rviz: expected text, but YAML reads false as the boolean False"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name, changed):
    old, new, *wanted = MISTAKES[name]
    message = error_of(changed(old, new))
    assert message.startswith("robot.yaml:")
    for part in wanted:
        assert part in message


def test_delta_needs_the_joints_in_the_state(changed):
    text = changed("fields: [position.elbow_joint, position.wrist_joint]", "fields: [position.elbow_joint]")
    message = error_of(text.replace("task:", "action_space: delta_joint\ntask:"))
    assert "action[0]: the action space delta_joint needs every joint in 'state'" in message
    assert "missing: wrist_joint" in message


def test_eef_needs_the_joints_of_the_kinematics(six_axes):
    text = six_axes("absolute_eef").text.replace("- pan\n  - lift\n", "- lift\n  - pan\n", 1)
    assert text != six_axes("absolute_eef").text
    message = error_of(text)
    assert "needs the joints of 'kinematics' in the same order: pan, lift" in message


def test_an_arm_that_cannot_be_inverted_is_refused(six_axes):
    # Six parallel axes move in a plane: many joint positions lead to one pose.
    planar = six_axes().text.replace("action_space: absolute_joint", "action_space: absolute_eef")
    for angle in ("- 1.5707963267948966", "- -1.5707963267948966"):
        planar = planar.replace(angle, "- 0.0")
    message = error_of(planar)
    assert "action: the action space cannot be inverted: 'arm' in the space absolute_eef comes back" in message


def test_file_errors(tmp_path):
    with pytest.raises(
        ProfileError, match=r"nowhere\.yaml: cannot read the robot profile: No such file or directory; give"
    ):
        load_profile(tmp_path / "nowhere.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="it is not UTF-8 text"):
        load_profile(binary)
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing\n")
    with pytest.raises(ProfileError, match="the file is empty; a robot profile starts with"):
        load_profile(empty)
    empty.write_text("[1, 2]\n")
    with pytest.raises(ProfileError, match=r"expected a map with extends, robot, .* got a list"):
        load_profile(empty)


def test_extends_merges_maps_and_names_the_right_file(tmp_path):
    (tmp_path / "base.yaml").write_text(PROFILE)
    child = tmp_path / "child.yaml"
    child.write_text("extends: base.yaml\nfps: 5\ncameras: {front: {size: [48, 64]}}\n")
    profile = load_profile(child)
    assert (profile.fps, profile.cameras[0].size, profile.cameras[0].rate_hz) == (5.0, (48, 64), 20.0)
    assert "extends" not in profile.text
    assert parse_profile(profile.text).sha256 == profile.sha256
    assert parse_profile(child.read_text(), str(child)) == profile

    child.write_text("extends: base.yaml\nfps: fast\n")
    with pytest.raises(ProfileError, match=r"child.yaml:2: fps: expected a number"):
        load_profile(child)
    (tmp_path / "base.yaml").write_text(PROFILE.replace("rate_hz: 20,", "rate_hz: -1,", 1))
    child.write_text("extends: base.yaml\nfps: 5\n")
    with pytest.raises(ProfileError, match=r"base.yaml:7: cameras.front.rate_hz: must be larger than 0, got -1"):
        load_profile(child)


def test_extends_must_exist_and_end(tmp_path):
    child = tmp_path / "child.yaml"
    child.write_text("extends: other.yaml\n")
    with pytest.raises(
        ProfileError, match=r"child.yaml:1: extends: there is no file '.*other.yaml'; the path is relative"
    ):
        load_profile(child)
    (tmp_path / "other.yaml").write_text("extends: child.yaml\n")
    with pytest.raises(ProfileError, match="extends itself in a circle"):
        load_profile(child)


def test_a_text_that_was_read_before_keeps_its_meaning_and_gets_its_own_source(profile):
    again = parse_profile(profile.text, "bag b")
    assert again == parse_profile(profile.text, "bag a") == profile
    assert again.source == "bag b"
    other = parse_profile(profile.text.replace("task: ", "task: quickly "), "bag c")
    assert other.task == f"quickly {profile.task}"
    with pytest.raises(ProfileError, match="bag d"):
        parse_profile(profile.text.replace("fps:", "fsp:"), "bag d")


def test_optional_parts(changed):
    text = changed(
        "task: lift the block",
        "task: a\n"
        "safety: {watchdog_s: 0.2, clamp: true}\n"
        "record_topics: [{topic: /tf, type: tf2_msgs/msg/TFMessage, qos: latched}]\n"
        "recording: {on_slow_stream: pause, prefer_compressed: false}\n"
        "drivers: {arm: {package: p, launch: l.launch.py, args: {ip: 'x'}}}",
    )
    profile = parse_profile(text)
    recording = profile.recording
    assert (recording.on_missing_stream, recording.on_slow_stream) == ("refuse", "pause")
    assert not recording.prefer_compressed
    assert (profile.safety.watchdog_s, profile.safety.clamp) == (0.2, True)
    assert profile.record_topics[0].qos == "latched"
    assert profile.drivers[0].args == {"ip": "x"}
    without = parse_profile(PROFILE.replace(PROFILE[PROFILE.index("cameras:") : PROFILE.index("state:")], ""))
    assert without.cameras == ()


def test_command_may_be_none(changed):
    text = changed(
        "command: {interface: gripper_command, name: gripper_controller/gripper_cmd}", "command: {interface: none}"
    )
    assert parse_profile(text).action[1].command.name == ""


def test_mapping_differences(profile, changed):
    assert mapping_differences(profile, profile) == ()
    # What a policy does not see makes no difference; what it sees does.
    moved = parse_profile(changed("topic: front/image_raw", "topic: camera/front/image_raw"))
    assert mapping_differences(profile, moved) == ()
    resized = parse_profile(changed("size: [24, 32]", "size: [48, 64], resize: [24, 32]"))
    assert mapping_differences(profile, resized) == ()
    driven = parse_profile(
        changed(
            "size: [24, 32]",
            "size: [24, 32], node: cam, settings: realsense, mount: {parent: a, child: b, xyz: [0, 0, 1]}",
        )
    )
    assert mapping_differences(profile, driven) == ()
    smaller = parse_profile(changed("size: [24, 32]", "size: [24, 32], resize: [12, 16]"))
    assert mapping_differences(profile, smaller) == ("cameras.front.frame_size: trained with (24, 32), now (12, 16)",)
    slower = parse_profile(changed("fps: 10", "fps: 5"))
    assert mapping_differences(profile, slower) == ("fps: trained with 10.0, now 5.0",)
    renamed = parse_profile(changed("  front: {", "  side: {"))
    assert "cameras.side.frame_size: trained with absent, now (24, 32)" in mapping_differences(profile, renamed)
