# SPDX-License-Identifier: Apache-2.0

"""The arms of a robot profile whose tool can be computed: one table for the only arm, or one for each of several.

With several arms the keys of ``kinematics`` are the names of their actions. Each arm has frames of its own, a ``mount``
that says where its base is in the profile's base_frame, and ``links``: the capsules that keep the arms from each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vla_core.errors import listing, nearest_name
from vla_core.profile_robot import KINEMATICS_KEYS, is_per_arm, table
from vla_core.profile_safety import SAFETY_KEYS, box_corners
from vla_core.profile_words import Triple, triple, word
from vla_core.specs import ArmSpec, LinkSpec
from vla_core.yamltree import Section, Tree, entries, items

if TYPE_CHECKING:
    from vla_core.specs import ActionSpec, Kinematics, SafetySpec

ARM_KEYS = (*KINEMATICS_KEYS, "base_frame", "tool_frame", "mount", "links")
LINK_KEYS = ("name", "joint", "from", "to", "radius")
_ZERO: Triple = (0.0, 0.0, 0.0)


def arms(
    section: Section,
    actions: tuple[ActionSpec, ...],
    only: Kinematics | None,
    safety: SafetySpec,
    frames: tuple[str, str],
) -> tuple[ArmSpec, ...]:
    """Return the arms with kinematics, in the order of the actions.

    Args:
        section: The profile.
        actions: Its actions.
        only: Table of the only arm, if the profile has one for all.
        safety: Its safety settings.
        frames: Its base_frame and tool_frame.

    Raises:
        ProfileError: a name that is no arm, joints that its action does not drive, or a distance between arms that
            cannot be computed.
    """
    if is_per_arm(section):
        found = _several(section, actions)
    else:
        low, high = safety.workspace_min, safety.workspace_max
        box = (low, high) if low is not None and high is not None else None
        found = tuple(
            ArmSpec(name=spec.name, kinematics=only, base_frame=frames[0], tool_frame=frames[1], workspace=box)
            for spec in actions
            if only is not None and set(only.joints) <= set(spec.joints)
        )
    if safety.arms_min_distance_m is not None:
        _check_distance(section, found)
    return found


def _several(section: Section, actions: tuple[ActionSpec, ...]) -> tuple[ArmSpec, ...]:
    specs = {spec.name: spec for spec in actions if not spec.is_gripper}
    trees = entries(section.child("kinematics"))
    boxes = _boxes(section, trees)
    for name, tree in trees.items():
        if name not in specs:
            raise tree.place.error(
                f"the profile has no arm '{name}'; kinematics has the keys of one table ({listing(KINEMATICS_KEYS)}), or "
                f"the actions of arms, each with its table: {listing(specs)}{nearest_name(name, specs)}"
            )
    return tuple(_arm(name, trees[name], spec, boxes.get(name)) for name, spec in specs.items() if name in trees)


def _arm(name: str, tree: Tree, spec: ActionSpec, box: tuple[Triple, Triple] | None) -> ArmSpec:
    inner = Section(tree, ARM_KEYS)
    kinematics = table(inner)
    if absent := [joint for joint in kinematics.joints if joint not in spec.joints]:
        raise inner.error(
            "joints", f"the action '{name}' does not drive {listing(absent)}; it has {listing(spec.joints)}"
        )
    mount = Section(inner.child("mount"), ("xyz", "rpy")) if "mount" in inner else None
    links = items(inner.child("links")) if "links" in inner else []
    return ArmSpec(
        name=name,
        kinematics=kinematics,
        base_frame=inner.text("base_frame"),
        tool_frame=inner.text("tool_frame"),
        mount_xyz=triple(mount, "xyz", _ZERO) if mount else _ZERO,
        mount_rpy=triple(mount, "rpy", _ZERO) if mount else _ZERO,
        workspace=box,
        links=tuple(_link(item, kinematics) for item in links),
    )


def _link(tree: Tree, kinematics: Kinematics) -> LinkSpec:
    inner = Section(tree, LINK_KEYS)
    joint = inner.text("joint") if "joint" in inner else ""
    if joint and joint not in kinematics.joints:
        raise inner.error(
            "joint",
            f"'{joint}' is no joint of this arm; it has {listing(kinematics.joints)}"
            f"{nearest_name(joint, kinematics.joints)}. Leave it out for a part that does not move",
        )
    return LinkSpec(
        name=word(inner, "name", "link name"),
        joint=joint,
        start=triple(inner, "from"),
        end=triple(inner, "to"),
        radius=inner.number("radius", above=0.0),
    )


def _boxes(section: Section, arms: dict[str, Tree]) -> dict[str, tuple[Triple, Triple]]:
    """Return the workspace box of each arm that has one."""
    if "safety" not in section:
        return {}
    inner = Section(section.child("safety"), SAFETY_KEYS)
    if "workspace" not in inner:
        return {}
    boxes = entries(inner.child("workspace"))
    for name, tree in boxes.items():
        if name not in arms:
            raise tree.place.error(
                f"kinematics has no arm '{name}'; with one table per arm give one box per arm, each in its own "
                f"base_frame: {listing(arms)}{nearest_name(name, arms)}"
            )
    return {name: box_corners(tree) for name, tree in boxes.items()}


def _check_distance(section: Section, found: tuple[ArmSpec, ...]) -> None:
    """Refuse a distance between arms where not every arm says what it is made of."""
    inner = Section(section.child("safety"), SAFETY_KEYS)
    bare = [arm.name for arm in found if not arm.links]
    if len(found) < 2 or bare:
        what = f"missing of {listing(bare)}" if bare and len(found) > 1 else f"there are {len(found)} arms with a table"
        raise inner.error(
            "arms_min_distance_m",
            f"the distance between arms needs 'kinematics' of each arm, with 'mount' and 'links'; {what}",
        )
