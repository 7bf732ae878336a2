# SPDX-License-Identifier: Apache-2.0

"""What the doctor says about the robot, its controllers and cameras: one bad case for each finding."""

import json

import numpy as np
import pytest
from doctor_cases import DRIVER, START_NS, URDF, graph, profile, retimed
from vla_bringup.doctor.live import judge
from vla_bringup.doctor.samples import Endpoint, Tap
from vla_core.testing import PROFILE, image

CAMERA = "front/image_raw"
REALSENSE = PROFILE.replace("front/image_raw,", "front/color/image_raw, settings: realsense,")


def bad(seen, robot=None, settings=None):
    groups = judge(robot or profile(), seen, settings)
    return [finding.line for group in groups for finding in group.findings if finding.level != "green"]


def only(seen, *parts, robot=None, settings=None):
    lines = bad(seen, robot, settings)
    assert len(lines) == 1, lines
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize(("name", "hint"), [("safety", "unlock the protective stop"), ("program", "press play")])
def test_protective_stop_and_stopped_program(name, hint):
    seen = graph()
    seen.monitors = {**seen.monitors, name: False}
    only(seen, "RED", f"monitor '{name}'", "data = False, allowed: True", f"-> {hint}")


def test_silent_monitor():
    seen = graph()
    seen.monitors = {"program": True}
    only(seen, "RED", "monitor 'safety' /safety_mode: nothing was received", "nothing may move")


def test_monitor_whose_type_is_not_installed():
    seen = graph()
    seen.unwatched = "robot.yaml: monitors.safety: x_msgs/msg/Y cannot be used"
    only(seen, "RED", "x_msgs/msg/Y cannot be used")


def test_controller_that_is_not_active():
    seen = graph()
    seen.controllers = {**seen.controllers, "/arm_controller": "inactive"}
    only(seen, "RED", "controller /arm_controller: is inactive, so every goal is rejected", "start the program")


def test_of_two_arms_the_controller_of_the_right_namespace_counts():
    robot = profile(
        PROFILE.replace("name: arm_controller/follow", "name: left/arm_controller/follow").replace(
            "follow_joint_trajectory}", "follow_joint_trajectory, controller: arm_controller}"
        )
    )
    seen = graph()
    seen.servers = {**seen.servers, "/left/arm_controller/follow_joint_trajectory": (DRIVER,)}
    seen.controllers = {"/left/arm_controller": "inactive", "/right/arm_controller": "active"}
    only(seen, "RED", "controller /left/arm_controller: is inactive", robot=robot)
    seen.controllers = {"/left/arm_controller": "active", "/right/arm_controller": "inactive"}
    assert bad(seen, robot) == []


def test_controller_that_is_not_loaded_shows_the_nearest():
    seen = graph()
    seen.controllers = {"/arm_controler": "active"}
    only(seen, "RED", "knows no such controller; it has /arm_controler", "did you mean '/arm_controler'")


def test_a_streaming_controller_that_has_the_arm_is_a_person_who_drives():
    teleop = "teleop:\n  arm: arm\n  stream: {name: forward/commands, controller: forward}\n"
    robot = profile(PROFILE + teleop)
    seen = graph()
    seen.controllers = {"/arm_controller": "inactive", "/forward": "active"}
    only(seen, "YELLOW", "forward has the arm, so a person drives now", robot=robot)


def test_a_driver_without_a_controller_manager_is_well():
    seen = graph()
    seen.controllers = None
    assert bad(seen) == []


def test_action_server_that_is_absent():
    seen = graph()
    seen.servers = {"/gripper_controller/gripper_cmd": (DRIVER,)}
    only(seen, "RED", "nobody serves /arm_controller/follow_joint_trajectory", "ros2 action list")


def test_action_of_another_type():
    seen = graph()
    kind = "control_msgs/action/ParallelGripperCommand"
    seen.services = {"/gripper_controller/gripper_cmd/_action/send_goal": (f"{kind}_SendGoal",)}
    only(seen, "RED", f"is {kind}, but gripper_command speaks control_msgs/action/GripperCommand", "versions")


def test_two_drivers_of_one_action():
    seen = graph()
    seen.servers = {**seen.servers, "/gripper_controller/gripper_cmd": (DRIVER, "/other")}
    only(seen, "RED", "is served by /driver, /other", "end one of the two drivers")


STREAMED = PROFILE.replace(
    "{interface: follow_joint_trajectory, name: arm_controller/follow_joint_trajectory}",
    "{interface: joint_group_position, name: arm_controller/commands}",
)


def streamed(order):
    seen = graph()
    tap = Tap("/arm_controller/commands", "std_msgs/msg/Float64MultiArray")
    tap.subscriptions = (Endpoint(DRIVER, tap.type),)
    seen.taps["arm_controller/commands"] = tap
    seen.joint_orders = {"arm": order}
    return seen


def test_wrong_joint_order_of_a_controller_that_takes_numbers_without_names():
    only(
        streamed(("wrist_joint", "elbow_joint")),
        "RED",
        "takes wrist_joint, elbow_joint, but the profile sends elbow_joint, wrist_joint: numbers without names",
        robot=profile(STREAMED),
    )
    assert bad(streamed(("elbow_joint", "wrist_joint")), profile(STREAMED)) == []


def test_nobody_listens_to_the_stream():
    seen = streamed(())
    seen.taps["arm_controller/commands"].subscriptions = ()
    only(seen, "RED", "nobody listens to /arm_controller/commands", robot=profile(STREAMED))


def test_nodes_of_the_same_name_and_a_second_recorder():
    seen = graph()
    seen.nodes = (*seen.nodes, "/viewer")
    only(seen, "RED", "/viewer runs more than once", "namespace:=")
    seen = graph()
    seen.recorders = ("/recorder", "/recorder_2")
    only(seen, "RED", "/recorder, /recorder_2 record the same topics", "end all but one")


def test_a_joint_outside_its_limits():
    seen = graph()
    seen.taps["joint_states"].samples[-1].msg.position[1] = 57.3
    lines = bad(seen)
    assert lines == [line for line in lines if "joint elbow_joint: stands at 57.3, outside its limits -3 to 3" in line]
    assert "degrees instead of radians" in lines[0]


def test_limits_of_the_robot_that_are_tighter():
    seen = graph()
    seen.descriptions = {"/robot_description": URDF.format(low="-2.0")}
    only(seen, "YELLOW", "the robot's own are tighter", "elbow_joint: lower -2 instead of -3")


LEFT = PROFILE.replace("name: arm_controller/follow", "name: left/arm_controller/follow")


def two_arms(left):
    """The small robot with its arm in a namespace; the gripper's description has no namespace."""
    seen = graph()
    seen.servers = {**seen.servers, "/left/arm_controller/follow_joint_trajectory": (DRIVER,)}
    seen.controllers = {"/left/arm_controller": "active"}
    gripper = URDF.format(low="-3.1").replace("elbow_joint", "other").replace("wrist_joint", "another")
    seen.descriptions = {"/robot_description": gripper, "/left/robot_description": left}
    return seen


def test_the_descriptions_of_two_arms_are_both_compared():
    fingerless = URDF.format(low="-2.0").replace("finger_joint", "thumb")
    only(two_arms(fingerless), "YELLOW", "elbow_joint: lower -2 instead of -3", robot=profile(LEFT))
    assert bad(two_arms(fingerless.replace("-2.0", "-3.1")), profile(LEFT)) == []
    only(two_arms("<robot"), "RED", "/left/robot_description: the robot description is not XML", robot=profile(LEFT))


def test_a_description_with_another_prefix():
    foreign = URDF.format(low="-3.1").replace("elbow", "l_elbow").replace("wrist", "l_wrist")
    only(
        two_arms(foreign),
        "RED",
        "/left/robot_description: has no joint of arm (elbow_joint, wrist_joint, …); it has finger_joint, l_elbow_joint",
        "-> give the arm's driver the prefix that the profile's joints have (tf_prefix)",
        robot=profile(LEFT),
    )


def test_a_description_that_contradicts_the_profile():
    seen = graph()
    seen.descriptions = {"/robot_description": "<robot"}
    only(seen, "RED", "robot_description")


def test_frozen_camera():
    seen = graph()
    tap = seen.taps[CAMERA]
    tap.samples = retimed(tap.samples, content=lambda i, s: min(i, 20))
    only(seen, "RED", "camera 'front': frozen: the last 20 images are identical though their stamps go on")
    seen.sim_time, seen.clock_ns = True, (0, 2_000_000_000)
    assert bad(seen) == []  # nothing moves in a simulation, and its cameras have no noise


def test_camera_that_stood_still_for_a_while():
    seen = graph()
    tap = seen.taps[CAMERA]
    tap.samples = retimed(tap.samples, content=lambda i, s: 5 if 5 <= i < 15 else i)
    only(seen, "YELLOW", "stood still for 10 images")


@pytest.mark.parametrize(
    ("pixels", "encoding", "text"),
    [
        (np.zeros((48, 64, 3), np.uint8), "rgb8", "images are 64x48, but the profile says 32x24"),
        (np.zeros((24, 32), np.uint16), "16UC1", "encoding 16UC1 is no colour"),
        (np.zeros((24, 32, 3), np.uint8), "nonsense", "its images cannot be read"),
    ],
)
def test_size_and_encoding(pixels, encoding, text):
    seen = graph()
    seen.taps[CAMERA].last = image(START_NS, pixels)
    seen.taps[CAMERA].last.encoding = encoding
    only(seen, "RED", text)


def test_gaps_between_images():
    seen = graph()
    for one in seen.taps[CAMERA].samples[30:]:
        one.stamp_ns, one.received_ns = one.stamp_ns + 60_000_000, one.received_ns + 60_000_000
        one.sent_ns += 60_000_000
    only(seen, "YELLOW", "1 gaps between 40 images, the longest 110 ms", "USB")


LOCKED = {
    "rgb_camera.enable_auto_exposure": False,
    "rgb_camera.enable_auto_white_balance": False,
    "rgb_camera.exposure": 156,
}


def with_parameters(values):
    seen = graph()
    seen.taps["front/color/image_raw"] = seen.taps.pop(CAMERA)
    seen.parameters = {"front": values}
    return seen


def settings_file(folder, **camera):
    block = {"node": "front", "settings": "realsense", "parameters": {**LOCKED, "rgb_camera.exposure": 200}}
    path = folder / "camera_settings.json"
    cameras = camera or {"front": block}
    path.write_text(json.dumps({"schema": 1, "timestamp": "now", "robot": "test_arm", "cameras": cameras}))
    return str(path)


def test_exposure_lock(tmp_path):
    robot = profile(REALSENSE)
    assert bad(with_parameters(LOCKED), robot) == []
    automatic = {**LOCKED, "rgb_camera.enable_auto_exposure": True}
    only(with_parameters(automatic), "YELLOW", "automatic (rgb_camera.enable_auto_exposure)", robot=robot)
    only(with_parameters("there is no node 'front'"), "YELLOW", "unknown: there is no node 'front'", robot=robot)
    saved = settings_file(tmp_path)
    text = "rgb_camera.exposure is 156, saved was 200"
    only(with_parameters(LOCKED), "RED", text, "camera_settings:=FILE", robot=robot, settings=saved)
    same = {**LOCKED, "rgb_camera.exposure": 200}
    assert bad(with_parameters(same), robot, saved) == []
    only(with_parameters(same), "RED", "cannot read", robot=robot, settings=str(tmp_path / "no.json"))
    other = settings_file(tmp_path, wrist={"node": "w", "settings": "realsense", "parameters": {}})
    only(with_parameters(same), "RED", "the settings file does not have this camera", robot=robot, settings=other)
