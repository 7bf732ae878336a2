# SPDX-License-Identifier: Apache-2.0

"""Publishers that reuse one message: at 500 Hz the objects would cost more than the sending."""

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from vla_sim import constants as c
from vla_sim.facade.messages import set_stamp

RATE_HZ = 1_000_000_000 // c.STEP_NS
OnPublished = Callable[[Publisher, int], None]

DRIVER = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1000,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Small messages at high rates; reliable like the drivers', and deep so that lockstep rarely has to wait."""


class Stream:
    """A stamped sensor topic with one reusable message.

    Nothing is sent while nobody listens, which no other node can tell from sending.

    Attributes:
        silent: a fault: nothing is sent, as by a driver that has lost its device.
    """

    def __init__(
        self, node: Node, message: Any, topic: str, on_published: OnPublished, qos: QoSProfile = DRIVER
    ) -> None:
        """Args: message: has a header. on_published: called with the publisher and the stamp in ns."""
        self.message = message
        self.publisher: Publisher = node.create_publisher(type(message), topic, qos)
        self._on_published = on_published
        self.silent = False

    @property
    def wanted(self) -> bool:
        """Whether anybody listens, and the driver is not silent."""
        return not self.silent and bool(self.publisher.get_subscription_count())

    def send(self, t_ns: int) -> None:
        """Stamp the message and publish it."""
        set_stamp(self.message.header.stamp, t_ns)
        self.publisher.publish(self.message)
        self._on_published(self.publisher, t_ns)


class Jobs:
    """Calls functions at fractions of the control rate."""

    def __init__(self) -> None:
        self._jobs: list[tuple[int, Callable[[int], None]]] = []

    def every(self, steps: int, job: Callable[[int], None]) -> None:
        """Call `job(t_ns)` after every `steps`-th control cycle."""
        self._jobs.append((steps, job))

    def run(self, step: int, t_ns: int) -> None:
        """Call what is due after control cycle number `step`."""
        for steps, job in self._jobs:
            if step % steps == 0:
                job(t_ns)


def sorted_order(names: Sequence[str]) -> tuple[list[str], list[int]]:
    """The names in alphabetical order, as joint_state_broadcaster sends them, and the index of each in `names`."""
    order = sorted(range(len(names)), key=lambda i: names[i])
    return [names[i] for i in order], order
