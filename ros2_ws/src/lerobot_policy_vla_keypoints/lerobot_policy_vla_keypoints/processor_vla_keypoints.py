# SPDX-License-Identifier: Apache-2.0

"""Processors of the keypoint policy: LeRobot's plain ones (batch, device, normalisation and back)."""

from typing import Any

from lerobot.processor import PolicyAction, PolicyProcessorPipeline, make_default_pre_post_processors
from torch import Tensor

from lerobot_policy_vla_keypoints.configuration_vla_keypoints import VlaKeypointsConfig

Processors = tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]], PolicyProcessorPipeline[PolicyAction, PolicyAction]
]


def make_vla_keypoints_pre_post_processors(
    config: VlaKeypointsConfig, dataset_stats: dict[str, dict[str, Tensor]] | None = None
) -> Processors:
    """Pre- and post-processor; LeRobot finds this function by its name.

    Args:
        config: The policy's configuration.
        dataset_stats: Mean and standard deviation per feature.
    """
    processors: Processors = make_default_pre_post_processors(config, dataset_stats, normalizer_device=config.device)
    return processors
