# SPDX-License-Identifier: Apache-2.0

"""The robot profile: one YAML file per robot says what its topics mean, for training and for inference alike.

`load_profile` returns a `Profile` or raises `ProfileError` with file, line, dotted key, what it got, what is allowed
and the nearest name. A profile that loads is valid: message types and field paths exist, scales and action spaces can
be inverted (checked by a round trip), limits are in order.

A profile may start from another file with ``extends: other.yaml`` (relative to itself): maps are merged key by key,
lists and scalars replace those of the other file.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from vla_core import profile_arms as arm_parts
from vla_core import profile_robot as robot_parts
from vla_core import profile_safety as safety_parts
from vla_core import profile_schema as schema
from vla_core import profile_teleop as teleop_parts
from vla_core.actions import ActionMap
from vla_core.errors import ProfileError, VlaError, listing, nearest_name
from vla_core.profile_teleop import TeleopSpec
from vla_core.profile_words import word
from vla_core.specs import (
    ACTION_SPACES,
    ROTATIONS,
    STATE_SPACES,
    ActionSpec,
    ArmSpec,
    CameraSpec,
    ConstantSpec,
    DriverSpec,
    Kinematics,
    MonitorSpec,
    RecordingSpec,
    RecordSpec,
    RecordTopic,
    SafetySpec,
    StateSpec,
)
from vla_core.states import StateMap
from vla_core.yamltree import Section, Tree, merge, parse
from vla_core.yamltree import text as tree_text

CODECS = {
    "joints_absolute": "absolute_joint",
    "joints_delta": "delta_joint",
    "eepose_absolute": "absolute_eef",
    "eepose_delta": "delta_eef",
}
"""Name of each codec to the action space of its arm; see `with_codec`."""
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
# What a policy never sees: the same policy runs with other topics, rates, limits and drivers. Of a camera it sees the
# size of the frame, however the images travel.
_NOT_PART_OF_THE_MAPPING = frozenset(
    {
        *("topic", "rate_hz", "max_age_s", "info_topic", "command", "limits", "name", "size", "resize"),
        *("node", "settings", "mount"),
    }
)


# Every bag of a robot carries the same text, and proving that its action codec can be inverted takes 20 ms.
_KNOWN: dict[str, Profile] = {}
_KNOWN_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A robot profile.

    Attributes:
        robot: Name of the robot; ``robot_type`` in the dataset.
        fps: Frames per second of datasets and of the policy's action steps.
        base_frame: Frame of all poses in the profile.
        tool_frame: Frame of the tool.
        task: Default instruction.
        action_space: absolute_joint, delta_joint, absolute_eef or delta_eef (see `vla_core.actions`).
        rotation: How orientations are written in eef spaces: rotvec, quaternion, rot6d or rpy (see `vla_core.rotations`).
        state_space: joint, or eef: the pose of the tool in place of the arm's joints (see `vla_core.states`).
        cameras: Cameras, in order.
        state: Measured parts of the state vector, in order.
        constants: Parts of the state vector that never change.
        action: Parts of the action vector, in order.
        safety: What the safety filter checks beyond the joint limits.
        ready: Joint positions of the ready pose by name of the action [rad or m], or None.
        monitors: States of the robot that must hold while a policy drives it.
        estop: Services (std_srvs/Trigger) that stop the robot beside cancelling its goals.
        kinematics: Denavit-Hartenberg table of the only arm, or None.
        arms: The arms whose tool can be computed: the only one, or each that has a table of its own.
        teleop: How a person drives the only arm, or None.
        teleops: How a person drives each arm; the only one, or each of several.
        record_topics: Topics that are recorded beside the streams.
        recording: What the recorder does with the streams.
        drivers: Launch files that bring the hardware up.
        source: Where it was read from, for messages.
        text: The profile as plain YAML with `extends` resolved; parsing it gives the same text again.
        sha256: Hash of `text`.
    """

    robot: str
    fps: float
    base_frame: str
    tool_frame: str
    task: str
    action_space: str
    rotation: str
    state_space: str
    cameras: tuple[CameraSpec, ...]
    state: tuple[StateSpec, ...]
    constants: tuple[ConstantSpec, ...]
    action: tuple[ActionSpec, ...]
    safety: SafetySpec
    ready: dict[str, tuple[float, ...]] | None
    monitors: tuple[MonitorSpec, ...]
    estop: tuple[str, ...]
    kinematics: Kinematics | None
    arms: tuple[ArmSpec, ...]
    teleop: TeleopSpec | None
    teleops: tuple[TeleopSpec, ...]
    record_topics: tuple[RecordTopic, ...]
    recording: RecordingSpec
    drivers: tuple[DriverSpec, ...]
    source: str = field(compare=False)
    text: str = field(repr=False)
    sha256: str

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the state vector, in order."""
        return StateMap(self).names

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the action vector, in order."""
        return ActionMap(self).names

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras, in order."""
        return tuple(camera.name for camera in self.cameras)


def load_profile(path: str | Path) -> Profile:
    """Return the profile in a file.

    Raises:
        ProfileError: the file cannot be read, or its content is not a valid profile.
    """
    return build_profile(read_tree(Path(path)))


def read_tree(path: Path) -> Tree:
    """Return what a profile's file says, laid over what it extends.

    Raises:
        ProfileError: a file cannot be read, or is no YAML.
    """
    return _read(path, ())


def parse_profile(text: str, source: str = "<profile>") -> Profile:
    """Return the profile in a text, such as the one stored in a bag or beside a checkpoint.

    Args:
        text: YAML. An ``extends`` key is looked up relative to `source`.
        source: Name of the text in error messages.

    Raises:
        ProfileError: the text is not a valid profile.
    """
    known = _KNOWN.get(text)
    if known is not None:
        return replace(known, source=source)
    profile = build_profile(_extended(parse(text, source), Path(source), ()))
    if profile.text == text:  # it extends nothing, so it means the same wherever it is found
        if len(_KNOWN) >= _KNOWN_MAX:
            _KNOWN.clear()
        _KNOWN[text] = profile
    return profile


def with_codec(profile: Profile, codec: str, rotation: str = "rotvec") -> Profile:
    """Return the profile with its arm in another codec: what the state and the action say of it.

    The eepose codecs put the pose of the tool in place of the arm's joints in the state. Parts of the action that drive
    a gripper stay as they are. The profile that comes back has a text of its own, so it travels with a dataset and a
    policy is decoded by the same rules.

    Args:
        profile: Any profile of the robot.
        codec: joints_absolute, joints_delta, eepose_absolute or eepose_delta.
        rotation: For the eepose codecs, how orientations are written: rotvec, quaternion, rot6d or rpy.

    Raises:
        ProfileError: an unknown codec or rotation, or the profile lacks what the codec needs, such as kinematics.
    """
    for value, allowed, what in ((codec, CODECS, "codec"), (rotation, ROTATIONS, "rotation")):
        if value not in allowed:
            raise ProfileError(f"'{value}' is no {what}; allowed: {listing(allowed)}{nearest_name(value, allowed)}")
    space = CODECS[codec]
    eef = space.endswith("_eef")
    if not eef and rotation != "rotvec":
        raise ProfileError(f"the codec {codec} has no orientation, so rotation {rotation} means nothing; leave it out")
    arms = [spec.space for spec in profile.action if not spec.is_gripper]
    wanted_state = "eef" if eef else "joint"
    if profile.state_space == wanted_state and set(arms) <= {space} and (not eef or profile.rotation == rotation):
        return profile
    content = yaml.safe_load(profile.text)
    content["action_space"] = space
    content.update({"rotation": rotation, "state_space": "eef"} if eef else {})
    for key in () if eef else ("rotation", "state_space"):
        content.pop(key, None)
    for entry, spec in zip(content["action"], profile.action, strict=True):
        if not spec.is_gripper:
            entry.pop("space", None)
    return parse_profile(yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True), profile.source)


def mapping_differences(trained: Profile, current: Profile) -> tuple[str, ...]:
    """Return how two profiles differ in what a policy sees: ``"state[0].fields: trained …, now …"``.

    Topics, rates, ages, limits, commands and drivers are left out: a policy trained in simulation may run on the robot.
    """
    old, new = _flatten(_mapping(trained)), _flatten(_mapping(current))
    differences = []
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key, "absent"), new.get(key, "absent")
        if before != after:
            differences.append(f"{key}: trained with {before}, now {after}")
    return tuple(differences)


def _mapping(profile: Profile) -> dict[str, Any]:
    """Return what a policy sees of a profile, defaults filled in."""
    eef = profile.state_space == "eef" or any(spec.space.endswith("_eef") for spec in profile.action)
    return {
        "fps": profile.fps,
        "rotation": profile.rotation if eef else None,
        "state_space": profile.state_space,
        "base_frame": profile.base_frame,
        "tool_frame": profile.tool_frame,
        "cameras": {
            camera.name: {**asdict(camera), "type": None, "frame_size": camera.frame_size} for camera in profile.cameras
        },
        "state": [asdict(spec) for spec in profile.state],
        "constants": [asdict(spec) for spec in profile.constants],
        "action": [asdict(spec) for spec in profile.action],
        "kinematics": asdict(profile.kinematics) if profile.kinematics else None,
    }


def _flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Return dotted keys to leaves; lists of scalars are leaves."""
    if isinstance(value, dict):
        pairs = [(f"{key}.{k}" if key else k, v) for k, v in value.items() if k not in _NOT_PART_OF_THE_MAPPING]
    elif isinstance(value, list):
        pairs = [(f"{key}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {} if value is None else {key: value}
    return {k: leaf for inner_key, inner in pairs for k, leaf in _flatten(inner, inner_key).items()}


def _read(path: Path, parents: tuple[Path, ...]) -> Tree:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ProfileError(f"{path}: cannot read the robot profile: {reason}; give the path of a YAML file") from None
    return _extended(parse(content, str(path)), path, parents)


def _extended(tree: Tree, path: Path, parents: tuple[Path, ...]) -> Tree:
    """Return the tree laid over the one it extends."""
    if not isinstance(tree.value, dict) or "extends" not in tree.value:
        return tree
    entry = tree.value["extends"]
    other = path.parent / tree_text(entry)
    chain = (*parents, path.resolve())
    if other.resolve() in chain:
        raise entry.place.error(f"'{other}' extends itself in a circle; remove one 'extends'")
    if not other.is_file():
        raise entry.place.error(f"there is no file '{other}'; the path is relative to the profile that names it")
    own = Tree({key: value for key, value in tree.value.items() if key != "extends"}, tree.place)
    return merge(_read(other, chain), own)


def build_profile(tree: Tree) -> Profile:
    """Return the profile that a tree describes.

    Raises:
        ProfileError: the first mistake; `vla_core.profile_problems` finds them all.
    """
    section = Section(tree, schema.TOP_KEYS)
    robot = word(section, "robot", "robot name")
    text = yaml.safe_dump(tree.plain(), sort_keys=False, width=120, allow_unicode=True)
    space = section.choice("action_space", ACTION_SPACES, "absolute_joint")
    state, constants = schema.state(section)
    action = schema.actions(section, space)
    safety, kinematics = safety_parts.safety(section), robot_parts.kinematics(section)
    teleops = teleop_parts.teleops(section, action)
    frames = section.text("base_frame"), section.text("tool_frame")
    profile = Profile(
        robot=robot,
        fps=section.number("fps", above=0.0),
        base_frame=frames[0],
        tool_frame=frames[1],
        task=section.text("task"),
        action_space=space,
        rotation=section.choice("rotation", ROTATIONS, "rotvec"),
        state_space=section.choice("state_space", STATE_SPACES, "joint"),
        cameras=schema.cameras(section),
        state=state,
        constants=constants,
        action=action,
        safety=safety,
        ready=safety_parts.ready(section, action),
        monitors=safety_parts.monitors(section),
        estop=safety_parts.estop(section),
        kinematics=kinematics,
        arms=arm_parts.arms(section, action, kinematics, safety, frames),
        teleop=teleops[0] if len(teleops) == 1 else None,
        teleops=teleops,
        record_topics=robot_parts.record_topics(section),
        recording=robot_parts.recording(section),
        drivers=robot_parts.drivers(section),
        source=tree.place.source,
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    schema.check_spaces(section, profile)
    safety_parts.check_ready(section, profile)
    _check_topics(section, profile)
    _check_actions(section, profile)
    return profile


def _check_topics(section: Section, profile: Profile) -> None:
    types: dict[str, str] = {}
    streams: list[CameraSpec | StateSpec | RecordSpec | RecordTopic] = [*profile.cameras, *profile.state]
    streams += [*(spec.record for spec in profile.action), *profile.record_topics]
    named = [(stream.topic, stream.type) for stream in streams]
    named += [(camera.info_topic, CAMERA_INFO) for camera in profile.cameras if camera.info_topic]
    for topic, type_name in named:
        if types.setdefault(topic.lstrip("/"), type_name) != type_name:
            raise section.tree.place.error(
                f"topic '{topic}' is given two types, {types[topic.lstrip('/')]} and {type_name}; a topic has one type"
            )


def _check_actions(section: Section, profile: Profile) -> None:
    """Round trip of the action codec: what a policy learns must lead back to the joints that it was learnt from."""
    try:
        ActionMap(profile).check_round_trip()
    except VlaError as error:
        raise section.error("action", f"the action space cannot be inverted: {error}") from None
