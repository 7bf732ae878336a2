# SPDX-License-Identifier: Apache-2.0

"""The command ``list_codecs``: the pairs of observation encoder and action decoder, and what each makes of a robot.

A codec says in which numbers state and action of the arm are written. It is chosen when a dataset is converted
(``convert --codec``) and becomes part of the profile that travels with dataset and checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_core.errors import ProfileError, VlaError
from vla_core.profile import CODECS, Profile, load_profile, with_codec
from vla_core.specs import ROTATIONS

from vla_policy.policies.contract import profile_shapes

EXIT_OK, EXIT_USAGE = 0, 2
_EXAMPLE = """\
examples:
  ros2 run vla_policy list_codecs
  ros2 run vla_policy list_codecs --profile src/vla_bringup/robots/sim_ur5e.yaml --json
"""
MEANING = {
    "joints_absolute": ("joint positions, gripper", "joint targets [rad]"),
    "joints_delta": ("joint positions, gripper", "joint targets minus the measured joints [rad]"),
    "eepose_absolute": ("pose of the tool, gripper", "target pose of the tool in base_frame [m, rotation]"),
    "eepose_delta": ("pose of the tool, gripper", "target pose of the tool counted from the measured one"),
}
"""Codec -> what is observed, what the action says; the gripper is absolute in all of them."""


def codec_entries(profile: Profile | None) -> list[dict[str, Any]]:
    """Return a map per codec and, where it has one, per way to write an orientation.

    Args:
        profile: Of a robot, for the shapes and names of the features; without one there are none.
    """
    entries: list[dict[str, Any]] = []
    for name, space in CODECS.items():
        observed, acted = MEANING[name]
        for rotation in ROTATIONS if space.endswith("_eef") else (None,):
            entry: dict[str, Any] = {"codec": name, "rotation": rotation, "observation": observed, "action": acted}
            if profile is not None:
                entry |= _features(profile, name, rotation)
            entries.append(entry)
    return entries


def _features(profile: Profile, name: str, rotation: str | None) -> dict[str, Any]:
    """Return shapes and names under a codec, or the reason why the robot has not got it."""
    try:
        coded = with_codec(profile, name, rotation or ROTATIONS[0])
    except ProfileError as error:
        return {"unavailable": str(error)}
    return {
        "features": {feature: list(shape) for feature, shape in profile_shapes(coded).items()},
        "state_names": list(coded.state_names),
        "action_names": list(coded.action_names),
        "of_profile": coded is profile,
    }


def shown(entries: Sequence[dict[str, Any]]) -> str:
    """Return the entries for people, one line each, and the names of values where they are known."""
    lines = []
    for entry in entries:
        name = entry["codec"] + (f" --rotation {entry['rotation']}" if entry["rotation"] else "")
        mark = "   <- the profile's own" if entry.get("of_profile") else ""
        lines.append(f"{name:<38}{entry['observation']} -> {entry['action']}{mark}")
        if "unavailable" in entry:
            lines.append(f"    not for this robot: {entry['unavailable']}")
        for feature, shape in entry.get("features", {}).items():
            names = entry["state_names"] if feature == "observation.state" else entry["action_names"]
            listed = "" if feature.startswith("observation.images") else "  " + " ".join(names)
            lines.append(f"    {feature} {tuple(shape)}{listed}")
    return "\n".join(lines) + "\n"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 if the profile cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog="ros2 run vla_policy list_codecs",
        description="List the pairs of observation encoder and action decoder, with the shapes that they give a robot.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", type=Path, help="robot profile, for feature shapes and names")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(args)
    try:
        entries = codec_entries(load_profile(arguments.profile) if arguments.profile else None)
    except (VlaError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    sys.stdout.write(json.dumps(entries, indent=2) + "\n" if arguments.json else shown(entries))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
