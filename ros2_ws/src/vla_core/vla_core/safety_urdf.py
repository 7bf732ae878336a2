# SPDX-License-Identifier: Apache-2.0

"""Joint limits of robot descriptions (URDF) laid over those of a profile: the tighter one counts.

One arm has one description, on `robot_description`; drivers of several arms publish one each, in their namespaces.

A gripper's target is a goal that it reaches at its own pace, not a waypoint, so its velocity is not compared.

URDF (ros.org, urdf/XML/joint): `<limit lower upper velocity effort>`; `lower` and `upper` are 0 where they are left out
and mean nothing for continuous joints; velocity in rad/s or m/s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from vla_core.errors import SafetyError

if TYPE_CHECKING:
    from vla_core.profile import Profile
    from vla_core.specs import ActionSpec, Limits

_BOUNDED = ("revolute", "prismatic")
DESCRIPTION = "robot_description"
_SLACK = 1e-3  # profiles and descriptions round 2 pi differently


@dataclass(frozen=True, slots=True, kw_only=True)
class JointLimit:
    """Limits of one joint of a description [rad, rad/s or m, m/s]; infinite where it has none."""

    lower: float
    upper: float
    velocity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tightened:
    """A profile under the limits of a description.

    Attributes:
        profile: The profile with the tighter limits; its text and hash are those of the file.
        notes: What was tightened, one text per limit and joint.
        unknown: Joints of the profile that the description does not have.
    """

    profile: Profile
    notes: tuple[str, ...]
    unknown: tuple[str, ...]


def urdf_limits(text: str) -> dict[str, JointLimit]:
    """Return the limits of every joint of a URDF that can move.

    Raises:
        SafetyError: it is not XML, has no robot in it, or a limit is not a number.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise SafetyError(f"the robot description is not XML: {error}") from None
    if root.tag != "robot":
        raise SafetyError(f"the robot description begins with <{root.tag}>, expected <robot>")
    found: dict[str, JointLimit] = {}
    for joint in root.iter("joint"):
        name, kind, limit = joint.get("name", ""), joint.get("type", ""), joint.find("limit")
        if kind in (*_BOUNDED, "continuous") and limit is not None:
            found[name] = _limit(name, kind, limit)
    return found


def _limit(name: str, kind: str, element: ElementTree.Element) -> JointLimit:
    def value(key: str, default: float) -> float:
        try:
            number = float(element.get(key, default))
        except ValueError:
            number = float("nan")
        if np.isnan(number):
            raise SafetyError(f"the robot description: joint {name}: limit {key}='{element.get(key)}' is not a number")
        return number

    bounded = kind in _BOUNDED
    return JointLimit(
        lower=value("lower", 0.0) if bounded else -np.inf,
        upper=value("upper", 0.0) if bounded else np.inf,
        velocity=value("velocity", 0.0) or np.inf,
    )


def description_topics(profile: Profile) -> tuple[str, ...]:
    """Return where the drivers of a profile publish descriptions: without a namespace, and in those of its controllers."""
    spaces = (spec.command.name.rpartition("/")[0].rpartition("/")[0] for spec in profile.action)
    return tuple(dict.fromkeys((DESCRIPTION, *(f"{space}/{DESCRIPTION}" for space in spaces if space))))


def tighten(profile: Profile, *texts: str) -> Tightened:
    """Return the profile with the tighter of its own limits and those of URDFs.

    Args:
        profile: Any profile; joints are matched by name.
        texts: The robot descriptions; of a joint that is in several, the tighter limits count.

    Raises:
        SafetyError: a description cannot be read, or leaves a joint no room inside the profile's limits.
    """
    known: dict[str, JointLimit] = {}
    for text in texts:
        for name, limit in urdf_limits(text).items():
            known[name] = _tighter(limit, known[name]) if name in known else limit
    notes: list[str] = []
    actions = tuple(_tightened(spec, known, notes) for spec in profile.action)
    unknown = tuple(joint for spec in profile.action for joint in spec.joints if joint not in known)
    return Tightened(profile=replace(profile, action=actions), notes=tuple(notes), unknown=unknown)


def _tighter(one: JointLimit, other: JointLimit) -> JointLimit:
    return JointLimit(
        lower=max(one.lower, other.lower),
        upper=min(one.upper, other.upper),
        velocity=min(one.velocity, other.velocity),
    )


def _tightened(spec: ActionSpec, known: dict[str, JointLimit], notes: list[str]) -> ActionSpec:
    limits = spec.limits
    lower, upper = list(limits.lower), list(limits.upper)
    velocity = list(limits.max_velocity or (np.inf,) * len(spec.joints))
    for i, joint in enumerate(spec.joints):
        if joint not in known:
            continue
        found = known[joint]
        slower = not spec.is_gripper and found.velocity < velocity[i] - _SLACK
        for what, values, theirs, tighter in (
            ("lower", lower, found.lower, found.lower > lower[i] + _SLACK),
            ("upper", upper, found.upper, found.upper < upper[i] - _SLACK),
            ("velocity", velocity, found.velocity, slower),
        ):
            if tighter:
                notes.append(f"{joint}: {what} {theirs:.4g} instead of {_own(values[i])}")
                values[i] = theirs
        if lower[i] >= upper[i]:
            raise SafetyError(
                f"joint {joint}: the robot description allows {found.lower:g} to {found.upper:g}, the profile "
                f"{limits.lower[i]:g} to {limits.upper[i]:g}; nothing is left. Which of the two is about this robot?"
            )
    return replace(spec, limits=_limits(limits, lower, upper, velocity))


def _own(value: float) -> str:
    return "none" if np.isinf(value) else f"{value:.4g}"


def _limits(limits: Limits, lower: list[float], upper: list[float], velocity: list[float]) -> Limits:
    return replace(
        limits,
        lower=tuple(lower),
        upper=tuple(upper),
        max_velocity=None if np.isinf(velocity).all() else tuple(velocity),
    )
