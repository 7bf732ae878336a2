# SPDX-License-Identifier: Apache-2.0

"""Does a policy's feature list fit a robot profile? Shapes and camera names, compared before anything is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_core.errors import CheckpointError, listing, nearest_name
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY
from vla_core.profile import Profile

IMAGE_CHANNELS = 3
OBSERVATION = "observation."
STATE = "state"
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


def renamed_features(profile: Profile, rename: Mapping[str, str]) -> dict[str, str]:
    """Feature of the profile to the name under which the policy is given it.

    Args:
        profile: The profile.
        rename: Camera of the profile, or `state`, to the policy's camera, or to a whole feature name (`observation.…`).

    Raises:
        CheckpointError: there is no such camera, or two features would get one name.
    """
    features = {camera.name: IMAGE_PREFIX + camera.name for camera in profile.cameras} | {STATE: STATE_KEY}
    names = {feature: feature for feature in features.values()}
    for name, new in rename.items():
        if name not in features:
            raise CheckpointError(
                f"parameter 'rename': the profile of '{profile.robot}' has no camera '{name}'"
                f"{nearest_name(name, features)}; it has {listing(features)}."
            )
        names[features[name]] = new if new.startswith(OBSERVATION) else IMAGE_PREFIX + new
    double = sorted({new for new in names.values() if list(names.values()).count(new) > 1})
    if double:
        raise CheckpointError(
            f"parameter 'rename': {listing(double)} would be given twice to the policy; rename the other one too."
        )
    return names


def policy_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Feature name to shape from a policy's `config.json`; cameras that stand for none are left out."""
    features = {**(config.get("input_features") or {}), **(config.get("output_features") or {})}
    empty = {f"{IMAGE_PREFIX}empty_camera_{i}" for i in range(config.get("empty_cameras") or 0)}
    return {name: tuple(feature["shape"]) for name, feature in features.items() if name not in empty}


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


def check_features(
    path: Path, config: Mapping[str, Any], profile: Profile, names: Mapping[str, str] | None = None
) -> None:
    """Refuse a checkpoint whose inputs or outputs are not those of the profile.

    Args:
        path: The checkpoint folder, for the message.
        config: Content of its `config.json`.
        profile: The profile it is to run under.
        names: Feature of the profile to that of the policy, where they differ.

    Raises:
        CheckpointError: with one line per difference, or a camera is a depth camera.
    """
    if depth := [camera.name for camera in profile.cameras if camera.depth]:
        raise CheckpointError(
            f"{path}: the profile's depth cameras {', '.join(depth)} cannot be given to a policy, which takes colour images; "
            "train and run with a profile without them"
        )
    given = {(names or {}).get(name, name): shape for name, shape in profile_shapes(profile).items()}
    differences = feature_differences(policy_shapes(config), given)
    if differences:
        raise CheckpointError(
            f"{path}: the policy does not fit the profile of '{profile.robot}':\n  "
            + "\n  ".join(differences)
            + "\nUse the profile it was trained under, or train on a dataset of this profile; cameras that only have other "
            "names can be renamed (rename:=profile_camera:policy_camera)."
        )
