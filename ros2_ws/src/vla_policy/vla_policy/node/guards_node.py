# SPDX-License-Identifier: Apache-2.0

"""The guards of the policy node with what they listen to: state monitors, `~/enable`, joystick, `~/heartbeat`, robot description."""

from typing import Any

from rclpy.callback_groups import CallbackGroup
from sensor_msgs.msg import Joy
from std_srvs.srv import SetBool
from vla_common.monitors import watch_monitors
from vla_common.preflight import guarded
from vla_common.qos import EVENT, adapt
from vla_common.run import ManagedNode
from vla_core.profile import Profile
from vla_msgs.action import RunPolicy
from vla_msgs.msg import Heartbeat

from vla_policy.execution.hooks import Guard, Stop
from vla_policy.node.guards import (
    DeadmanGuard,
    EnableGuard,
    EstopGuard,
    HeartbeatGuard,
    StateGuard,
    WhenMoving,
)
from vla_policy.node.guards_urdf import DescribedLimits
from vla_policy.node.policy_params import PolicyParams


class RunGuards:
    """All guards of a node; a participant of every goal.

    Attributes:
        guards: For the run, in the order in which they are asked.
        estop: The one that the emergency stop trips.
        limits: Lays the joint limits of the robot description over those of a profile.
    """

    def __init__(
        self, node: ManagedNode, params: PolicyParams, profile: Profile, *, group: CallbackGroup | None = None
    ) -> None:
        """Subscribe and serve.

        Args:
            node: Whose they are.
            params: Permission, checks of the start, deadman switch, dry run.
            profile: With its monitors.
            group: Callback group; None takes the node's default.

        Raises:
            ProfileError: a monitor's message type is not installed, or has no such field.
        """
        self._node, self._params, self._profile, self._group = node, params, profile, group
        name = node.get_fully_qualified_name()
        self.estop = EstopGuard(f"{name}/reset_estop")
        self._enable = EnableGuard(f"{name}/enable", required=params.require_enable)
        self._deadman = self._make_deadman(params)
        watched = guarded(profile, params.preflight)
        self._state = StateGuard(watched.monitors)
        self._heartbeat = HeartbeatGuard(f"{name}/heartbeat")
        self._described = DescribedLimits(node, profile, group=group)
        self.limits = self._described.tightened
        permissions: list[Guard] = [self._enable, *([self._deadman] if self._deadman is not None else [])]
        self._only_moving = [WhenMoving(guard) for guard in (*permissions, self._state, self._described)]
        self.guards: tuple[Guard, ...] = (self.estop, *self._only_moving, self._heartbeat)
        watch_monitors(node, watched, self._state, group)
        node.create_service(SetBool, "~/enable", self._on_enable, callback_group=group)
        node.create_subscription(Heartbeat, "~/heartbeat", self._on_heartbeat, EVENT, callback_group=group)

    @property
    def enabled(self) -> bool:
        """Whether the service, the deadman switch and the emergency stop allow motion."""
        held = self._deadman is None or self._deadman.enabled
        return self._enable.enabled and held and not self.estop.tripped

    def accept(self, goal: RunPolicy.Goal) -> Stop | None:
        """See `Participant.accept`: wait for the first message of each monitor and say why nothing may move."""
        self._heartbeat.expect(goal.client, goal.heartbeat_timeout)
        moves = not (self._params.dry_run or goal.dry_run or self._params.output == "print")
        for guard in self._only_moving:
            guard.moves = moves
        if moves:
            self._state.wait(self._params.start_timeout_s)
            self._described.wait(self._params.start_timeout_s)
        now_ns = self._node.get_clock().now().nanoseconds
        return next((stop for guard in self.guards if (stop := guard.check(now_ns)) is not None), None)

    def start(self, goal: RunPolicy.Goal, task: str) -> Stop | None:
        """See `Participant.start`."""
        return None

    def finish(self, stop: Stop, result: RunPolicy.Result) -> None:
        """See `Participant.finish`."""

    def _on_heartbeat(self, msg: Any) -> None:
        self._heartbeat.beat(msg.client)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enable.set(request.data)
        response.success = True
        response.message = "motion is allowed" if request.data else "motion is not allowed; a running policy stops"
        self._node.get_logger().info(response.message)
        return response

    def _make_deadman(self, params: PolicyParams) -> DeadmanGuard | None:
        if not params.deadman_topic:
            return None
        deadman = DeadmanGuard(params.deadman_topic, params.deadman_button, params.deadman_timeout_s)

        def receive(msg: Any) -> None:
            deadman.note(msg.buttons)

        qos = adapt(self._node, params.deadman_topic, EVENT)
        self._node.create_subscription(Joy, params.deadman_topic, receive, qos, callback_group=self._group)
        return deadman
