# SPDX-License-Identifier: Apache-2.0

"""Views for a hand-eye calibration: an image while the arm stands still, and the joints at the stamp of that image."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from numpy.typing import NDArray
from rclpy.node import Node
from rosidl_runtime_py.utilities import get_message
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectoryPoint
from vla_common.action_client import GoalClient
from vla_common.qos import LATCHED
from vla_common.services import send_goal
from vla_common.stillness import Stillness
from vla_core.boards import Board
from vla_core.codecs import reader
from vla_core.kinematics import forward, pose_matrix, rotation_from_quaternion
from vla_core.profile import Profile
from vla_core.specs import CameraSpec, Kinematics, StateSpec
from vla_core.stamps import stamp_ns

from vla_teleop.cameras.errors import CalibrationError, CameraError
from vla_teleop.cameras.loop import Lens, View
from vla_teleop.cameras.poses import Reach
from vla_teleop.cameras.session import CameraTap, sensor_qos

Array = NDArray[np.float64]
_STILL_RAD = 5e-4  # a tenth of a millimetre at 20 cm
_STILL_S = 0.25
_HISTORY = 2000
_SPEED = 0.35  # rad/s
_MODELS = ("plumb_bob", "rational_polynomial", "")
_ROOT_WAIT_S = 1.0


class ArmTap:
    """The joint positions of the arm over the last moments."""

    def __init__(self, node: Node, profile: Profile, arm: Kinematics) -> None:
        """Subscribe.

        Raises:
            CameraError: no state of the profile holds the arm's joints.
        """
        wanted = [f"position.{joint}" for joint in arm.joints]
        spec = next((spec for spec in profile.state if set(wanted) <= set(spec.fields)), None)
        if spec is None:
            raise CameraError(f"profile {profile.robot}: no entry of 'state' holds all joints of 'kinematics'")
        self.spec: StateSpec = spec
        self._reader = reader(spec.type, wanted)
        self._new = threading.Condition()
        self._past: deque[tuple[int, Array]] = deque(maxlen=_HISTORY)
        self._still = Stillness(arm.joints, tolerance=_STILL_RAD, window_s=_STILL_S)
        self._subscription = node.create_subscription(
            get_message(spec.type), spec.topic, self._receive, sensor_qos(node, spec.topic)
        )

    def _receive(self, msg: Any) -> None:
        if self._reader.carries(msg) != "all":
            return  # another driver's message on the same topic
        q = self._reader.read(msg)
        with self._new:
            t_ns = stamp_ns(msg)
            self._past.append((t_ns, q))
            self._still.note(t_ns, q)
            self._new.notify_all()

    def newest(self, timeout_s: float) -> Array:
        """Joint positions (n,) now.

        Raises:
            CameraError: nothing is received.
        """
        with self._new:
            if not self._new.wait_for(lambda: bool(self._past), timeout_s):
                raise CameraError(
                    f"no joint states of the arm on {self.spec.topic} within {timeout_s:g} s; is it running?"
                )
            return self._past[-1][1].copy()

    def standing(self, timeout_s: float) -> int:
        """Time [ns] from which on the arm has been standing still.

        Raises:
            CameraError: it does not come to rest.
        """
        with self._new:
            self._new.wait_for(lambda: bool(self._past) and self._still.still(self._past[-1][0]), timeout_s)
            if not self._past:
                raise CameraError(
                    f"no joint states of the arm on {self.spec.topic} within {timeout_s:g} s; is it running?"
                )
            reason = self._still.why_not(self._past[-1][0])
            if reason is not None:
                raise CameraError(
                    f"the arm does not stand still after {timeout_s:g} s: {reason}. Let it rest and try again"
                )
            return self._past[-1][0] - round(_STILL_S * 1e9)

    def at(self, t_ns: int, timeout_s: float) -> Array:
        """Joint positions (n,) at a time, between the two nearest messages.

        Raises:
            CameraError: no messages around that time.
        """
        with self._new:
            if not self._new.wait_for(lambda: bool(self._past) and self._past[-1][0] >= t_ns, timeout_s):
                raise CameraError(
                    f"no joint states as new as the image on {self.spec.topic}; are the clocks of camera and arm the same?"
                )
            times = [t for t, _ in self._past]
            if times[0] > t_ns:
                raise CameraError(
                    "the image is older than all joint states; are the clocks of camera and arm the same?"
                )
            k = int(np.searchsorted(times, t_ns))
            if times[k] == t_ns:
                return self._past[k][1].copy()
            (t0, q0), (t1, q1) = self._past[k - 1], self._past[k]
            return q0 + (q1 - q0) * ((t_ns - t0) / (t1 - t0))


class FrameTap:
    """The static frames that are published."""

    def __init__(self, node: Node) -> None:
        self._new = threading.Condition()
        self._edges: dict[str, tuple[str, Array]] = {}
        self._subscription = node.create_subscription(TFMessage, "tf_static", self._receive, LATCHED)

    def _receive(self, msg: Any) -> None:
        with self._new:
            for edge in msg.transforms:
                t, r = edge.transform.translation, edge.transform.rotation
                T = pose_matrix([t.x, t.y, t.z], rotation_from_quaternion([r.x, r.y, r.z, r.w]))
                self._edges[edge.child_frame_id.lstrip("/")] = (edge.header.frame_id.lstrip("/"), T)
            self._new.notify_all()

    def wait_for(self, frame: str, timeout_s: float) -> bool:
        """Wait until a frame has a parent; returns whether it has."""
        with self._new:
            return self._new.wait_for(lambda: frame in self._edges, timeout_s)

    def edges(self) -> dict[str, tuple[str, Array]]:
        """Child to parent and pose of the child in the parent."""
        with self._new:
            return dict(self._edges)


class Collector:
    """Takes views of a board with one camera and moves the arm between them."""

    def __init__(self, node: Node, profile: Profile, camera: CameraSpec, board: Board, wait_s: float) -> None:
        """Subscribe to camera, calibration and arm.

        Raises:
            CameraError: the profile lacks kinematics, states or the camera's info_topic, or nothing is received.
        """
        if profile.kinematics is None:
            raise CameraError(f"profile {profile.robot} has no kinematics, so the pose of the tool is unknown")
        if camera.info_topic is None:
            raise CameraError(f"camera '{camera.name}' has no info_topic in the profile; its intrinsics are needed")
        self._node, self._profile, self._board, self._wait_s = node, profile, board, wait_s
        self._arm_model = profile.kinematics
        self._camera = CameraTap(node, camera)
        self._arm = ArmTap(node, profile, profile.kinematics)
        self.frames = FrameTap(node)
        self._info: Any = None
        self._has_info = threading.Event()
        self._subscription = node.create_subscription(
            CameraInfo, camera.info_topic, self._on_info, sensor_qos(node, camera.info_topic)
        )
        self._count = 0
        self.frame_id = ""

    def _on_info(self, msg: Any) -> None:
        self._info = msg
        self._has_info.set()

    def lens(self) -> Lens:
        """The camera's intrinsics.

        Raises:
            CameraError: nothing is received, or the lens is described by a model that is not supported.
        """
        topic = self._camera.camera.info_topic
        if not self._has_info.wait(self._wait_s):
            raise CameraError(f"no camera_info on {topic} within {self._wait_s:g} s; does the driver publish it?")
        if self._info.distortion_model not in _MODELS:
            raise CameraError(
                f"{topic}: distortion model '{self._info.distortion_model}' is not supported; use rectified images"
            )
        K = np.array(self._info.k, dtype=np.float64).reshape(3, 3)
        if K[0, 0] <= 0.0:
            raise CameraError(
                f"{topic}: the focal length is {K[0, 0]:g}, so the camera is not calibrated; calibrate it first"
            )
        return Lens(K, np.array(self._info.d, dtype=np.float64))

    def joints(self) -> Array:
        """Joint positions (n,) now."""
        return self._arm.newest(self._wait_s)

    def take(self) -> View:
        """Wait until the arm stands still and take a view; it may show few points or none.

        Raises:
            CameraError: the arm does not come to rest, or camera or joint states are silent.
        """
        since = self._arm.standing(self._wait_s)
        stamp, image, self.frame_id = self._camera.image_after(since, self._wait_s)
        q = self._arm.at(stamp, self._wait_s)
        points, pixels = self._board.detect(image)
        self._count += 1
        return View(f"view {self._count}", forward(self._arm_model, q), points, pixels)

    def mover(self) -> Callable[[Array], None]:
        """Return a function that brings the arm to joint positions by its trajectory controller and waits.

        Raises:
            CalibrationError: see `Reach`.
        """
        arm = Reach(self._profile).arm
        client = GoalClient(self._node, FollowJointTrajectory, arm.command.name)
        limits = arm.limits.max_velocity or (_SPEED,) * len(arm.joints)
        speed = min(_SPEED, *(0.5 * value for value in limits))

        def move(goal: Array) -> None:
            seconds = max(1.0, float(np.abs(goal - self.joints()).max()) / speed)
            request = FollowJointTrajectory.Goal()
            request.trajectory.joint_names = list(arm.joints)
            whole = int(seconds)
            duration = Duration(sec=whole, nanosec=int((seconds - whole) * 1e9))
            still = [0.0] * len(arm.joints)
            request.trajectory.points = [
                JointTrajectoryPoint(positions=goal.tolist(), velocities=still, time_from_start=duration)
            ]
            outcome = send_goal(client, request, self._wait_s).wait(self._wait_s + 10.0 * seconds)
            if not outcome.succeeded:
                raise CalibrationError(
                    f"the arm did not reach its pose: {outcome.result.error_string or 'see the log of its controller'}. Is "
                    f"{arm.command.controller} active and the robot enabled?"
                )

        return move

    def static_frames(self) -> dict[str, tuple[str, Array]]:
        """Static frames; waits a moment for the first ones."""
        self.frames.wait_for(self.frame_id, _ROOT_WAIT_S)
        return self.frames.edges()
