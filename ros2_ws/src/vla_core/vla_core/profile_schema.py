# SPDX-License-Identifier: Apache-2.0

"""From the YAML tree of a robot profile to its frozen parts. `vla_core.profile` is the public door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vla_core import codecs
from vla_core.errors import CodecError, listing
from vla_core.fields import joint_of
from vla_core.profile_cameras import camera_driver, camera_mount
from vla_core.profile_words import check_word, controller_of, topic_name, word
from vla_core.specs import (
    ACTION_SPACES,
    GRIPPER_INTERFACES,
    INTERFACES,
    POINTS,
    STRATEGIES,
    TIMELINES,
    ActionSpec,
    CameraSpec,
    CommandSpec,
    ConstantSpec,
    Kinematics,
    Limits,
    RecordSpec,
    Scale,
    StateSpec,
)
from vla_core.yamltree import Section, Tree, entries, items, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vla_core.profile import Profile

TOP_KEYS = (
    "extends", "robot", "fps", "base_frame", "tool_frame", "task", "action_space", "rotation", "state_space", "cameras", "state", "action",
    "safety", "ready", "monitors", "estop", "kinematics", "teleop", "record_topics", "recording", "drivers",
)  # fmt: skip
_STREAM_KEYS = ("topic", "type", "rate_hz", "max_age_s", "strategy", "stamp")
CAMERA_KEYS = (*_STREAM_KEYS, "size", "resize", "info_topic", "depth", "node", "settings", "mount")
STATE_KEYS = (*_STREAM_KEYS, "fields", "names", "scale", "point")
CONSTANT_KEYS = ("constant", "names")
RECORD_KEYS = (*_STREAM_KEYS, "fields", "point")
COMMAND_KEYS = ("interface", "name", "controller")
LIMIT_KEYS = ("lower", "upper", "max_velocity", "max_step", "max_acceleration")
ACTION_KEYS = ("name", "space", "record", "command", "joints", "scale", "limits")

_LARGEST_IMAGE = 16384
_ONE_ARM = "end-effector spaces are for one arm, and 'kinematics' has a table for each of several; use joint spaces"
_SUFFIXES = {"position": "pos", "velocity": "vel", "effort": "eff"}


def _stream(section: Section, default_type: str, types: tuple[str, ...]) -> dict[str, Any]:
    """Return the keys that every stream has."""
    type_name = section.choice("type", types, default_type)
    strategy = section.choice("strategy", STRATEGIES, "hold")
    if strategy == "interpolate" and type_name in codecs.IMAGE_TYPES:
        raise section.error("strategy", "images cannot be interpolated; use hold or nearest")
    rate_hz = section.number("rate_hz", above=0.0)
    max_age_s = section.number("max_age_s", above=0.0)
    if max_age_s < 1.0 / rate_hz:
        raise section.error(
            "max_age_s",
            f"{max_age_s:g} s is shorter than one period ({1.0 / rate_hz:.4g} s at rate_hz {rate_hz:g}), so frames "
            "would be lost all the time; allow at least one period",
        )
    has_header = codecs.codec(type_name).header
    stamp = section.choice("stamp", TIMELINES, "header" if has_header else "receive")
    if stamp == "header" and not has_header:
        raise section.error("stamp", f"{type_name} has no header; use 'receive'")
    return {
        "topic": topic_name(section),
        "type": type_name,
        "rate_hz": rate_hz,
        "max_age_s": max_age_s,
        "strategy": strategy,
        "stamp": stamp,
    }


def _vector(section: Section, fields: Sequence[str]) -> dict[str, Any]:
    """Return the keys of a stream of numbers, with the fields checked against the type."""
    stream = _stream(section, codecs.JOINT_STATE, codecs.VECTOR_TYPES)
    point = section.choice("point", POINTS, "last")
    if "point" in section and stream["type"] != codecs.JOINT_TRAJECTORY:
        raise section.error("point", f"only {codecs.JOINT_TRAJECTORY} has points; remove the key")
    trees = items(section.child("fields")) if "fields" in section else [section.tree] * len(fields)
    for tree, field in zip(trees, fields, strict=True):
        try:
            codecs.reader(stream["type"], [field])
        except CodecError as error:
            raise tree.place.error(str(error)) from None
        if stream["strategy"] == "interpolate" and field.startswith("pose.orientation"):
            raise section.error("strategy", "a quaternion cannot be interpolated number by number; use hold or nearest")
    return {**stream, "fields": tuple(fields), "point": point}


def _pixels(section: Section, key: str) -> tuple[int, int]:
    values = section.numbers(key, 2)
    if any(value != int(value) or not 1 <= value <= _LARGEST_IMAGE for value in values):
        raise section.error(key, f"expected [height, width] in whole pixels, got {list(values)}")
    return int(values[0]), int(values[1])


def cameras(section: Section) -> tuple[CameraSpec, ...]:
    """Return the cameras; a profile may have none."""
    if "cameras" not in section:
        return ()
    return tuple(_camera(name, tree) for name, tree in entries(section.child("cameras")).items())


def _camera(name: str, tree: Tree) -> CameraSpec:
    check_word(tree, name, "camera name")
    section = Section(tree, CAMERA_KEYS)
    stream = _stream(section, codecs.IMAGE, codecs.IMAGE_TYPES)
    depth = section.flag("depth", False)
    if depth and stream["type"] in codecs.VIDEO_TYPES:
        raise section.error("depth", f"encoded video holds no depth; use {codecs.IMAGE} or {codecs.COMPRESSED_IMAGE}")
    node, settings = camera_driver(section, stream["topic"])
    return CameraSpec(
        name=name,
        node=node,
        settings=settings,
        mount=camera_mount(section),
        size=_pixels(section, "size"),
        resize=_pixels(section, "resize") if "resize" in section else None,
        info_topic=topic_name(section, "info_topic") if "info_topic" in section else None,
        depth=depth,
        **stream,
    )


def _scale(section: Section) -> Scale | None:
    if "scale" not in section:
        return None
    inner = Section(section.child("scale"), ("from", "to"))
    ends = {key: inner.numbers(key, 2) for key in ("from", "to")}
    for key, (first, second) in ends.items():
        if first == second:
            raise inner.error(key, f"both ends are {first:g}, so the scale has no inverse; give two different numbers")
    return Scale(source=(ends["from"][0], ends["from"][1]), target=(ends["to"][0], ends["to"][1]))


def _feature_name(field: str) -> str:
    """Return the usual LeRobot name of a field: ``position.elbow_joint`` gives ``elbow_joint.pos``."""
    group, _, name = field.partition(".")
    return f"{name}.{_SUFFIXES[group]}" if group in _SUFFIXES and name else field


def state(section: Section) -> tuple[tuple[StateSpec, ...], tuple[ConstantSpec, ...]]:
    """Return the parts of the state vector, in order: those that are measured, and those that are constant."""
    trees = items(section.child("state"))
    specs: list[StateSpec] = []
    constants: list[ConstantSpec] = []
    seen: set[str] = set()
    for tree in trees:
        if isinstance(tree.value, dict) and "constant" in tree.value:
            constants.append(_constant(tree, len(specs)))
            names = constants[-1].names
        else:
            specs.append(_state(tree))
            names = specs[-1].names
        for name in names:
            if name in seen:
                raise tree.place.error(f"the state name '{name}' is used twice; tell them apart with 'names: [...]'")
            seen.add(name)
    if not specs:
        what = "measures nothing" if trees else "is empty"
        raise section.error("state", f"the list {what}; a policy needs at least one state value")
    return tuple(specs), tuple(constants)


def _constant(tree: Tree, before: int) -> ConstantSpec:
    section = Section(tree, CONSTANT_KEYS)
    values, names = section.numbers("constant"), section.texts("names")
    if len(names) != len(values):
        raise section.error("names", f"expected {len(values)} names, one per constant, got {len(names)}")
    return ConstantSpec(before=before, values=values, names=names)


def _state(tree: Tree) -> StateSpec:
    section = Section(tree, STATE_KEYS)
    fields = section.texts("fields")
    names = section.texts("names") if "names" in section else tuple(_feature_name(field) for field in fields)
    if len(names) != len(fields):
        raise section.error("names", f"expected {len(fields)} names, one per field, got {len(names)}")
    return StateSpec(names=names, scale=_scale(section), **_vector(section, fields))


def actions(section: Section, space: str) -> tuple[ActionSpec, ...]:
    """Return the parts of the action vector, in order."""
    trees = items(section.child("action"))
    if not trees:
        raise section.error("action", "the list is empty; a policy needs at least one action value")
    specs: list[ActionSpec] = []
    for tree in trees:
        spec = _action(tree, space)
        for other in specs:
            if spec.name == other.name:
                raise tree.place.error(f"the name '{spec.name}' is used twice")
            shared = [joint for joint in spec.joints if joint in other.joints]
            if shared:
                raise tree.place.error(f"joint '{shared[0]}' already belongs to action '{other.name}'")
        specs.append(spec)
    return tuple(specs)


def _action(tree: Tree, profile_space: str) -> ActionSpec:
    section = Section(tree, ACTION_KEYS)
    joints = section.texts("joints")
    command = _command(section)
    # A gripper opens and closes to positions; unless the profile says otherwise, only arms follow its action space.
    default = "absolute_joint" if command.interface in GRIPPER_INTERFACES else profile_space
    space = section.choice("space", ACTION_SPACES, default)
    scale = _scale(section)
    if scale and space != "absolute_joint":
        raise section.error("scale", f"a scale has no meaning in the action space {space}; remove it")
    return ActionSpec(
        name=word(section, "name", "action name"),
        space=space,
        record=_record(section, joints),
        command=command,
        joints=joints,
        scale=scale,
        limits=_limits(section, len(joints)),
    )


def _record(parent: Section, joints: tuple[str, ...]) -> RecordSpec:
    section = Section(parent.child("record"), RECORD_KEYS)
    fields = section.texts("fields") if "fields" in section else tuple(f"position.{joint}" for joint in joints)
    if len(fields) != len(joints):
        raise section.error("fields", f"expected {len(joints)} fields, one per joint, got {len(fields)}")
    return RecordSpec(**_vector(section, fields))


def _command(parent: Section) -> CommandSpec:
    section = Section(parent.child("command"), COMMAND_KEYS)
    interface = section.choice("interface", INTERFACES)
    if interface == "none":
        return CommandSpec(interface=interface, name="", controller="")
    name = topic_name(section, "name")
    return CommandSpec(interface=interface, name=name, controller=section.text("controller", controller_of(name)))


def _limits(parent: Section, count: int) -> Limits:
    section = Section(parent.child("limits"), LIMIT_KEYS)
    lower, upper = section.numbers("lower", count), section.numbers("upper", count)
    for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if not low < high:
            raise section.error("upper", f"element {i} must be larger than lower[{i}] = {low:g}, got {high:g}")
    return Limits(
        lower=lower,
        upper=upper,
        max_velocity=_per_joint(section, "max_velocity", count),
        max_step=_per_joint(section, "max_step", count),
        max_acceleration=_per_joint(section, "max_acceleration", count),
    )


def _per_joint(section: Section, key: str, count: int) -> tuple[float, ...] | None:
    """Return one positive number per joint; a single number stands for all."""
    if key not in section:
        return None
    tree = section.child(key)
    values = section.numbers(key, count) if isinstance(tree.value, list) else (number(tree),) * count
    if min(values) <= 0.0:
        raise tree.place.error(f"must be larger than 0, got {min(values):g}")
    return values


def check_spaces(section: Section, profile: Profile) -> None:
    """Refuse spaces that cannot be computed from what the profile has."""
    eef_state = profile.state_space == "eef"
    known = {joint for spec in profile.state for field in spec.fields if (joint := joint_of(field))}
    arm = profile.kinematics
    if eef_state:
        if arm is None:
            what = _ONE_ARM if profile.arms else "eef needs the key 'kinematics', to know where the tool is"
            raise section.error("state_space", what)
        if absent := [joint for joint in arm.joints if joint not in known]:
            raise section.error(
                "state_space",
                f"eef needs every joint of 'kinematics' in 'state' as 'position.<joint>'; missing: {listing(absent)}",
            )
    elif "rotation" in section and not any(spec.space.endswith("_eef") for spec in profile.action):
        raise section.error("rotation", "no space of this profile has an orientation; remove it, or use an eef space")
    for tree, spec in zip(items(section.child("action")), profile.action, strict=True):
        if spec.space.endswith("_eef"):
            if arm is None and profile.arms:
                raise tree.place.error(_ONE_ARM)
            _check_arm(tree, spec, arm)
        # Differences start at the measured joints, and inverse kinematics start its search there.
        absent = [joint for joint in spec.joints if joint not in known]
        if spec.space != "absolute_joint" and absent:
            raise tree.place.error(
                f"the action space {spec.space} needs every joint in 'state' as 'position.<joint>'; "
                f"missing: {listing(absent)}"
            )
        if eef_state and arm and spec.space == "delta_joint" and set(spec.joints) & set(arm.joints):
            raise tree.place.error(
                "the action space delta_joint counts from the joints in the state vector, but with state_space eef it "
                "holds the pose of the tool instead; use 'state_space: joint', or the action space delta_eef"
            )


def _check_arm(tree: Tree, spec: ActionSpec, arm: Kinematics | None) -> None:
    if arm is None:
        raise tree.place.error(f"the action space {spec.space} needs the key 'kinematics'")
    if spec.joints != arm.joints:
        raise tree.place.error(
            f"the action space {spec.space} needs the joints of 'kinematics' in the same order: "
            f"{listing(arm.joints)}; got {listing(spec.joints)}"
        )
