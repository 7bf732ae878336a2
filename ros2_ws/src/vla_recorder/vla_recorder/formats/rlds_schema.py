# SPDX-License-Identifier: Apache-2.0

"""What an RLDS step holds, and the ``features.json`` that tells tensorflow_datasets.

Two schemas. ``seed`` is fixed, for OpenVLA fine-tuning on a UR5e and every other arm with six joints and one gripper:
two cameras, measured joints, joint differences as actions. ``generic`` follows the robot profile whatever it is.

The JSON is the protobuf ``tensorflow_datasets.Feature`` (``core/proto/feature.proto``) in protobuf's JSON mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from vla_core.actions import ActionMap
from vla_core.errors import listing
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY
from vla_core.states import StateMap

from vla_recorder.formats import embedding
from vla_recorder.formats.base import DatasetError, Layout
from vla_recorder.formats.image_episode import is_depth

SEED_JOINTS = 6
METADATA = "episode_metadata"
STEPS = "steps"
_CORE = "tensorflow_datasets.core.features"
_DICT = f"{_CORE}.features_dict.FeaturesDict"
_OBSERVATION = "observation/"
DISCOUNT, REWARD = "discount", "reward"
IS_FIRST, IS_LAST, IS_TERMINAL = "is_first", "is_last", "is_terminal"
INSTRUCTION, EMBEDDING = "language_instruction", "language_embedding"

JPEG, PNG, RAW = "jpeg", "png", "raw"
"""How an image is stored: JPEG for colour, PNG for depth in millimetres, numbers for depth in metres."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One feature.

    Attributes:
        kind: ``tensor``, ``image`` or ``text``.
        shape: Of one step; () for a single value.
        dtype: NumPy name.
        encoding: Of an image: jpeg or png.
        doc: For people.
    """

    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    encoding: str = ""
    doc: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the feature in protobuf's JSON mapping."""
        shape = {"shape": {"dimensions": [str(size) for size in self.shape]} if self.shape else {}}
        if self.kind == "text":
            content: dict[str, Any] = {"pythonClassName": f"{_CORE}.text_feature.Text", "text": {}}
        elif self.kind == "image":
            image = {**shape, "dtype": self.dtype, "encodingFormat": self.encoding}
            content = {"pythonClassName": f"{_CORE}.image_feature.Image", "image": image}
        else:
            name = "tensor_feature.Tensor" if self.shape else "scalar.Scalar"
            tensor = {**shape, "dtype": self.dtype, "encoding": "none"}
            content = {"pythonClassName": f"{_CORE}.{name}", "tensor": tensor}
        return content | ({"description": self.doc} if self.doc else {})


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera of the steps: the feature that it comes from, its name in ``observation``, its shape and whether depth."""

    feature: str
    name: str
    shape: tuple[int, ...]
    depth: bool

    @property
    def path(self) -> str:
        """Name in the step."""
        return _OBSERVATION + self.name

    def leaf(self, stored: str) -> Leaf:
        """Return the feature for the way in which its images are stored."""
        height, width = self.shape[:2]
        if stored == JPEG:
            return Leaf("image", (height, width, 3), "uint8", JPEG)
        if stored == PNG:
            return Leaf("image", (height, width, 1), "uint16", PNG, "depth in millimetres, 0 where there is no return")
        return Leaf("tensor", (height, width, 1), "float32", doc="depth in metres")


@dataclass(frozen=True, slots=True)
class SeedJoints:
    """Where the state vector holds the six joints, in the order of the action, and the gripper."""

    arm: tuple[int, ...]
    gripper: int


def all_cameras(layout: Layout) -> tuple[Camera, ...]:
    """Return every camera under its own name."""
    specs = {key: layout.features[key] for key in layout.image_keys}
    return tuple(
        Camera(key, key.removeprefix(IMAGE_PREFIX), tuple(spec["shape"]), is_depth(spec)) for key, spec in specs.items()
    )


def seed_cameras(layout: Layout, primary: str = "", wrist: str = "") -> tuple[Camera, ...]:
    """Return the two cameras of the seed schema: ``image`` and ``wrist_image``.

    Args:
        layout: What the rows hold.
        primary: Camera that becomes ``image``; the only colour camera whose name does not contain "wrist", if left out.
        wrist: Camera that becomes ``wrist_image``; the only one whose name does, if left out.

    Raises:
        DatasetError: A camera does not exist, or which is which cannot be told.
    """
    colour = {camera.name: camera for camera in all_cameras(layout) if not camera.depth}
    found = []
    for option, given, name, candidates in (
        ("primary", primary, "image", [n for n in colour if "wrist" not in n and n != wrist]),
        ("wrist", wrist, "wrist_image", [n for n in colour if "wrist" in n and n != primary]),
    ):
        chosen = [given] if given else candidates
        if len(chosen) != 1 or chosen[0] not in colour:
            raise DatasetError(
                f"{layout.profile.source}: the RLDS schema 'seed' needs one camera as '{name}', found "
                f"{listing(chosen) if chosen else 'none'} among the colour cameras {listing(colour)}. Name it with "
                f"--format-option {option}=CAMERA, or use --format-option schema=generic"
            )
        found.append(Camera(colour[chosen[0]].feature, name, colour[chosen[0]].shape, False))
    return tuple(found)


def seed_joints(layout: Layout) -> SeedJoints:
    """Return where the joints of the seed schema are.

    Raises:
        DatasetError: The state is not six joints of one arm and one gripper from 0 to 1.
    """
    profile = layout.profile
    place = StateMap(profile).in_state
    groups = ActionMap(profile).groups
    arm = [joint for group in groups if not group.spec.is_gripper for joint in group.spec.joints]
    gripper = [joint for group in groups if group.spec.is_gripper for joint in group.spec.joints]
    measured = all(joint in place for joint in (*arm, *gripper))
    if len(arm) != SEED_JOINTS or len(gripper) != 1 or not measured:
        raise DatasetError(
            f"{profile.source}: the RLDS schema 'seed' is six measured joints and one gripper; the profile's action has "
            f"{len(arm)} joints and {len(gripper)} grippers, and its state {listing(profile.state_names)}. Use "
            "--format-option schema=generic"
        )
    index, scale = place[gripper[0]]
    if scale is None or sorted(scale.target) != [0.0, 1.0]:
        raise DatasetError(
            f"{profile.source}: the RLDS schema 'seed' wants the gripper from 0 (open) to 1 (closed); give the state's "
            f"{gripper[0]} the scale {{from: [open, closed], to: [0.0, 1.0]}}, or use --format-option schema=generic"
        )
    return SeedJoints(tuple(place[joint][0] for joint in arm), index)


def seed_leaves(source: str) -> dict[str, Leaf]:
    """Return the features of a seed step beside the cameras."""
    names = [f"joint_{i}" for i in range(SEED_JOINTS)]
    return {
        "observation/state": Leaf(
            "tensor", (SEED_JOINTS + 2,), doc=f"{', '.join(names)} [rad], 0.0, gripper from 0 (open) to 1 (closed)"
        ),
        "action": Leaf("tensor", (SEED_JOINTS,), doc="joints of the next step minus those of this one [rad]"),
        "action_gripper": Leaf("tensor", (1,), doc="gripper of the next step, from 0 (open) to 1 (closed)"),
        **_common_leaves(source),
    }


def generic_leaves(layout: Layout, source: str) -> dict[str, Leaf]:
    """Return the features of a generic step beside the cameras: every column of the rows.

    Raises:
        DatasetError: Two features would have the same name.
    """
    leaves: dict[str, Leaf] = {}
    taken = {camera.path: camera.feature for camera in all_cameras(layout)}
    for key, spec in layout.features.items():
        if key in layout.image_keys:
            continue
        if other := taken.get(column_path(key)):
            raise DatasetError(
                f"'{other}' and '{key}' would both be '{column_path(key)}' of a step; rename one of them"
            )
        taken[column_path(key)] = key
        shape = tuple(spec["shape"])
        names = spec.get("names") or ()
        leaves[column_path(key)] = Leaf(
            "tensor", () if shape == (1,) and not names else shape, _stored(spec["dtype"]), doc=", ".join(names)
        )
    common = _common_leaves(source)
    if not source:
        del common[EMBEDDING]
    return {**leaves, **common}


def _stored(dtype: str) -> str:
    """Return the type in which an Example holds numbers: its floating point is float32."""
    return "float32" if np.issubdtype(np.dtype(dtype), np.floating) else str(np.dtype(dtype))


def column_path(key: str) -> str:
    """Return where a column lies in the step: ``observation.state`` is ``observation/state``."""
    if key in (STATE_KEY, ACTION_KEY):
        return key.replace(".", "/")
    head, _, rest = key.partition(".")
    return f"{_OBSERVATION}{rest.replace('.', '_')}" if head == "observation" and rest else key.replace(".", "_")


def _common_leaves(source: str) -> dict[str, Leaf]:
    flag = Leaf("tensor", (), "bool")
    return {
        DISCOUNT: Leaf("tensor"),
        REWARD: Leaf("tensor", doc="1 on the last step, 0 before; 0 throughout a failure"),
        IS_FIRST: flag,
        IS_LAST: flag,
        IS_TERMINAL: flag,
        INSTRUCTION: Leaf("text"),
        EMBEDDING: Leaf("tensor", (embedding.SIZE,), doc=f"of the instruction; source: {source}"),
    }


def metadata_leaves() -> dict[str, Leaf]:
    """Return the features of an episode."""
    return {
        "file_path": Leaf("text", doc="the recording"),
        "episode_id": Leaf("tensor", (), "int32"),
        "success": Leaf("tensor", (), "bool", doc="whether somebody labelled the recording a success"),
        "trajectory_length": Leaf("tensor", (), "int32", doc="number of steps"),
        "language_embedding_source": Leaf("text", doc="what made language_embedding; placeholders say that they are"),
    }


def features_json(steps: Mapping[str, Leaf], metadata: Mapping[str, Leaf]) -> dict[str, Any]:
    """Return the content of ``features.json``.

    Args:
        steps: Path in a step -> feature; a slash opens a dictionary.
        metadata: Name -> feature of the episode.
    """
    sequence = {
        "pythonClassName": f"{_CORE}.dataset_feature.Dataset",
        "sequence": {"feature": _nested(steps), "length": "-1"},
    }
    return _dict({METADATA: _nested(metadata), STEPS: sequence})


def leaf_paths(features: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the features of a ``features.json`` by path: ``steps/observation/state`` and so on."""
    if "sequence" in features:
        return leaf_paths(features["sequence"]["feature"], prefix)
    if "featuresDict" not in features:
        return {prefix: dict(features)}
    found: dict[str, Any] = {}
    for name, inner in features["featuresDict"]["features"].items():
        found |= leaf_paths(inner, f"{prefix}/{name}" if prefix else name)
    return found


def _nested(leaves: Mapping[str, Leaf]) -> dict[str, Any]:
    groups: dict[str, dict[str, Leaf]] = {}
    found: dict[str, Any] = {}
    for path, leaf in leaves.items():
        head, _, rest = path.partition("/")
        if rest:
            groups.setdefault(head, {})[rest] = leaf
        else:
            found[head] = leaf.to_json()
    return _dict({**{head: _nested(group) for head, group in groups.items()}, **found})


def _dict(features: Mapping[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": _DICT, "featuresDict": {"features": dict(features)}}
