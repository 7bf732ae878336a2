# SPDX-License-Identifier: Apache-2.0

"""Which RLDS datasets a folder holds, read from their descriptions alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError, listing

INFO, FEATURES = "dataset_info.json", "features.json"
_IMAGES = ("image", "wrist_image")
STATE_DIM = 8
_SHAPES = {"action": (6,), "action_gripper": (1,)}


def seed_datasets(root: Path) -> list[str]:
    """Return the names of the datasets of the schema ``seed`` in (or at) a folder.

    Raises:
        VlaError: There is none, or one has another schema.
    """
    folders = sorted(path.parent for path in root.rglob(INFO) if (path.parent / FEATURES).is_file())
    if not folders:
        raise VlaError(f"{root}: no RLDS dataset in it (a folder with {INFO}); write one with `convert --format rlds`")
    names = []
    for folder in folders:
        try:
            info = json.loads((folder / INFO).read_text(encoding="utf-8"))
            features = json.loads((folder / FEATURES).read_text(encoding="utf-8"))
            lacks = _lacks(features)
            names.append(str(info["name"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise VlaError(f"{folder}: its description cannot be read ({error!r}); convert the bags again") from error
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
    lacks = [f"observation/{key}" for key in _IMAGES if key not in observation]
    if _shape(observation.get("state")) != (STATE_DIM,):
        lacks.append(f"observation/state of the shape {(STATE_DIM,)}")
    lacks += [f"{key} of the shape {wanted}" for key, wanted in _SHAPES.items() if _shape(steps.get(key)) != wanted]
    return lacks


def _shape(feature: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in (feature or {}).get("tensor", {}).get("shape", {}).get("dimensions", ()))
