# SPDX-License-Identifier: Apache-2.0

"""The operator node among nodes that write down what it asks of them."""

import threading
import time
from pathlib import Path

import pytest
import rclpy
import yaml
from action_msgs.srv import CancelGoal
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from vla_common.qos import COMMAND, EVENT, LATCHED
from vla_core.episode import CORRECTION, TELEOP
from vla_msgs.action import ExecuteSkill
from vla_msgs.msg import EpisodeEvent, RecorderStatus, TeleopEvent, TeleopState
from vla_msgs.srv import AnnotateEpisode, SetPhase, SetSpeed, StartEpisode, StopEpisode
from vla_teleop.operator.moves import State
from vla_teleop.operator.operator_node import OperatorError, OperatorNode

PROFILE = Path(__file__).resolve().parents[2] / "vla_bringup" / "robots" / "sim_ur5e.yaml"
SERVICES = {
    "recorder/start": StartEpisode,
    "recorder/stop": StopEpisode,
    "recorder/set_phase": SetPhase,
    "recorder/annotate": AnnotateEpisode,
    "teleop/enable": SetBool,
    "teleop/home": Trigger,
    "teleop/set_speed": SetSpeed,
    "skills/set_speed": SetSpeed,
    "scaled_joint_trajectory_controller/follow_joint_trajectory/_action/cancel_goal": CancelGoal,
}


class Crew(Node):
    """Answers every call with success and writes it down.

    Attributes:
        asked: Name and request of every call, in order.
        refuse: Name -> message of a refusal.
        end: What the next skill ends with, once `ended` is set or it is cancelled.
    """

    def __init__(self) -> None:
        super().__init__("crew")
        self.asked: list[tuple[str, object]] = []
        self.refuse: dict[str, str] = {}
        self.said: list[str] = []
        self.statuses: list[str] = []
        self.end = ExecuteSkill.Result()
        self.ended = threading.Event()
        group = ReentrantCallbackGroup()
        for name, kind in SERVICES.items():
            self.create_service(kind, name, self._answer(name), callback_group=group)
        self._skills = ActionServer(
            self, ExecuteSkill, "skills/execute", self._skill, cancel_callback=self._cancel, callback_group=group
        )
        self.events = self.create_publisher(TeleopEvent, "teleop/event", EVENT)
        self.teleop = self.create_publisher(TeleopState, "teleop/state", COMMAND)
        self.phases = self.create_publisher(EpisodeEvent, "episode/event", LATCHED)
        self.recorder = self.create_publisher(RecorderStatus, "recorder/status", LATCHED)
        self.create_subscription(String, "operator/message", lambda msg: self.said.append(msg.data), EVENT)
        self.create_subscription(String, "operator/status", lambda msg: self.statuses.append(msg.data), LATCHED)

    def _answer(self, name):
        def answer(request, response):
            self.asked.append((name, request))
            if hasattr(response, "success"):
                response.success, response.message = name not in self.refuse, self.refuse.get(name, "")
            return response

        return answer

    def _cancel(self, _):
        self.asked.append(("cancel", None))
        self.ended.set()
        return CancelResponse.ACCEPT

    def _skill(self, handle):
        self.asked.append(("skill", handle.request))
        assert self.ended.wait(20.0)
        self.ended.clear()
        if handle.is_cancel_requested:
            handle.canceled()
            return ExecuteSkill.Result(error_code=ExecuteSkill.Result.INTERRUPTED, waypoints=2)
        (handle.abort if self.end.error_code else handle.succeed)()
        return self.end

    def press(self, name):
        """Press a button."""
        self.events.publish(TeleopEvent(name=name))

    def phase(self, phase):
        """Say that the recorder has entered a phase."""
        self.phases.publish(EpisodeEvent(stamp=self.get_clock().now().to_msg(), phase=phase, episode_uuid="u"))

    def names(self):
        """Names of the calls, in order."""
        return [name for name, _ in self.asked]


@pytest.fixture
def cast(tmp_path):
    """The operator and its crew, in executors of their own."""
    context_args = ["--ros-args", "-p", f"profile:={PROFILE}", "-p", "skill_silence_s:=0.3", "-p", "lost_s:=2.0"]
    rclpy.init(args=context_args)
    operator, crew = OperatorNode(), Crew()
    executor = MultiThreadedExecutor(num_threads=6)
    executor.add_node(operator)
    executor.add_node(crew)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    spinner.start()
    until(lambda: crew.events.get_subscription_count() and crew.phases.get_subscription_count())
    yield operator, crew
    if not operator._ended.is_set():
        operator.close()
    executor.shutdown(timeout_sec=2.0)
    spinner.join(2.0)
    operator.destroy_node()
    crew.destroy_node()
    rclpy.try_shutdown()


def until(condition, timeout_s=15.0):
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def begin_skill(operator, crew):
    crew.press("record")
    until(lambda: operator.day.state == State.ARMED)
    crew.phase(TELEOP)
    until(lambda: operator.day.state == State.TELEOP)
    crew.press("skill/cpu")
    until(lambda: "skill" in crew.names())


def test_an_episode_with_a_corrected_grasp(cast) -> None:
    operator, crew = cast
    crew.recorder.publish(RecorderStatus(recording=True, phase=TELEOP, recorded_s=2.0, messages=700, rate_hz=350.0))
    begin_skill(operator, crew)
    crew.end = ExecuteSkill.Result(
        error_code=ExecuteSkill.Result.VERIFICATION_FAILED,
        error_msg="closed to 160",
        waypoints=20,
        grasp_checked=True,
        grasp_commanded=165.0,
        grasp_actual=160.5,
        grasp_threshold=155.0,
    )
    crew.ended.set()
    until(lambda: operator.day.state == State.FAILED and crew.names()[-1] == "teleop/enable")
    until(lambda: any("60 frames, 700 messages at 350 Hz" in text for text in crew.statuses))
    note = next(request for name, request in crew.asked if name == "recorder/annotate")
    assert dict(zip(note.keys, note.values, strict=True)) == {
        "grasp_actual": "160.5",
        "grasp_commanded": "165",
        "grasp_threshold": "155",
        "grasp_verified": "false",
        "skill_name": "cpu",
    }
    assert [request.scale for name, request in crew.asked if name == "skills/set_speed"] == [1.0, 0.5]
    crew.phase(CORRECTION)
    until(lambda: operator.day.state == State.CORRECTION)
    crew.end = ExecuteSkill.Result(waypoints=23)
    crew.press("skill/cpu")
    until(lambda: crew.names().count("skill") == 2)
    crew.ended.set()
    until(lambda: operator.day.state == State.IDLE)
    assert [request.resume for name, request in crew.asked if name == "skill"] == [False, True]
    until(
        lambda: (
            [request.data for name, request in crew.asked if name == "teleop/enable"]
            == [True, False, True, False, False]
        )
    )
    stop = next(request for name, request in crew.asked if name == "recorder/stop")
    assert (stop.outcome, stop.skill_outcome) == (1, "completed_after_correction")
    assert crew.names()[-2:] == ["teleop/home", "teleop/enable"]
    until(lambda: any("home; press record" in text for text in crew.said))
    assert any(text.startswith("GRASP FAILED: closed to 160. correct the grasp") for text in crew.said)


def test_interrupt_cancels_the_skill_and_records_the_correction(cast) -> None:
    operator, crew = cast
    begin_skill(operator, crew)
    crew.press("interrupt")
    until(lambda: operator.day.state == State.CORRECTION and crew.names()[-1] == "teleop/enable")
    assert crew.names()[-4:] == ["cancel", "recorder/annotate", "recorder/set_phase", "teleop/enable"]
    phase = [request for name, request in crew.asked if name == "recorder/set_phase"][-1]
    assert (phase.phase, phase.label) == (CORRECTION, "interrupted")


def test_silent_skills_lose_the_arm(cast) -> None:
    operator, crew = cast
    targets = crew.create_publisher(JointState, "command/arm", COMMAND)
    begin_skill(operator, crew)
    until(targets.get_subscription_count)
    targets.publish(JointState())
    until(lambda: operator.day.state == State.FAILED)
    until(lambda: any(name.endswith("cancel_goal") for name in crew.names()))
    request = next(request for name, request in crew.asked if name.endswith("cancel_goal"))
    assert not any(request.goal_info.goal_id.uuid), "no id and no time: all goals"
    until(lambda: any("nothing heard of the skills node" in text for text in crew.said))
    crew.ended.set()


def test_a_silent_recorder_brings_the_arm_to_rest(cast) -> None:
    operator, crew = cast
    crew.recorder.publish(RecorderStatus())
    crew.press("record")
    until(lambda: operator.day.state == State.ARMED)
    until(lambda: operator.day.state == State.IDLE)
    until(lambda: crew.names()[-1] == "teleop/enable")
    assert not crew.asked[-1][1].data
    until(lambda: any("nothing heard of the recorder node" in text for text in crew.said))


def test_a_refusal_reaches_the_operator(cast) -> None:
    operator, crew = cast
    crew.refuse["recorder/start"] = "the front camera is silent; is its driver running?"
    crew.press("record")
    until(lambda: any("the front camera is silent; is its driver running?" in text for text in crew.said))
    assert operator.day.state == State.IDLE


def test_closing_saves_and_returns_the_arm_though_a_step_fails(cast) -> None:
    operator, crew = cast
    begin_skill(operator, crew)
    crew.refuse["recorder/stop"] = "the disk is full"
    crew.asked.clear()
    operator.close()
    until(lambda: crew.names()[-1:] == ["teleop/enable"])
    assert set(crew.names()) == {
        "cancel",
        *(name for name in SERVICES if name.endswith("cancel_goal")),
        "recorder/stop",
        "teleop/enable",
    }
    stop = next(request for name, request in crew.asked if name == "recorder/stop")
    assert stop.skill_outcome == "incomplete"


def test_a_robot_without_teleoperation_is_refused(tmp_path) -> None:
    profile = yaml.safe_load(PROFILE.read_text())
    del profile["teleop"]
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(profile))
    rclpy.init(args=["--ros-args", "-p", f"profile:={tmp_path / 'robot.yaml'}"])
    try:
        with pytest.raises(OperatorError, match="no section 'teleop', so nobody can drive this robot by hand"):
            OperatorNode()
    finally:
        rclpy.try_shutdown()
