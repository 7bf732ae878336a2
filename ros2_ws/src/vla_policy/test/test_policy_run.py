# SPDX-License-Identifier: Apache-2.0

"""A run tick by tick, without ROS: stated latency, take-over, refusals, reasons to stop."""

import numpy as np
import pytest
from policy_cell import RampRunner
from policy_fixtures import small_profile
from vla_core.frames import FrameBuilder
from vla_core.testing import image, joint_state
from vla_msgs.action import RunPolicy
from vla_policy.execution.executor import ChunkExecutor
from vla_policy.execution.inference import Inference
from vla_policy.execution.latency import LatencyEstimate
from vla_policy.execution.policy_run import PolicyRun, RunOptions, Stop
from vla_policy.execution.strategies import make_strategy
from vla_policy.node.run_report import report, result_message

Result = RunPolicy.Result
T0 = 1_000_000_000_000
TICK = 20_000_000


class Recorder:
    """Commands that are remembered with the tick at which they came."""

    def __init__(self, sends=True):
        self.sends = sends
        self.arm, self.gripper_targets, self.published, self.failed, self.now = [], [], [], [], T0
        self.stops, self.stop_problems = [], []

    def trajectory(self, name, trajectory):
        self.arm.append((self.now, trajectory))

    def gripper(self, name, position):
        self.gripper_targets.append((self.now, position))

    def show(self, text):
        self.text = text

    def settle(self):
        pass

    def failures(self):
        taken, self.failed = self.failed, []
        return taken

    def in_force(self, t_ns, name, positions):
        self.published.append((t_ns, name, np.array(positions)))

    def stop(self):
        self.stops.append(self.now)
        return self.stop_problems


class Bench:
    """A profile, a policy and a run, fed with messages and ticks by the test."""

    def __init__(
        self, runner=None, *, lockstep=True, latency_s=0.1, sends=True, hooks=None, strategy="latest", **options
    ):
        self.profile = small_profile()
        self.builder = FrameBuilder(self.profile, actions=False)
        self.runner = runner or RampRunner(self.profile)
        self.inference = Inference(lambda: self.runner)
        self.commands = Recorder(sends)
        values = {"max_duration_s": 60.0, "start_timeout_s": 0.2, "gripper_deadband": 0.02, "max_refused": 2, **options}
        self.run = PolicyRun(
            self.profile,
            self.builder,
            self.inference,
            ChunkExecutor(
                self.profile,
                n_action_steps=8,
                latency=LatencyEstimate(latency_s, fixed=lockstep),
                strategy=make_strategy(strategy),
            ),
            self.commands,
            options=RunOptions(lockstep=lockstep, **values),
            now_ns=lambda: self.commands.now,
            **(hooks or {}),
        )
        self.t = T0

    def tick(self, count=1, *, feed=True):
        for _ in range(count):
            if feed:
                self.builder.push_topic("joint_states", self.t, joint_state(self.t, ["shoulder", "elbow"], [0.1, 0.2]))
                self.builder.push_topic("joint_states", self.t, joint_state(self.t, ["finger"], [0.0]))
                self.builder.push_topic("front/image_raw", self.t, image(self.t, np.zeros((32, 32, 3), dtype=np.uint8)))
            self.commands.now = self.t
            stop = self.run.tick(self.t)
            self.t += TICK
            if stop is not None:
                return stop
        return None


@pytest.fixture
def bench():
    made = []

    def make(*args, **kwargs):
        made.append(Bench(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.inference.close()


def test_in_lockstep_a_chunk_is_used_at_the_stated_latency_whatever_the_wall_clock_says(bench):
    for delay_s in (0.0, 0.3):
        b = bench(RampRunner(small_profile(), delay_s=delay_s))
        assert b.tick(40) is None
        sent = [(t - T0) / 1e9 for t, _ in b.commands.arm]
        # Observed at 0, used at 0.1; the chunk of 8 steps is taken over one step before it rests, at 0.6.
        assert sent == pytest.approx([0.1, 0.6])
        assert list(b.run.measures.obs_to_action_ms.recent) == pytest.approx([100.0, 100.0])
        assert b.run.measures.control_jitter_ms.count == 0
        assert b.run.measures.held_ticks == 0


def test_an_inference_begins_when_the_tick_has_nothing_else_to_do(bench):
    b = bench()
    seen = []
    start = b.inference.start
    b.inference.start = lambda *given: seen.append((b.t, b.commands.published[-1][0])) or start(*given)
    b.commands.published.append((0, "arm", None))
    b.tick(40)
    assert len(seen) >= 2
    assert all(published == t for t, published in seen[1:]), "what is in force was published before"


def test_the_gripper_gets_a_goal_only_when_its_target_changes(bench):
    b = bench()
    b.tick(25)
    assert [(round((t - T0) / 1e9, 3), round(p, 3)) for t, p in b.commands.gripper_targets] == [(0.1, 0.0), (0.4, 0.8)]


def test_every_tick_publishes_what_is_in_force(bench):
    b = bench()
    b.tick(25)
    times = [t for t, name, _ in b.commands.published if name == "arm"]
    assert times == [T0 + i * TICK for i in range(5, 25)]
    assert {name for _, name, _ in b.commands.published} == {"arm", "gripper"}
    dry = bench(sends=False)
    dry.tick(25)
    assert dry.commands.published == []
    assert dry.run.measures.goals_sent == 0
    assert "observed 100 ms ago" in dry.commands.text


def test_without_observations_it_gives_up_and_names_the_stream(bench):
    stop = bench().tick(100, feed=False)
    assert (stop.termination, stop.error_code) == (Result.TERMINATION_ERROR, Result.NO_OBSERVATION)
    assert "no complete observation within 0.2 s: observation.images.front" in stop.message


def test_the_watchdog_ends_a_run_whose_streams_went_silent(bench):
    b = bench()
    assert b.tick(10) is None
    stop = b.tick(100, feed=False)
    assert stop.error_code == Result.STALE_INPUT
    assert (b.t - T0) / 1e9 < 0.2 + 0.3 + 0.05, "0.3 s after the last message"


def test_a_clock_that_goes_back_ends_the_run(bench):
    b = bench()
    b.tick(10)
    b.t = T0
    assert "the clock went back" in b.tick().message


def test_the_first_reason_to_stop_is_kept(bench):
    b = bench()
    b.tick(3)
    b.run.request_stop(Stop(termination=Result.TERMINATION_CANCELED, message="first"))
    b.run.request_stop(Stop(termination=Result.TERMINATION_SHUTDOWN, message="second"))
    b.commands.failed = ["a goal was rejected"]
    stop = b.tick()
    assert (stop.termination, stop.message) == (Result.TERMINATION_CANCELED, "first")


def test_failures_of_goals_end_the_run(bench):
    b = bench()
    b.tick(8)
    b.commands.failed = ["action x: the goal was rejected", "action y: the goal was aborted"]
    stop = b.tick()
    assert stop.error_code == Result.CONTROLLER
    assert stop.message == "action x: the goal was rejected; action y: the goal was aborted"


def test_refused_chunks_are_tried_again_and_then_end_the_run(bench):
    b = bench(RampRunner(small_profile(), value=2.9), max_refused=2)
    stop = b.tick(200)
    assert (stop.termination, stop.error_code) == (Result.TERMINATION_LIMIT, Result.UNSAFE_ACTION)
    assert "3 chunks in a row" in stop.message
    assert b.run.measures.refused == 3
    assert b.commands.arm == []


def test_the_time_limit_and_the_report(bench):
    b = bench(max_duration_s=1.0)
    stop = b.tick(200)
    assert (stop.termination, stop.error_code) == (Result.TERMINATION_TIMEOUT, Result.NONE)
    message = result_message(b.run, stop)
    assert (message.chunks, message.duration) == (b.run.measures.chunks, pytest.approx(1.0))
    assert message.obs_to_action_ms_p95 == pytest.approx(100.0, rel=0.006)
    line = report(b.run, stop)
    assert (line["termination"], line["steps"], line["stale_chunks"]) == ("timeout", message.steps, 0)


def test_a_chunk_that_comes_too_late_is_counted_and_replaced(bench):
    b = bench(latency_s=1.0)  # longer than a chunk of 0.8 s
    assert b.tick(120) is None
    assert b.run.measures.stale_chunks == 2
    assert b.commands.arm == []
    assert "all 8 steps" in b.run.detail


class Switch:
    """A gate, a guard and a watcher that the test throws; remembers in which order it was asked."""

    def __init__(self):
        self.why, self.stop, self.usable, self.calls, self.begun = None, None, True, [], []

    def begin(self, t_ns):
        self.begun.append(t_ns)

    def check(self, _t_ns):
        self.calls.append("guard")
        return self.stop

    def holding(self, _t_ns):
        self.calls.append("gate")
        return self.why

    def look(self, chunk, observed):
        assert chunk.t0_ns == observed.t_ns
        self.calls.append("watcher")
        return self.usable


def test_guards_come_first_then_the_gate_then_the_watchers(bench):
    switch = Switch()
    b = bench(hooks={"guards": [switch], "gate": switch, "watchers": [switch]})
    b.tick(6)
    assert switch.begun == [T0]
    assert switch.calls == ["guard", "gate"] * 6 + ["watcher"], "one chunk was ready, at 0.1 s"
    switch.stop = Stop(termination=Result.TERMINATION_ERROR, error_code=Result.CONTROLLER, message="the driver is gone")
    assert b.tick() is switch.stop


def test_while_somebody_else_drives_nothing_is_commanded_and_afterwards_it_begins_anew(bench):
    switch = Switch()
    b = bench(hooks={"gate": switch})
    b.tick(8)
    assert len(b.commands.arm) == 1
    switch.why = "a person drives"
    b.commands.failed = ["action arm: the goal was aborted"]  # replaced by the person's own
    published = len(b.commands.published)
    assert b.tick(20) is None
    assert b.commands.stops == [T0 + 8 * TICK], "cancelled once"
    assert len(b.commands.arm) == 1
    assert len(b.commands.published) == published
    assert (b.run.detail, b.run.measures.held_ticks) == ("a person drives", 0)
    switch.why = None
    assert b.tick(10) is None
    assert b.runner.resets == 2, "before the run and after the hand-back"
    sent, trajectory = b.commands.arm[-1]
    assert sent == T0 + 33 * TICK, "observed at the first free tick, used one latency later"
    assert trajectory.positions[0] == pytest.approx([0.14, 0.24]), "step 2, counted from the measured position"
    assert b.commands.gripper_targets[-1][0] == sent, "the gripper's target is said again"


def test_an_inference_that_was_running_when_somebody_took_over_is_thrown_away(bench):
    switch = Switch()
    b = bench(hooks={"gate": switch})
    b.tick(2)
    switch.why = "a person drives"
    b.tick()
    switch.why = None
    b.tick(5)
    assert b.commands.arm == []
    b.tick(2)
    assert [t for t, _ in b.commands.arm] == [T0 + 8 * TICK]


def test_an_arm_that_cannot_be_handed_over_ends_the_run(bench):
    switch = Switch()
    b = bench(hooks={"gate": switch})
    b.tick(8)
    switch.why, b.commands.stop_problems = "a person drives", ["action arm: cancel request: no answer"]
    stop = b.tick()
    assert (stop.error_code, stop.message) == (Result.CONTROLLER, "action arm: cancel request: no answer")


def test_a_chunk_that_a_watcher_withholds_is_not_sent(bench):
    switch = Switch()
    switch.usable = False
    b = bench(hooks={"watchers": [switch]})
    assert b.tick(20) is None
    assert b.commands.arm == []
    assert b.run.detail == "a chunk was withheld"


def feed(b, *, image_ns):
    """Joints of now, and an image that was taken at `image_ns`."""
    b.builder.push_topic("joint_states", b.t, joint_state(b.t, ["shoulder", "elbow"], [(b.t - T0) / 1e9, 0.2]))
    b.builder.push_topic("joint_states", b.t, joint_state(b.t, ["finger"], [0.0]))
    if image_ns is not None:
        b.builder.push_topic("front/image_raw", b.t, image(image_ns, np.zeros((32, 32, 3), dtype=np.uint8)))


def test_an_observation_belongs_to_the_stamp_of_its_image(bench):
    b = bench()
    for i in range(20):
        feed(b, image_ns=b.t - 3 * TICK if i >= 5 else None)  # the camera's way takes 60 ms
        assert b.tick(feed=False) is None
    (sent, trajectory), *_ = b.commands.arm
    assert sent == T0 + 10 * TICK, "asked at tick 5, used 0.1 s later"
    chunk = b.run._executor.plan.chunk
    assert chunk.t0_ns == T0 + 2 * TICK
    assert chunk.values[0, 0] == pytest.approx(2 * TICK / 1e9), "and so does the state"
    assert list(b.run.measures.obs_to_action_ms.recent) == pytest.approx([160.0])
    # Step 2 lies at 0.24 s, nearer than a step; step 3 at 0.34 s is the first that can be reached.
    assert trajectory.start_ns + round(trajectory.first_waypoint_s * 1e9) == T0 + 2 * TICK + 300_000_000


def test_an_image_that_is_too_old_is_missing_and_not_used_as_an_old_observation(bench):
    b = bench(start_timeout_s=10.0)
    b.t += 50 * TICK
    feed(b, image_ns=T0 + 30 * TICK)
    b.tick(feed=False)
    assert not b.inference.busy
    assert "observation.images.front: no message for 0.4 s" in b.run.detail


def test_what_is_in_force_reaches_a_policy_that_is_guided(bench):
    class Guided(RampRunner):
        guidable = True

        def infer(self, frame, task, prefix=None):
            prefixes.append(prefix)
            return super().infer(frame, task)

    prefixes = []
    b = bench(Guided(small_profile()), strategy="rtc")
    b.tick(40)
    assert prefixes[0] is None
    assert prefixes[1].values.shape[1] == 3
    assert prefixes[1].frozen == 2, "0.1 s of latency and a step of lead"
    follow = bench(Guided(small_profile()), strategy="crossfade")
    follow.tick(40)
    assert len(prefixes) > 3
    assert prefixes[-1] is None
