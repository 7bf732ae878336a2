# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_monitor rerun_node --ros-args -p profile:=robot.yaml -p mode:=save``: what happens, in rerun.

Cameras, joints measured, in force and predicted, the tool against the chunk, phases, and figures of the policy. All of it is
handed to another thread through a queue that drops what it has no room for, so a slow viewer holds nothing up.
"""

import sys
from collections import deque
from functools import partial
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message
from rosidl_runtime_py.utilities import get_message
from trajectory_msgs.msg import JointTrajectory
from vla_common.params import declare
from vla_common.qos import COMMAND, SENSOR_BEST_EFFORT
from vla_common.run import EXIT_FAILURE, EXIT_OK, ManagedNode, run_node
from vla_core.errors import CodecError
from vla_core.profile import Profile, load_profile
from vla_core.specs import CameraSpec
from vla_core.stamps import to_ns
from vla_msgs.msg import PolicyStatus

from vla_monitor import chunk as chunks
from vla_monitor.arms import find_arms
from vla_monitor.drop_queue import DropQueue
from vla_monitor.pictures import encoded, shown
from vla_monitor.rerun_log import FIGURES, PREDICTED, STATE, TARGET, RerunLog, blueprint
from vla_monitor.rerun_outlet import CLOSED, END_S, Outlet
from vla_monitor.rerun_params import RerunParams
from vla_monitor.story import Story
from vla_monitor.values import JointValues, commanded, measured, message_ns

GATHER_S = 0.02
PATH_POINTS = 300
PATH_NS = 250_000_000  # a path is logged whole, so not with every point
REPORT_S = 10.0


class RerunNode(ManagedNode):
    """See the module."""

    def __init__(self, **kwargs: Any) -> None:
        """Open the outlet and subscribe.

        Raises:
            VlaError: the profile or the outlet is unusable.
        """
        super().__init__("rerun", **kwargs)
        self.gather_s = GATHER_S
        self._params = declare(self, RerunParams)
        profile = load_profile(self._params.profile)
        self._arms, _ = find_arms(profile)
        actions = {spec.name: spec.joints for spec in profile.action}
        cameras = [camera for camera in profile.cameras if shown(camera.type)]
        self._outlet = Outlet(self._params, profile.robot, blueprint([camera.name for camera in cameras], actions))
        joints = [joint for names in actions.values() for joint in names]
        self._log = RerunLog(self._outlet.recording, profile.robot, joints, self._arms)
        self._queue = DropQueue(self._params.queue)
        self._worker = self.start_thread(self._queue.serve, "rerun log")
        self._period_ns, self._image_ns = to_ns(1.0 / self._params.rate_hz), to_ns(1.0 / self._params.image_hz)
        self._next_ns: dict[str, int] = {}
        self._values: dict[str, float] = {}
        self._paths: dict[str, deque[Any]] = {arm.name: deque(maxlen=PATH_POINTS) for arm in self._arms}
        self._chunk: chunks.Chunk | None = None
        self._told = ""
        self._subscribe(profile, cameras)
        self._story = Story(self, self._on_policy)
        self.create_timer(0.1, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"rerun: {self._outlet.where}")

    def _subscribe(self, profile: Profile, cameras: list[CameraSpec]) -> None:
        left_out = [camera.name for camera in profile.cameras if camera not in cameras]
        if left_out:
            self.get_logger().warning(f"not shown: {', '.join(left_out)}; their topics carry packets of a video")
        for camera in cameras:
            kind = get_message(camera.type)
            receive = partial(self._on_image, camera, kind)
            self.create_subscription(kind, camera.topic, receive, SENSOR_BEST_EFFORT, raw=True)
        for kind_of, reader in ((STATE, measured(profile)), (TARGET, commanded(profile))):
            for topic, type_name in reader.types.items():
                receive = partial(self._on_joints, kind_of, reader, topic)
                self.create_subscription(get_message(type_name), topic, receive, SENSOR_BEST_EFFORT)
        self.create_subscription(JointTrajectory, chunks.TOPIC, self._on_chunk, COMMAND)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _due(self, key: str, t_ns: int, period_ns: int) -> bool:
        """Whether something is to be logged at `t_ns`, once per period; a clock that went back begins anew."""
        next_ns = self._next_ns.get(key, 0)
        if next_ns - period_ns <= t_ns < next_ns:
            return False
        self._next_ns[key] = t_ns + period_ns
        return True

    def _on_image(self, camera: CameraSpec, kind: Any, data: bytes) -> None:
        now_ns = self._now_ns()
        if self._due(f"camera {camera.name}", now_ns, self._image_ns):
            self._queue.put(lambda: self._log_image(camera, kind, data, now_ns))

    def _log_image(self, camera: CameraSpec, kind: Any, data: bytes, now_ns: int) -> None:
        msg = deserialize_message(data, kind)
        try:
            picture, media = encoded(msg, camera.type, self._params.jpeg_quality)
        except CodecError as error:
            self.get_logger().warning(f"camera {camera.name}: {error}", throttle_duration_sec=REPORT_S)
            return
        self._log.at(message_ns(msg, now_ns))
        self._log.image(camera.name, picture, media)

    def _on_joints(self, kind: str, reader: JointValues, topic: str, msg: Any) -> None:
        values = reader.read(topic, msg)
        t_ns = message_ns(msg, self._now_ns())
        if not values or not self._due(f"{kind} {next(iter(values))}", t_ns, self._period_ns):
            return
        self._queue.put(lambda: self._log_joints(kind, values, t_ns))

    def _log_joints(self, kind: str, values: dict[str, float], t_ns: int) -> None:
        self._log.at(t_ns)
        self._log.joints(kind, values)
        if kind != STATE:
            return
        self._values.update(values)
        chunk = self._chunk
        if chunk is not None:
            known = {joint: chunk.value(joint, t_ns) for joint in values}
            self._log.joints(PREDICTED, {joint: value for joint, value in known.items() if value is not None})
        for arm in self._arms:
            if set(values) & set(arm.joints) and (tool := arm.tool(self._values)) is not None:
                self._paths[arm.name].append(tool)
                self._log.tool(arm.name, tool)
                if self._due(f"path {arm.name}", t_ns, PATH_NS):
                    self._log.path(arm.name, np.array(self._paths[arm.name]))

    def _on_chunk(self, msg: JointTrajectory) -> None:
        now_ns = self._now_ns()
        self._queue.put(lambda: self._log_chunk(msg, now_ns))

    def _log_chunk(self, msg: JointTrajectory, now_ns: int) -> None:
        chunk = chunks.read_chunk(msg)
        if chunk is None:
            return
        self._chunk = chunk
        self._log.at(now_ns)
        for arm in self._arms:
            points = arm.path(chunk.names, chunk.rows)
            if points is not None:
                self._log.chunk(arm.name, points)

    def _on_policy(self, msg: PolicyStatus) -> None:
        now_ns, values = self._now_ns(), {name: float(getattr(msg, name)) for name in FIGURES}
        self._queue.put(lambda: self._log.figures(now_ns, values))
        if msg.state != PolicyStatus.RUNNING:
            self._queue.put(self._forget_chunk)

    def _forget_chunk(self) -> None:
        self._chunk = None

    def _look(self) -> None:
        """Ten times a second: phase and task, whether the viewer is there, and what was dropped."""
        text = " · ".join(filter(None, (self._story.phase, self._story.task)))
        if text != self._told:
            self._told, now_ns = text, self._now_ns()
            self._queue.put(lambda: self._log.story(now_ns, text))
        if (why := self._outlet.ended()) and not self.stop.is_set():
            if why != CLOSED:
                self.get_logger().error(why)
            self.stop.set(EXIT_OK if why == CLOSED else EXIT_FAILURE, why)
        if self._queue.dropped:
            self.get_logger().warning(
                f"the viewer is slow: {self._queue.dropped} messages were dropped", throttle_duration_sec=REPORT_S
            )

    def close(self) -> None:
        """Log what is queued, and end the outlet."""
        if self._queue.end(END_S):
            self._worker.join(END_S)
        if problem := self._outlet.close():
            self.get_logger().error(f"rerun: {problem}")
        self.get_logger().info(
            f"rerun: {self._queue.done} messages logged to {self._outlet.where}, {self._queue.dropped} dropped"
        )


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(RerunNode, args)


if __name__ == "__main__":
    sys.exit(main())
