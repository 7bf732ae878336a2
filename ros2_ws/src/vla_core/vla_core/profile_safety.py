# SPDX-License-Identifier: Apache-2.0

"""The parts of a robot profile that keep motion safe: checks, ready pose, monitors of the robot's state, emergency stop."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vla_core.arm_distance import ArmDistance
from vla_core.errors import listing, nearest_name
from vla_core.kinematics import forward
from vla_core.profile_robot import is_per_arm
from vla_core.profile_words import Triple, check_topic, check_word, message_type, topic_name, triple
from vla_core.specs import QOS, MonitorSpec, SafetySpec
from vla_core.yamltree import Section, Tree, entries, items, number, text

if TYPE_CHECKING:
    from vla_core.profile import Profile
    from vla_core.specs import ActionSpec

SAFETY_KEYS = ("workspace", "arms_min_distance_m", "clamp", "watchdog_s")
MONITOR_KEYS = ("topic", "type", "field", "allowed", "qos", "max_age_s", "required", "hint")

_DEFAULT_WATCHDOG_S = 0.5


def safety(section: Section) -> SafetySpec:
    """Return the safety settings."""
    if "safety" not in section:
        return SafetySpec(workspace_min=None, workspace_max=None, clamp=False, watchdog_s=_DEFAULT_WATCHDOG_S)
    inner = Section(section.child("safety"), SAFETY_KEYS)
    low = high = None
    if "workspace" in inner and not is_per_arm(section):
        low, high = box_corners(inner.child("workspace"))
        if "kinematics" not in section:
            raise inner.error("workspace", "the workspace box needs 'kinematics', to know where the tool is")
    return SafetySpec(
        workspace_min=low,
        workspace_max=high,
        clamp=inner.flag("clamp", False),
        watchdog_s=inner.number("watchdog_s", _DEFAULT_WATCHDOG_S, above=0.0),
        arms_min_distance_m=inner.number("arms_min_distance_m", above=0.0) if "arms_min_distance_m" in inner else None,
    )


def box_corners(tree: Tree) -> tuple[Triple, Triple]:
    """Return the lower and the upper corner of a box [m]."""
    box = Section(tree, ("min", "max"))
    low, high = triple(box, "min"), triple(box, "max")
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise box.error("max", f"every element must be larger than that of min {list(low)}, got {list(high)}")
    return low, high


def ready(section: Section, actions: tuple[ActionSpec, ...]) -> dict[str, tuple[float, ...]] | None:
    """Return the joint positions of the ready pose by name of the action, inside the position limits; None without."""
    if "ready" not in section:
        return None
    specs = {spec.name: spec for spec in actions}
    poses: dict[str, tuple[float, ...]] = {}
    for name, tree in entries(section.child("ready")).items():
        if name not in specs:
            raise tree.place.error(
                f"the profile has no action '{name}'; actions: {listing(specs)}{nearest_name(name, specs)}"
            )
        spec = specs[name]
        values = tuple(number(item) for item in items(tree))
        if len(values) != len(spec.joints):
            raise tree.place.error(f"expected {len(spec.joints)} positions, one per joint, got {len(values)}")
        for joint, value, low, high in zip(spec.joints, values, spec.limits.lower, spec.limits.upper, strict=True):
            if not low <= value <= high:
                raise tree.place.error(f"{joint} at {value:g} is outside its limits {low:g} to {high:g}")
        poses[name] = values
    if not poses:
        raise section.error("ready", "the map is empty; give positions of at least one action, or leave it out")
    return poses


def check_ready(section: Section, profile: Profile) -> None:
    """Refuse a ready pose whose tool is outside the workspace box, or whose arms are too near to each other."""
    joints = {spec.name: spec.joints for spec in profile.action}
    poses: dict[str, NDArray[np.float64]] = {}
    for arm in profile.arms:
        if arm.name not in (profile.ready or {}):
            continue
        values = dict(zip(joints[arm.name], (profile.ready or {})[arm.name], strict=True))
        poses[arm.name] = np.array([values[joint] for joint in arm.kinematics.joints])
        tool = forward(arm.kinematics, poses[arm.name])[:3, 3]
        low, high = arm.workspace or ((-np.inf,) * 3, (np.inf,) * 3)
        if (tool < low).any() or (tool > high).any():
            at = ", ".join(f"{v:.3f}" for v in tool)
            raise section.error(
                "ready",
                f"the tool of '{arm.name}' is at [{at}], outside safety.workspace {list(low)} to {list(high)}",
            )
    least = profile.safety.arms_min_distance_m
    for first, second in itertools.combinations(profile.arms, 2):
        if least is None or first.name not in poses or second.name not in poses:
            continue
        near = ArmDistance(first, second, least).check(poses[first.name][None], poses[second.name][None], starts=False)
        if near is not None:
            raise section.error(
                "ready",
                f"{first.name} {near.links[0]} and {second.name} {near.links[1]} are {near.distance_m:.3f} m apart there, "
                f"less than safety.arms_min_distance_m {least:g}",
            )


def monitors(section: Section) -> tuple[MonitorSpec, ...]:
    """Return the states of the robot that must hold while a policy drives it."""
    if "monitors" not in section:
        return ()
    return tuple(_monitor(name, tree) for name, tree in entries(section.child("monitors")).items())


def _monitor(name: str, tree: Tree) -> MonitorSpec:
    inner = Section(tree, MONITOR_KEYS)
    allowed = tuple(_value(item) for item in items(inner.child("allowed")))
    if not allowed:
        raise inner.error("allowed", "the list is empty; give the values with which the robot may be driven")
    return MonitorSpec(
        name=check_word(tree, name, "monitor name"),
        topic=topic_name(inner),
        type=message_type(inner),
        field=inner.text("field", "data"),
        allowed=allowed,
        qos=inner.choice("qos", QOS, "latched"),
        max_age_s=inner.number("max_age_s", above=0.0) if "max_age_s" in inner else None,
        required=inner.flag("required", True),
        hint=inner.text("hint", "see the robot's own display"),
    )


def _value(tree: Tree) -> bool | float | str:
    if isinstance(tree.value, bool):
        return tree.value
    return text(tree) if isinstance(tree.value, str) else number(tree)


def estop(section: Section) -> tuple[str, ...]:
    """Return the services that stop the robot."""
    if "estop" not in section:
        return ()
    names = section.texts("estop")
    for tree in items(section.child("estop")):
        check_topic(tree, text(tree))
    return names
