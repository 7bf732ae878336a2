# SPDX-License-Identifier: Apache-2.0

"""Runs with `record_eval`: what the recorder is asked, in which order, and what becomes of a run that goes wrong."""

import hashlib

import pytest
from policy_cell import RampRunner, wait_until
from policy_fixtures import small_profile
from vla_common.qos import LATCHED
from vla_core.episode import SKILL_OUTCOMES
from vla_core.errors import ActionError
from vla_msgs.action import RecordEpisode, RunPolicy
from vla_msgs.msg import EpisodeEvent, PolicyStatus
from vla_msgs.srv import AnnotateEpisode, SetPhase, StartEpisode, StopEpisode
from vla_policy.execution.hooks import Stop
from vla_policy.node import rollout_recorder
from vla_policy.node.rollout_recorder import checkpoint_sha256, outcome_of, skill_outcome_of

Result = RunPolicy.Result
SKILL_ERROR = Stop(termination=Result.TERMINATION_ERROR, error_code=Result.SKILL, message="x")


class Recorder:
    """Plays the recorder's services and notes what was asked."""

    def __init__(self, c, *, refuse=""):
        self.calls, self.about, self.refuse, self.forget = [], {}, refuse, ()
        self.node = c.client_node
        self.services = [
            self.node.create_service(StartEpisode, "recorder/start", self._start),
            self.node.create_service(StopEpisode, "recorder/stop", self._stop),
            self.node.create_service(AnnotateEpisode, "recorder/annotate", self._note),
            self.node.create_service(SetPhase, "recorder/set_phase", self._phase),
        ]

    def leave(self):
        """End, as at ctrl-c: nobody answers any more."""
        for service in self.services:
            self.node.destroy_service(service)

    def _start(self, request, response):
        self.calls.append(("start", request.task))
        response.success, response.message = not self.refuse, self.refuse
        return response

    def _stop(self, request, response):
        self.calls.append(("stop", request.outcome, request.skill_outcome))
        response.success, response.bag_path = True, "/bags/episode_1"
        return response

    def _note(self, request, response):
        notes = dict(zip(request.keys, request.values, strict=True))
        self.calls.append(("note", *sorted(notes)[:1]))
        self.about |= notes
        response.success = "x_run_message" not in notes or "annotate" not in self.forget
        response.message = "the disk is full"
        return response

    def _phase(self, request, response):
        self.calls.append(("phase", request.phase))
        response.success = True
        return response


def test_a_run_is_an_episode_with_what_was_run_and_how_it_ended(cell):
    c = cell(seed=7)
    recorder = Recorder(c)
    _, result = c.result(c.send(task="wave", max_duration=1.0, record_eval=True, scene="table", client="me"))
    assert result.eval_dir == "/bags/episode_1"
    assert [call[0] for call in recorder.calls] == ["start", "note", "phase", "note", "stop"]
    assert recorder.calls[0] == ("start", "wave")
    assert recorder.calls[2] == ("phase", EpisodeEvent.POLICY)
    assert recorder.calls[4] == ("stop", RecordEpisode.Result.OUTCOME_UNKNOWN, "timeout")
    about = recorder.about
    expected = {
        "x_eval": "1",
        "x_policy": "ramp",
        "x_policy_seed": "7",
        "x_policy_profile_sha256": small_profile().sha256,
        "x_strategy": "crossfade",
        "x_mode": "e2e",
        "x_scene": "table",
        "x_client": "me",
        "x_run_termination": "timeout",
        "x_run_error_code": "0",
        "x_interventions": "0",
    }
    assert expected.items() <= about.items()
    assert about["x_checkpoint"].endswith("/run")
    assert float(about["x_run_duration_s"]) == pytest.approx(1.0, abs=0.1)
    assert int(about["x_run_steps"]) > 0


def test_without_record_eval_nothing_is_asked(cell):
    c = cell()
    recorder = Recorder(c)
    assert c.result(c.send(max_duration=0.5))[1].eval_dir == ""
    assert recorder.calls == []


def test_an_error_of_the_policy_closes_the_episode_as_a_failure(cell):
    c = cell(runner=RampRunner(small_profile(), error=ActionError("the model is broken")))
    recorder = Recorder(c)
    _, result = c.result(c.send(record_eval=True))
    assert (result.error_code, result.eval_dir) == (Result.INFERENCE, "/bags/episode_1")
    assert recorder.calls[-1] == ("stop", RecordEpisode.Result.OUTCOME_FAILURE, "incomplete")
    assert recorder.about["x_run_termination"] == "error"
    assert "the model is broken" in recorder.about["x_run_message"]
    assert recorder.about["x_scene"] == "default"


def test_a_control_loop_that_breaks_down_still_closes_the_episode(cell, monkeypatch):
    c = cell()
    recorder = Recorder(c)
    monkeypatch.setattr(
        "vla_policy.execution.policy_run.PolicyRun.tick", lambda run, t_ns: (_ for _ in ()).throw(RuntimeError("boom"))
    )
    _, result = c.result(c.send(record_eval=True))
    assert "the control loop failed" in result.error_msg
    assert recorder.calls[-1] == ("stop", RecordEpisode.Result.OUTCOME_FAILURE, "incomplete")
    assert recorder.about["x_run_termination"] == "error"


def test_a_node_that_is_told_to_end_saves_the_run_as_stopped_by_the_operator(cell):
    c = cell()
    recorder = Recorder(c)
    handle = c.send(max_duration=30.0, record_eval=True)
    wait_until(lambda: c.robot.arm_goals, what="a goal")
    c.node.close()
    c.node.close = lambda: None
    _, result = c.result(handle)
    assert result.termination == Result.TERMINATION_SHUTDOWN
    assert recorder.calls[-1] == ("stop", RecordEpisode.Result.OUTCOME_UNKNOWN, "estop")
    assert recorder.about["x_run_termination"] == "shutdown"


def test_a_node_that_ends_together_with_the_recorder_does_not_wait_for_it(cell):
    c = cell()
    recorder = Recorder(c)
    handle = c.send(max_duration=30.0, record_eval=True)
    wait_until(lambda: c.robot.arm_goals, what="a goal")
    recorder.leave()
    c.node.close()
    c.node.close = lambda: None
    assert not c.node._server._thread.is_alive(), "it has ended within the time that the node waits for it"
    _, result = c.result(handle)
    assert (result.termination, result.eval_dir) == (Result.TERMINATION_SHUTDOWN, "")


def test_the_episode_is_closed_though_its_end_could_not_be_written_down(cell):
    c = cell()
    recorder = Recorder(c)
    recorder.forget = ("annotate",)
    _, result = c.result(c.send(max_duration=0.5, record_eval=True))
    assert recorder.calls[-1][0] == "stop"
    assert (result.error_code, result.eval_dir) == (Result.NONE, "/bags/episode_1")


def test_a_recorder_that_refuses_or_is_absent_refuses_the_run_before_the_arm_moves(cell, monkeypatch):
    monkeypatch.setattr(rollout_recorder, "FIND_TIMEOUT_S", 0.3)
    c = cell()
    absent = c.result(c.send(record_eval=True))[1]
    assert absent.error_code == Result.RECORDER
    assert "nobody offers /recorder/start after 0.3 s. Start the recorder" in absent.error_msg
    recorder = Recorder(c, refuse="episode abc is being recorded")
    monkeypatch.setattr(rollout_recorder, "FIND_TIMEOUT_S", 5.0)
    refused = c.result(c.send(record_eval=True))[1]
    assert refused.error_code == Result.RECORDER
    assert "cannot be recorded: service /recorder/start refused: episode abc is being recorded" in refused.error_msg
    dry = c.result(c.send(record_eval=True, dry_run=True))[1]
    assert dry.error_msg == "a dry run moves nothing, so there is nothing to record; leave record_eval out"
    assert [call[0] for call in recorder.calls] == ["start"]
    assert c.robot.arm_goals == []


class FakeModes:
    skill_done, skill_outcome = False, ""


class DoneModes:
    skill_done, skill_outcome = True, "completed"


class FailedModes:
    skill_done, skill_outcome = False, "grasp_failed_no_correction"


@pytest.mark.parametrize(
    ("stop", "modes", "outcome", "skill"),
    [
        (Stop(termination=Result.TERMINATION_COMPLETED), DoneModes, 1, "completed"),
        (Stop(termination=Result.TERMINATION_COMPLETED), FakeModes, 0, ""),
        (SKILL_ERROR, FailedModes, 2, "grasp_failed_no_correction"),
        (Stop(termination=Result.TERMINATION_ESTOP, error_code=Result.ESTOP), FakeModes, 2, "estop"),
        (Stop(termination=Result.TERMINATION_CANCELED), FakeModes, 0, "incomplete"),
        (Stop(termination=Result.TERMINATION_STALE_INPUT, error_code=Result.STALE_INPUT), FakeModes, 2, "incomplete"),
    ],
)
def test_outcomes_have_the_recorder_s_names(stop, modes, outcome, skill):
    assert outcome_of(stop, modes()) == outcome
    found = skill_outcome_of(stop, modes())
    assert found == skill
    assert not found or found in SKILL_OUTCOMES


def test_weights_are_hashed_again_when_they_change(tmp_path):
    assert checkpoint_sha256("") == checkpoint_sha256("http://host:8000/act") == checkpoint_sha256(str(tmp_path)) == ""
    weights = tmp_path / "model.safetensors"
    for content in (b"one", b"another"):
        weights.write_bytes(content)
        assert checkpoint_sha256(str(tmp_path)) == hashlib.sha256(content).hexdigest()


def test_the_status_shows_the_mode(cell):
    c = cell()
    seen = []
    c.client_node.create_subscription(PolicyStatus, "policy/status", seen.append, LATCHED)
    wait_until(lambda: seen, what="the status")
    assert seen[-1].mode == "e2e"
