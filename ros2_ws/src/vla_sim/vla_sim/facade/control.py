# SPDX-License-Identifier: Apache-2.0

"""Program, safety and controller-manager interfaces of the arm's driver."""

from collections.abc import Callable
from typing import Any

from controller_manager_msgs.msg import ControllerState
from controller_manager_msgs.srv import ListControllers, SwitchController
from geometry_msgs.msg import Twist
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from ur_dashboard_msgs.msg import RobotMode, SafetyMode
from ur_msgs.srv import SetSpeedSliderFraction
from vla_common.qos import COMMAND, LATCHED
from vla_core.controller_outcome import GoalRefusedError

from vla_sim.controllers.robot import ROBOT_MODE_RUNNING
from vla_sim.facade.streams import RATE_HZ
from vla_sim.plant import FREEDRIVE_CONTROLLER, Plant
from vla_sim.robot import Station

_IO = "io_and_status_controller"


class ControlFacade:
    """Dashboard, speed slider, program state, list and switch of controllers, freedrive.

    Simulator only: `sim/push` (geometry_msgs/Twist of tool0 in base_link) is the hand that pushes in freedrive.
    """

    def __init__(self, node: Node, station: Station, plant: Plant) -> None:
        self._plant = plant
        self._log = node.get_logger()
        self._published = -1
        topic, self._dashboard = station.topic, station.robot.dashboard
        node.create_service(ListControllers, topic("controller_manager/list_controllers"), self._list)
        node.create_service(SwitchController, topic("controller_manager/switch_controller"), self._switch)
        if self._dashboard:
            self._offer_dashboard(node, station)

    def _offer_dashboard(self, node: Node, station: Station) -> None:
        """What a Universal Robots controller has beside its motion controllers."""
        plant, topic, io = self._plant, station.topic, station.topic(_IO)
        self._program = node.create_publisher(Bool, f"{io}/robot_program_running", LATCHED)
        self._mode = node.create_publisher(RobotMode, f"{io}/robot_mode", LATCHED)
        self._safety = node.create_publisher(SafetyMode, f"{io}/safety_mode", LATCHED)
        node.create_service(SetSpeedSliderFraction, f"{io}/set_speed_slider", self._set_slider)
        self._trigger(node, f"{io}/resend_robot_program", plant.start_program)
        self._trigger(node, topic("dashboard_client/play"), plant.start_program)
        self._trigger(node, topic("dashboard_client/stop"), plant.stop_program)
        self._trigger(node, topic("dashboard_client/pause"), plant.stop_program)
        self._trigger(node, topic("dashboard_client/unlock_protective_stop"), plant.robot.unlock)
        enable = topic(f"{FREEDRIVE_CONTROLLER}/enable_freedrive_mode")
        node.create_subscription(Bool, enable, self._on_freedrive, COMMAND)
        node.create_subscription(Twist, topic("sim/push"), self._on_push, COMMAND)
        self.publish_changes()

    def _on_freedrive(self, msg: Bool) -> None:
        assert self._plant.freedrive is not None
        with self._plant.lock:
            try:
                self._plant.freedrive.enable(msg.data, self._plant.time_ns)
            except GoalRefusedError as error:
                self._log.error(str(error), throttle_duration_sec=1.0)

    def _on_push(self, msg: Twist) -> None:
        v, w = msg.linear, msg.angular
        assert self._plant.freedrive is not None
        with self._plant.lock:
            try:
                self._plant.freedrive.push((v.x, v.y, v.z, w.x, w.y, w.z), self._plant.time_ns)
            except GoalRefusedError as error:
                self._log.error(f"sim/push: {error}", throttle_duration_sec=1.0)

    def publish_changes(self) -> None:
        """Publish program, mode and safety if they have changed."""
        robot = self._plant.robot
        if not self._dashboard or robot.changes == self._published:
            return
        self._published = robot.changes
        self._program.publish(Bool(data=robot.program_running))
        self._mode.publish(RobotMode(mode=ROBOT_MODE_RUNNING))
        self._safety.publish(SafetyMode(mode=robot.safety_mode))

    def _trigger(self, node: Node, name: str, action: Callable[[], tuple[bool, str]]) -> None:
        def serve(_: Any, response: Any) -> Any:
            with self._plant.lock:
                response.success, response.message = action()
                self.publish_changes()
            self._log.info(f"{name}: {response.message}")
            return response

        node.create_service(Trigger, name, serve)

    def _set_slider(self, request: Any, response: Any) -> Any:
        with self._plant.lock:
            response.success, text = self._plant.robot.set_slider(request.speed_slider_fraction)
        if text:
            self._log.error(f"set_speed_slider: {text}")
        return response

    def _list(self, _: Any, response: Any) -> Any:
        with self._plant.lock:
            for controller in self._plant.manager.controllers.values():
                response.controller.append(
                    ControllerState(
                        name=controller.name,
                        state="active" if controller.active else "inactive",
                        type=controller.type,
                        update_rate=RATE_HZ,
                        claimed_interfaces=list(controller.interfaces) if controller.active else [],
                        required_command_interfaces=list(controller.interfaces),
                    )
                )
        return response

    def _switch(self, request: Any, response: Any) -> Any:
        with self._plant.lock:
            response.ok, response.message = self._plant.manager.switch(
                request.activate_controllers, request.deactivate_controllers, request.strictness
            )
        if response.message:
            self._log.error(f"switch_controller: {response.message}")
        return response
