# SPDX-License-Identifier: Apache-2.0

"""LeRobot's own commands against the simulated cell: another process, real DDS, and the options a user would type.

The main functions of the commands run in this process, because importing LeRobot takes longer than all of them together.
"""

import math
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import rclpy
import torch
from fake_robot import wait_until
from lerobot.configs.types import FeatureType
from lerobot.datasets import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.scripts import lerobot_record, lerobot_replay, lerobot_rollout, lerobot_teleoperate
from lerobot.utils.feature_utils import dataset_to_policy_features
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from vla_common.profiles import shipped_profiles
from vla_core.errors import VlaError
from vla_core.frames import features
from vla_core.profile import load_profile

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(400)]
PAN = "shoulder_pan_joint"
FPS = 10
# Small steps: a policy with random weights is pulled back, not refused. Patience for a busy machine.
CALM = "safety: {clamp: true, watchdog_s: 20.0}\n"


class Leader:
    """A leader arm that stands where the robot stands until `swing` is set, and hears what the robot does."""

    def __init__(self):
        self.swing, self.measured, self.targets = threading.Event(), {}, []
        self._from: dict[str, float] = {}
        self._begun: int | None = None
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self._node = Node("leader", context=self._context, parameter_overrides=[Parameter("use_sim_time", value=True)])
        self._publisher = self._node.create_publisher(JointState, "leader/joint_states", 10)
        self._node.create_subscription(JointState, "joint_states", self._on_joints, 50)
        self._node.create_subscription(JointState, "command/arm", self.targets.append, 50)
        self._node.create_timer(0.02, self._send)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_joints(self, msg):
        self.measured |= dict(zip(msg.name, msg.position, strict=True))

    def _send(self):
        if len(self.measured) < 7:
            return
        now = self._node.get_clock().now()
        if self._begun is None or not self.swing.is_set():
            self._from, self._begun = dict(self.measured), now.nanoseconds
        t = (now.nanoseconds - self._begun) * 1e-9
        joints = dict(self._from)
        joints[PAN] += 0.1 * (1.0 - math.cos(2.0 * math.pi * t / 4.0))
        msg = JointState(name=list(joints), position=list(joints.values()))
        msg.header.stamp = now.to_msg()
        self._publisher.publish(msg)

    def close(self):
        self._ending.set()
        self._thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)


@pytest.fixture(scope="module", autouse=True)
def own_domain(tmp_path_factory):
    """One domain for the cell and all commands; handlers of signals as before."""
    before, handlers = (
        dict(os.environ),
        {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)},
    )
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
    os.environ["ROS_LOG_DIR"] = str(tmp_path_factory.mktemp("log"))
    yield
    os.environ.clear()
    os.environ.update(before)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "calm.yaml"
    path.write_text(f"extends: {shipped_profiles()['sim_ur5e_tiny']}\n{CALM}")
    return path


@pytest.fixture(scope="module")
def leader(own_domain, profile, tmp_path_factory):
    """The simulated cell in a process of its own, and a leader."""
    parameters = [f"profile:={profile}", "clock_mode:=paced", "real_time_factor:=1.0", "task:=lift"]
    command = ["ros2", "run", "vla_sim", "cell_node", "--ros-args", *(x for p in parameters for x in ("-p", p))]
    with (tmp_path_factory.mktemp("cell") / "out").open("w") as log:
        cell = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        leader = Leader()
        try:
            wait_until(lambda: cell.poll() is None and len(leader.measured) >= 7, 120.0)
            yield leader
        finally:
            leader.close()
            os.killpg(cell.pid, signal.SIGINT)
            try:
                cell.wait(20.0)
            finally:
                if cell.poll() is None:
                    os.killpg(cell.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def command(profile, tmp_path_factory):
    """Runs the main function of a command with the arguments of a command line."""
    home = tmp_path_factory.mktemp("calibration")

    def run(module, *arguments, teleop=False, **robot):
        robot = {"type": "ros2", "profile": profile, "use_sim_time": "true", "connect_timeout_s": 60, **robot}
        options = [f"--robot.{name}={value}" for name, value in {**robot, "calibration_dir": home}.items()]
        if teleop:
            person = {"type": "ros2", "profile": profile, "use_sim_time": "true", "connect_timeout_s": 60}
            person |= {"source": "leader", "topic": "leader/joint_states", "calibration_dir": home}
            options += [f"--teleop.{name}={value}" for name, value in person.items()]
        before, sys.argv = sys.argv, [module.__name__, *options, *arguments]
        try:
            module.main()
        finally:
            sys.argv = before

    return run


@pytest.fixture(scope="module")
def dataset(leader, command, tmp_path_factory):
    """Two short episodes, recorded by lerobot-record while the leader swings."""
    root = tmp_path_factory.mktemp("data") / "swing"
    leader.swing.set()
    command(
        lerobot_record,
        "--dataset.repo_id=local/swing",
        f"--dataset.root={root}",
        "--dataset.single_task=swing the arm",
        f"--dataset.fps={FPS}",
        "--dataset.num_episodes=2",
        "--dataset.episode_time_s=2",
        "--dataset.reset_time_s=0.3",
        "--dataset.push_to_hub=false",
        "--dataset.rgb_encoder.vcodec=h264",
        "--play_sounds=false",
        teleop=True,
    )
    leader.swing.clear()
    return LeRobotDataset("local/swing", root=root)


def test_a_recording_has_the_features_of_a_conversion(dataset, profile):
    wanted = load_profile(profile)
    assert (dataset.num_episodes, dataset.fps) == (2, FPS)
    assert dataset.num_frames > 10
    assert dataset.meta.robot_type == wanted.robot == "sim_ur5e_tiny"
    for key, feature in features(wanted).items():
        found = dataset.features[key]
        assert (found["dtype"], tuple(found["shape"]), found["names"]) == tuple(feature.values()), key
    row = dataset[0]
    assert row["observation.images.front"].shape == (3, 96, 96)
    assert row["observation.images.front"].float().std() > 0.01, "the picture shows something"
    assert row["task"] == "swing the arm"


def test_what_was_recorded_is_the_motion(dataset):
    state, action = (np.stack(dataset.hf_dataset[key]) for key in ("observation.state", "action"))
    assert np.ptp(action[:, 0]) > 0.02
    assert np.abs(action[:, 1:6] - action[0, 1:6]).max() < 0.01
    # however late on a busy machine
    assert np.ptp(state[:, 0]) > 0.5 * np.ptp(action[:, 0]), "the arm follows its targets"


def test_replay_moves_the_arm_through_the_episode(dataset, leader, command):
    options = ["--dataset.repo_id=local/swing", f"--dataset.root={dataset.root}", "--dataset.episode=1"]
    leader.targets.clear()
    command(lerobot_replay, *options, "--play_sounds=false")
    rows = np.stack(dataset.hf_dataset["action"])[np.array(dataset.hf_dataset["episode_index"]) == 1]
    said = np.array([msg.position[0] for msg in leader.targets])
    assert {msg.header.frame_id for msg in leader.targets} == {"/lerobot_robot"}
    assert said.max() > rows[:, 0].max() - 0.03
    assert said.max() < rows[:, 0].max() + 0.03


def test_teleoperate_lets_the_arm_follow_the_leader(leader, command):
    before = leader.measured[PAN]
    leader.targets.clear()
    leader.swing.set()
    command(lerobot_teleoperate, f"--fps={FPS}", "--teleop_time_s=3", teleop=True)
    leader.swing.clear()
    ways = [abs(msg.position[0] - before) for msg in leader.targets]
    assert max(ways) > 0.05
    assert abs(leader.measured[PAN] - leader.targets[-1].position[0]) < 0.02


def test_rollout_runs_a_policy(dataset, leader, command, tmp_path):
    both = dataset_to_policy_features(dataset.meta.features)
    outputs = {key: value for key, value in both.items() if value.type is FeatureType.ACTION}
    config = ACTConfig(
        input_features={key: value for key, value in both.items() if key not in outputs},
        output_features=outputs,
        chunk_size=5,
        n_action_steps=5,
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
        use_vae=False,
        pretrained_backbone_weights=None,
        device="cpu",
        push_to_hub=False,
    )
    torch.manual_seed(0)
    ACTPolicy(config).save_pretrained(tmp_path)
    for processor in make_pre_post_processors(config, dataset_stats=dataset.meta.stats):
        processor.save_pretrained(tmp_path)
    leader.targets.clear()
    options = [
        f"--policy.path={tmp_path}",
        "--task=swing the arm",
        f"--fps={FPS}",
        "--duration=2",
        "--play_sounds=false",
    ]
    command(lerobot_rollout, "--strategy.type=base", *options, "--return_to_initial_position=false")
    assert len(leader.targets) > 10


def test_no_cell_in_this_namespace(leader, command):
    with pytest.raises(
        VlaError, match=r"Nothing was ever received on front_camera/color/image_raw.*Namespace /elsewhere"
    ):
        command(lerobot_teleoperate, "--teleop_time_s=1", teleop=True, namespace="elsewhere", connect_timeout_s=2)
