# SPDX-License-Identifier: Apache-2.0

"""Node that the tests of the ``ros2`` command talk to; run as a process, ends on SIGTERM."""

import signal
import threading

import rclpy
from control_msgs.action import GripperCommand
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, String
from std_srvs.srv import SetBool

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class CliNode(Node):
    """Publishes, serves, acts and has parameters of each kind."""

    def __init__(self) -> None:
        super().__init__("cli_node", namespace="/my_ns")
        self.declare_parameter("speed", 1.5, _speed_descriptor())
        self.declare_parameter("joints", ["elbow", "wrist"])
        self.declare_parameter("count", 3)
        self.declare_parameter("arm.home", [0.5, 1.0])
        self.declare_parameter("arm.enabled", True)
        self.declare_parameter("fixed", "steel", ParameterDescriptor(read_only=True))
        group = ReentrantCallbackGroup()
        self._sensor = self.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
        self._hidden = self.create_publisher(String, "_secret", 1)
        self._latched = self.create_publisher(String, "description", LATCHED)
        self._latched.publish(String(data="<robot/>"))
        self._echo = self.create_publisher(String, "echo", 10)
        self._target = self.create_subscription(Float64, "target", self._on_target, 10)
        self._timer = self.create_timer(0.05, self._tick)
        self._service = self.create_service(SetBool, "enable", self._enable, callback_group=group)
        self._server = ActionServer(
            self,
            GripperCommand,
            "gripper",
            self._execute,
            goal_callback=lambda goal: GoalResponse.REJECT if goal.command.position < 0 else GoalResponse.ACCEPT,
            cancel_callback=lambda _goal: CancelResponse.ACCEPT,
            callback_group=group,
        )
        self._pause = threading.Event()

    def _tick(self) -> None:
        message = JointState(name=["elbow", "wrist"], position=[0.25, 0.5])
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = "base_link"
        self._sensor.publish(message)

    def _on_target(self, message: Float64) -> None:
        self._echo.publish(String(data=f"target {message.data}"))

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = request.data
        response.message = "on" if request.data else "off"
        return response

    def _execute(self, handle: object) -> GripperCommand.Result:
        """Close in steps; a maximum effort of 99 never ends by itself."""
        goal = handle.request.command
        steps = 1000 if goal.max_effort == 99.0 else 3
        for step in range(1, steps + 1):
            if handle.is_cancel_requested:
                handle.canceled()
                self._echo.publish(String(data="cancelled"))
                return GripperCommand.Result(position=-1.0)
            handle.publish_feedback(GripperCommand.Feedback(position=goal.position * step / steps))
            self._pause.wait(0.05)
        if goal.max_effort == 13.0:
            handle.abort()
        else:
            handle.succeed()
        return GripperCommand.Result(position=goal.position, reached_goal=True)


def _speed_descriptor() -> ParameterDescriptor:
    limits = FloatingPointRange(from_value=0.1, to_value=10.0)
    return ParameterDescriptor(description="speed in m/s", floating_point_range=[limits])


def main() -> None:
    """Spin until SIGINT or SIGTERM; announce readiness on stdout."""
    rclpy.init()
    node = CliNode()
    executor = MultiThreadedExecutor(num_threads=4)
    executor.add_node(node)
    print("ready", flush=True)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
