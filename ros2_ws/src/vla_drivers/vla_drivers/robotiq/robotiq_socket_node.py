# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_drivers robotiq_socket``: a Robotiq 2F-85 with the interfaces of ros2_robotiq_gripper.

Relative to the namespace: `joint_states` (knuckle angle [rad]), the action `robotiq_gripper_controller/gripper_cmd` and the
service `robotiq_activation_controller/reactivate_gripper`.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from control_msgs.action import GripperCommand, ParallelGripperCommand
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.action.server import ServerGoalHandle
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from vla_common.action_server import DeferredActionServer
from vla_common.diagnostics import Diagnostics
from vla_common.params import declare
from vla_common.qos import SENSOR
from vla_common.run import ManagedNode, run_node
from vla_common.ticks import ClockTicker
from vla_core.controller_outcome import GoalRefusedError
from vla_core.stamps import split_ns

from vla_drivers.emulators.robotiq import RobotiqEmulator
from vla_drivers.errors import DriverError, LinkError
from vla_drivers.robotiq.client import GripperClient
from vla_drivers.robotiq.gripper import ACTIVE, Gripper, GripperSettings, Reading, fault_text
from vla_drivers.robotiq.robotiq_socket_params import RobotiqSocketParams

JOINT = "robotiq_85_left_knuckle_joint"
CONTROLLER = "robotiq_gripper_controller"
_STATE_S = 1.0  # how often status and fault are read while nothing moves
_END_S = 3.0


class RobotiqSocketNode(ManagedNode):
    """Owns the connection in one thread; ROS callbacks put jobs into its queue."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__("robotiq_socket", **kwargs)
        self.params = declare(self, RobotiqSocketParams)
        if not self.params.robot_ip and not self.params.use_mock_hardware:
            raise DriverError(
                "parameter robot_ip is empty: give the address that the robot's pendant shows under Settings, System, Network, or "
                "use_mock_hardware:=true"
            )
        self.emulator = RobotiqEmulator() if self.params.use_mock_hardware else None
        ip, port = self.emulator.address if self.emulator else (self.params.robot_ip, self.params.gripper_port)
        self._client = GripperClient(ip, port, timeout_s=self.params.answer_timeout_s)
        self._gripper = Gripper(self._client, _settings(self.params))
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._problem = ""
        self._reconnects = 0
        try:
            self._client.connect()
            self._gripper.poll(time.monotonic(), everything=True)
        except DriverError:
            self._close_emulator()
            raise
        self._joint = self.params.joint_prefix + JOINT
        self._publisher = self.create_publisher(JointState, "joint_states", SENSOR)
        self._parallel = self.params.action_type == "parallel_gripper_command"
        self._type: Any = ParallelGripperCommand if self._parallel else GripperCommand
        self._server = DeferredActionServer(
            self,
            self._type,
            f"{CONTROLLER}/gripper_cmd",
            check=self._check,
            accepted=lambda handle: self._jobs.put(lambda: self._start(handle)),
            cancel=lambda handle: self._gripper.cancel(handle),
        )
        self.create_service(Trigger, "robotiq_activation_controller/reactivate_gripper", self._reactivate)
        diagnostics = Diagnostics(self, hardware_id=f"{ip}:{port}")
        self._health = diagnostics.stream("joint_states", expected_hz=self.params.poll_rate_hz, max_age_s=1.0)
        diagnostics.part("gripper", self._report)
        self._say_ready()
        self._ticker = ClockTicker(self, self.params.poll_rate_hz)
        self._thread = self.start_thread(self._run, "socket")

    def close(self) -> None:
        """Stop the loop and close the connection; the fingers stay as they are."""
        self._ending.set()
        self._thread.join(timeout=_END_S)
        self._client.close()
        self._close_emulator()
        self._ticker.close()

    def _close_emulator(self) -> None:
        if self.emulator is not None:
            self.emulator.close()

    def _say_ready(self) -> None:
        mock = " (EMULATED: use_mock_hardware)" if self.emulator else ""
        if self._gripper.status == ACTIVE:
            self.get_logger().info(f"gripper at {self._client.ip}:{self._client.port} is active{mock}")
        elif self.params.activation == "start":
            self._jobs.put(self._gripper.activate)
        else:
            self.get_logger().warning(
                f"gripper at {self._client.ip}:{self._client.port} is not active{mock}: "
                + (
                    "the first goal"
                    if self.params.activation == "first_goal"
                    else "robotiq_activation_controller/reactivate_gripper"
                )
                + " activates it, and its fingers open and close; keep them free"
            )

    def _run(self) -> None:
        state_s = 0.0
        with self._ticker.attached():
            while not self._ending.is_set():
                if self._ticker.wait(0.5) is None:
                    continue
                now_s = time.monotonic()
                everything = now_s - state_s >= _STATE_S
                state_s = now_s if everything else state_s
                try:
                    self._cycle(now_s, everything)
                except LinkError as error:
                    self._lost(error)
                self._finish_goals()

    def _cycle(self, now_s: float, everything: bool) -> None:
        self._server.serve_cancels()
        while not self._jobs.empty():
            self._jobs.get()()
        stamp_ns = self.get_clock().now().nanoseconds
        self._publish(stamp_ns, self._gripper.poll(now_s, everything=everything))

    def _publish(self, t_ns: int, reading: Reading) -> None:
        message = JointState(name=[self._joint], position=[reading.position], velocity=[reading.velocity])
        message.header.stamp.sec, message.header.stamp.nanosec = split_ns(t_ns)
        self._publisher.publish(message)
        self._health.tick(t_ns)

    def _lost(self, error: LinkError) -> None:
        """Nothing is published, the goal ends, and the connection is opened anew until the gripper is back."""
        self._problem = str(error)
        self._client.close()
        self._gripper.lost(str(error))
        self._finish_goals()
        if self.params.reconnect_s == 0.0:
            raise error
        self.get_logger().error(
            f"GRIPPER LOST, joint_states stop: {error}. Trying again every {self.params.reconnect_s:g} s"
        )
        while not self._ending.wait(self.params.reconnect_s):
            while not self._jobs.empty():
                with contextlib.suppress(LinkError):  # goals that came meanwhile have ended with this reason
                    self._jobs.get()()
            self._finish_goals()
            try:
                self._client.connect()
            except LinkError as again:
                self._problem = str(again)
                self.get_logger().error(str(again), throttle_duration_sec=10.0)
                continue
            self._problem, self._reconnects = "", self._reconnects + 1
            self.get_logger().warning("the gripper is back")
            return

    def _start(self, handle: ServerGoalHandle) -> None:
        try:
            self._gripper.start(*self._command(handle.request), token=handle, now_s=time.monotonic())
        except LinkError as error:
            self._gripper.lost(str(error))
            raise

    def _finish_goals(self) -> None:
        outcomes, self._gripper.outcomes = self._gripper.outcomes, []
        for outcome in outcomes:
            if outcome.text:
                self.get_logger().warning(f"{CONTROLLER}: goal ended {outcome.status.name}: {outcome.text}")
            self._server.finish(outcome.token, outcome.status, self._result(outcome.stalled, outcome.reached))

    def _result(self, stalled: bool, reached: bool) -> Any:
        reading = self._gripper.reading
        position = [] if reading is None else [reading.position]
        result = self._type.Result(stalled=stalled, reached_goal=reached)
        if self._parallel:
            result.state = JointState(name=[self._joint], position=position)
        elif position:
            result.position = position[0]
        return result

    def _command(self, goal: Any) -> tuple[float, float | None, float | None]:
        command = goal.command
        if not self._parallel:
            return command.position, None, command.max_effort
        if len(command.position) != 1 or (len(command.name) and list(command.name) != [self._joint]):
            raise GoalRefusedError(
                f"the goal names {list(command.name)} with {len(command.position)} positions, expected one for {self._joint}"
            )
        velocity = command.velocity[0] if len(command.velocity) else None
        return command.position[0], velocity, command.effort[0] if len(command.effort) else None

    def _check(self, goal: Any) -> bool:
        try:
            self._gripper.check(*self._command(goal))
            if self._problem:
                raise GoalRefusedError(f"the gripper does not answer at present: {self._problem}")
            if self._gripper.status != ACTIVE and self.params.activation == "service":
                raise GoalRefusedError(
                    "the gripper is not active. Keep its fingers free, then: ros2 service call "
                    "/robotiq_activation_controller/reactivate_gripper std_srvs/srv/Trigger"
                )
        except GoalRefusedError as error:
            self.get_logger().error(f"{CONTROLLER}: goal rejected: {error}")
            return False
        return True

    def _reactivate(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = not self._problem
        response.message = self._problem or "activation begun; the fingers open and close"
        if response.success:
            self._jobs.put(self._gripper.activate)
        return response

    def _report(self) -> tuple[bytes, str, dict[str, str]]:
        fault = fault_text(self._gripper.fault)
        values = {
            "status": str(self._gripper.status),
            "fault": str(self._gripper.fault),
            "reconnects": str(self._reconnects),
        }
        if self._problem or fault:
            return DiagnosticStatus.ERROR, self._problem or fault, values
        if self._gripper.status != ACTIVE:
            return DiagnosticStatus.WARN, "not active", values
        return DiagnosticStatus.OK, "active", values


def _settings(params: RobotiqSocketParams) -> GripperSettings:
    return GripperSettings(
        open_register=params.open_register,
        closed_register=params.closed_register,
        goal_tolerance=params.goal_tolerance,
        motion_timeout_s=params.motion_timeout_s,
        speed=params.default_speed,
        force=params.default_force,
    )


def main(args: list[str] | None = None) -> int:
    """Drive the gripper until SIGINT, SIGTERM or, with reconnect_s 0, until it is lost."""
    return run_node(RobotiqSocketNode, args)


if __name__ == "__main__":
    sys.exit(main())
