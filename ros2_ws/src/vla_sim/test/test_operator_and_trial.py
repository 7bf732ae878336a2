# SPDX-License-Identifier: Apache-2.0

"""The scripted operator and the trials against the cell in lockstep; recorder and policy are played by the test."""

import json
import os
import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from vla_common.action_server import DeferredActionServer
from vla_common.params import overrides
from vla_common.qos import COMMAND, LATCHED
from vla_core.controller_outcome import GoalStatus
from vla_core.stamps import stamp_ns
from vla_msgs.action import RecordEpisode, RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_msgs.srv import StartEpisode, StopEpisode
from vla_sim import constants as c
from vla_sim import joy_player, skills, tasks
from vla_sim.errors import SceneError, SimError
from vla_sim.joy_hands import Hands
from vla_sim.joy_player import JoyPlayerNode
from vla_sim.operator_node import OperatorNode
from vla_sim.scene_client import SceneClient
from vla_sim.sim_node import CellNode
from vla_sim.trial_node import TrialNode

PROFILE = str(Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml")


class Stage:
    """Cell, one driving node and a helper node, each with its executor thread."""

    def __init__(self):
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.randint(1, 200))
        self.running = []
        self.helper = Node("helper", context=self.context)
        self.helped = False

    def add(self, node):
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        self.running.append((node, executor, thread))
        return node

    def start(self, cls, **params):
        if not self.helped:  # only now: what a test gives the helper must not come while it is being spun
            self.helped = True
            self.add(self.helper)
        values = {"profile": PROFILE, **params}
        return self.add(cls(context=self.context, parameter_overrides=overrides(values)))

    def run(self, cls, tmp_path, timeout_s=60.0, **params):
        """Run a driving node to its end; returns it and its report."""
        name = "operator" if cls is OperatorNode else "trial"
        self.cell = self.start(CellNode, clock_mode="lockstep", participants=(name,), task=params.get("task", "lift"))
        report = tmp_path / "sub" / "report.json"
        node = self.start(cls, lockstep=True, result_file=str(report), **params)
        assert node.stop.wait(timeout_s), "the node has not ended"
        return node, json.loads(report.read_text()) if report.exists() else None

    def close(self):
        for node, _, _ in reversed(self.running):
            if hasattr(node, "close"):
                node.close()
        for _, executor, thread in self.running:
            executor.shutdown()
            thread.join()
        for node, _, _ in self.running:
            node.destroy_node()
        if not self.helped:
            self.helper.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


class FakeRecorder:
    """Answers the recorder's services and notes the labels."""

    def __init__(self, stage, refuse=False):
        self.started, self.stopped, self.labels = [], [], []
        self.refuse = refuse
        stage.helper.create_service(StartEpisode, "recorder/start", self.start)
        stage.helper.create_service(StopEpisode, "recorder/stop", self.stop)
        stage.helper.create_subscription(JointState, "command/arm", self.labels.append, COMMAND)

    def start(self, request, response):
        self.started.append((request.task, request.seed))
        response.success, response.message = not self.refuse, "disk is full"
        return response

    def stop(self, request, response):
        self.stopped.append(request.outcome)
        response.success, response.bag_path = True, f"/bags/{len(self.stopped)}"
        return response


def test_operator_records_demonstrations(stage, tmp_path):
    recorder = FakeRecorder(stage)
    node, report = stage.run(OperatorNode, tmp_path, episodes=2, first_seed=40, task="lift", instruction="lift it")
    assert (node.stop.code, node.stop.reason) == (0, "all episodes are done")
    assert recorder.started == [("lift it", 40), ("lift it", 41)]
    assert recorder.stopped == [RecordEpisode.Result.OUTCOME_SUCCESS] * 2
    assert (report["n"], report["ok"], report["instruction"]) == (2, 2, "lift it")
    assert [episode["bag"] for episode in report["episodes"]] == ["/bags/1", "/bags/2"]
    times = np.array([stamp_ns(m) for m in recorder.labels])
    gaps = np.diff(times)
    assert np.median(gaps) == 20_000_000
    assert (gaps > 0).all()
    first = [m for m in recorder.labels if stamp_ns(m) < times[0] + 3.5e9]
    positions = np.array([m.position for m in first])
    assert list(first[0].name) == list(c.ARM_JOINTS)
    assert np.abs(np.diff(positions, axis=0)).max() < 1.4 * 0.02 + 1e-6  # clean plan: no jump, no noise
    assert (positions[:5] == positions[0]).all()  # holds before it moves


def test_operator_says_of_each_episode_which_block_is_meant(stage, tmp_path):
    recorder = FakeRecorder(stage)
    _, report = stage.run(OperatorNode, tmp_path, 110.0, episodes=2, first_seed=40, task="pick_which")
    sentences = ["put the red block into the green bin", "put the blue block into the green bin"]
    assert [sentence for sentence, _ in recorder.started] == sentences
    assert [episode["instruction"] for episode in report["episodes"]] == sentences
    assert (report["ok"], report["instruction"]) == (2, "")


def test_operator_reports_a_refusing_recorder(stage, tmp_path):
    FakeRecorder(stage, refuse=True)
    node, report = stage.run(OperatorNode, tmp_path)
    assert node.stop.code == 1
    assert "service /recorder/start refused: disk is full" in node.stop.reason
    assert report is None


class FakePolicy:
    """Offers RunPolicy; ends a goal at once with `error`, or when it is canceled."""

    def __init__(self, stage, error="", rejections=0):
        self.goals = []
        self.rejections = rejections
        self.error = error
        self.server = DeferredActionServer(
            stage.helper, RunPolicy, "policy/run", check=self.check, accepted=self.accepted, cancel=self.canceled
        )
        stage.helper.create_timer(0.005, self.server.serve_cancels)

    def check(self, goal):
        self.rejections -= 1
        return self.rejections < 0

    def accepted(self, handle):
        self.goals.append(handle.request)
        if self.error:
            result = RunPolicy.Result(
                error_code=RunPolicy.Result.STALE_INPUT,
                error_msg=self.error,
                termination=RunPolicy.Result.TERMINATION_STALE_INPUT,
            )
            self.server.finish(handle, GoalStatus.ABORTED, result)

    def canceled(self, handle):
        result = RunPolicy.Result(
            termination=RunPolicy.Result.TERMINATION_CANCELED, chunks=3, inference_ms_p95=float("nan")
        )
        self.server.finish(handle, GoalStatus.CANCELED, result)


def test_trial_stops_the_policy_on_success(stage, tmp_path, monkeypatch):
    seen = []
    original = SceneClient.latest

    def latest(self):
        scene = original(self)
        if scene is not None:
            seen.append(scene)
            scene.task.success = len(seen) > 40
        return scene

    monkeypatch.setattr(SceneClient, "latest", latest)
    policy = FakePolicy(stage, rejections=2)
    node, report = stage.run(TrialNode, tmp_path, episodes=1, first_seed=3, max_duration_s=5.0, hold_s=0.1)
    assert node.stop.code == 0
    assert [(goal.task, goal.max_duration, goal.dry_run) for goal in policy.goals] == [
        ("pick up the red block", 5.0, False)
    ]
    trial = report["trials"][0]
    assert (report["n"], report["ok"], report["rate"]) == (1, 1, 1.0)
    assert (trial["seed"], trial["success"], trial["chunks"]) == (3, True, 3)
    assert trial["termination"] == RunPolicy.Result.TERMINATION_CANCELED
    assert trial["inference_ms_p95"] == 0.0
    assert 0.1 < trial["start_distance"] < 0.4
    assert trial["min_distance"] <= trial["start_distance"] + 1e-9


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("own", ["put the blue block into the green bin", "put the red block into the green bin"]),
        ("swapped", ["put the red block into the green bin", "put the blue block into the green bin"]),
        ("empty", [" ", " "]),
    ],
)
def test_trial_tells_the_policy_the_sentence_of_each_seed(stage, tmp_path, sentence, told):
    policy = FakePolicy(stage, error="enough")
    _, report = stage.run(TrialNode, tmp_path, episodes=2, first_seed=3, task="pick_which", sentence=sentence)
    assert [goal.task for goal in policy.goals] == told
    assert [trial["instruction"] for trial in report["trials"]] == told
    assert report["sentence"] == sentence
    assert [trial["taken"] for trial in report["trials"]] == ["", ""]


def test_trial_ends_when_the_other_block_is_placed(stage, tmp_path, monkeypatch):
    original = SceneClient.latest
    seen = []

    def latest(self):
        scene = original(self)
        if scene is not None:
            seen.append(scene)
            other = scene.other
            other.grasped, other.object_pose.position.z = 20 < len(seen) < 30, 0.2
            other.success = len(seen) > 40
        return scene

    monkeypatch.setattr(SceneClient, "latest", latest)
    FakePolicy(stage)
    node, report = stage.run(TrialNode, tmp_path, episodes=1, first_seed=3, max_duration_s=30.0, task="pick_which")
    assert node.stop.code == 0
    trial = report["trials"][0]
    assert (trial["success"], trial["taken"], trial["other_success"]) == (False, "other", True)
    assert trial["duration_s"] < 5.0
    assert (report["ok"], report["other_taken"]) == (0, 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"task": "pick", "sentence": "swapped"}, "task 'pick' has one block"),
        ({"task": "pick_which", "sentence": "empty", "instruction": "go"}, "leave out the instruction 'go'"),
    ],
)
def test_trial_refuses_sentences_that_cannot_be(stage, params, message):
    with pytest.raises(SceneError, match=message):
        stage.start(TrialNode, lockstep=True, **params)


def test_trial_notes_a_policy_that_fails(stage, tmp_path):
    FakePolicy(stage, error="front camera is silent")
    begin = time.monotonic()
    node, report = stage.run(TrialNode, tmp_path, episodes=2, max_duration_s=5.0)
    assert node.stop.code == 0
    assert [trial["error_msg"] for trial in report["trials"]] == ["front camera is silent"] * 2
    assert report["rate"] == 0.0
    assert time.monotonic() - begin < 30.0


def test_trial_displaces_the_part_once_when_the_skill_begins(stage, tmp_path):
    policy = FakePolicy(stage)
    status = stage.helper.create_publisher(PolicyStatus, "policy/status", LATCHED)
    states = [PolicyStatus.RUNNING] * 20 + [PolicyStatus.SKILL] * 20 + [PolicyStatus.RUNNING] * 5 + [PolicyStatus.SKILL]

    def say():
        if policy.goals and states:
            status.publish(PolicyStatus(state=states.pop(0)))

    stage.helper.create_timer(0.01, say)
    _, report = stage.run(
        TrialNode, tmp_path, episodes=1, first_seed=3, task="extract_ram", max_duration_s=1.0, displaced_trials=1
    )
    assert report["trials"][0]["displaced"]
    expected = skills.displacement("extract_ram", np.random.default_rng(3)).xyz
    cell = stage.cell.cell
    np.testing.assert_allclose(tasks.relative(cell.seat, cell.task_state().object_pose).xyz, expected, atol=2e-3)
    assert policy.goals[0].task == tasks.INSTRUCTIONS["extract_ram"]


def test_trial_displaces_parts_only(stage):
    with pytest.raises(SceneError, match=r"not that of 'lift'"):
        stage.start(TrialNode, displaced_trials=1, lockstep=True)


class FakeEpisode:
    """An episode that is played at once; the one of seed 8 fails, and so does home."""

    def __init__(self, hands, diary, rng, *, unplug_s):
        self.diary = diary
        assert unplug_s == 2.0

    def play(self):
        self.diary.deeds.append({"t": 1.0, "what": "press record"})
        self.diary.success = self.diary.seed != 8
        if self.diary.seed == 8:
            raise SimError("waited 60 s for an open episode: in vain")

    def give_up(self):
        self.diary.deeds.append({"t": 2.0, "what": "press home"})
        raise SimError("nobody listens")


def test_player_writes_what_it_did_and_goes_on_after_a_failure(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(joy_player, "JoyEpisode", FakeEpisode)
    monkeypatch.setattr(Hands, "wait_for_device", Hands.tick)
    report = tmp_path / "sub" / "played.json"
    stage.start(CellNode, clock_mode="lockstep", participants=("joy_player",), task="extract_cpu")
    params = {"task": "extract_cpu", "episodes": 3, "first_seed": 7, "result_file": str(report), "lockstep": True}
    node = stage.add(JoyPlayerNode(context=stage.context, parameter_overrides=overrides(params)))
    assert node.stop.wait(60.0)
    assert (node.stop.code, node.stop.reason) == (1, "all episodes are played")
    played = json.loads(report.read_text())
    assert (played["task"], played["scenario"], played["n"], played["ok"]) == ("extract_cpu", "success", 3, 2)
    assert [episode["seed"] for episode in played["episodes"]] == [7, 8, 9]
    assert [bool(episode["error"]) for episode in played["episodes"]] == [False, True, False]
    assert played["episodes"][0]["deeds"] == [{"t": 1.0, "what": "press record"}]
    assert [episode["deeds"][-1]["what"] for episode in played["episodes"]] == [
        "press record", "press home", "press record",
    ]  # fmt: skip


def test_player_says_that_nobody_hears_its_sticks(stage):
    stage.start(CellNode, clock_mode="lockstep", participants=("joy_player",), task="extract_cpu")
    params = {"lockstep": True, "timeout_s": 1.0}
    node = stage.add(JoyPlayerNode(context=stage.context, parameter_overrides=overrides(params)))
    assert node.stop.wait(60.0)
    assert node.stop.code == 1
    assert "waited 1 s for teleoperation to hear the sticks (left/joy, right/joy): in vain" in node.stop.reason
    assert "nothing was heard on teleop/state" in node.stop.reason
