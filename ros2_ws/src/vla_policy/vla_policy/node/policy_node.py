# SPDX-License-Identifier: Apache-2.0

"""The policy node: `ros2 run vla_policy policy_node --ros-args -p checkpoint:=DIR`.

Streams of the profile go into a FrameBuilder; a worker thread runs the control loop, a second one the model; chunks
leave as goals of the robot's action servers. Nothing moves until a `RunPolicy` goal is accepted on `~/run`.
"""

import gc
import time
from typing import Any

from rosidl_runtime_py.utilities import get_message
from vla_common.diagnostics import Diagnostics
from vla_common.params import ParameterError, declare
from vla_common.qos import SENSOR, adapt, overridable
from vla_common.run import ManagedNode, run_node
from vla_common.ticks import make_ticker
from vla_core.errors import StampError
from vla_core.frames import FrameBuilder, resolve_topic
from vla_core.stamps import stamp_ns
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_msgs.srv import SetTask

from vla_policy.execution.hooks import Stop
from vla_policy.node.auto_start import AutoStart
from vla_policy.node.chunk_publisher import ChunkPublisher
from vla_policy.node.driving import Driving, policy_factory
from vla_policy.node.estop import EmergencyStop
from vla_policy.node.goals import ActionCommands
from vla_policy.node.guards_node import RunGuards
from vla_policy.node.load_service import LoadService
from vla_policy.node.loading import PolicyHolder
from vla_policy.node.measuring import Measuring
from vla_policy.node.policy_params import PolicyParams
from vla_policy.node.run_parts import RunParts
from vla_policy.node.run_sequence import RunSequence
from vla_policy.node.run_server import RunServer
from vla_policy.node.status import StatusPublisher
from vla_policy.node.synthetic_cameras import SyntheticCameras
from vla_policy.policies.runner import PolicyFactory

STOP_TIMEOUT_S = 6.0


class PolicyNode(ManagedNode):
    """See the module."""

    def __init__(self, *, factory: PolicyFactory | None = None, **kwargs: Any) -> None:
        """Load everything; nothing is sent.

        Args:
            factory: Makes the policy; by default the one that the parameter `policy` names.
            kwargs: For rclpy's Node, e.g. `parameter_overrides`.

        Raises:
            VlaError: a parameter, the profile or the checkpoint is unusable.
        """
        super().__init__("policy", **kwargs)
        self._params = declare(self, PolicyParams)
        self._status = StatusPublisher(self, task=self._params.task, dry_run=self._params.dry_run)
        if self._params.start_on_ready and not self._params.dry_run:
            raise ParameterError("policy: start_on_ready:=true needs dry_run:=true; an arm moves only by a goal")
        self._policy = PolicyHolder(self._params, factory=policy_factory(self._params, factory))
        self._profile = self._policy.profile
        self._status.loaded = lambda: (self._policy.description, self._policy.source)
        self._status.strategy = self._params.strategy
        self._status.task = self._params.task or self._profile.task
        self.get_logger().info(f"loaded {self._policy.description}")
        self._builder = FrameBuilder(
            self._profile,
            actions=False,
            namespace=self.get_namespace(),
            warn=lambda text: self.get_logger().warning(text),
        )
        self._ticker = make_ticker(self, rate_hz=self._params.rate_hz, lockstep=self._params.lockstep)
        self._received_ns = 0
        self._measuring = Measuring(self, self._params, self._profile)
        self._subscribe()
        self._safety = RunGuards(self, self._params, self._profile)
        self._status.enabled = lambda: self._safety.enabled
        self._driving = Driving(self, self._params, self._profile, self._policy, self._status)
        self._sequence = RunSequence(self, self._parts())
        self._estop = EmergencyStop(self, self._profile, self._safety.estop, request_stop=self._sequence.request_stop)
        self.create_service(SetTask, "~/set_task", self._on_set_task)
        self._loading = LoadService(self, self._policy, self._status, self._sequence.set_task)
        self._server = RunServer(self, self._ticker, control=self._sequence.control, cancel=self._sequence.cancel)
        self._auto_start = AutoStart(self, self._builder) if self._params.start_on_ready else None
        self._status.publish(PolicyStatus.IDLE, self._policy.notice or "ready")

    def _parts(self) -> RunParts:
        """What a run is made of; guards, the gate and watchers are built here."""
        return RunParts(
            params=self._params,
            profile=self._profile,
            builder=self._builder,
            ticker=self._ticker,
            policy=self._policy,
            actions=self._action_commands(),
            status=self._status,
            measuring=self._measuring,
            limits=self._safety.limits,
            guards=(*self._safety.guards, self._driving.modes),
            gate=self._driving.modes,
            watchers=(self._driving.modes,),
            followed=ChunkPublisher(self, self._profile).publish,
            participants=(self._safety, self._driving.modes, self._driving.recorder),
        )

    def _action_commands(self) -> ActionCommands | None:
        """Clients exist only where goals may be sent at all."""
        if self._params.dry_run or self._params.output == "print":
            return None
        return ActionCommands(self, self._profile, lockstep=self._params.lockstep)

    def _subscribe(self) -> None:
        """One subscription per topic; in lockstep a tick waits for its newest message."""
        diagnostics = Diagnostics(self, hardware_id=self._profile.robot)
        self._status.diagnose(diagnostics)
        self._synthetic = SyntheticCameras(self, self._params, self._builder, diagnostics)
        self._status.note = self._synthetic.note
        streams = {stream.topic: stream for stream in self._builder.streams}
        for topic, type_name in self._builder.topics.items():
            stream = streams[topic]
            resolved = resolve_topic(topic, self.get_namespace())
            monitor = diagnostics.stream(topic, expected_hz=stream.rate_hz, max_age_s=stream.max_age_s)

            def receive(msg: Any, topic: str = topic, resolved: str = resolved, seen: Any = monitor.tick) -> None:
                taken_s, now_ns = time.perf_counter(), self.get_clock().now().nanoseconds
                if now_ns < self._received_ns:
                    self._builder.clear()  # the clock went back: a bag or a simulation begins again
                self._received_ns = now_ns
                self._builder.push_topic(topic, now_ns, msg)
                self._measuring.taken_s = taken_s
                seen(now_ns)
                try:
                    self._ticker.notice(resolved, stamp_ns(msg))
                except StampError:
                    return  # a type without a header; the cell's ticks are not about it

            qos = SENSOR if self._params.lockstep else adapt(self, topic, SENSOR)
            self.create_subscription(get_message(type_name), topic, receive, qos, qos_overriding_options=overridable())
            self._ticker.watch(resolved)

    def _on_set_task(self, request: SetTask.Request, response: SetTask.Response) -> SetTask.Response:
        if not request.task.strip():
            response.success, response.message = False, "the task is empty; give an instruction"
            return response
        self._sequence.set_task(request.task)
        response.success, response.message = True, f"task: {request.task}"
        return response

    def close(self) -> None:
        """Stop a running policy and its goals, then leave."""
        self._sequence.request_stop(
            Stop(termination=RunPolicy.Result.TERMINATION_SHUTDOWN, message="the node was told to end")
        )
        if not self._server.close(STOP_TIMEOUT_S):
            self.get_logger().error(f"the control loop has not ended within {STOP_TIMEOUT_S:g} s")
        self._ticker.close()
        self._policy.close()
        self._measuring.close()

    def destroy_node(self) -> None:
        """Leave the action servers too: the executor that waits for their answers has ended by now."""
        self._sequence.close()
        self._driving.close()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Entry point of `policy_node`."""
    code = run_node(PolicyNode, args)
    gc.freeze()  # else the interpreter's last collection walks through torch for seconds, longer than launchers wait
    return code
