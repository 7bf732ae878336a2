# SPDX-License-Identifier: Apache-2.0

"""The episode state machine: motion, phases, pauses, outcomes. Real bags on a clock that the test turns."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState
from vla_core.episode import ARMED, CORRECTION, IDLE, SKILL, SKILL_RESUME, TELEOP
from vla_core.errors import EpisodeError
from vla_msgs.action import RecordEpisode
from vla_recorder.bags.message_definitions import full_definition
from vla_recorder.bags.writer import TopicInfo
from vla_recorder.capture.about import RecordError, Request, Settings
from vla_recorder.capture.controller import Controller
from vla_recorder.capture.live_audit import StreamAudit
from vla_recorder.capture.motion import MotionDetector
from vla_recorder.capture.taps import Tap
from vla_recorder.capture.topic_plan import TopicPlan, plan_topics
from vla_recorder.testing import read_bag, small_profile

Result = RecordEpisode.Result
NS = 1_000_000_000
STEP = NS // 50


def resolve(topic: str) -> str:
    return topic if topic.startswith("/") else f"/{topic}"


class FakeTaps:
    """The profile's topics without a network."""

    def __init__(self, plans: list[TopicPlan]) -> None:
        kinds = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/JointState": JointState}
        self.taps = {
            resolve(plan.topic): Tap(
                plan=plan,
                name=resolve(plan.topic),
                kind=kinds.get(plan.type, object),
                definition=full_definition(plan.type),
                stamped=True,
            )
            for plan in plans
            if plan.role != "extra" or plan.qos == "latched"
        }
        self.received_bytes = 0

    def __iter__(self):
        return iter(list(self.taps.values()))

    def info(self, tap: Tap) -> TopicInfo:
        return TopicInfo(name=tap.name, type=tap.plan.type, definition=tap.definition)


class Rig:
    """A controller, its clock and a robot that sends every 20 ms."""

    def __init__(self, folder: Path, **settings: object) -> None:
        values = {
            "output_dir": folder, "compression": "none", "queue_bytes": 64 << 20, "min_free_bytes": 0,
            "sim_time": True, "sync_period_s": 1.0, "from_start": False, "preroll_ns": NS // 5, "on_missing": "refuse", "on_slow": "warn",
            "attachments": (), "versions": {}, "extra": {"namespace": "/"},
        }  # fmt: skip
        self.now = 100 * NS
        self.events = []
        self.closed = []
        self.profile = small_profile()
        self.controller = Controller(
            Settings(**{**values, **settings}),
            event_topic_name="/episode/event",
            now_ns=lambda: self.now,
            publish_event=self.events.append,
            on_closed=self.closed.append,
        )
        plans = plan_topics(self.profile)
        self.taps = FakeTaps(plans)
        self.taps.taps["/robot_description"].latched.append(b"\0\1\0\0\2\0\0\0r\0")
        self.controller.taps = self.taps
        audits = {resolve(p.topic): StreamAudit(p, resolve(p.topic)) for p in plans if p.max_age_s is not None}
        self.controller.observe(self.profile, MotionDetector(self.profile, resolve, 0.001), audits)
        self.target = 0.0

    def send(self, topic: str, message: object) -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self.now, NS)
        self.controller.receive(self.taps.taps[topic], serialize_message(message), self.now)

    def run(self, seconds: float, *, camera: bool = True) -> None:
        """Let time pass; the camera and the commands send every other step."""
        for index in range(round(seconds * NS / STEP)):
            self.now += STEP
            joints = ["elbow_joint", "wrist_joint"]
            self.send("/joint_states", JointState(name=joints, position=[self.target, 0.5]))
            if index % 2 == 0:
                self.send("/command/arm", JointState(name=joints, position=[self.target, 0.5]))
                if camera:
                    self.send("/front/image_raw", Image(height=1, width=1, encoding="rgb8", step=3, data=[1, 2, 3]))
            if index % 5 == 0:
                self.controller.guard()

    def open(self, **request: object) -> str:
        return self.controller.open(Request(**{"task": "lift", **request}))

    def stop(self, outcome: int = Result.OUTCOME_SUCCESS, **more: object):
        return self.controller.close(outcome, Result.TERMINATION_STOPPED, **more)

    @property
    def phase(self) -> int:
        return self.controller.snapshot().get("phase", IDLE)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path / "bags")
    made.run(2.0)
    return made


def custom(path: Path) -> dict[str, str]:
    return yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]["custom_data"]


def test_armed_records_nothing_and_the_first_motion_brings_the_last_moments(rig: Rig) -> None:
    rig.open()
    rig.run(2.0)
    assert rig.controller.snapshot()["messages"] == 0, "armed records nothing"
    assert not rig.controller.snapshot()["writing"]
    rig.target = 0.0005
    rig.run(0.2)
    assert rig.phase == ARMED, "less than the threshold is no motion"
    rig.target, moved_ns = 0.1, rig.now
    rig.run(1.0)
    assert rig.phase == TELEOP
    closed = rig.stop()
    meta, topics = read_bag(closed.path)
    states = [message.log_time for message, _ in topics["/joint_states"]]
    assert states[0] == pytest.approx(moved_ns - NS // 5, abs=2 * STEP), "a pre-roll of 0.2 s"
    assert max(b - a for a, b in pairwise(states)) == STEP, "no gap at the motion"
    assert states[-1] == rig.now
    for topic in ("/front/image_raw", "/command/arm"):
        assert topics[topic][0][0].log_time < moved_ns
    events = topics["/episode/event"]
    assert [event.phase for _, event in events] == [ARMED, TELEOP, IDLE]
    teleop = events[1][0]
    first_moving = next(m.log_time for m, c in topics["/command/arm"] if c.position[0] == 0.1)
    assert teleop.log_time == first_moving, "the phase begins with the message that moved"
    assert topics["/robot_description"][0][1].data == "r"
    assert meta["starting_time"]["nanoseconds_since_epoch"] == states[0], "no silence at the start"
    assert events[1][1].label == "motion of arm"


def test_an_episode_without_motion_keeps_nothing(rig: Rig, tmp_path: Path) -> None:
    rig.open()
    rig.run(2.0)
    closed = rig.stop()
    assert (closed.path, closed.error_msg, closed.messages) == (None, "", 0)
    assert "nothing moved on /command/arm" in closed.warnings[0]
    assert list((tmp_path / "bags").iterdir()) == []
    assert rig.controller.saved == 0


def test_from_start_records_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, from_start=True)
    rig.run(1.0)
    rig.open()
    rig.run(1.0)
    closed = rig.stop()
    assert json.loads(custom(closed.path)["topics"])["/joint_states"]["messages"] == 51, "with the last one before"
    assert custom(closed.path)["duration_s"] == "1.000000"


def test_a_skill_that_fails_waits_for_the_operator_and_goes_on(rig: Rig) -> None:
    controller = rig.controller
    rig.open()
    with pytest.raises(EpisodeError, match="phase SKILL cannot follow ARMED; allowed: IDLE, TELEOP, POLICY"):
        controller.set_phase(SKILL, "button")
    assert rig.phase == ARMED
    rig.target = 0.1
    rig.run(1.0)
    controller.set_phase(SKILL, "button", "insert_ram")
    rig.run(1.0)
    with pytest.raises(EpisodeError, match="phase SKILL_RESUME cannot follow SKILL"):
        controller.set_phase(SKILL_RESUME, "button")
    controller.set_phase(ARMED, "grasp failed")
    before = controller.snapshot()["messages"]
    rig.run(1.0)
    assert controller.snapshot()["messages"] == before, "recording waits for the correction"
    rig.target = 0.2
    rig.run(1.0)
    assert rig.phase == CORRECTION
    with pytest.raises(
        EpisodeError, match="skill 'insert_cpu' cannot go on where 'insert_ram' was interrupted: resume"
    ):
        controller.set_phase(SKILL_RESUME, "button", "insert_cpu")
    controller.set_phase(SKILL_RESUME, "button", "insert_ram")
    rig.run(1.0)
    controller.annotate("slipped", {"grasp_verified": "false", "grasp_actual": "85"})
    controller.annotate("second try", {})
    data = custom(rig.stop(notes="good").path)
    assert (data["skill_outcome"], data["skill_name"]) == ("completed_after_correction", "insert_ram")
    assert (data["grasp_verified"], data["grasp_actual"], data["notes"]) == ("false", "85", "slipped; second try; good")
    segments = json.loads(data["phase_segments"])
    assert [s["phase"] for s in segments] == ["ARMED", "TELEOP", "SKILL", "ARMED", "CORRECTION", "SKILL_RESUME"]
    assert all(a["end_ns"] == b["start_ns"] for a, b in pairwise(segments))
    counts = json.loads(data["phase_counts"])
    written = sum(topic["messages"] for topic in json.loads(data["topics"]).values())
    assert sum(counts.values()) == pytest.approx(written, abs=2), "the events themselves are written at the borders"
    assert json.loads(data["phase_seconds"])["SKILL"] == pytest.approx(1.0, abs=0.05)
    assert float(data["duration_s"]) == pytest.approx(4.0, abs=0.1)


def test_reported_outcomes_win_and_wrong_ones_are_refused(rig: Rig) -> None:
    rig.open(operator="ada", notes="first of the day", seed=7)
    rig.target = 0.1
    rig.run(0.5)
    with pytest.raises(EpisodeError, match="skill_outcome 'great' is not one of completed, completed_after_correction"):
        rig.stop(skill_outcome="great")
    with pytest.raises(EpisodeError, match="'task' cannot be added to an episode; allowed: skill_name"):
        rig.controller.annotate("", {"task": "other"})
    with pytest.raises(EpisodeError, match="IDLE is no phase to set: stop or discard"):
        rig.controller.set_phase(IDLE, "")
    with pytest.raises(EpisodeError, match=r"outcome 9 is not one of 0 to 2"):
        rig.stop(9)
    assert rig.controller.recording, "a refused request changes nothing"
    data = custom(rig.stop(skill_outcome="estop").path)
    assert (data["skill_outcome"], data["outcome"], data["termination"]) == ("estop", "success", "stopped")
    assert (data["operator"], data["notes"], data["seed"]) == ("ada", "first of the day", "7")
    with pytest.raises(RecordError, match="no episode is open; start one first"):
        rig.stop()


def test_what_is_known_at_the_start_is_in_the_file_at_once(rig: Rig, tmp_path: Path) -> None:
    uuid = rig.open(operator="ada")
    file = next((tmp_path / "bags").glob("*.open/*.mcap"))
    content = file.read_bytes()
    for text in (uuid.encode(), b"robot: test_arm", b"ada", b"lift"):
        assert text in content


def test_a_missing_camera_pauses_and_what_was_missed_is_marked(tmp_path: Path) -> None:
    rig = Rig(tmp_path, on_missing="pause")
    rig.run(2.0)
    rig.open()
    rig.target = 0.1
    rig.run(1.0)
    rig.run(1.5, camera=False)
    state = rig.controller.snapshot()
    assert "camera 'front': /front/image_raw silent for" in state["paused"]
    assert (state["phase"], state["writing"]) == (ARMED, False)
    rig.run(1.0)
    state = rig.controller.snapshot()
    assert (state["phase"], state["writing"], state["paused"]) == (TELEOP, True, "")
    _, topics = read_bag(rig.stop().path)
    events = [(event.phase, event.paused) for _, event in topics["/episode/event"]]
    assert events == [(ARMED, False), (TELEOP, False), (ARMED, True), (TELEOP, False), (IDLE, False)]
    began, ended = (topics["/episode/event"][index][0].log_time for index in (2, 3))
    inside = [m for m, _ in topics["/joint_states"] if began < m.log_time < ended - NS // 5]
    assert inside == [], "nothing is written while paused, but for the moments before it goes on"


def test_a_phase_that_changes_while_paused_is_the_one_that_goes_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path, on_missing="pause")
    rig.run(2.0)
    rig.open()
    rig.target = 0.1
    rig.run(1.0)
    rig.run(1.0, camera=False)
    rig.controller.set_phase(SKILL, "button")
    rig.run(0.2, camera=False)
    assert not rig.controller.snapshot()["writing"]
    rig.run(0.5)
    assert (rig.phase, rig.controller.snapshot()["writing"]) == (SKILL, True)
    rig.stop()


def test_policies_at_the_start(tmp_path: Path) -> None:
    refusing = Rig(tmp_path)
    refusing.run(2.0, camera=False)
    with pytest.raises(RecordError, match=r"nothing received on /front/image_raw .* Is the driver running\?") as caught:
        refusing.open()
    assert caught.value.code == Result.MISSING_TOPIC
    strict = Rig(tmp_path, on_slow="refuse")
    for _ in range(30):
        strict.run(0.1, camera=False)
        strict.run(0.02)
    strict.controller.problems()
    strict.run(0.2, camera=False)
    with pytest.raises(RecordError, match="Hz on /front/image_raw instead of 20 Hz"):
        strict.open()
    warning = Rig(tmp_path, on_missing="warn")
    warning.run(1.0, camera=False)
    warning.open()
    assert [problem.topic for problem in warning.controller.problems()] == ["/front/image_raw"]
    with pytest.raises(RecordError, match="is being recorded; stop or discard it before starting another"):
        warning.open()


def test_the_disk_refuses_a_long_episode_and_ends_one_before_it_is_full(rig: Rig, monkeypatch) -> None:
    disk = rig.controller.disk
    free = {"bytes": 10_000_000}
    monkeypatch.setattr(type(disk), "free", property(lambda _: free["bytes"]))
    disk.sample(0, 1 * NS)
    disk.sample(1_000_000, 2 * NS)
    with pytest.raises(RecordError, match=r"an episode of 60 s at 1\.0 MB/s needs") as caught:
        rig.open(max_duration_s=60.0)
    assert caught.value.code == Result.DISK_SPACE
    rig.open(max_duration_s=5.0)
    rig.target = 0.1
    rig.run(0.5)
    disk._min_free, free["bytes"] = 2000, 1000
    rig.run(0.2)
    closed = rig.closed[0]
    assert (closed.termination, closed.error_code) == (Result.TERMINATION_ERROR, Result.CANNOT_WRITE)
    assert "recording needs 0.0 GB" in closed.error_msg
    assert custom(closed.path)["termination"] == "error"
    assert json.loads(custom(closed.path)["topics"])["/joint_states"]["messages"] > 20


def test_a_clock_that_is_set_back_ends_the_episode(rig: Rig) -> None:
    rig.open()
    rig.target = 0.1
    rig.run(0.5)
    rig.now -= 50 * NS
    rig.run(0.2)
    assert "clock was set back by 49." in custom(rig.closed[0].path)["error"]
    rig.open()
    rig.run(0.5)
    assert not rig.closed[1:], "the next episode lives on the new time"


def test_the_time_limit_and_ctrl_c(rig: Rig) -> None:
    rig.open(max_duration_s=1.0)
    rig.target = 0.1
    rig.run(1.3)
    assert rig.closed[0].termination == Result.TERMINATION_TIMEOUT
    assert custom(rig.closed[0].path)["skill_outcome"] == "timeout"
    rig.open()
    rig.target = 0.3
    rig.run(0.5)
    rig.controller.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_SHUTDOWN)
    data = custom(rig.closed[1].path)
    assert (data["termination"], data["skill_outcome"], data["outcome"]) == ("shutdown", "incomplete", "unknown")


def test_messages_lost_on_the_way_are_counted_and_named(rig: Rig) -> None:
    tap = rig.taps.taps["/joint_states"]
    tap.publishers = 1
    for number in (1, 2, 5):
        tap.count(10, number)
    assert tap.lost == 2
    rig.open()
    rig.target = 0.1
    rig.run(0.5)
    for number in (6, 10):
        tap.count(10, number)
    tap.count(10, 2)  # the publisher was started again
    tap.publishers = 2
    tap.count(10, 50)
    assert rig.controller.snapshot()["dropped"] == 3
    closed = rig.stop()
    assert json.loads(custom(closed.path)["lost"]) == {"/joint_states": 3}
    assert any("3 messages of /joint_states were published but not received" in text for text in closed.warnings)


def test_late_joiners_and_attachments(tmp_path: Path) -> None:
    scene = tmp_path / "scene.yaml"
    scene.write_text("blocks: 3\n")
    rig = Rig(tmp_path / "bags", attachments=(scene,))
    rig.run(1.0)
    rig.open()
    rig.target = 0.1
    rig.run(0.3)
    plan = TopicPlan(topic="/force", type="sensor_msgs/msg/JointState", qos="default", role="extra", label="/force")
    late = FakeTaps([TopicPlan(**{**{f: getattr(plan, f) for f in plan.__slots__}, "qos": "latched"})]).taps["/force"]
    rig.taps.taps["/force"] = late
    rig.send("/force", JointState(name=["a"], position=[1.0]))
    path = rig.stop().path
    _, topics = read_bag(path)
    assert topics["/force"][0][1].position[0] == 1.0
    assert b"blocks: 3" in next(path.glob("*.mcap")).read_bytes()
    scene.unlink()
    with pytest.raises(RecordError, match=r"scene.yaml: the attachment cannot be read .* correct the parameter attach"):
        rig.open()


def test_commands_without_usable_values_are_no_motion(rig: Rig) -> None:
    rig.open()
    rig.now += STEP
    rig.send("/command/arm", JointState(name=["gripper"], position=[9.0]))
    rig.send("/command/arm", JointState(name=["elbow_joint", "wrist_joint"], position=[9.0]))
    rig.send("/command/arm", JointState(name=["elbow_joint", "wrist_joint"], position=[0.0, 0.5]))
    rig.send("/command/arm", JointState(name=["wrist_joint", "elbow_joint"], position=[0.5, 0.0]))
    assert rig.phase == ARMED
    rig.send("/command/arm", JointState(name=["wrist_joint", "elbow_joint"], position=[0.5, -0.002]))
    assert rig.phase == TELEOP
    assert SimpleNamespace(**rig.controller.snapshot()).writing
