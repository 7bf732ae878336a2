# SPDX-License-Identifier: Apache-2.0

"""A small profile, a synthetic dataset and tiny checkpoints, made with LeRobot's own classes."""

from pathlib import Path

import numpy as np
from vla_core.frames import Frame, features
from vla_core.profile import Profile, parse_profile

PROFILE_TEXT = """
robot: sim_two_joint
fps: 10
base_frame: base_link
tool_frame: tool0
task: pick up the block
cameras:
  front: {topic: front/image_raw, size: [32, 32], rate_hz: 30.0, max_age_s: 0.2}
state:
  - {topic: joint_states, type: sensor_msgs/msg/JointState, rate_hz: 100.0, max_age_s: 0.2,
     fields: [position.shoulder, position.elbow]}
  - {topic: joint_states, type: sensor_msgs/msg/JointState, rate_hz: 100.0, max_age_s: 0.2, fields: [position.finger],
     scale: {from: [0.0, 0.8], to: [0.0, 1.0]}}
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 30.0, max_age_s: 0.2}
    command: {interface: follow_joint_trajectory, name: arm_controller/follow_joint_trajectory}
    joints: [shoulder, elbow]
    limits: {lower: [-3.0, -3.0], upper: [3.0, 3.0], max_velocity: 3.0, max_step: 0.5}
  - name: gripper
    record: {topic: command/gripper, rate_hz: 30.0, max_age_s: 0.2}
    command: {interface: parallel_gripper_command, name: gripper_controller/gripper_cmd}
    joints: [finger]
    scale: {from: [0.0, 0.8], to: [0.0, 1.0]}
    limits: {lower: [-0.05], upper: [0.9]}
safety: {watchdog_s: 0.3}
"""


def small_profile(**replaced: str) -> Profile:
    """The two-joint profile; keyword arguments replace text, e.g. `size="[48, 48]"` would be given as old=new pairs."""
    text = PROFILE_TEXT
    for old, new in replaced.items():
        text = text.replace(old, new)
    return parse_profile(text, "two_joint.yaml")


def make_dataset(
    folder: Path,
    profile: Profile,
    *,
    episodes: int = 2,
    length: int = 20,
    with_profile: bool = True,
    gripper: float = 0.0,
    offset: float = 0.0,
) -> Path:
    """A LeRobot dataset in which the joints follow a sine and the image follows the first joint.

    The gripper moves by `gripper` about 0.5; `offset` shifts the sines.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    stored = {
        name: {**feature, "dtype": "image"} if feature["dtype"] == "video" else feature
        for name, feature in features(profile).items()
    }
    dataset = LeRobotDataset.create("local/test", fps=int(profile.fps), features=stored, root=folder, use_videos=False)
    for episode in range(episodes):
        for i in range(length):
            phase = 0.2 * i + episode + offset
            grip = 0.5 + gripper * np.sin(phase)
            image = np.full((*profile.cameras[0].frame_size, 3), int(127 + 100 * np.sin(phase)), dtype=np.uint8)
            dataset.add_frame(
                {
                    "observation.state": np.array([np.sin(phase), np.cos(phase), grip], dtype=np.float32),
                    "observation.images.front": image,
                    "action": np.array([np.sin(phase + 0.2), np.cos(phase + 0.2), grip], dtype=np.float32),
                    "task": profile.task,
                }
            )
        dataset.save_episode()
    dataset.finalize()
    if with_profile:
        (folder / "meta" / "vla").mkdir()
        (folder / "meta" / "vla" / "profile.yaml").write_text(profile.text)
    return folder


def small_frame(profile: Profile, t_ns: int = 0) -> Frame:
    """An observation of grey images and small joint angles."""
    images = {c.name: np.full((*c.frame_size, 3), 90, dtype=np.uint8) for c in profile.cameras}
    state = np.linspace(0.1, 0.3, len(profile.state_names)).astype(np.float32)
    return Frame(t_ns=t_ns, state=state, state64=state.astype(np.float64), images=images, action=None, ages_s={})


def make_act_checkpoint(folder: Path, profile: Profile, *, chunk: int = 8, attach_profile: bool = True) -> Path:
    """A tiny ACT with random weights and its processors, saved as training saves them; returns `pretrained_model`."""
    return _save(folder, profile, "act", chunk=chunk, attach_profile=attach_profile, vlm=None, **TINY_ACT)


def make_smolvla_checkpoint(folder: Path, profile: Profile, vlm: Path, *, chunk: int = 8) -> Path:
    """A tiny SmolVLA with random weights; the backbone folder is copied beside the weights."""
    return _save(folder, profile, "smolvla", chunk=chunk, attach_profile=True, vlm=vlm, **TINY_SMOLVLA)


TINY_ACT = {
    "pretrained_backbone_weights": None,
    "dim_model": 32,
    "n_heads": 2,
    "dim_feedforward": 32,
    "n_encoder_layers": 1,
    "n_decoder_layers": 1,
    "use_vae": False,
}
TINY_SMOLVLA = {
    "load_vlm_weights": False,
    "resize_imgs_with_padding": (32, 32),
    "num_vlm_layers": 2,
    "freeze_vision_encoder": False,
    "train_expert_only": False,
    "max_state_dim": 8,
    "max_action_dim": 8,
    "num_steps": 2,
}


def _save(
    folder: Path, profile: Profile, kind: str, *, chunk: int, attach_profile: bool, vlm: Path | None, **options
) -> Path:
    import torch
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
    from vla_policy.policies.checkpoint import attach
    from vla_policy.policies.contract import profile_shapes

    torch.manual_seed(0)
    shapes = profile_shapes(profile)
    kinds = {"observation.state": FeatureType.STATE, "action": FeatureType.ACTION}
    all_features = {name: PolicyFeature(kinds.get(name, FeatureType.VISUAL), shape) for name, shape in shapes.items()}
    if vlm is not None:
        options["vlm_model_name"] = str(vlm)
    config = make_policy_config(
        kind,
        input_features={k: v for k, v in all_features.items() if k != "action"},
        output_features={"action": all_features["action"]},
        chunk_size=chunk,
        n_action_steps=chunk,
        device="cpu",
        push_to_hub=False,
        **options,
    )
    policy = get_policy_class(kind)(config)
    stats = {
        name: {
            "mean": torch.zeros(shape if len(shape) == 1 else (3, 1, 1)),
            "std": torch.full(shape if len(shape) == 1 else (3, 1, 1), 0.1),
            "min": torch.full(shape if len(shape) == 1 else (3, 1, 1), -1.0),
            "max": torch.ones(shape if len(shape) == 1 else (3, 1, 1)),
        }
        for name, shape in shapes.items()
    }
    path = folder / "checkpoints" / "000001" / "pretrained_model"
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    policy.save_pretrained(path)
    before.save_pretrained(path)
    after.save_pretrained(path)
    (folder / "checkpoints" / "last").symlink_to("000001")
    if attach_profile:
        attach(path, profile=profile, vlm=vlm)
    return path
