# SPDX-License-Identifier: Apache-2.0

"""What the other nodes say of themselves: recorder, policy, teleoperation, the robot's state, diagnostics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rosidl_runtime_py.utilities import get_message
from vla_common.monitors import field_of
from vla_common.qos import EVENT, LATCHED, SENSOR_BEST_EFFORT
from vla_core.episode import phase_name
from vla_core.errors import ProfileError
from vla_core.profile import Profile
from vla_core.specs import MonitorSpec
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus, RecorderStatus, TeleopState

from vla_web.ros.health import Event

SILENT_S = 3.5  # nodes speak once a second, on a busy machine a little later
GONE_S = 60.0  # a node that ended is named so long
_STATES = ("idle", "loading", "running", "stopping", "fault", "takeover", "skill")
_TELEOP = ("off", "taking", "active", "returning", "freedrive", "fault")
_MEASURES = ("inference_ms", "inference_ms_p95", "observation_age_ms", "replan_rate_hz", "held_percent")
_COUNTS = ("steps", "refused_chunks", "interventions", "chunks", "goals_sent")
_RECORDER = {
    "recording": "recording",
    "writing": "writing",
    "paused": "paused",
    "uuid": "episode_uuid",
    "task": "task",
    "elapsed": "elapsed_s",
    "recorded": "recorded_s",
    "messages": "messages",
    "bytes": "bytes",
    "rate": "rate_hz",
    "dropped": "dropped",
    "disk_free": "disk_free",
    "disk_left": "disk_left_s",
    "saved": "episodes_saved",
    "last_label": "last_label",
    "last_uuid": "last_uuid",
    "can_undo": "can_undo",
    "operator": "operator_name",
    "bag_path": "bag_path",
    "last_bag_path": "last_bag_path",
}


class Heard:
    """The last message of a topic and when it came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: clock: steady seconds."""
        self._clock = clock
        self.message: Any = None
        self._at_s = 0.0

    def __call__(self, message: Any) -> None:
        """Remember a message."""
        self.message, self._at_s = message, self._clock()

    @property
    def age_s(self) -> float:
        """Time since it came [s]; infinite before the first."""
        return math.inf if self.message is None else self._clock() - self._at_s


class NodeBoard:
    """Which nodes report on `/diagnostics`, how they are, and which have stopped reporting. Pure."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: clock: steady seconds."""
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._parts: dict[str, dict[str, tuple[int, str]]] = {}
        self._silent: set[str] = set()
        self.lost: dict[str, int] = {}
        """Topic -> messages that the recorder missed, by its own count."""

    def take(self, array: Any) -> None:
        """A DiagnosticArray; statuses are named `<node>: <part>`."""
        for status in array.status:
            node, separator, part = status.name.partition(": ")
            if not separator or not node or len(self._parts) > 100:
                continue
            self._heard[node] = self._clock()
            self._parts.setdefault(node, {})[part] = (status.level[0], status.message)
            values = {pair.key: pair.value for pair in status.values}
            if values.get("lost", "").isdigit() and "topic" in values:
                self.lost[values["topic"]] = int(values["lost"])

    def alive(self, node: str) -> bool | None:
        """Whether a node reports; None if it never did."""
        at_s = self._heard.get(node)
        return None if at_s is None else self._clock() - at_s <= SILENT_S

    def changes(self) -> list[Event]:
        """What has begun or ended since the last call; nodes that are gone for long are forgotten."""
        events = []
        for node, at_s in list(self._heard.items()):
            silent_s = self._clock() - at_s
            if silent_s > SILENT_S and node not in self._silent:
                self._silent.add(node)
                events.append(
                    Event(
                        "error",
                        f"node {node}: no sign of life for {silent_s:.0f} s. It has ended or hangs; its terminal or log "
                        f"says why. Look: ros2 node list",
                    )
                )
            elif silent_s <= SILENT_S and node in self._silent:
                self._silent.discard(node)
                events.append(Event("info", f"node {node}: reports again"))
            if silent_s > GONE_S:
                for table in (self._heard, self._parts):
                    table.pop(node)  # type: ignore[attr-defined]
                self._silent.discard(node)
        return events

    def rows(self) -> list[dict[str, str]]:
        """The nodes for the page, by name."""
        rows = []
        for node in sorted(self._heard):
            silent_s = self._clock() - self._heard[node]
            if silent_s > SILENT_S:
                rows.append({"name": node, "level": "error", "text": f"silent {silent_s:.0f} s"})
                continue
            level, text = max(self._parts[node].values(), key=lambda part: part[0])
            bad = level in (DiagnosticStatus.WARN[0], DiagnosticStatus.ERROR[0], DiagnosticStatus.STALE[0])
            rows.append({"name": node, "level": "warning" if bad else "ok", "text": text})
        return rows


class Crew:
    """Subscribes to what the other nodes say of themselves; all small and slow."""

    def __init__(self, node: Node, profile: Profile) -> None:
        """Subscribe.

        Raises:
            ProfileError: A monitor's message type is not installed, or has no such field.
        """
        self.recorder, self.policy, self.teleop, self.feedback = Heard(), Heard(), Heard(), Heard()
        self.nodes = NodeBoard()
        self._profile = profile
        self._monitors: dict[str, Heard] = {}
        self._policy_was: tuple[int, str] | None = None
        node.create_subscription(RecorderStatus, "recorder/status", self.recorder, LATCHED)
        node.create_subscription(PolicyStatus, "policy/status", self.policy, LATCHED)
        node.create_subscription(TeleopState, "teleop/state", self.teleop, SENSOR_BEST_EFFORT)
        feedback = RunPolicy.Impl.FeedbackMessage
        node.create_subscription(feedback, "policy/run/_action/feedback", self.feedback, SENSOR_BEST_EFFORT)
        node.create_subscription(DiagnosticArray, "/diagnostics", self.nodes.take, EVENT)
        for spec in profile.monitors:
            self._monitors[spec.name] = self._watch(node, spec)

    @property
    def driven(self) -> bool:
        """Whether somebody drives the robot now, so that commands must flow."""
        policy, recorder = self.policy.message, self.recorder.message
        if policy is not None and policy.state == PolicyStatus.RUNNING:
            return True
        return recorder is not None and self.recorder.age_s < SILENT_S and bool(recorder.writing)

    def changes(self) -> list[Event]:
        """What has begun or ended since the last call: nodes, and what the policy does."""
        events = self.nodes.changes()
        policy = self.policy.message
        now = None if policy is None else (policy.state, policy.detail)
        if policy is not None and now != self._policy_was and self._policy_was is not None:
            level = "error" if policy.state == PolicyStatus.FAULT else "info"
            events.append(Event(level, ": ".join(filter(None, (f"policy {_STATES[policy.state]}", policy.detail)))))
        self._policy_was = now
        return events

    def recorder_row(self) -> dict[str, Any] | None:
        """The recorder for the page; None while there is none."""
        status = self.recorder.message
        if status is None or self.recorder.age_s > SILENT_S:
            return None
        row = {name: getattr(status, field) for name, field in _RECORDER.items()}
        return {**row, "phase": phase_name(status.phase), "problems": list(status.problems)}

    def policy_row(self) -> dict[str, Any] | None:
        """The policy for the page; None while there is none."""
        status = self.policy.message
        alive = self.nodes.alive("policy")
        if status is None or alive is False or (alive is None and self.policy.age_s > 3.0 * SILENT_S):
            return None
        row: dict[str, Any] = {name: _finite(getattr(status, name)) for name in _MEASURES}
        row.update({name: getattr(status, name) for name in _COUNTS})
        row["state"] = _STATES[status.state] if status.state < len(_STATES) else str(status.state)
        row["queue"] = self.feedback.message.feedback.queue if self.feedback.age_s < 2.0 else None
        for name in ("policy", "checkpoint", "task", "detail", "dry_run", "enabled", "mode", "strategy"):
            row[name] = getattr(status, name)
        return row

    def teleop_row(self) -> dict[str, Any] | None:
        """Teleoperation for the page; None while there is none."""
        state = self.teleop.message
        if state is None or self.teleop.age_s > SILENT_S:
            return None
        return {"state": _TELEOP[state.state] if state.state < len(_TELEOP) else str(state.state), "line": state.line}

    def monitor_rows(self) -> list[dict[str, Any]]:
        """The robot's own state, as the profile's `monitors` want it."""
        rows = []
        for spec in self._profile.monitors:
            heard = self._monitors[spec.name]
            ok, text = False, "not heard"
            if heard.message is not None:
                value = field_of(heard.message, spec.field)
                stale = spec.max_age_s is not None and heard.age_s > spec.max_age_s
                ok = value in spec.allowed and not stale
                text = f"silent {heard.age_s:.1f} s" if stale else "ok" if ok else f"{_shown(value)} (not allowed)"
            rows.append({"name": spec.name.replace("_", " "), "ok": ok, "text": text, "hint": spec.hint})
        if (teleop := self.teleop_row()) is not None:
            rows.append(
                {
                    "name": "teleoperation",
                    "ok": teleop["state"] != "fault",
                    "text": teleop["state"],
                    "hint": teleop["line"],
                }
            )
        return rows

    def _watch(self, node: Node, spec: MonitorSpec) -> Heard:
        try:
            kind = get_message(spec.type)
            field_of(kind(), spec.field)
        except (ImportError, AttributeError, ValueError) as error:
            raise ProfileError(
                f"{self._profile.source}: monitors.{spec.name}: {spec.type} with the field '{spec.field}' cannot be used: "
                f"{error}. Install the package, correct the monitor or remove it"
            ) from error
        heard = Heard()
        qos = SENSOR_BEST_EFFORT if spec.qos == "sensor" else LATCHED if spec.qos == "latched" else EVENT
        node.create_subscription(kind, spec.topic, heard, qos)
        return heard


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
