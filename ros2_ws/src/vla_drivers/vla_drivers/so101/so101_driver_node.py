# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_drivers so101_driver``: one SO-101 arm with the interfaces of a ros2_control robot.

Topics relative to the namespace: `joint_states`; of a follower also the action
`joint_trajectory_controller/follow_joint_trajectory`, the topic `forward_position_controller/commands` and the services
`controller_manager/list_controllers` and `controller_manager/switch_controller`.
"""

from __future__ import annotations

import gc
import sys
import threading
import time

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState
from vla_common.diagnostics import Diagnostics
from vla_common.params import declare
from vla_common.qos import SENSOR
from vla_common.run import EXIT_FAILURE, ManagedNode, run_node
from vla_common.ticks import ClockTicker
from vla_core.stamps import split_ns

from vla_drivers.emulators.feetech import FeetechEmulator
from vla_drivers.errors import DriverError, LinkError
from vla_drivers.so101 import calibration as files
from vla_drivers.so101.arm import So101Arm
from vla_drivers.so101.controllers import Controllers
from vla_drivers.so101.motion import Motion, MotionLimits
from vla_drivers.so101.so101_driver_params import So101DriverParams
from vla_drivers.so101.units import Units, Vector

_MOCK_PATIENCE_S = 1.0
_END_S = 3.0


class So101DriverNode(ManagedNode):
    """Owns the bus in one thread; ROS callbacks only change what that thread does next."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__("so101_driver", **kwargs)
        self.params = declare(self, So101DriverParams)
        calibration = self._calibration()
        units = Units(gripper_closed=self.params.gripper_closed, gripper_open=self.params.gripper_open)
        if abs(units.gripper_open - units.gripper_closed) < 0.01:
            raise DriverError(
                "parameters gripper_closed and gripper_open are the same angle; give the two ends of the gripper"
            )
        self.emulator = FeetechEmulator(calibration) if self.params.use_mock_hardware else None
        self._arm = So101Arm(
            str(self.emulator.path) if self.emulator else self.params.port,
            self.params.role,
            calibration,
            units,
            self.params.id,
            _MOCK_PATIENCE_S if self.emulator else 0.0,
        )
        try:
            self._arm.connect()
        except DriverError:
            self._close_emulator()
            raise
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._reconnects = 0
        self._problem = ""
        self._motion = Motion(
            [self.params.joint_prefix + joint for joint in files.JOINTS],
            _limits(self.params, *units.limits(calibration)),
            self.params.initial_joint_controller,
        )
        self._publisher = self.create_publisher(JointState, "joint_states", SENSOR)
        self._controllers = None
        if self.params.role == "follower":
            self._controllers = Controllers(self, self._motion, self._lock, self.params.rate_hz)
        diagnostics = Diagnostics(self, hardware_id=self._arm.port)
        self._health = diagnostics.stream(
            "joint_states", expected_hz=self.params.rate_hz, max_age_s=self.params.link_timeout_s
        )
        diagnostics.part("arm", self._report)
        self._ticker = ClockTicker(self, self.params.rate_hz)
        self._thread = self.start_thread(self._run, "bus")
        self.get_logger().info(
            f"SO-101 {self.params.role} on {self._arm.port} ready"
            + (" (EMULATED: use_mock_hardware)" if self.emulator else "")
            + ("; torque comes on with the first command" if self._controllers else "; torque is off")
        )

    def close(self) -> None:
        """Stop the loop; hold or let go, as the parameter `on_exit` says."""
        self._ending.set()
        self._thread.join(timeout=_END_S)
        torque_off = self.params.role == "leader" or self.params.on_exit == "torque_off"
        try:
            self._arm.close(torque_off=torque_off)
        except LinkError as error:
            self.get_logger().error(str(error))
            self.stop.code = EXIT_FAILURE
        if self._motion.engaged and not torque_off:
            self.get_logger().warning("the arm HOLDS its position with torque on; support it before its power is cut")
        self._close_emulator()
        self._ticker.close()

    def _calibration(self) -> files.Calibration:
        params = self.params
        if params.use_mock_hardware and not params.calibration_file:
            return files.NOMINAL
        path = files.find(params.role, given=params.calibration_file, name=params.id, port=params.port)
        if not params.port and not params.use_mock_hardware:
            raise DriverError(
                "parameter port is empty: which serial port is the arm on? Find it with: ros2 run vla_drivers find_port"
            )
        return files.read(path, params.role)

    def _close_emulator(self) -> None:
        if self.emulator is not None:
            self.emulator.close()

    def _run(self) -> None:
        heard = time.monotonic()
        with self._ticker.attached():
            while not self._ending.is_set():
                if self._ticker.wait(0.5) is None:
                    continue
                try:
                    self._cycle(self.get_clock().now().nanoseconds)
                    heard = time.monotonic()
                except LinkError as error:
                    if time.monotonic() - heard > self.params.link_timeout_s:
                        self._lost(error)
                        heard = time.monotonic()
                if self._controllers:
                    self._controllers.finish_goals()

    def _cycle(self, now: int) -> None:
        measured = self._arm.read()
        with self._lock:
            if self._controllers:
                self._controllers.serve_cancels()
            command = self._motion.update(now, measured)
            velocity = self._motion.velocity
        self._publish(now, measured, velocity)
        if command is None or self._controllers is None:
            return
        if command.engage:
            self._engage(command.positions)
        self._arm.write(command.positions)

    def _engage(self, positions: Vector) -> None:
        try:
            self._arm.torque_on(positions)
        except LinkError:
            with self._lock:
                self._motion.engaged = False  # the next cycle tries again, from where the arm is then
            raise
        self.get_logger().info("torque is on: the arm holds and follows commands")

    def _publish(self, t_ns: int, position: Vector, velocity: Vector) -> None:
        message = JointState(name=list(self._motion.joints), position=position.tolist(), velocity=velocity.tolist())
        message.header.stamp.sec, message.header.stamp.nanosec = split_ns(t_ns)
        message.header.frame_id = f"{self.params.joint_prefix}base_link"
        self._publisher.publish(message)
        self._health.tick(t_ns)

    def _lost(self, error: LinkError) -> None:
        """The arm does not answer: nothing is published, goals end, and the port is opened anew until it is back."""
        self._problem = str(error)
        with self._lock:
            self._motion.lost(f"the arm was lost: {error}")
            if self._controllers:
                self._controllers.finish_goals()
        self._arm.drop()
        if self.params.reconnect_s == 0.0:
            raise error
        self.get_logger().error(
            f"ARM LOST, joint_states stop: {error}. Trying again every {self.params.reconnect_s:g} s"
        )
        while not self._ending.wait(self.params.reconnect_s):
            try:
                self._arm.connect()
            except LinkError as again:
                self._problem = str(again)
                self.get_logger().error(str(again), throttle_duration_sec=10.0)
                continue
            self._reconnects += 1
            self._problem = ""
            self.get_logger().warning("the arm is back; it does not move before the next command")
            return

    def _report(self) -> tuple[bytes, str, dict[str, str]]:
        with self._lock:
            engaged = self._motion.engaged
        values = {"port": self._arm.port, "torque": str(engaged).lower(), "reconnects": str(self._reconnects)}
        if self._problem:
            return DiagnosticStatus.ERROR, self._problem, values
        return DiagnosticStatus.OK, "follows commands" if engaged else "no command yet", values


def _limits(params: So101DriverParams, lower: Vector, upper: Vector) -> MotionLimits:
    return MotionLimits(
        lower=lower,
        upper=upper,
        max_velocity=params.max_velocity,
        max_step=params.max_step,
        command_timeout_s=params.command_timeout_s,
        path_tolerance=params.path_tolerance,
        goal_tolerance=params.goal_tolerance,
        goal_time_s=params.goal_time_s,
    )


def main(args: list[str] | None = None) -> int:
    """Drive the arm until SIGINT, SIGTERM or, with reconnect_s 0, until it is lost."""
    # What LeRobot has loaded (PyTorch among it) lives as long as the program; freeing it one by one costs a second at the end.
    gc.freeze()
    return run_node(So101DriverNode, args)


if __name__ == "__main__":
    sys.exit(main())
