# SPDX-License-Identifier: Apache-2.0

"""A small image policy, registered with LeRobot as `vla_keypoints`.

LeRobot imports this package by its prefix (`lerobot.utils.import_utils.register_third_party_plugins`) and finds the
policy and its processors from the configuration by the names of the modules.
"""

from lerobot_policy_vla_keypoints.configuration_vla_keypoints import VlaKeypointsConfig

__all__ = ["VlaKeypointsConfig"]
