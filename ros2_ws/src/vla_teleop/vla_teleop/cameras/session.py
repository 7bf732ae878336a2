# SPDX-License-Identifier: Apache-2.0

"""What the camera commands share: a node that spins in a thread, cameras' images, parameters of other nodes.

All calls block the command's own thread; time limits are wall time.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import QoSProfile
from rosidl_runtime_py.utilities import get_message
from vla_common.executor import ExecutorThread
from vla_common.qos import SENSOR, adapt
from vla_common.services import wait_future
from vla_core.codecs import codec
from vla_core.profile import Profile
from vla_core.specs import CameraSpec
from vla_core.stamps import stamp_ns

from vla_teleop.cameras.errors import CameraError

Image = NDArray[Any]
Value = bool | int | float | str


@contextmanager
def session(name: str, ros_arguments: Sequence[str] = (), *, domain_id: int | None = None) -> Iterator[Node]:
    """A node with a context of its own, served by a thread until the block ends.

    Args:
        name: Of the node.
        ros_arguments: ``--ros-args …`` of the command line.
        domain_id: ROS domain; None takes that of the environment.
    """
    context = Context()
    rclpy.init(args=list(ros_arguments), context=context, domain_id=domain_id)
    node = Node(name, context=context, enable_rosout=False)
    thread = ExecutorThread(node, context=context)
    try:
        yield node
    finally:
        thread.close()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def sensor_qos(node: Node, topic: str, timeout_s: float = 3.0) -> QoSProfile:
    """A subscription profile that matches the publishers of a topic; waits a moment until one is discovered.

    A reliable subscription, made before a best-effort publisher is known, would receive nothing for ever.
    """
    full = node.resolve_topic_name(topic)
    deadline = time.monotonic() + timeout_s
    while not node.count_publishers(full) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return adapt(node, topic, SENSOR)


class CameraTap:
    """The images of one camera."""

    def __init__(self, node: Node, camera: CameraSpec) -> None:
        """Subscribe.

        Raises:
            CameraError: the camera sends encoded video, whose pictures depend on each other.
        """
        found = codec(camera.type)
        if found.image is None:
            raise CameraError(
                f"camera '{camera.name}' sends {camera.type}; name a topic with single images in the profile"
            )
        self.camera = camera
        self._decode = found.image
        self._new = threading.Condition()
        self._last: Any = None
        self._count = 0
        self._subscription = node.create_subscription(
            get_message(camera.type), camera.topic, self._receive, sensor_qos(node, camera.topic)
        )

    def _receive(self, msg: Any) -> None:
        with self._new:
            self._last, self._count = msg, self._count + 1
            self._new.notify_all()

    @property
    def count(self) -> int:
        """Images received so far."""
        with self._new:
            return self._count

    def message(self, after: int, timeout_s: float = 10.0) -> Any:
        """The newest message once more than `after` have been received.

        Raises:
            CameraError: no such message within the time limit.
        """
        with self._new:
            if not self._new.wait_for(lambda: self._count > after, timeout_s):
                raise CameraError(
                    f"camera '{self.camera.name}': no image on {self.camera.topic} within {timeout_s:g} s. Is its driver "
                    "running, and is the topic that of the profile? ros2 topic hz shows it"
                )
            return self._last

    def images(self, count: int, *, skip: int = 0, timeout_s: float = 10.0) -> list[Image]:
        """The next `count` images after `skip` others, decoded: colour ``(H, W, 3)`` uint8 RGB, depth ``(H, W)``.

        Raises:
            CameraError: the camera is silent.
            CodecError: an image cannot be decoded.
        """
        seen = self.count + skip
        found = []
        for _ in range(count):
            msg = self.message(seen, timeout_s)
            seen = self.count
            found.append(np.array(self._decode(msg)))
        return found

    def newest(self) -> Image:
        """The newest image, decoded; wait for the first one with `message` before."""
        return np.array(self._decode(self.message(self.count - 1)))

    def image_after(self, t_ns: int, timeout_s: float = 10.0) -> tuple[int, Image, str]:
        """Stamp [ns], pixels and frame of the first received image that was taken after `t_ns`."""
        seen = -1
        while True:
            msg = self.message(seen, timeout_s)
            if stamp_ns(msg) > t_ns:
                return stamp_ns(msg), np.array(self._decode(msg)), msg.header.frame_id
            seen = self.count


class RemoteParameters:
    """The parameters of another node."""

    def __init__(self, node: Node, name: str, *, timeout_s: float = 10.0) -> None:
        self.name = name
        self._client = AsyncParameterClient(node, name)
        self._timeout_s = timeout_s

    def ready(self, timeout_s: float) -> bool:
        """Whether the node is there within a time."""
        return bool(self._client.wait_for_services(timeout_s))

    def require(self, timeout_s: float, camera: str) -> None:
        """Wait for the node.

        Raises:
            CameraError: it is not there; the text says what to do.
        """
        if not self.ready(timeout_s):
            raise CameraError(
                f"camera '{camera}': there is no node '{self.name}' with parameters after {timeout_s:g} s. Start the "
                f"driver, or name its node in the profile (cameras.{camera}.node)"
            )

    def _wait(self, future: Any, what: str) -> Any:
        return wait_future(future, self._timeout_s, f"node {self.name}: {what}")

    def names(self) -> frozenset[str]:
        """Names of all its parameters."""
        return frozenset(self._wait(self._client.list_parameters(), "list of parameters").result.names)

    def describe(self, names: Sequence[str]) -> dict[str, ParameterDescriptor]:
        """Type and range by name."""
        found = self._wait(self._client.describe_parameters(list(names)), "description of parameters").descriptors
        return dict(zip(names, found, strict=True))

    def get(self, names: Sequence[str]) -> dict[str, Value]:
        """Values by name."""
        values = self._wait(self._client.get_parameters(list(names)), "values of parameters").values
        return {name: parameter_value_to_python(value) for name, value in zip(names, values, strict=True)}

    def set(self, values: Mapping[str, Value]) -> dict[str, str]:
        """Set values in order, each in the type that the node declares; returns why not, by name."""
        kinds = {name: descriptor.type for name, descriptor in self.describe(list(values)).items()}
        wanted = [Parameter(name, value=_cast(value, kinds[name])) for name, value in values.items()]
        results = self._wait(self._client.set_parameters(wanted), "change of parameters").results
        return {p.name: result.reason for p, result in zip(wanted, results, strict=True) if not result.successful}


def _cast(value: Value, kind: int) -> Value:
    """Drivers declare the same setting as a whole number or not, depending on the device."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == Parameter.Type.INTEGER.value and number:
        return round(float(value))
    if kind == Parameter.Type.DOUBLE.value and number:
        return float(value)
    return value


def colour_cameras(profile: Profile, names: Sequence[str] = ()) -> tuple[CameraSpec, ...]:
    """The colour cameras of a profile, or those of them that are named.

    Raises:
        CameraError: an unknown name, or none at all.
    """
    known = {camera.name: camera for camera in profile.cameras if not camera.depth}
    for name in names:
        if name not in known:
            raise CameraError(f"profile {profile.robot} has no colour camera '{name}'; it has: {', '.join(known)}")
    chosen = tuple(known[name] for name in names) or tuple(known.values())
    if not chosen:
        raise CameraError(f"profile {profile.robot} has no colour camera")
    return chosen
