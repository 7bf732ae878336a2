# SPDX-License-Identifier: Apache-2.0

"""A small SmolVLA with random weights for the rows of `benchmarks/execution.py` whose strategy guides the policy.

Its chunks are noise around the start pose: what is measured is the execution, not the skill of the policy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from vla_core.profile import load_profile
from vla_policy.policies.checkpoint import attach
from vla_policy.policies.contract import profile_shapes
from vla_policy.training.small_vlm import make_small_vlm

START = np.array([-0.3023, -1.7235, 1.942, -1.8362, -1.5583, -1.8621, 0.0])
SPREAD = 0.002  # standard deviation of an action [rad]


def random_smolvla(folder: Path, profile_file: Path, *, chunk: int) -> Path:
    """Write a checkpoint with its processors and profile.

    Args:
        folder: Where to put it; must be empty.
        profile_file: Robot profile of the simulated cell.
        chunk: Steps of each chunk, all executed.

    Returns:
        The `pretrained_model` folder.
    """
    profile, vlm = load_profile(profile_file), folder / "vlm"
    make_small_vlm(vlm, sentences=[profile.task])
    torch.manual_seed(0)
    shapes = profile_shapes(profile)
    kinds = {"observation.state": FeatureType.STATE, "action": FeatureType.ACTION}
    features = {name: PolicyFeature(kinds.get(name, FeatureType.VISUAL), shape) for name, shape in shapes.items()}
    config = make_policy_config(
        "smolvla",
        input_features={name: feature for name, feature in features.items() if name != "action"},
        output_features={"action": features["action"]},
        vlm_model_name=str(vlm),
        load_vlm_weights=False,
        resize_imgs_with_padding=(96, 96),
        num_vlm_layers=2,
        chunk_size=chunk,
        n_action_steps=chunk,
        device="cpu",
        push_to_hub=False,
    )
    policy = get_policy_class("smolvla")(config)
    stats = {}
    for name, shape in shapes.items():
        flat = shape if len(shape) == 1 else (3, 1, 1)
        mean = torch.from_numpy(START).float() if len(shape) == 1 else torch.zeros(flat)
        stats[name] = {"mean": mean, "std": torch.full(flat, SPREAD if len(shape) == 1 else 1.0)}
    path = folder / "run" / "pretrained_model"
    for part in (policy, *make_pre_post_processors(config, dataset_stats=stats)):
        part.save_pretrained(path)
    attach(path, profile=profile, vlm=vlm)
    return path
