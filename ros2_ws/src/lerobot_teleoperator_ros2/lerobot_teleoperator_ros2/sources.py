# SPDX-License-Identifier: Apache-2.0

"""Where each part of the action is read from. Pure: no node."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from vla_core.codecs import JOINT_STATE
from vla_core.errors import ProfileError, listing, nearest_name
from vla_core.frame_sources import ACTION_KEY, Source, vector_source
from vla_core.profile import Profile
from vla_core.specs import ActionSpec, RecordSpec, StateSpec

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the action and the stream that it is read from.

    Attributes:
        spec: The part in the profile.
        source: Its stream; values are of the sender.
        factors: ``(k,)`` target = factor * value + offset.
        offsets: ``(k,)`` [rad or m].
    """

    spec: ActionSpec
    source: Source
    factors: Array
    offsets: Array


def target_parts(profile: Profile) -> tuple[Part, ...]:
    """Return the parts as whoever drives publishes them, on the record topics of the profile."""
    return tuple(_part(spec, spec.record) for spec in profile.action)


def leader_parts(
    profile: Profile,
    *,
    topic: str,
    joints: Mapping[str, str],
    factors: Mapping[str, float],
    offsets: Mapping[str, float],
) -> tuple[Part, ...]:
    """Return the parts as a leader arm measures them.

    Args:
        profile: Of the robot.
        topic: The leader's joint states; empty: where the profile measures the same joints.
        joints: Joint of the robot to that of the leader.
        factors: Joint of the robot to the factor of its value.
        offsets: Joint of the robot to what is added [rad or m].

    Raises:
        ProfileError: a joint that no action has, or whose topic is not known.
    """
    known = [joint for spec in profile.action for joint in spec.joints]
    for option, given in (("joints", joints), ("factors", factors), ("offsets", offsets)):
        for joint in given:
            if joint not in known:
                raise ProfileError(
                    f"--teleop.{option}: {profile.source} has no action with the joint '{joint}'"
                    f"{nearest_name(joint, known)}; joints are {listing(known)}"
                )
    parts = []
    for spec in profile.action:
        fields = tuple(f"position.{joints.get(joint, joint)}" for joint in spec.joints)
        record = replace(
            spec.record, topic=topic or _measured(profile, spec).topic, type=JOINT_STATE, fields=fields, point="first"
        )
        parts.append(
            replace(
                _part(spec, record),
                factors=np.array([factors.get(joint, 1.0) for joint in spec.joints]),
                offsets=np.array([offsets.get(joint, 0.0) for joint in spec.joints]),
            )
        )
    return tuple(parts)


def _part(spec: ActionSpec, record: RecordSpec) -> Part:
    return Part(
        spec=spec,
        source=vector_source(f"{ACTION_KEY}.{spec.name}", record, None),
        factors=np.ones(len(spec.joints)),
        offsets=np.zeros(len(spec.joints)),
    )


def _measured(profile: Profile, spec: ActionSpec) -> StateSpec:
    wanted = {f"position.{joint}" for joint in spec.joints}
    for state in profile.state:
        if state.type == JOINT_STATE and wanted <= set(state.fields):
            return state
    raise ProfileError(
        f"{profile.source}: no state stream measures all joints of the action '{spec.name}' ({listing(spec.joints)}), so "
        "where its leader publishes them must be said: --teleop.topic=TOPIC"
    )
