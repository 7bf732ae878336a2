# SPDX-License-Identifier: Apache-2.0

"""The command ``export_registration``: the lines by which a training program learns of an RLDS dataset.

OpenVLA and OpenVLA-OFT read datasets by two tables of theirs, ``OXE_DATASET_CONFIGS`` in
``prismatic/vla/datasets/rlds/oxe/configs.py`` and ``OXE_STANDARDIZATION_TRANSFORMS`` in ``transforms.py`` beside it. This
prints an entry for each, and the function that turns a trajectory of the schema ``seed`` into what those programs expect:
six joint differences and one gripper command, where 1 is open.
"""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError, listing

from vla_recorder.tools.validate_rlds import INFO, find_rlds

EXIT_OK, EXIT_USAGE = 0, 2
FORMATS = ("openvla",)
GRIPPERS = ("state", "action")
TRANSFORM = "six_joints_and_gripper_dataset_transform"
_OBSERVATION = ("image", "state", "wrist_image")
_SHAPES = {"action": (6,), "action_gripper": (1,)}
_EXAMPLE = """\
example:
  ros2 run vla_recorder export_registration --format openvla ~/tensorflow_datasets/ur5e_vla_planner
"""

_CONFIG = """\
    "{name}": {{
        "image_obs_keys": {{"primary": "image", "secondary": None, "wrist": "wrist_image"}},
        "depth_obs_keys": {{"primary": None, "secondary": None, "wrist": None}},
        "state_obs_keys": ["state"],
        "state_encoding": StateEncoding.JOINT,
        "action_encoding": ActionEncoding.JOINT_POS,
    }},
"""
_FUNCTION = """\
def {transform}(trajectory: Dict[str, Any]) -> Dict[str, Any]:
    # {source}: 0 is open and 1 is closed there, 1 is open here
    gripper = 1.0 - tf.clip_by_value({gripper}, 0.0, 1.0)
    trajectory["action"] = tf.concat([trajectory["action"][:, :6], gripper], axis=-1)
    return trajectory
"""
_SOURCES = {
    "state": ("the gripper as measured, last value of the state", 'trajectory["observation"]["state"][:, -1:]'),
    "action": ("the gripper of the next step", 'trajectory["action_gripper"]'),
}


def seed_datasets(root: Path) -> list[str]:
    """Return the names of the datasets of the schema ``seed`` in a folder.

    Raises:
        VlaError: There is none, or one has another schema.
    """
    folders = find_rlds(root)
    if not folders:
        raise VlaError(f"{root}: no RLDS dataset in it (a folder with {INFO}); write one with `convert --format rlds`")
    names = []
    for folder in folders:
        try:
            info = json.loads((folder / INFO).read_text(encoding="utf-8"))
            features = json.loads((folder / "features.json").read_text(encoding="utf-8"))
            lacks = _lacks(features)
            names.append(str(info["name"]))
        except (ValueError, KeyError) as error:
            raise VlaError(f"{folder}: its description cannot be read ({error}); convert the bags again") from error
        if lacks:
            raise VlaError(
                f"{folder}: is no dataset of the schema 'seed', it lacks {listing(lacks)}; convert with --format rlds "
                "--format-option schema=seed, or write the transform of your own schema by hand"
            )
    return names


def _lacks(features: Any) -> list[str]:
    """Return what a step of the schema ``seed`` has and this one has not."""
    steps = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    observation = steps.get("observation", {}).get("featuresDict", {}).get("features", {})
    lacks = [f"observation/{key}" for key in _OBSERVATION if key not in observation]
    for key, wanted in _SHAPES.items():
        shape = tuple(int(n) for n in steps.get(key, {}).get("tensor", {}).get("shape", {}).get("dimensions", ()))
        if shape != wanted:
            lacks.append(f"{key} of the shape {wanted}")
    return lacks


def openvla(names: Sequence[str], gripper: str = "state") -> str:
    """Return the lines for OpenVLA.

    Args:
        names: Of the datasets.
        gripper: Where the gripper command comes from: ``state``, the measured opening at the same step, or ``action``, that
            of the next step.
    """
    source, expression = _SOURCES[gripper]
    configs = "".join(_CONFIG.format(name=name) for name in names)
    entries = "".join(f'    "{name}": {TRANSFORM},\n' for name in names)
    function = _FUNCTION.format(transform=TRANSFORM, source=source, gripper=expression)
    return (
        "# --- prismatic/vla/datasets/rlds/oxe/configs.py, in OXE_DATASET_CONFIGS\n"
        f"{configs}\n"
        "# --- prismatic/vla/datasets/rlds/oxe/transforms.py, before OXE_STANDARDIZATION_TRANSFORMS\n"
        f"{function}\n"
        "# --- prismatic/vla/datasets/rlds/oxe/transforms.py, in OXE_STANDARDIZATION_TRANSFORMS\n"
        f"{entries}"
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="export_registration",
        description="Print the lines by which a training program learns of RLDS datasets.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("dataset", type=Path, help="folder of one or several RLDS datasets of the schema 'seed'")
    result.add_argument("--format", choices=FORMATS, required=True, help="training program")
    result.add_argument(
        "--gripper",
        choices=GRIPPERS,
        default="state",
        help="gripper command: measured at the same step (state, the default), or of the next step (action)",
    )
    return result


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 if there is no such dataset.
    """
    arguments = parser().parse_args(args)
    try:
        print(openvla(seed_datasets(arguments.dataset), arguments.gripper), end="")
    except (VlaError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
