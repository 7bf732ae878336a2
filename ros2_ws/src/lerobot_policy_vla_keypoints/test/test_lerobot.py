# SPDX-License-Identifier: Apache-2.0

"""The policy as others meet it: LeRobot's own command in a child process, and the policy runner of vla_policy."""

import os
import subprocess
import sys

import pytest
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot_policy_vla_keypoints import VlaKeypointsConfig
from vla_core.profile import parse_profile
from vla_policy.policies.checkpoint import attach
from vla_policy.policies.conformance import CHECKS, Subject
from vla_policy.policies.contract import profile_shapes
from vla_policy.policies.runner import LoadRequest

PROFILE = """
robot: one_joint
fps: 10
base_frame: base_link
tool_frame: tool0
task: push
cameras:
  front: {topic: front/image_raw, size: [32, 32], rate_hz: 30.0, max_age_s: 0.2}
state:
  - {topic: joint_states, type: sensor_msgs/msg/JointState, rate_hz: 100.0, max_age_s: 0.2, fields: [position.pan]}
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 30.0, max_age_s: 0.2}
    command: {interface: follow_joint_trajectory, name: arm_controller/follow_joint_trajectory}
    joints: [pan]
    limits: {lower: [-3.0], upper: [3.0], max_velocity: 3.0, max_step: 0.5}
safety: {watchdog_s: 0.3}
"""
# What another program sees that knows LeRobot only: the command line of its trainer.
STOCK_TRAINER = [sys.executable, "-m", "lerobot.scripts.lerobot_train", "--dataset.repo_id=local/none"]
LOADS_A_CHECKPOINT = """
import sys
from vla_policy.policies.registry import load_policy
from vla_policy.policies.runner import LoadRequest
assert not any(name.startswith("lerobot_policy_") for name in sys.modules)
print(load_policy("lerobot", LoadRequest(checkpoint=sys.argv[1])).runner.description)
assert "rclpy" not in sys.modules
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained policy for the profile above, saved as training does."""
    path = tmp_path_factory.mktemp("run") / "checkpoints" / "000001" / "pretrained_model"
    profile = parse_profile(PROFILE, "one_joint.yaml")
    kinds = {"action": FeatureType.ACTION, "observation.state": FeatureType.STATE}
    shapes = {
        name: PolicyFeature(kinds.get(name, FeatureType.VISUAL), tuple(shape))
        for name, shape in profile_shapes(profile).items()
    }
    action = {"action": shapes.pop("action")}
    config = VlaKeypointsConfig(
        device="cpu", chunk_size=4, n_action_steps=4, input_features=shapes, output_features=action,
        push_to_hub=False,
    )  # fmt: skip
    statistics = {
        name: {
            "mean": torch.zeros((3, 1, 1) if len(feature.shape) == 3 else feature.shape),
            "std": torch.ones((3, 1, 1) if len(feature.shape) == 3 else feature.shape),
        }
        for name, feature in {**shapes, **action}.items()
    }
    get_policy_class("vla_keypoints")(config).save_pretrained(path)
    for processor in make_pre_post_processors(config, dataset_stats=statistics):
        processor.save_pretrained(path)
    attach(path, profile=profile, vlm=None)
    return path


@pytest.fixture(scope="module")
def subject(checkpoint):
    with Subject("lerobot", LoadRequest(checkpoint=str(checkpoint), seed=3)) as made:
        yield made


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_checkpoints_conform(subject, check):
    check(subject)


def run(command):
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=env, check=False)


@pytest.mark.timeout(300)  # loads all of LeRobot: seconds where nothing else runs
def test_the_stock_trainer_finds_it():
    """LeRobot's command imports the package by its prefix and makes its configuration (of a number that is refused)."""
    done = run([*STOCK_TRAINER, "--policy.type=vla_keypoints", "--policy.keypoints=0", "--policy.push_to_hub=false"])
    assert done.returncode != 0
    assert "Couldn't instantiate class VlaKeypointsConfig" in done.stderr


@pytest.mark.timeout(300)
def test_a_checkpoint_loads_in_a_process_that_has_not_heard_of_it(checkpoint):
    done = run([sys.executable, "-c", LOADS_A_CHECKPOINT, str(checkpoint)])
    assert done.returncode == 0, done.stderr
    assert "vla_keypoints from" in done.stdout
