# SPDX-License-Identifier: Apache-2.0

"""Who drives, tick by tick: policy, person, skill and correction; played without ROS."""

import numpy as np
import pytest
from policy_fixtures import small_frame, small_profile
from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError
from vla_msgs.action import RunPolicy
from vla_msgs.msg import EpisodeEvent, PolicyStatus
from vla_policy.node.correction_policy import SwitchRunner, with_correction
from vla_policy.node.modes import HELD, ModeError, ModeOptions, Modes, check_mode
from vla_policy.node.skills_client import SkillOutcome
from vla_policy.policies.runner import Loaded, LoadRequest

Result = RunPolicy.Result
PROFILE = small_profile()
STOP = np.ones((3, 3), np.float32)
MOVE = np.zeros((3, 3), np.float32)
MOVE_AND_STOP = np.vstack([MOVE, STOP])
TICK_NS = 20_000_000
FAILED = SkillOutcome(succeeded=False, verification_failed=True, message="the gripper is empty")
DONE = SkillOutcome(succeeded=True)


class Person:
    """Takes over when told to."""

    def __init__(self):
        self.has, self.count = False, 0

    def begin(self):
        self.count = 0

    def end(self):
        self.has = False

    def held(self):
        return self.has


class Detector:
    """Chunks of ones say stop."""

    def reset(self):
        pass

    steps = 3

    def find(self, chunk, observed):
        said = (chunk.values == 1.0).all(axis=1)
        return int(said.argmax()) if said.any() else None


class Twos(Detector):
    """Chunks of twos say stop."""

    def find(self, chunk, observed):
        return 0 if (chunk.values == 2.0).all() else None


class Skills:
    """Ends as it is told to."""

    def __init__(self, there=True):
        self.there, self.started, self.outcome, self.cancelled, self.running = there, [], None, 0, False

    def wait_for_server(self, timeout_s):
        return self.there

    def start(self, skill, *, resume):
        self.started.append((skill, resume))
        self.running, self.outcome = True, None

    def poll(self):
        if self.outcome is not None:
            self.running = False
        return self.outcome

    def cancel(self):
        self.cancelled += 1
        self.running = False
        return ""


class Runner:
    """One of two policies."""

    guidable = False

    def __init__(self, name, n=4, chunk=8):
        self.description, self.n_action_steps, self.chunk_size = name, n, chunk
        self.closed = self.resets = 0

    def reset(self):
        self.resets += 1

    def infer(self, frame, task, prefix=None):
        return self.description

    def close(self):
        self.closed += 1


class Run:
    """Plays the ticks of `PolicyRun`: guards, gate, then the policy's chunk."""

    def __init__(self, mode, *, correction=False, there=True, correction_detector=None, **options):
        self.person, self.skills, self.phases, self.log = Person(), Skills(there), [], []
        self.runner = SwitchRunner(Runner("first"), Runner("correction")) if correction else Runner("first")
        self.modes = Modes(
            ModeOptions(mode=mode, skill="" if mode == "e2e" else "grasp", **options),
            person=self.person,
            skills=None if mode == "e2e" else self.skills,
            detector=None if mode == "e2e" else Detector(),
            correction_detector=correction_detector,
            runner=lambda: self.runner,
            announce=lambda phase, label, skill: self.phases.append((phase, label, skill)),
            log=self.log.append,
        )
        self.held = None
        self.t_ns = 0

    def begin(self, **goal):
        request = RunPolicy.Goal(**goal)
        return self.modes.accept(request) or self.modes.start(request, "task")

    def tick(self, actions=None):
        """One tick; returns the stop. `held` says who drives, `sent` whether the chunk was put into force."""
        self.t_ns += TICK_NS
        stop = self.modes.check(self.t_ns)
        self.held = None if stop else self.modes.holding(self.t_ns)
        self.sent = False
        if stop is None and self.held is None and actions is not None:
            chunk = ActionChunk(t0_ns=self.t_ns, dt_s=0.1, values=actions)
            self.sent = self.modes.look(chunk, small_frame(PROFILE))
        return stop

    def to_skill(self):
        """The policy signals its end, the arm comes to rest, the skill starts; returns the ticks that took."""
        before = len(self.skills.started)
        assert self.tick(STOP) is None
        for ticks in range(1, 20):
            if len(self.skills.started) > before:
                return ticks
            assert self.tick() is None
        raise AssertionError("no skill was started")


def test_e2e_knows_no_stop_signal():
    run = Run("e2e")
    assert run.begin() is None
    assert run.tick(STOP) is None
    assert (run.sent, run.held, run.modes.skill_outcome) == (True, None, "")


def test_planner_hands_over_to_the_skill_when_the_arm_stands_and_ends_with_it():
    run = Run("planner")
    assert run.begin() is None
    assert run.tick(MOVE) is None
    assert run.sent
    assert run.tick(STOP) is None
    assert not run.sent, "the chunk that says stop is withheld"
    assert run.tick() is None
    assert run.held == "skill 'grasp' drives"
    assert run.skills.started == [], "not before the arm was told to stand, which follows the first hold"
    assert run.tick() is None
    assert run.skills.started == [("grasp", False)]
    assert run.modes.state == PolicyStatus.SKILL
    assert run.phases == [(EpisodeEvent.SKILL, "stop signal", "grasp")]
    run.skills.outcome = DONE
    stop = run.tick()
    assert (stop.termination, stop.error_code, stop.message) == (
        Result.TERMINATION_COMPLETED,
        Result.NONE,
        "skill 'grasp' succeeded",
    )
    assert (run.modes.skill_outcome, run.modes.skill_done) == ("completed", True)


def test_actions_before_the_stop_signal_are_executed_and_a_newer_chunk_may_take_it_back():
    run = Run("planner")
    run.begin()
    assert run.tick(MOVE_AND_STOP) is None
    assert run.sent, "three actions of 0.1 s come before the signal"
    for _ in range(10):
        run.tick()
        assert run.held is None
    run.tick(MOVE)
    for _ in range(20):
        run.tick()
        assert run.held is None, "the newest chunk goes on"
    run.tick(MOVE_AND_STOP)
    ticks = 0
    while run.held is None:
        run.tick()
        ticks += 1
    assert ticks == 15, "0.3 s"


def test_the_signal_of_a_correction_is_executed_because_it_closes_the_gripper():
    planner, correction = Run("planner"), Run("correction")
    ticks = []
    for run in (planner, correction):
        run.begin()
        ticks.append(run.to_skill())
    assert ticks[1] - ticks[0] == 9, "until the third action of 0.1 s each is in force"


def test_a_correction_policy_has_a_stop_signal_of_its_own():
    run = Run("planner", correction=True, correction_detector=Twos())
    run.begin()
    run.to_skill()
    run.skills.outcome = FAILED
    run.tick(MOVE)
    for _ in range(20):
        assert run.tick(STOP) is None
        assert (run.held, run.sent) == (None, True), "that is the sign of the first policy"
    run.tick(np.full_like(STOP, 2.0))
    for _ in range(20):
        run.tick()
    assert run.skills.started == [("grasp", False), ("grasp", True)]


def test_a_failed_grasp_goes_to_the_correction_policy_and_the_skill_is_resumed():
    run = Run("planner", correction=True)
    run.begin()
    run.to_skill()
    run.skills.outcome = FAILED
    assert run.tick(MOVE) is None
    assert (run.held, run.sent, run.runner.corrects) == (None, True, True)
    assert run.modes.state == PolicyStatus.RUNNING
    run.to_skill()
    assert run.skills.started == [("grasp", False), ("grasp", True)]
    run.skills.outcome = DONE
    assert run.tick().termination == Result.TERMINATION_COMPLETED
    assert run.modes.skill_outcome == "completed_after_correction"
    assert [phase for phase, _, _ in run.phases] == [EpisodeEvent.SKILL, EpisodeEvent.POLICY, EpisodeEvent.SKILL_RESUME]
    assert run.phases[1][1] == "correction policy"
    run.begin()
    assert not run.runner.corrects, "the next run begins with the first policy"


def test_a_failed_grasp_without_a_correction_policy_ends_the_run():
    run = Run("planner")
    run.begin()
    run.to_skill()
    run.skills.outcome = FAILED
    stop = run.tick()
    assert stop.error_code == Result.SKILL
    assert stop.message == "the gripper is empty; there is no correction policy (parameter correction_checkpoint)"
    assert run.modes.skill_outcome == "grasp_failed_no_correction"


def test_attempts_are_counted_and_limited():
    run = Run("planner", correction=True, max_attempts=2)
    run.begin()
    run.to_skill()
    run.skills.outcome = FAILED
    run.to_skill()
    run.skills.outcome = FAILED
    stop = run.tick()
    assert (stop.error_code, stop.message) == (Result.SKILL, "the gripper is empty; that was attempt 2 of 2")
    assert (run.modes.failed_grasps, run.modes.skill_outcome) == (2, "failed")


def test_correction_starts_with_its_policy_and_resumes_the_skill():
    run = Run("correction")
    run.begin()
    run.to_skill()
    assert run.skills.started == [("grasp", True)]
    run.skills.outcome = FAILED
    run.to_skill()  # the same policy corrects again
    run.skills.outcome = DONE
    assert run.tick().message == "skill 'grasp' succeeded"


def test_any_other_end_of_the_skill_is_an_error():
    run = Run("planner", correction=True)
    run.begin()
    run.to_skill()
    run.skills.outcome = SkillOutcome(succeeded=False, message="skill 'grasp' failed: MOTION (the arm was blocked)")
    stop = run.tick()
    assert (stop.error_code, stop.message) == (Result.SKILL, "skill 'grasp' failed: MOTION (the arm was blocked)")


def test_a_run_without_a_skill_server_is_refused_before_it_moves():
    stop = Run("planner", there=False, server_timeout_s=0.5).begin()
    assert stop.error_code == Result.SKILL
    assert stop.message == (
        "nobody offers skills/execute after 0.5 s, so skill 'grasp' cannot follow the policy. Start a skill server, or run "
        "with mode:=e2e"
    )


def test_a_dry_run_starts_no_skill():
    run = Run("planner", there=False)
    assert run.begin(dry_run=True) is None
    assert run.tick(STOP) is None
    assert run.tick() is None
    stop = run.tick()
    assert stop.termination == Result.TERMINATION_COMPLETED
    assert "a dry run starts no skill ('grasp' would follow)" in stop.message
    assert run.skills.started == []


def test_a_person_takes_over_from_the_policy_and_hands_back():
    run = Run("e2e")
    run.begin()
    run.person.has = True
    assert run.tick(MOVE) is None
    assert (run.held, run.sent, run.modes.state) == (HELD, False, PolicyStatus.TAKEOVER)
    run.tick()
    run.person.has = False
    assert run.tick(MOVE) is None
    assert (run.held, run.sent, run.modes.state) == (None, True, PolicyStatus.RUNNING)
    assert run.phases == [(EpisodeEvent.CORRECTION, "takeover", ""), (EpisodeEvent.POLICY, "hand-back", "")]


def test_a_person_who_takes_over_from_a_skill_has_corrected_it():
    run = Run("planner")
    run.begin()
    run.to_skill()
    run.person.has = True
    assert run.tick() is None
    assert (run.held, run.skills.cancelled) == (HELD, 1)
    for _ in range(3):
        assert run.tick() is None
    assert len(run.skills.started) == 1, "nothing starts while the person drives"
    run.person.has = False
    assert run.tick() is None
    assert run.tick() is None
    assert run.skills.started == [("grasp", False), ("grasp", True)]
    assert [phase for phase, _, _ in run.phases] == [
        EpisodeEvent.SKILL,
        EpisodeEvent.CORRECTION,
        EpisodeEvent.SKILL_RESUME,
    ]


def test_the_end_of_a_run_ends_its_skill():
    run = Run("planner")
    run.begin()
    run.to_skill()
    run.modes.end()
    assert run.skills.cancelled == 1
    run.modes.end()
    assert run.skills.cancelled == 1


@pytest.mark.parametrize(
    ("mode", "skill", "correction", "text"),
    [
        ("e2e", "grasp", "", r"skill:=grasp means nothing with mode:=e2e; add mode:=planner"),
        ("planner", "", "", r"mode:=planner hands over to a skill; say which one, e.g. skill:=grasp"),
        ("e2e", "", "runs/c", r"correction_checkpoint:=runs/c is for mode:=planner$"),
        ("correction", "grasp", "runs/c", r"with mode:=correction the checkpoint itself is the correction policy"),
    ],
)
def test_parameters_that_mean_nothing_together_are_refused(mode, skill, correction, text):
    with pytest.raises(ModeError, match=text):
        check_mode(mode, skill=skill, correction_checkpoint=correction)


def request_of(checkpoint):
    return LoadRequest(checkpoint=checkpoint, rename={}, options={})


def test_the_correction_policy_is_loaded_next_to_the_first_and_keeps_its_own_numbers_of_steps():
    made = {"a": Runner("a", n=6, chunk=10), "c": Runner("c", n=4, chunk=20)}
    loaded = with_correction(
        lambda request: Loaded(runner=made[request.checkpoint], profile=PROFILE, source=request.checkpoint), "c"
    )(request_of("a"))
    switch = loaded.runner
    assert (loaded.source, switch.n_action_steps, switch.chunk_size, switch.guidable) == ("a", 6, 10, False)
    assert switch.infer(None, "") == "a"
    switch.select(correction=True)
    assert switch.infer(None, "") == "c"
    assert (switch.n_action_steps, switch.chunk_size) == (4, 20)
    switch.reset()
    switch.close()
    assert [(runner.resets, runner.closed) for runner in made.values()] == [(1, 1), (1, 1)]


def test_a_correction_policy_of_another_mapping_is_refused_and_both_are_closed():
    other = small_profile(**{"fps: 10": "fps: 20"})
    made = {"a": (Runner("a"), PROFILE), "c": (Runner("c"), other)}

    def factory(request):
        runner, profile = made[request.checkpoint]
        return Loaded(runner=runner, profile=profile, source=request.checkpoint)

    with pytest.raises(CheckpointError, match=r"c: the correction policy maps .* otherwise than a:\n  fps"):
        with_correction(factory, "c")(request_of("a"))
    assert [runner.closed for runner, _ in made.values()] == [1, 1]


def test_an_unusable_correction_checkpoint_closes_the_first():
    first = Runner("a")

    def factory(request):
        if request.checkpoint == "c":
            raise CheckpointError("c: holds no checkpoint")
        return Loaded(runner=first, profile=PROFILE, source="a")

    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        with_correction(factory, "c")(request_of("a"))
    assert first.closed == 1
