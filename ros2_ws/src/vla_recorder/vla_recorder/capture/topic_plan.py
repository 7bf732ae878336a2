# SPDX-License-Identifier: Apache-2.0

"""Which topics an episode holds, from the robot profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vla_core.profile import CAMERA_INFO, Profile


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
    """

    topic: str
    type: str
    qos: str
    role: str
    label: str
    max_age_s: float | None = None
    rate_hz: float | None = None


POLICY_STATUS = "policy/status"
"""Where a policy says that it drives the robot."""

OWN_TOPICS = (
    TopicPlan(
        topic="/diagnostics",
        type="diagnostic_msgs/msg/DiagnosticArray",
        qos="default",
        role="extra",
        label="diagnostics",
    ),
    TopicPlan(
        topic=POLICY_STATUS, type="vla_msgs/msg/PolicyStatus", qos="latched", role="extra", label="policy status"
    ),
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
            add(
                TopicPlan(
                    topic=camera.info_topic,
                    type=CAMERA_INFO,
                    qos="default",
                    role="extra",
                    label=f"info of camera '{camera.name}'",
                )
            )
    for state in profile.state:
        add(_stream_plan(state, "observation", f"state {state.topic}"))
    for action in profile.action:
        add(_stream_plan(action.record, "command", f"action '{action.name}'"))
    for extra in profile.record_topics:
        add(TopicPlan(topic=extra.topic, type=extra.type, qos=extra.qos, role="extra", label=extra.topic))
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
