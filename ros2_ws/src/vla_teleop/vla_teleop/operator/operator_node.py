# SPDX-License-Identifier: Apache-2.0

"""The operator's day as a node: buttons in, calls of recorder, skills and teleoperation out.

ros2 run vla_teleop operator_node --ros-args -p profile:=ros2_ws/src/vla_bringup/robots/ur5e_2f85_realsense.yaml
"""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from vla_common.params import declare
from vla_common.qos import COMMAND, EVENT, LATCHED
from vla_common.run import ManagedNode, run_node
from vla_common.services import CallError
from vla_common.ticks import make_ticker
from vla_core.errors import VlaError
from vla_core.profile import Profile, load_profile
from vla_core.stamps import time_ns
from vla_msgs.msg import EpisodeEvent, PolicyStatus, RecorderStatus, TeleopEvent, TeleopState

from vla_teleop.operator.crew import POLICY_RUNS, NodeCrew
from vla_teleop.operator.day import Day
from vla_teleop.operator.desk import Desk
from vla_teleop.operator.intents import CancelSkill, Still, Stop, Teleop, TeleopView
from vla_teleop.operator.moves import DayOptions, Plan
from vla_teleop.operator.operator_params import OperatorParams
from vla_teleop.operator.status import status_line
from vla_teleop.operator.watch import Silence

_NS = 1e9
_POLL_S = 0.2
_STATUS_S = 1.0
_SHUTDOWN_CALL_S = 1.5  # wall time per step; a launcher kills what has not ended 5 s after ctrl-c
_JOIN_S = 1.0

Heard = Callable[[float], Plan]


class OperatorError(VlaError):
    """The operator node cannot start."""


class OperatorNode(ManagedNode):
    """Listens to the person and to the nodes, and lets `Day` decide."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("operator", **kwargs)
        self.params = declare(self, OperatorParams)
        profile = load_profile(self.params.profile)
        if profile.teleop is None:
            raise OperatorError(
                f"{self.params.profile}: no section 'teleop', so nobody can drive this robot by hand; see docs/reference/profile.md"
            )
        self._fps = profile.fps
        self.day = Day(_options(self.params))
        self._crew = NodeCrew(self, self.params, profile)
        self._desk = Desk(self.day, self._crew, (CallError,))
        self._silence = Silence(
            {
                "recorder": self.params.lost_s,
                "teleop": self.params.lost_s,
                "skills": self.params.skill_silence_s,
            }
        )
        self._inbox: queue.Queue[Heard] = queue.Queue()
        self._recorder = RecorderStatus()
        self._ended = threading.Event()
        self._ticks, self._status_at, self._loop_hz = 0, (0.0, 0), 0.0
        self._status = self.create_publisher(String, "~/status", LATCHED)
        self._arm_topics = _arm_targets(profile)
        self._targets: list[Subscription] = []
        self._listen()
        self._ticker = make_ticker(self, self.params.rate_hz, self.params.lockstep)
        self._worker = self.start_thread(self._work, "operator")

    def close(self) -> None:
        """Save what there is, bring the arm to rest, return its controller: each step by itself."""
        self._ended.set()
        self._ticker.wake()
        self._worker.join(_JOIN_S)
        self._ticker.close()
        for intent in self.day.on_shutdown():
            try:
                if isinstance(intent, CancelSkill):
                    self._crew.cancel_skill()
                elif isinstance(intent, Still):
                    self._crew.still()
                elif isinstance(intent, Stop):
                    self._crew.save_incomplete(intent, _SHUTDOWN_CALL_S)
                    self._crew.tell("episode saved as incomplete", warning=False)
                elif isinstance(intent, Teleop):
                    self._crew.return_arm(_SHUTDOWN_CALL_S)
            except CallError as error:
                self.get_logger().warning(f"at the end: {error} A node that ends at the same time does this by itself")
            except Exception as error:  # noqa: BLE001  (one step that fails must not keep the next from being done)
                self.get_logger().error(f"at the end: {error}\n{traceback.format_exc()}")

    def _listen(self) -> None:
        self.create_subscription(TeleopEvent, "teleop/event", self._on_event, EVENT)
        self.create_subscription(TeleopState, "teleop/state", self._on_state, COMMAND)
        self.create_subscription(EpisodeEvent, "episode/event", self._on_phase, LATCHED)
        self.create_subscription(RecorderStatus, "recorder/status", self._on_recorder, LATCHED)
        self.create_subscription(PolicyStatus, "policy/status", self._on_policy, LATCHED)

    def _hear(self, heard: Heard) -> None:
        self._inbox.put(heard)
        self._ticker.wake()

    def _on_event(self, msg: TeleopEvent) -> None:
        self._hear(lambda t: self.day.on_button(msg.name, t))

    def _on_state(self, msg: TeleopState) -> None:
        view = TeleopView(
            active=msg.state == TeleopState.ACTIVE,
            freedrive=msg.state == TeleopState.FREEDRIVE,
            fault=msg.state == TeleopState.FAULT,
            stale=msg.stale,
            line=msg.line,
        )
        self._inbox.put(lambda t: (*self._note("teleop", t), *self.day.on_teleop(view, t)))

    def _on_phase(self, msg: EpisodeEvent) -> None:
        stamp_s = time_ns(msg.stamp) / _NS
        self._hear(lambda t: self.day.on_phase(msg.phase, stamp_s, label=msg.label, paused=msg.paused))

    def _on_recorder(self, msg: RecorderStatus) -> None:
        self._recorder = msg
        self._inbox.put(lambda t: self._note("recorder", t))

    def _on_policy(self, msg: PolicyStatus) -> None:
        self._crew.policy_state = msg.state
        running = msg.state in POLICY_RUNS
        self._inbox.put(lambda t: self.day.on_policy(running))

    def _on_target(self, _: Any) -> None:
        self._inbox.put(lambda t: self._note("skills", t))

    def _note(self, name: str, t: float) -> Plan:
        if name != "skills" or self._crew.skill_runs:
            self._silence.heard(name, t)
        return ()

    def _work(self) -> None:
        with self._ticker.attached():
            if self.params.enable_on_start:
                self._desk.take((Teleop(enable=True),))
            while not self._ended.is_set():
                now = self._ticker.wait(timeout_s=_POLL_S)
                t = (self.get_clock().now().nanoseconds if now is None else now) / _NS
                self._step(t)
                self._ticks += 1

    def _step(self, t: float) -> None:
        while True:
            try:
                heard = self._inbox.get_nowait()
            except queue.Empty:
                break
            self._desk.take(heard(t))
        self._look_after_skill(t)
        for name, age_s in self._silence.lost(t):
            self._desk.take(self.day.on_lost(name, age_s, t))
        self._desk.take(self.day.on_time(t))
        self._desk.poll(t)
        if not self._status_at[0] or t - self._status_at[0] >= _STATUS_S or t < self._status_at[0]:
            self._say_status(t)

    def _look_after_skill(self, t: float) -> None:
        end = self._crew.skill_end()
        if end is not None:
            self._desk.take(self.day.on_skill(end, t))
        if self._crew.skill_runs and not self._targets:
            self._targets = [
                self.create_subscription(JointState, topic, self._on_target, COMMAND, raw=True)
                for topic in self._arm_topics
            ]
        elif self._targets and not self._crew.skill_runs:
            for subscription in self._targets:
                self.destroy_subscription(subscription)
            self._targets = []
            self._silence.forget("skills")

    def _say_status(self, t: float) -> None:
        before, ticks = self._status_at
        if before and t > before:
            self._loop_hz = (self._ticks - ticks) / (t - before)
        self._status_at = (t, self._ticks)
        text = status_line(self.day, self._recorder, t=t, loop_hz=self._loop_hz, fps=self._fps)
        self._status.publish(String(data=text))
        if self.day.shown:
            print(text, flush=True)  # noqa: T201  (the operator's terminal; a log line per second would hide the messages)


def _arm_targets(profile: Profile) -> list[str]:
    """Topics on which whoever drives publishes the arm's targets."""
    return [action.record.topic for action in profile.action if not action.is_gripper]


def _options(params: OperatorParams) -> DayOptions:
    return DayOptions(
        correction_speed=params.correction_speed,
        correction_timeout_s=params.correction_timeout_s,
        stop_timeout_s=params.stop_timeout_s,
        device_grace_s=params.device_grace_s,
        takeover=params.takeover,
        skills=params.skills,
        recorder=params.recorder,
    )


def main(args: list[str] | None = None) -> int:
    """Run the operator's day until the node is told to end."""
    return run_node(OperatorNode, args)


if __name__ == "__main__":
    sys.exit(main())
