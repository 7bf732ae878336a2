# SPDX-License-Identifier: Apache-2.0

"""Quality of service as bags store it: names and numbers of the rmw policies, and their YAML form."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import yaml
from rclpy.duration import Duration as RclpyDuration
from rclpy.qos import QoSProfile

from rosbag2_py._yaml import dump, load


class rmw_qos_history_policy_t(IntEnum):  # noqa: N801 (name of the real interface)
    """History policy of rmw."""

    RMW_QOS_POLICY_HISTORY_SYSTEM_DEFAULT = 0
    RMW_QOS_POLICY_HISTORY_KEEP_LAST = 1
    RMW_QOS_POLICY_HISTORY_KEEP_ALL = 2
    RMW_QOS_POLICY_HISTORY_UNKNOWN = 3


class rmw_qos_reliability_policy_t(IntEnum):  # noqa: N801
    """Reliability policy of rmw."""

    RMW_QOS_POLICY_RELIABILITY_SYSTEM_DEFAULT = 0
    RMW_QOS_POLICY_RELIABILITY_RELIABLE = 1
    RMW_QOS_POLICY_RELIABILITY_BEST_EFFORT = 2
    RMW_QOS_POLICY_RELIABILITY_UNKNOWN = 3
    RMW_QOS_POLICY_RELIABILITY_BEST_AVAILABLE = 4


class rmw_qos_durability_policy_t(IntEnum):  # noqa: N801
    """Durability policy of rmw."""

    RMW_QOS_POLICY_DURABILITY_SYSTEM_DEFAULT = 0
    RMW_QOS_POLICY_DURABILITY_TRANSIENT_LOCAL = 1
    RMW_QOS_POLICY_DURABILITY_VOLATILE = 2
    RMW_QOS_POLICY_DURABILITY_UNKNOWN = 3
    RMW_QOS_POLICY_DURABILITY_BEST_AVAILABLE = 4


class rmw_qos_liveliness_policy_t(IntEnum):  # noqa: N801
    """Liveliness policy of rmw."""

    RMW_QOS_POLICY_LIVELINESS_SYSTEM_DEFAULT = 0
    RMW_QOS_POLICY_LIVELINESS_AUTOMATIC = 1
    RMW_QOS_POLICY_LIVELINESS_MANUAL_BY_TOPIC = 3
    RMW_QOS_POLICY_LIVELINESS_UNKNOWN = 4
    RMW_QOS_POLICY_LIVELINESS_BEST_AVAILABLE = 5


_POLICIES: dict[str, type[IntEnum]] = {
    "history": rmw_qos_history_policy_t,
    "reliability": rmw_qos_reliability_policy_t,
    "durability": rmw_qos_durability_policy_t,
    "liveliness": rmw_qos_liveliness_policy_t,
}
_DURATIONS = ("deadline", "lifespan", "liveliness_lease_duration")


class Duration:
    """Time span in seconds and nanoseconds, as the policies take it."""

    def __init__(self, seconds: int, nanoseconds: int) -> None:
        self._seconds = int(seconds)
        self._nanoseconds = int(nanoseconds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self._pair() == other._pair()

    def __hash__(self) -> int:
        return hash(self._pair())

    def _pair(self) -> tuple[int, int]:
        return self._seconds, self._nanoseconds


class QoS:
    """Offered quality of service of one publisher: keep last, reliable, volatile unless set otherwise.

    The setters return the object itself, so they can be chained: `QoS(1).reliable().transient_local()`.
    """

    def __init__(self, history_depth: int) -> None:
        self._depth = int(history_depth)
        self._policies: dict[str, IntEnum] = {
            "history": rmw_qos_history_policy_t.RMW_QOS_POLICY_HISTORY_KEEP_LAST,
            "reliability": rmw_qos_reliability_policy_t.RMW_QOS_POLICY_RELIABILITY_RELIABLE,
            "durability": rmw_qos_durability_policy_t.RMW_QOS_POLICY_DURABILITY_VOLATILE,
            "liveliness": rmw_qos_liveliness_policy_t.RMW_QOS_POLICY_LIVELINESS_SYSTEM_DEFAULT,
        }
        self._durations: dict[str, Duration] = {name: Duration(0, 0) for name in _DURATIONS}
        self._avoid_ros_namespace_conventions = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QoS) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def keep_last(self, depth: int) -> QoS:
        """Keep the last `depth` samples."""
        self._depth = int(depth)
        return self.history(rmw_qos_history_policy_t.RMW_QOS_POLICY_HISTORY_KEEP_LAST)

    def keep_all(self) -> QoS:
        """Keep all samples."""
        self._depth = 0
        return self.history(rmw_qos_history_policy_t.RMW_QOS_POLICY_HISTORY_KEEP_ALL)

    def reliable(self) -> QoS:
        """Send again what was lost."""
        return self.reliability(rmw_qos_reliability_policy_t.RMW_QOS_POLICY_RELIABILITY_RELIABLE)

    def best_effort(self) -> QoS:
        """Send once."""
        return self.reliability(rmw_qos_reliability_policy_t.RMW_QOS_POLICY_RELIABILITY_BEST_EFFORT)

    def durability_volatile(self) -> QoS:
        """Keep nothing for late subscribers."""
        return self.durability(rmw_qos_durability_policy_t.RMW_QOS_POLICY_DURABILITY_VOLATILE)

    def transient_local(self) -> QoS:
        """Keep samples for late subscribers."""
        return self.durability(rmw_qos_durability_policy_t.RMW_QOS_POLICY_DURABILITY_TRANSIENT_LOCAL)

    def history(self, policy: rmw_qos_history_policy_t) -> QoS:
        """Set the history policy."""
        self._policies["history"] = rmw_qos_history_policy_t(policy)
        return self

    def reliability(self, policy: rmw_qos_reliability_policy_t) -> QoS:
        """Set the reliability policy."""
        self._policies["reliability"] = rmw_qos_reliability_policy_t(policy)
        return self

    def durability(self, policy: rmw_qos_durability_policy_t) -> QoS:
        """Set the durability policy."""
        self._policies["durability"] = rmw_qos_durability_policy_t(policy)
        return self

    def liveliness(self, policy: rmw_qos_liveliness_policy_t) -> QoS:
        """Set the liveliness policy."""
        self._policies["liveliness"] = rmw_qos_liveliness_policy_t(policy)
        return self

    def deadline(self, duration: Duration) -> QoS:
        """Set the longest time between samples."""
        self._durations["deadline"] = duration
        return self

    def lifespan(self, duration: Duration) -> QoS:
        """Set the age at which a sample expires."""
        self._durations["lifespan"] = duration
        return self

    def liveliness_lease_duration(self, duration: Duration) -> QoS:
        """Set the time within which a publisher must show that it is alive."""
        self._durations["liveliness_lease_duration"] = duration
        return self

    def avoid_ros_namespace_conventions(self, avoid: bool) -> QoS:
        """Use the topic name without the ROS prefix in the middleware."""
        self._avoid_ros_namespace_conventions = bool(avoid)
        return self


def _policy_name(policy: IntEnum) -> str:
    """`keep_last` from `RMW_QOS_POLICY_HISTORY_KEEP_LAST`."""
    return policy.name.split("_", 4)[4].lower()


def qos_to_node(qos: QoS) -> dict[str, Any]:
    """Plain mapping in the layout of metadata version 9 (policies by name)."""

    def span(name: str) -> dict[str, int]:
        seconds, nanoseconds = qos._durations[name]._pair()
        return {"sec": seconds, "nsec": nanoseconds}

    return {
        "history": _policy_name(qos._policies["history"]),
        "depth": qos._depth,
        "reliability": _policy_name(qos._policies["reliability"]),
        "durability": _policy_name(qos._policies["durability"]),
        "deadline": span("deadline"),
        "lifespan": span("lifespan"),
        "liveliness": _policy_name(qos._policies["liveliness"]),
        "liveliness_lease_duration": span("liveliness_lease_duration"),
        "avoid_ros_namespace_conventions": qos._avoid_ros_namespace_conventions,
    }


def qos_from_node(node: dict[str, Any]) -> QoS:
    """Read a mapping whose scalars are texts; policies by name (version 9) or by number (before)."""
    qos = QoS(int(node["depth"]))
    for key, kind in _POLICIES.items():
        text = str(node[key])
        if text.isdigit():
            qos._policies[key] = kind(int(text))
            continue
        match = [policy for policy in kind if _policy_name(policy) == text]
        if not match:
            names = ", ".join(_policy_name(policy) for policy in kind)
            raise RuntimeError(f"offered_qos_profiles: {key}: '{text}' is not one of {names}")
        qos._policies[key] = match[0]
    for key in _DURATIONS:
        qos._durations[key] = Duration(int(node[key]["sec"]), int(node[key]["nsec"]))
    qos._avoid_ros_namespace_conventions = str(node["avoid_ros_namespace_conventions"]) == "true"
    return qos


def serialize_qos_vector(profiles: list[QoS]) -> str:
    """Return the YAML text that MCAP channels carry as `offered_qos_profiles`."""
    return dump([qos_to_node(qos) for qos in profiles]).rstrip("\n")


def to_rclcpp_qos_vector(serialized: str, version: int) -> list[QoS]:
    """Read `offered_qos_profiles` from YAML text.

    Args:
        serialized: YAML sequence, or an empty text.
        version: version of the bag's metadata; both notations of the policies are recognised whatever it says.

    Raises:
        RuntimeError: the text is not a sequence of profiles.
    """
    if not serialized:
        return []
    try:
        return [qos_from_node(node) for node in load(serialized) or []]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise RuntimeError(
            f"offered_qos_profiles (metadata version {version}) is not a YAML sequence of QoS profiles: {error!r}"
        ) from error


def convert_rclcpp_qos_to_rclpy_qos(qos: QoS) -> QoSProfile:
    """Return the profile as rclpy takes it, for example to publish a topic as it was offered."""

    def span(name: str) -> RclpyDuration:
        seconds, nanoseconds = qos._durations[name]._pair()
        return RclpyDuration(seconds=seconds, nanoseconds=nanoseconds)

    return QoSProfile(  # type: ignore[no-untyped-call]
        depth=qos._depth,
        history=int(qos._policies["history"]),
        reliability=int(qos._policies["reliability"]),
        durability=int(qos._policies["durability"]),
        lifespan=span("lifespan"),
        deadline=span("deadline"),
        liveliness=int(qos._policies["liveliness"]),
        liveliness_lease_duration=span("liveliness_lease_duration"),
        avoid_ros_namespace_conventions=qos._avoid_ros_namespace_conventions,
    )
