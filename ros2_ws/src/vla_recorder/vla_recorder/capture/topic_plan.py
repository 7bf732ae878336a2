# SPDX-License-Identifier: Apache-2.0

"""Which topics an episode holds: those of the robot profile, and others by pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from vla_core.codecs import COMPRESSED_IMAGE, IMAGE
from vla_core.errors import VlaError
from vla_core.profile import CAMERA_INFO, Profile, parse_profile


class SelectionError(VlaError):
    """Patterns of topics that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """A topic to record.

    Attributes:
        topic: Name as in the profile.
        type: Message type.
        qos: ``default``, ``sensor`` or ``latched``.
        role: ``observation``, ``command`` (the label) or ``extra``.
        label: What people call it, for messages.
        max_age_s: Silence after which it is reported [s]; None for extra topics.
        rate_hz: Expected rate; None if unknown.
        stamped: Whether a stamp at its front is on the node clock.
    """

    topic: str
    type: str
    qos: str
    role: str
    label: str
    max_age_s: float | None = None
    rate_hz: float | None = None
    stamped: bool = True


POLICY_STATUS = "policy/status"
"""Where a policy says that it drives the robot."""

TF = "tf2_msgs/msg/TFMessage"


def _own(topic: str, type_name: str, qos: str, label: str, *, stamped: bool = True) -> TopicPlan:
    return TopicPlan(topic=topic, type=type_name, qos=qos, role="extra", label=label, stamped=stamped)


OWN_TOPICS = (
    _own("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", "default", "diagnostics"),
    # Log messages carry the time of the system, also where the node clock is simulated.
    _own("/rosout", "rcl_interfaces/msg/Log", "default", "log messages", stamped=False),
    _own("/tf_static", TF, "latched", "static transforms"),
    _own(POLICY_STATUS, "vla_msgs/msg/PolicyStatus", "latched", "policy status"),
)
"""Recorded with every robot, beside the episode events that the recorder writes itself."""


def plan_topics(profile: Profile) -> list[TopicPlan]:
    """Return every topic that an episode of this robot holds; a topic that feeds several streams appears once."""
    plans: dict[str, TopicPlan] = {}

    def add(plan: TopicPlan) -> None:
        plans.setdefault(plan.topic, plan)

    for camera in profile.cameras:
        add(_stream_plan(camera, "observation", f"camera '{camera.name}'"))
        if camera.info_topic:
            add(_own(camera.info_topic, CAMERA_INFO, "default", f"info of camera '{camera.name}'"))
    for state in profile.state:
        add(_stream_plan(state, "observation", f"state {state.topic}"))
    for action in profile.action:
        add(_stream_plan(action.record, "command", f"action '{action.name}'"))
    for extra in profile.record_topics:
        add(_own(extra.topic, extra.type, extra.qos, extra.topic))
    for own in OWN_TOPICS:
        add(own)
    return list(plans.values())


def _stream_plan(spec: Any, role: str, label: str) -> TopicPlan:
    return TopicPlan(
        topic=spec.topic,
        type=spec.type,
        qos="default",
        role=role,
        label=label,
        max_age_s=spec.max_age_s,
        rate_hz=spec.rate_hz,
    )


# What image_transport puts behind the name of a camera's topic.
_TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd", "ffmpeg", "foxglove", "draco")


class Selection:
    """Which topics beside the profile's are recorded: ``include`` and ``exclude`` patterns, or all."""

    def __init__(self, include: Iterable[str], exclude: Iterable[str], *, record_all: bool) -> None:
        """Compile the patterns; each must match the whole name, as in ``/camera/.*``.

        Raises:
            SelectionError: A pattern is no regular expression.
        """
        self._include = _compiled("include", include)
        self._exclude = _compiled("exclude", exclude)
        self._all = record_all

    def planned(self, plans: Iterable[tuple[str, TopicPlan]]) -> list[TopicPlan]:
        """Return the plans that are not excluded.

        Args:
            plans: (fully resolved name, plan).

        Raises:
            SelectionError: A pattern excludes a stream without which no frame can be built.
        """
        kept = []
        for name, plan in plans:
            pattern = _matching(self._exclude, name)
            if pattern is None:
                kept.append(plan)
            elif plan.role != "extra":
                raise SelectionError(
                    f"exclude: {pattern.pattern!r} takes away {name}, which the profile needs ({plan.label}); change "
                    "the pattern, or take the stream out of the profile"
                )
        return kept

    def wants(self, name: str, cameras: Iterable[str]) -> bool:
        """Return whether a topic that the profile does not name is recorded.

        Args:
            name: Fully resolved name.
            cameras: Names of the profile's image topics; other transports of their images are recorded only when an
                ``include`` pattern names them.
        """
        if _matching(self._exclude, name):
            return False
        if _matching(self._include, name):
            return True
        hidden = any(part.startswith("_") for part in name.split("/"))
        return self._all and not hidden and not _is_transport(name, cameras)


def _compiled(option: str, patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise SelectionError(
                f"{option}: {pattern!r} is no regular expression ({error}); for all topics below /camera write /camera/.*"
            ) from error
    return tuple(compiled)


def _matching(patterns: Iterable[re.Pattern[str]], name: str) -> re.Pattern[str] | None:
    return next((pattern for pattern in patterns if pattern.fullmatch(name)), None)


def _is_transport(name: str, cameras: Iterable[str]) -> bool:
    bases = {camera.removesuffix("/compressed") for camera in cameras}
    return any(name == f"{base}/{transport}" for base in bases for transport in _TRANSPORTS) or name in bases


def discovered_plan(name: str, type_name: str) -> TopicPlan:
    """Return the plan of a topic that was found on the network."""
    return _own(name, type_name, "default", name, stamped=name != "/rosout")


def compressed_topic(topic: str) -> str:
    """Return where image_transport offers a camera's images compressed."""
    return f"{topic}/compressed"


def compressible(profile: Profile) -> dict[str, str]:
    """Return camera -> topic of the raw colour images that could be recorded compressed instead."""
    return {camera.name: camera.topic for camera in profile.cameras if camera.type == IMAGE and not camera.depth}


def with_compressed(profile: Profile, cameras: Iterable[str]) -> Profile:
    """Return the profile with some cameras read from their compressed topics; its text says so too.

    Args:
        profile: As given.
        cameras: Names of raw colour cameras.

    Raises:
        ProfileError: The changed profile is not valid.
    """
    names = set(cameras)
    if not names:
        return profile
    tree: dict[str, Any] = yaml.safe_load(profile.text)
    specs: Mapping[str, dict[str, Any]] = tree["cameras"]
    for name in names:
        specs[name]["topic"] = compressed_topic(specs[name]["topic"])
        specs[name]["type"] = COMPRESSED_IMAGE
    return parse_profile(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), profile.source)
