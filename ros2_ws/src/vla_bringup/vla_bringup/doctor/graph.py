# SPDX-License-Identifier: Apache-2.0

"""Looking at a running graph: who is there, and what arrives on the topics of a profile. Publishes nothing, moves nothing.

Listens the way the recorder does: raw bytes, quality of service adapted to the publishers, so that what the doctor loses
the recorder would lose too.
"""

from __future__ import annotations

import threading
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from rclpy.action.graph import get_action_server_names_and_types_by_node
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.node import NodeNameNonExistentError as GoneError
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rclpy.utilities import get_rmw_implementation_identifier
from rosgraph_msgs.msg import Clock
from rosidl_runtime_py.utilities import get_message
from std_msgs.msg import String
from vla_common.controllers import ControllerError, ControllerSwitch
from vla_common.monitors import MonitorBoard, watch_monitors
from vla_common.qos import LATCHED, SENSOR_BEST_EFFORT, adapt
from vla_common.services import CallError
from vla_core.codecs import IMAGE_TYPES, codec
from vla_core.errors import ProfileError
from vla_core.profile import CAMERA_INFO, Profile
from vla_core.safety_urdf import description_topics
from vla_recorder.capture.taps import header_stamp_ns
from vla_teleop.cameras.session import RemoteParameters
from vla_teleop.cameras.settings import DRIVERS

from vla_bringup.doctor.samples import (
    BEST_EFFORT,
    RELIABLE,
    TRANSIENT_LOCAL,
    VOLATILE,
    Endpoint,
    Graph,
    Sample,
    Tap,
    observations,
    streams,
)

NAME = "vla_doctor"
DISCOVER_S = 5.0
"""Longest wait until the publishers of the profile's streams are known [wall s]."""
ENOUGH = 10
"""Messages of each stream that are waited for."""
_LONGER = 4.0  # times the asked duration, for streams that are slow on the wall
_POLL_S = 0.05
_SETTLE_S = 0.5  # after the first publishers were found, for the second one of a topic
_ANSWER_S = 3.0
_DEPTH = 1000
_MOST_SAMPLES = 20_000
_CONTENT_AT = 12  # behind the encapsulation and the stamp
_RECORDER_STATUS = "vla_msgs/msg/RecorderStatus"
_LIST_CONTROLLERS = "controller_manager_msgs/srv/ListControllers"


def look(
    node: Node,
    profile: Profile,
    seconds: float,
    *,
    discover_s: float = DISCOVER_S,
    over: Callable[[], bool] = lambda: False,
) -> Graph:
    """Listen to the topics of a profile and ask who is there.

    Args:
        node: Served by another thread.
        profile: Of the robot.
        seconds: How long to listen [wall s]; up to four times as long while a stream that is published has not
            delivered ten messages, as in a simulation that is slower than the wall clock.
        discover_s: Longest wait for publishers [wall s].
        over: Whether to wait no longer.
    """
    ears = _Ears(node, profile)
    needed = [spec.topic for spec in observations(profile)]
    names = [node.resolve_topic_name(topic) for topic in needed]
    _wait(lambda: over() or all(map(node.count_publishers, names)), discover_s)
    _wait(over, _SETTLE_S)
    ears.listen()
    _wait(lambda: over() or ears.first(), min(seconds, _ANSWER_S))
    began = time.monotonic()
    ears.begin()
    _wait(over, seconds)
    _wait(lambda: over() or ears.enough(needed), seconds * (_LONGER - 1.0))
    graph = ears.end()
    graph.seconds = time.monotonic() - began
    _ask(node, profile, graph)
    return graph


def _wait(condition: Callable[[], bool], longest_s: float) -> None:
    deadline = time.monotonic() + longest_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


class _Board(MonitorBoard):
    """Remembers what each monitor has said."""

    def __init__(self) -> None:
        super().__init__(())
        self.values: dict[str, Any] = {}

    def note(self, name: str, value: Any) -> None:
        self.values[name] = value


class _Ears:
    """The doctor's subscriptions."""

    def __init__(self, node: Node, profile: Profile) -> None:
        self._node, self._profile = node, profile
        self._lock = threading.Lock()
        self._clock: list[tuple[int, int]] = []  # when it was sent (system time), what it says
        self._open = False
        self._raw: dict[str, tuple[type[Any], bytes]] = {}
        self._heard: set[str] = set()
        self.graph = Graph(namespace=node.get_namespace())
        for topic, kind in topics(profile).items():
            self.graph.taps[topic] = Tap(node.resolve_topic_name(topic), kind)
        self._board = _Board()
        try:
            watch_monitors(node, profile, self._board)
        except ProfileError as error:
            self.graph.unwatched = str(error)
        clock: Callable[..., None] = self._on_clock
        node.create_subscription(Clock, "/clock", clock, SENSOR_BEST_EFFORT)
        self._descriptions: dict[str, str] = {}
        for topic in description_topics(profile):
            described: Callable[..., None] = partial(self._on_description, node.resolve_topic_name(topic))
            node.create_subscription(String, topic, described, LATCHED)

    def listen(self) -> None:
        """Subscribe, now that the publishers are known."""
        for topic in listened(self._profile):
            tap = self.graph.taps[topic]
            try:
                kind = get_message(tap.type)
            except (ImportError, AttributeError, ValueError) as error:
                tap.error = f"the message type {tap.type} is not installed ({error})"
                continue
            fitting = adapt(self._node, tap.topic)
            qos = QoSProfile(depth=_DEPTH, reliability=fitting.reliability, durability=fitting.durability)
            quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
            self._node.create_subscription(
                kind, tap.topic, self._receiver(topic, tap, kind), qos, raw=True, event_callbacks=quiet
            )

    def first(self) -> bool:
        """Whether each topic that has a publisher has delivered."""
        published = {t for t in listened(self._profile) if self._node.count_publishers(self.graph.taps[t].topic)}
        return published <= self._heard

    def begin(self) -> None:
        """Count from now on."""
        with self._lock:
            self._open = True
            del self._clock[:-1]

    def enough(self, needed: Sequence[str]) -> bool:
        """Whether each of these topics that is sent at all has delivered enough."""
        with self._lock:
            return all(len(self.graph.taps[t].samples) >= ENOUGH for t in needed if t in self._heard)

    def end(self) -> Graph:
        """Stop counting and return what was seen."""
        with self._lock:
            self._open = False
            graph = self.graph
            graph.sim_time = bool(self._clock) or self._node.count_publishers("/clock") > 0
            graph.clock_ns = (self._clock[0][1], self._clock[-1][1]) if self._clock else (0, 0)
            graph.monitors = dict(self._board.values)
            graph.descriptions = dict(self._descriptions)
            self._set_clocks()
        known = dict(self._node.get_topic_names_and_types())
        for topic, tap in graph.taps.items():
            tap.types = tuple(known.get(tap.topic, ()))
            own = self._node.get_fully_qualified_name()
            tap.publishers = tuple(map(_endpoint, self._node.get_publishers_info_by_topic(tap.topic)))
            others = map(_endpoint, self._node.get_subscriptions_info_by_topic(tap.topic))
            tap.subscriptions = tuple(endpoint for endpoint in others if endpoint.node != own)
            if topic in self._raw:
                kind, data = self._raw[topic]
                tap.last = deserialize_message(data, kind)
        return graph

    def _set_clocks(self) -> None:
        """Give each message the simulated time at which it was sent.

        The times of sending are compared: what is served first by an executor says nothing about which came first.
        """
        sent = [when for when, _ in self._clock]
        for tap in self.graph.taps.values() if sent else ():
            for sample in tap.samples:
                at = bisect_right(sent, sample.sent_ns or sample.received_ns)
                sample.clock_ns = self._clock[max(0, at - 1)][1]

    def _on_clock(self, msg: Any, info: Mapping[str, Any]) -> None:
        when = info.get("source_timestamp") or info.get("received_timestamp") or time.time_ns()
        with self._lock:
            self._clock.append((when, msg.clock.sec * 1_000_000_000 + msg.clock.nanosec))

    def _on_description(self, topic: str, msg: Any) -> None:
        self._descriptions[topic] = msg.data

    def _receiver(self, topic: str, tap: Tap, kind: type[Any]) -> Callable[..., None]:
        stamped = next(iter(kind.get_fields_and_field_types().values()), "") in (
            "std_msgs/Header",
            "builtin_interfaces/Time",
        )
        image = tap.type in IMAGE_TYPES
        numbers = not image and tap.type != CAMERA_INFO

        def receive(data: bytes, info: Mapping[str, Any]) -> None:
            self._heard.add(topic)
            with self._lock:
                self._raw[topic] = (kind, data)
                if not self._open or len(tap.samples) >= _MOST_SAMPLES:
                    return
                tap.samples.append(
                    Sample(
                        clock_ns=time.time_ns(),
                        received_ns=info.get("received_timestamp") or time.time_ns(),
                        sent_ns=info.get("source_timestamp") or 0,
                        stamp_ns=header_stamp_ns(data) if stamped else None,
                        sequence=info.get("publication_sequence_number"),
                        content=zlib.crc32(data[_CONTENT_AT:]) if image else 0,
                        msg=deserialize_message(data, kind) if numbers else None,
                    )
                )

        return receive


def middleware() -> str:
    """Return the name of the middleware that is in use, such as rmw_fastrtps_cpp."""
    return str(get_rmw_implementation_identifier())


def topics(profile: Profile) -> dict[str, str]:
    """Return topic -> type of everything that the profile names."""
    found: dict[str, str] = {}
    for spec in streams(profile):
        found.setdefault(spec.topic, spec.type)
    for camera in profile.cameras:
        if camera.info_topic:
            found.setdefault(camera.info_topic, CAMERA_INFO)
    for extra in profile.record_topics:
        found.setdefault(extra.topic, extra.type)
    for action in profile.action:
        if action.command.interface == "joint_group_position":
            found.setdefault(action.command.name, "std_msgs/msg/Float64MultiArray")
    return found


def listened(profile: Profile) -> tuple[str, ...]:
    """Return the topics whose messages are looked at."""
    infos = (camera.info_topic for camera in profile.cameras if camera.info_topic)
    return tuple(dict.fromkeys((*(spec.topic for spec in streams(profile)), *infos)))


def _endpoint(info: TopicEndpointInfo) -> Endpoint:
    qos = info.qos_profile
    return Endpoint(
        node=f"{info.node_namespace.rstrip('/')}/{info.node_name}",
        type=info.topic_type,
        reliability=BEST_EFFORT if qos.reliability == ReliabilityPolicy.BEST_EFFORT else RELIABLE,
        durability=TRANSIENT_LOCAL if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL else VOLATILE,
    )


def _ask(node: Node, profile: Profile, graph: Graph) -> None:
    """Ask the graph for nodes, services, actions, recorders, controllers and the settings of the cameras."""
    own = node.get_fully_qualified_name()
    names = [
        (name, space) for name, space in node.get_node_names_and_namespaces() if f"{space.rstrip('/')}/{name}" != own
    ]
    graph.nodes = tuple(f"{space.rstrip('/')}/{name}" for name, space in names)
    graph.services = {name: tuple(kinds) for name, kinds in node.get_service_names_and_types()}
    servers: dict[str, list[str]] = {}
    for name, space in dict.fromkeys(names):
        with suppress(GoneError):  # it left meanwhile
            for action, _ in get_action_server_names_and_types_by_node(node, name, space):
                servers.setdefault(action, []).append(f"{space.rstrip('/')}/{name}")
    graph.servers = {action: tuple(nodes) for action, nodes in servers.items()}
    graph.recorders = _recorders(node, profile, graph)
    graph.manager, graph.controllers = _controllers(node, graph)
    graph.joint_orders = _joint_orders(node, profile, graph)
    graph.parameters = _parameters(node, profile)


def _recorders(node: Node, profile: Profile, graph: Graph) -> tuple[str, ...]:
    """Nodes that publish a recorder's status and listen to a stream of the profile."""
    listeners = {end.node for spec in observations(profile) for end in graph.taps[spec.topic].subscriptions}
    found = []
    for topic, kinds in node.get_topic_names_and_types():
        if _RECORDER_STATUS in kinds:
            found += [end.node for end in map(_endpoint, node.get_publishers_info_by_topic(topic))]
    return tuple(name for name in found if name in listeners)


def _controllers(node: Node, graph: Graph) -> tuple[str, dict[str, str] | None]:
    """Managers that answered, and the state of all their controllers by name; None without any."""
    below = f"{graph.namespace.rstrip('/')}/"
    managers, states = [], {}
    for service, kinds in graph.services.items():
        if _LIST_CONTROLLERS not in kinds or not service.startswith(below):
            continue
        manager = service.removesuffix("/list_controllers")
        with suppress(ControllerError):  # it left meanwhile; then it is absent
            answer = ControllerSwitch(node, manager=manager).states(_ANSWER_S)
            states.update({f"{manager.rpartition('/')[0]}/{name}": state for name, state in answer.items()})
            managers.append(manager)
    return ", ".join(managers), states if managers else None


def _joint_orders(node: Node, profile: Profile, graph: Graph) -> dict[str, tuple[str, ...]]:
    """Parameter `joints` of the controllers that take numbers without names, where they are nodes."""
    found = {}
    for action in profile.action:
        controller = action.command.controller
        if action.command.interface != "joint_group_position" or graph.resolve(controller) not in graph.nodes:
            continue
        remote = RemoteParameters(node, controller, timeout_s=_ANSWER_S)
        with suppress(CallError):  # it has left, or has no parameters; then nothing is known
            if remote.ready(1.0) and "joints" in remote.names():
                order: Any = remote.get(["joints"])["joints"]
                found[action.name] = tuple(order)
    return found


def _parameters(node: Node, profile: Profile) -> dict[str, dict[str, Any] | str]:
    found: dict[str, dict[str, Any] | str] = {}
    for camera in profile.cameras:
        if camera.settings == "none" or camera.depth or codec(camera.type).video:
            continue
        remote = RemoteParameters(node, camera.node, timeout_s=_ANSWER_S)
        if not remote.ready(1.0):
            found[camera.name] = f"there is no node '{camera.node}' with parameters"
            continue
        try:
            wanted = [name for name in DRIVERS[camera.settings].saved if name in remote.names()]
            found[camera.name] = remote.get(wanted) if wanted else {}
        except CallError as error:
            found[camera.name] = str(error)
    return found
