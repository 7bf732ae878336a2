# SPDX-License-Identifier: Apache-2.0

"""A person drives the arm: `ros2 run vla_teleop teleop_node --ros-args -p profile:=FILE -p device:=sol_r2`.

Nothing moves until the service `~/enable` is called with true. Then the arm goes from its trajectory controller to the
streaming controller of the profile, and the device's twists, or a leader arm's joints, are followed once per tick.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger
from vla_common.params import declare
from vla_common.preflight import guarded
from vla_common.priority import prefer_this_thread
from vla_common.run import ManagedNode, run_node
from vla_common.ticks import make_ticker
from vla_core.profile import Profile, load_profile
from vla_msgs.srv import SetSpeed

from vla_teleop.devices.device import ENABLE, FREEDRIVE, HOME, REORIENT, Device
from vla_teleop.devices.registry import find_config, make_device
from vla_teleop.motion.alignment import AlignSettings
from vla_teleop.motion.driver import ArmDriver
from vla_teleop.motion.gripper_rate import GripperRate
from vla_teleop.motion.homing import Homing
from vla_teleop.node.deferred_service import Answer, DeferredService
from vla_teleop.node.teleop_hands import Hands, HandsOptions
from vla_teleop.node.teleop_params import TeleopParams
from vla_teleop.node.teleop_pilot import Pilot, PilotOptions, Request
from vla_teleop.node.teleop_report import Reporter
from vla_teleop.node.teleop_robot import Robot, RobotOptions

CLOSE_S = 8.0
DeviceMaker = Callable[[Node], Device]


class TeleopNode(ManagedNode):
    """See the module."""

    def __init__(self, *, device: DeviceMaker | None = None, **kwargs: Any) -> None:
        """Load everything; nothing is sent.

        Args:
            device: Makes the device; by default the one that the parameter `device` names.
            kwargs: For rclpy's Node, e.g. `parameter_overrides`.

        Raises:
            VlaError: a parameter, the profile or the device's mapping is unusable.
        """
        super().__init__("teleop", **kwargs)
        self._params = declare(self, TeleopParams)
        profile = guarded(load_profile(Path(self._params.profile)), self._params.preflight)
        self._ticker = make_ticker(self, rate_hz=self._params.rate_hz, lockstep=self._params.lockstep)
        self._robot = Robot(self, profile, self._ticker, self._robot_options())
        self._device = device(self) if device else make_device(self, find_config(self._params.device))
        self._hands = self._make_hands(profile)
        self._pilot = self._make_pilot(profile)
        DeferredService(self, SetBool, "~/enable", self._forward(ENABLE))
        DeferredService(self, SetBool, "~/freedrive", self._forward(FREEDRIVE))
        DeferredService(self, Trigger, "~/home", self._forward(HOME))
        DeferredService(self, Trigger, "~/reorient", self._forward(REORIENT))
        self.create_service(SetSpeed, "~/set_speed", self._on_set_speed)
        whose = f"{self._params.arm} of " if self._params.arm else ""
        self.get_logger().info(
            f"{whose}{profile.robot} with {self._device.name}; nothing moves before {self._enable_name()}"
        )
        self._thread = self.start_thread(self._control, "control")

    def _enable_name(self) -> str:
        return f"the service {self.resolve_service_name('~/enable')}"

    def _robot_options(self) -> RobotOptions:
        p = self._params
        return RobotOptions(
            lockstep=p.lockstep,
            divergence=p.divergence,
            joint_timeout_s=p.joint_timeout_s,
            switch_timeout_s=p.switch_timeout_s,
            answer_timeout_s=p.answer_timeout_s,
            arm=p.arm,
        )

    def _make_hands(self, profile: Profile) -> Hands:
        p, spec = self._params, self._robot.spec
        align = AlignSettings(speed=p.leader_speed, tolerance=p.leader_tolerance, refuse=p.leader_refuse)
        return Hands(
            self._robot,
            self._device,
            driver=ArmDriver(profile, spec, max_joint_speed=p.max_joint_speed, align=align),
            gripper=GripperRate(spec.gripper_travel, goal_hz=p.gripper_goal_hz),
            warn=self.get_logger().warning,
            options=HandsOptions(frame=p.frame, require_deadman=p.require_deadman),
        )

    def _make_pilot(self, profile: Profile) -> Pilot:
        p = self._params
        return Pilot(
            self._robot,
            self._hands,
            Homing(profile, self._robot.spec, speed=p.home_speed, acceleration=p.home_acceleration),
            ticker=self._ticker,
            report=Reporter(self, self._device.name, self.get_logger().info),
            warn=self.get_logger().error,
            options=PilotOptions(
                own_buttons=p.own_buttons,
                enable_on_start=p.enable_on_start,
                still_timeout_s=p.still_timeout_s,
                answer_timeout_s=p.answer_timeout_s,
            ),
        )

    def _forward(self, kind: str) -> Callable[[Any, Answer], None]:
        def serve(request: Any, answer: Answer) -> None:
            self._pilot.request(Request(kind=kind, value=getattr(request, "data", True), done=answer.give))

        return serve

    def _on_set_speed(self, request: SetSpeed.Request, response: SetSpeed.Response) -> SetSpeed.Response:
        response.success = 0.0 < request.scale <= 1.0
        if response.success:
            self._hands.scale = request.scale
            response.message = f"speed of the person and of the gripper: {request.scale:.0%}"
        else:
            response.message = f"scale {request.scale:g} is outside (0, 1]; 0.5 is half the speed"
        return response

    def _control(self) -> None:
        if not self._params.lockstep:
            problem = prefer_this_thread(self._params.thread_priority)
            if problem is not None:
                self.get_logger().warning(problem)
        self._pilot.run()

    def close(self) -> None:
        """Bring the arm to rest, give it back, and leave."""
        self._pilot.stop()
        deadline = time.monotonic() + CLOSE_S
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self.get_logger().error(f"the control loop has not ended within {CLOSE_S:g} s")
        self._ticker.close()
        self._device.close()

    def destroy_node(self) -> None:
        """Leave the gripper's action too."""
        self._robot.close()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Entry point of `teleop_node`."""
    return run_node(TeleopNode, args)


if __name__ == "__main__":
    sys.exit(main())
