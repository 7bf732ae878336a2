# SPDX-License-Identifier: Apache-2.0

"""What was received on the topics of a profile, and who is there: plain values that the checks judge without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vla_core.profile import Profile
from vla_core.specs import CameraSpec, RecordSpec, StateSpec

Stream = CameraSpec | StateSpec | RecordSpec
"""What the profile says about messages that become numbers or images."""

RELIABLE, BEST_EFFORT = "reliable", "best_effort"
VOLATILE, TRANSIENT_LOCAL = "volatile", "transient_local"


@dataclass(slots=True)
class Sample:
    """One message.

    Attributes:
        clock_ns: Node clock at its arrival; under simulated time what ``/clock`` said when it was sent.
        received_ns: System time of its arrival, by the middleware.
        sent_ns: System time of its publication on the sender's host, by the middleware; 0 where it does not tell.
        stamp_ns: Stamp of its header; 0 if the sender set none, None if the type has none.
        sequence: The publisher's number of it, None where the middleware does not tell.
        content: Checksum of an image without its stamp; 0 for other messages.
        msg: The message, where it holds numbers; None for images.
    """

    clock_ns: int
    received_ns: int
    sent_ns: int
    stamp_ns: int | None
    sequence: int | None
    content: int = 0
    msg: Any = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A publisher or a subscription of a topic: its node, type and quality of service."""

    node: str
    type: str
    reliability: str = RELIABLE
    durability: str = VOLATILE


@dataclass(slots=True)
class Tap:
    """One topic.

    Attributes:
        topic: Fully resolved name.
        type: Type that the profile says.
        publishers: Who sends, at the end of the measurement.
        subscriptions: Who else listens.
        types: All types under which the topic is known.
        samples: What was received, in order.
        last: The newest message.
        error: Why the topic cannot be listened to; empty where it can.
    """

    topic: str
    type: str
    publishers: tuple[Endpoint, ...] = ()
    subscriptions: tuple[Endpoint, ...] = ()
    types: tuple[str, ...] = ()
    samples: list[Sample] = field(default_factory=list)
    last: Any = None
    error: str = ""


@dataclass(slots=True)
class Graph:
    """Everything that was seen of a running system.

    Attributes:
        namespace: In which relative names were resolved.
        seconds: How long was listened, wall time [s].
        sim_time: Whether somebody publishes ``/clock``.
        clock_ns: First and last simulated time; equal when it stood still.
        taps: Topic of the profile as written there to what was seen of it.
        nodes: Full names of all nodes, with repetitions; not the doctor's own.
        services: Service to its types.
        servers: Action to the nodes that serve it.
        recorders: Full name of each recorder that listens to a topic of the profile, with repetitions.
        controllers: Full name (namespace of its manager, name) to state; None where no controller manager answered.
        joint_orders: Name of an action to the joints of the controller that takes its numbers without names.
        manager: Name of the controller manager that was asked.
        monitors: Name of a monitor to the value last heard.
        unwatched: Why the monitors cannot be listened to; empty where they can.
        parameters: Camera to its driver's parameters; a text says why there are none.
        descriptions: Full name of a topic to the robot description (URDF) that was heard there; of two arms two.
    """

    namespace: str = "/"
    seconds: float = 0.0
    sim_time: bool = False
    clock_ns: tuple[int, int] = (0, 0)
    taps: dict[str, Tap] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    services: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    servers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    recorders: tuple[str, ...] = ()
    controllers: Mapping[str, str] | None = None
    joint_orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    manager: str = ""
    monitors: Mapping[str, Any] = field(default_factory=dict)
    unwatched: str = ""
    parameters: Mapping[str, Mapping[str, Any] | str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """Return the full name of a relative one."""
        return name if name.startswith("/") else f"{self.namespace.rstrip('/')}/{name}"


def observations(profile: Profile) -> tuple[Stream, ...]:
    """Return the streams without which no frame can be built."""
    return (*profile.cameras, *profile.state)


def streams(profile: Profile) -> tuple[Stream, ...]:
    """Return all streams: observations, then the commands that are learnt from."""
    return (*observations(profile), *(action.record for action in profile.action))
