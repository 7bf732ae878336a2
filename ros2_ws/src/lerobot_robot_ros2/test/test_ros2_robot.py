# SPDX-License-Identifier: Apache-2.0

"""LeRobot's `Robot` over real DDS, against a robot in this process: what is seen, sent and refused."""

import logging
import math

import numpy as np
import pytest
from fake_robot import PATIENT, FakeRobot, wait_until
from lerobot.robots.config import RobotConfig
from lerobot.robots.utils import make_robot_from_config
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError
from lerobot.utils.feature_utils import hw_to_dataset_features
from lerobot_robot_ros2 import Ros2Robot, Ros2RobotConfig, rivals
from vla_core.errors import VlaError
from vla_core.frames import features
from vla_core.profile import load_profile

NAMES = ["elbow_joint.pos", "wrist_joint.pos", "finger_joint.pos"]


@pytest.fixture
def make(tmp_path):
    """Makes robots that are disconnected at the end."""
    made = []

    def make(text=PATIENT, **options):
        path = tmp_path / "robot.yaml"
        path.write_text(text)
        options = {"connect_timeout_s": 30.0, **options}
        config = Ros2RobotConfig(profile=str(path), calibration_dir=tmp_path / "calibration", **options)
        made.append(make_robot_from_config(config))
        return made[-1]

    yield make
    for robot in made:
        if robot.is_connected:
            robot.disconnect()


@pytest.fixture
def fake():
    """Makes fake robots that are closed at the end."""
    made = []

    def make(**options):
        made.append(FakeRobot(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def read_on(read):
    """Until it fails: the last picture is fresh for a while."""
    while True:
        read()


def action(elbow, wrist=0.2, finger=0.0):
    return dict(zip(NAMES, (elbow, wrist, finger), strict=True))


def test_lerobot_knows_it_by_its_type(make):
    assert RobotConfig.get_choice_class("ros2") is Ros2RobotConfig
    robot = make()
    assert isinstance(robot, Ros2Robot)
    assert robot.name == "test_arm"
    assert not robot.is_connected


def test_its_features_are_those_of_a_converted_recording(make):
    robot = make()
    found = {
        **hw_to_dataset_features(robot.observation_features, "observation"),
        **hw_to_dataset_features(robot.action_features, "action"),
    }
    wanted = features(load_profile(robot.config.profile))
    assert list(found) == list(wanted)
    for key, feature in wanted.items():
        assert {name: found[key][name] for name in ("dtype", "shape", "names")} == feature


def test_it_sees_and_drives_and_nothing_moves_by_itself(make, fake):
    arm, robot = fake(), make()
    robot.connect()
    seen = robot.get_observation()
    assert list(seen) == [*NAMES, "front"]
    assert [seen[name] for name in NAMES] == pytest.approx([0.1, 0.2, 0.0])
    assert seen["front"].shape == (24, 32, 3)
    assert (arm.goals, arm.grips, arm.targets) == ([], [], [])

    sent = robot.send_action({name: np.float32(value) for name, value in action(0.15, 0.2, 0.5).items()})
    assert sent == pytest.approx(action(0.15, 0.2, 0.5))
    wait_until(lambda: arm.goals and arm.grips)
    assert list(arm.goals[0].joint_names) == ["elbow_joint", "wrist_joint"]
    assert list(arm.goals[0].points[-1].positions) == pytest.approx([0.15, 0.2])
    assert arm.grips == pytest.approx([0.4])
    wait_until(lambda: any(msg.position[0] == pytest.approx(0.15, abs=1e-6) for msg in arm.targets))
    assert {msg.header.frame_id for msg in arm.targets} == {"/lerobot_robot"}
    with pytest.raises(DeviceAlreadyConnectedError):
        robot.connect()


def test_leaving_cancels_what_runs(make, fake):
    arm, robot = fake(), make()
    robot.connect()
    robot.get_observation()
    arm.hold.set()
    robot.send_action(action(0.15))
    wait_until(lambda: arm.goals)
    robot.disconnect()
    wait_until(lambda: arm.cancelled == 1)
    for use in (robot.get_observation, robot.disconnect, lambda: robot.send_action(action(0.1))):
        with pytest.raises(DeviceNotConnectedError, match="not connected"):
            use()


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (action(math.nan), r"not finite: elbow_joint\.pos at step 0 is nan"),
        (action(0.9), r"step of elbow_joint at step 0 is 0\.8 rad.*bring the leader to where the robot is"),
        ({"elbow_joint.pos": 0.1, "wrist.pos": 0.2}, r"the profile wants elbow_joint\.pos.*did you mean 'wrist_joint\.pos'"),
    ],
)  # fmt: skip
def test_a_bad_action_stops_everything_that_follows(make, fake, bad, text):
    arm, robot = fake(), make()
    robot.connect()
    robot.get_observation()
    with pytest.raises(VlaError, match=text):
        robot.send_action(bad)
    with pytest.raises(VlaError, match=r"nothing is sent any more, because: .*"):
        robot.send_action(action(0.12))
    assert arm.goals == []


def test_a_second_driver_is_found(make, fake, monkeypatch):
    monkeypatch.setattr(rivals, "MOVING_S", 60.0)  # a busy machine takes its time between the two lines below
    arm, robot = fake(), make()
    robot.connect()
    robot.get_observation()
    arm.say("arm", [0.3, 0.3], "/teleop")
    wait_until(lambda: robot._link._rivals._heard)
    with pytest.raises(VlaError, match="'/teleop' drives this robot too"):
        robot.send_action(action(0.12))
    assert arm.goals == []


def test_where_another_node_drives_nothing_is_sent(make, fake):
    arm, robot = fake(servers=False), make(drive=False)
    robot.connect()
    robot.get_observation()
    assert robot.send_action(action(0.9)) == pytest.approx(action(0.9))
    with pytest.raises(VlaError, match="not finite"):
        robot.send_action(action(math.inf))
    assert (arm.goals, arm.targets) == ([], [])


def test_a_camera_that_falls_silent_stops_the_arm(make, fake):
    text = PATIENT.replace("rate_hz: 20, max_age_s: 2.0}\nstate", "rate_hz: 20, max_age_s: 0.3}\nstate").replace(
        "watchdog_s: 3.0", "watchdog_s: 0.5"
    )
    arm, robot = fake(), make(text)
    robot.connect()
    arm.camera = False
    text = r"no complete observation for 0\.\d s: observation.images.front: no message for .* on front/image_raw"
    with pytest.raises(VlaError, match=text):
        read_on(robot.get_observation)


@pytest.mark.parametrize(
    ("robot_options", "options", "text"),
    [
        ({"camera": False}, {}, r"observation.images.front.*Nothing was ever received on front/image_raw"),
        ({"joints": ("elbow_joint",)}, {}, r"observation.state.0: .*wrist_joint.*\(topic joint_states\)"),
        ({"servers": False}, {}, r"action arm_controller/follow_joint_trajectory: nobody offers it"),
        ({}, {"namespace": "left"}, r"Nothing was ever received on front/image_raw, joint_states.*Namespace /left"),
        ({}, {"use_sim_time": True}, r"nobody publishes /clock.*--robot.use_sim_time=false"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named_at_connect(make, fake, robot_options, options, text):
    fake(**robot_options)
    robot = make(connect_timeout_s=2.0, **options)
    with pytest.raises(VlaError, match=text):
        robot.connect()
    assert not robot.is_connected


def test_options_and_profiles_that_cannot_be_used(make):
    with pytest.raises(ValueError, match=r"no robot profile 'sim_ur5'; did you mean 'sim_ur5e'\?.*name a YAML file"):
        make_robot_from_config(Ros2RobotConfig(profile="sim_ur5"))
    with pytest.raises(ValueError, match="connect_timeout_s must be positive"):
        make(connect_timeout_s=0.0)
    with pytest.raises(ValueError, match=r"robot.yaml:\d+: action\[0\].nonsense: unknown key 'nonsense'"):
        make(
            PATIENT.replace(
                "joints: [elbow_joint, wrist_joint]", "joints: [elbow_joints, wrist_joint]\n    nonsense: 1"
            )
        )


def test_values_that_lerobot_rollout_leaves_out_are_named(make, fake, caplog):
    fake()
    robot = make(PATIENT.replace("task: lift", "action_space: delta_joint\ntask: lift"))
    with caplog.at_level(logging.WARNING):
        robot.connect()
    assert "leaves out elbow_joint.delta, wrist_joint.delta" in caplog.text
