# SPDX-License-Identifier: Apache-2.0

"""Does a policy's feature list fit a robot profile? Shapes and camera names, compared before anything is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_core.errors import CheckpointError
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY
from vla_core.profile import Profile

IMAGE_CHANNELS = 3
Shape = tuple[int, ...]


def profile_shapes(profile: Profile) -> dict[str, Shape]:
    """Feature name to shape as LeRobot policies state it; images are (3, H, W)."""
    shapes: dict[str, Shape] = {
        IMAGE_PREFIX + camera.name: (IMAGE_CHANNELS, *camera.frame_size) for camera in profile.cameras
    }
    if profile.state_names:
        shapes[STATE_KEY] = (len(profile.state_names),)
    shapes[ACTION_KEY] = (len(profile.action_names),)
    return shapes


def policy_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Feature name to shape from a policy's `config.json`."""
    features = {**(config.get("input_features") or {}), **(config.get("output_features") or {})}
    return {name: tuple(feature["shape"]) for name, feature in features.items()}


def feature_differences(policy: Mapping[str, Shape], profile: Mapping[str, Shape]) -> list[str]:
    """One line per feature that only one side has or that differs in shape."""
    lines = []
    for name in sorted({*policy, *profile}):
        if name not in profile:
            lines.append(f"{name}: the policy needs it {policy[name]}, the profile does not give it")
        elif name not in policy:
            lines.append(f"{name}: the profile gives it {profile[name]}, the policy was trained without it")
        elif policy[name] != profile[name]:
            lines.append(f"{name}: policy {policy[name]}, profile {profile[name]}")
    return lines


def check_features(path: Path, config: Mapping[str, Any], profile: Profile) -> None:
    """Refuse a checkpoint whose inputs or outputs are not those of the profile.

    Args:
        path: The checkpoint folder, for the message.
        config: Content of its `config.json`.
        profile: The profile it is to run under.

    Raises:
        CheckpointError: with one line per difference, or a camera is a depth camera.
    """
    if depth := [camera.name for camera in profile.cameras if camera.depth]:
        raise CheckpointError(
            f"{path}: the profile's depth cameras {', '.join(depth)} cannot be given to a policy, which takes colour images; "
            "train and run with a profile without them"
        )
    differences = feature_differences(policy_shapes(config), profile_shapes(profile))
    if differences:
        raise CheckpointError(
            f"{path}: the policy does not fit the profile of '{profile.robot}':\n  "
            + "\n  ".join(differences)
            + "\nUse the profile it was trained under, or train on a dataset of this profile."
        )
