# SPDX-License-Identifier: Apache-2.0

"""The operator's day: every button in every state, and the episodes that a person goes through."""

import pytest
from day_bench import FAILED_GRASP, GRASP, MISSED, Bench, in_state
from vla_core.episode import ARMED, CORRECTION, IDLE, SKILL, SKILL_OUTCOMES, SKILL_RESUME, TELEOP, PhaseMachine
from vla_teleop.operator.intents import (
    DROPPED,
    INTERRUPTED,
    MOTION,
    NOT_READY,
    UNREACHABLE,
    Annotate,
    CancelSkill,
    Discard,
    Forget,
    Freedrive,
    Home,
    Label,
    RunSkill,
    SetPhase,
    SkillEnd,
    Speed,
    Start,
    Still,
    Stop,
    Teleop,
    TeleopView,
)
from vla_teleop.operator.moves import State

S = State
RECORDING = "recording already"
BEGINS = "it begins from teleop only"
WAIT_HOME = "wait: saved, and on the way home"
# State -> button -> (state after it, a part of what the operator reads, or None: the crew is asked and nothing is said)
TABLE = {
    S.IDLE: {
        "record": (S.ARMED, "armed: move the arm"),
        "home": (S.IDLE, "home; press record"),
        "interrupt": (S.IDLE, "interrupt does nothing now: no skill runs"),
        "enable": (S.IDLE, None),
        "freedrive": (S.IDLE, None),
        "discard": (S.IDLE, "the last episode is put aside"),
        "success": (S.IDLE, "the last episode: success"),
        "failure": (S.IDLE, "the last episode: failure"),
        "skill/cpu": (S.IDLE, BEGINS),
    },
    S.OPENING: {
        "record": (S.OPENING, "busy; wait: the episode is being opened"),
        "home": (S.OPENING, "home does nothing now: wait"),
        "interrupt": (S.OPENING, "no skill runs; wait"),
        "enable": (S.OPENING, "enable does nothing now: wait"),
        "freedrive": (S.OPENING, "only between episodes"),
        "discard": (S.OPENING, "discard does nothing now: wait"),
        "success": (S.OPENING, "success does nothing now: wait"),
        "failure": (S.OPENING, "failure does nothing now: wait"),
        "skill/cpu": (S.OPENING, BEGINS),
    },
    S.ARMED: {
        "record": (S.ARMED, RECORDING),
        "home": (S.IDLE, "home; press record"),
        "interrupt": (S.ARMED, "no skill runs"),
        "enable": (S.ARMED, None),
        "freedrive": (S.ARMED, "only between episodes"),
        "discard": (S.IDLE, "discarded"),
        "success": (S.ARMED, "success does nothing now: move the arm"),
        "failure": (S.ARMED, "failure does nothing now: move the arm"),
        "skill/cpu": (S.ARMED, BEGINS),
    },
    S.TELEOP: {
        "record": (S.TELEOP, RECORDING),
        "home": (S.IDLE, "home; press record"),
        "interrupt": (S.TELEOP, "no skill runs"),
        "enable": (S.TELEOP, None),
        "freedrive": (S.TELEOP, "only between episodes"),
        "discard": (S.IDLE, "discarded"),
        "success": (S.IDLE, "home; press record"),
        "failure": (S.IDLE, "home; press record"),
        "skill/cpu": (S.SKILL, "skill 'cpu' runs"),
    },
    S.HANDOVER: {
        "record": (S.HANDOVER, RECORDING),
        "home": (S.IDLE, "home; press record"),
        "interrupt": (S.TELEOP, "skill 'cpu' not begun"),
        "enable": (S.HANDOVER, "enable does nothing now: wait: the arm is handed"),
        "freedrive": (S.HANDOVER, "only between episodes"),
        "discard": (S.IDLE, "discarded"),
        "success": (S.HANDOVER, "success does nothing now: wait"),
        "failure": (S.HANDOVER, "failure does nothing now: wait"),
        "skill/cpu": (S.HANDOVER, BEGINS),
    },
    S.SKILL: {
        "record": (S.SKILL, RECORDING),
        "home": (S.STOPPING, None),
        "interrupt": (S.STOPPING, None),
        "enable": (S.SKILL, "enable does nothing now: the skill runs; press interrupt"),
        "freedrive": (S.SKILL, "only between episodes"),
        "discard": (S.STOPPING, None),
        "success": (S.SKILL, "success does nothing now: the skill runs"),
        "failure": (S.SKILL, "failure does nothing now: the skill runs"),
        "skill/cpu": (S.SKILL, BEGINS),
    },
    S.STOPPING: {
        "record": (S.STOPPING, RECORDING),
        "home": (S.STOPPING, None),
        "interrupt": (S.STOPPING, "no skill runs; wait: the skill is being stopped"),
        "enable": (S.STOPPING, "enable does nothing now: wait"),
        "freedrive": (S.STOPPING, "only between episodes"),
        "discard": (S.STOPPING, None),
        "success": (S.STOPPING, "success does nothing now: wait"),
        "failure": (S.STOPPING, "failure does nothing now: wait"),
        "skill/cpu": (S.STOPPING, BEGINS),
    },
    S.FAILED: {
        "record": (S.FAILED, RECORDING),
        "home": (S.IDLE, "home; press record"),
        "interrupt": (S.FAILED, "no skill runs; correct the grasp"),
        "enable": (S.FAILED, None),
        "freedrive": (S.FAILED, "only between episodes"),
        "discard": (S.IDLE, "discarded"),
        "success": (S.IDLE, "home; press record"),
        "failure": (S.IDLE, "home; press record"),
        "skill/cpu": (S.FAILED, f"{BEGINS}; correct the grasp with the joystick"),
    },
    S.CORRECTION: {
        "record": (S.CORRECTION, RECORDING),
        "home": (S.IDLE, "home; press record"),
        "interrupt": (S.CORRECTION, "no skill runs; correct"),
        "enable": (S.CORRECTION, None),
        "freedrive": (S.CORRECTION, "only between episodes"),
        "discard": (S.IDLE, "discarded"),
        "success": (S.IDLE, "home; press record"),
        "failure": (S.IDLE, "home; press record"),
        "skill/cpu": (S.SKILL, "skill 'cpu' goes on"),
        "skill/ram": (S.CORRECTION, "skill 'ram' does nothing now: 'cpu' was begun in this episode; press its button"),
    },
    S.ENDING: {
        "record": (S.ENDING, "busy; wait: saved"),
        "home": (S.ENDING, f"home does nothing now: {WAIT_HOME}"),
        "interrupt": (S.IDLE, "stopped on the way home"),
        "enable": (S.ENDING, WAIT_HOME),
        "freedrive": (S.ENDING, "only between episodes"),
        "discard": (S.ENDING, WAIT_HOME),
        "success": (S.ENDING, WAIT_HOME),
        "failure": (S.ENDING, WAIT_HOME),
        "skill/cpu": (S.ENDING, BEGINS),
    },
    S.TAKING: {
        "record": (S.TAKING, "busy; wait: you are getting the arm"),
        "home": (S.TAKING, "home does nothing now: wait: you are getting the arm"),
        "interrupt": (S.TAKING, "interrupt does nothing now: wait: you are getting the arm"),
        "enable": (S.TAKING, "enable does nothing now: wait"),
        "freedrive": (S.TAKING, "only between episodes"),
        "discard": (S.TAKING, "discard does nothing now"),
        "success": (S.TAKING, "success does nothing now"),
        "failure": (S.TAKING, "failure does nothing now"),
        "skill/cpu": (S.TAKING, BEGINS),
    },
    S.HELD: {
        "record": (S.HELD, "busy; you drive instead of the policy"),
        "home": (S.HELD, "home does nothing now: you drive instead of the policy"),
        "interrupt": (S.IDLE, "handed back: the policy goes on"),
        "enable": (S.IDLE, "handed back: the policy goes on"),
        "freedrive": (S.HELD, "only between episodes"),
        "discard": (S.HELD, "discard does nothing now"),
        "success": (S.HELD, "success does nothing now"),
        "failure": (S.HELD, "failure does nothing now"),
        "skill/cpu": (S.HELD, BEGINS),
    },
    S.RETURNING: {
        "record": (S.RETURNING, "busy; wait: the policy is getting the arm back"),
        "home": (S.RETURNING, "home does nothing now: wait: the policy is getting the arm back"),
        "interrupt": (S.TAKING, "takeover: the policy lets go"),
        "enable": (S.RETURNING, "enable does nothing now: wait"),
        "freedrive": (S.RETURNING, "only between episodes"),
        "discard": (S.RETURNING, "discard does nothing now"),
        "success": (S.RETURNING, "success does nothing now"),
        "failure": (S.RETURNING, "failure does nothing now"),
        "skill/cpu": (S.RETURNING, BEGINS),
    },
}
CASES = [(state, button, *what) for state, row in TABLE.items() for button, what in row.items()]


def bench_in(state: State) -> Bench:
    return in_state(state, takeover=True)


def test_the_table_names_every_state() -> None:
    assert set(TABLE) == set(State)


@pytest.mark.parametrize(("state", "button", "after", "text"), CASES, ids=lambda v: getattr(v, "name", None))
def test_a_button_in_a_state(state: State, button: str, after: State, text: str | None) -> None:
    bench = bench_in(state)
    assert bench.press(button) == after
    if text is None:
        assert bench.said == []
        assert bench.done or state == S.STOPPING
    else:
        assert text in "\n".join(bench.said)
        if "does nothing now" in bench.said[-1]:
            assert bench.done == [], "a refused button asks nothing of anybody"


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
@pytest.mark.parametrize("name", ["rotate_cw", "reorient", "waypoint_add"])
def test_buttons_of_other_nodes_are_none_of_the_days(state: State, name: str) -> None:
    bench = bench_in(state)
    assert bench.press(name) == state
    assert (bench.done, bench.said) == ([], [])


def test_straight_success() -> None:
    bench = Bench()
    bench.press("record")
    assert bench.kinds() == ["Speed", "Teleop", "Start"], "teleop has the arm before the episode is armed"
    assert bench.phase(TELEOP) == S.TELEOP
    bench.done.clear()
    bench.press("skill/cpu")
    assert bench.done == [
        Teleop(enable=False),
        SetPhase(phase=SKILL, label="skill button", skill="cpu"),
        RunSkill(skill="cpu", resume=False),
    ]
    bench.done.clear()
    assert bench.skill(SkillEnd(waypoints=23, grasp=GRASP)) == S.IDLE
    assert bench.done == [
        Annotate(values={"skill_name": "cpu", **GRASP}, soft=True),
        Stop(outcome=1, skill_outcome="completed", soft=True),
        Speed(scale=1.0, soft=True),
        Home(),
        Teleop(enable=False, soft=True),
    ]
    assert "skill 'cpu' completed: saved, going home" in bench.said


def test_a_failed_grasp_is_corrected_and_resumed() -> None:
    bench = in_state(S.SKILL)
    assert bench.skill(MISSED) == S.FAILED
    assert bench.done == [
        Annotate(values={"skill_name": "cpu", **FAILED_GRASP}, soft=True),
        SetPhase(phase=ARMED, label="grasp failed", soft=True),
        Speed(scale=0.5, soft=True),
        Teleop(enable=True),
    ]
    assert bench.said == ["GRASP FAILED: closed to 160, a part stops it below 155. " + S.FAILED.value]
    assert bench.phase(CORRECTION) == S.CORRECTION
    bench.done.clear()
    assert bench.press("skill/cpu") == S.SKILL
    assert bench.done == [
        Teleop(enable=False),
        SetPhase(phase=SKILL_RESUME, label="skill button, again", skill="cpu"),
        RunSkill(skill="cpu", resume=True),
    ]
    bench.skill(SkillEnd(waypoints=23))
    assert bench.last(Annotate).values == {"skill_name": "cpu"}, "values of the first part stay when none was checked"
    assert bench.last(Stop) == Stop(outcome=1, skill_outcome="completed_after_correction", soft=True)
    assert bench.last(Speed).scale == 1.0


def test_an_interrupted_skill_is_corrected_at_once_and_again() -> None:
    bench = in_state(S.SKILL)
    for _ in range(2):
        bench.done.clear()
        bench.press("interrupt")
        assert bench.done == [CancelSkill()], "nothing else before the skill has ended"
        assert bench.skill(SkillEnd(code=INTERRUPTED, waypoints=3)) == S.CORRECTION
        assert bench.kinds() == ["CancelSkill", "Annotate", "SetPhase", "Teleop"]
        assert bench.last(SetPhase).phase == CORRECTION
        assert bench.press("skill/cpu") == S.SKILL
        assert bench.last(RunSkill).resume
    bench.skill(SkillEnd())
    assert bench.last(Stop).skill_outcome == "completed_after_correction"


def test_a_skill_that_ends_well_while_it_is_cancelled_counts() -> None:
    bench = in_state(S.STOPPING)
    assert bench.skill(SkillEnd(grasp=GRASP)) == S.IDLE
    assert bench.last(Stop).skill_outcome == "completed"


def test_a_skill_that_does_not_end_after_its_cancel_loses_the_arm() -> None:
    bench = in_state(S.STOPPING)
    assert bench.hear(bench.day.on_time(bench.t + 1.0)) == S.STOPPING
    assert bench.hear(bench.day.on_time(bench.t + 2.5)) == S.CORRECTION
    assert bench.done[0] == Still()
    assert "has not ended 2 s after its cancel: the arm's goals are cancelled" in bench.said[0]


@pytest.mark.parametrize(
    ("state", "outcome", "skill_outcome"),
    [
        (S.ARMED, 0, "no_skill"),
        (S.TELEOP, 0, "no_skill"),
        (S.FAILED, 2, "grasp_failed_no_correction"),
        (S.CORRECTION, 0, "incomplete"),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_home_saves_what_exists(state: State, outcome: int, skill_outcome: str) -> None:
    bench = in_state(state)
    bench.press("home")
    assert bench.done == [
        Stop(outcome=outcome, skill_outcome=skill_outcome, soft=True),
        Speed(scale=1.0, soft=True),
        Home(),
        Teleop(enable=False, soft=True),
    ]
    assert skill_outcome in SKILL_OUTCOMES


@pytest.mark.parametrize(("button", "kind"), [("home", Home), ("discard", Discard)])
def test_home_and_discard_stop_the_skill_first(button: str, kind: type) -> None:
    bench = in_state(S.SKILL)
    bench.press(button)
    assert bench.done == [CancelSkill()]
    bench.press("interrupt")
    assert bench.skill(SkillEnd(code=INTERRUPTED)) == S.IDLE
    assert bench.last(kind) == kind()
    if kind is Home:
        assert bench.last(Stop).skill_outcome == "incomplete"


@pytest.mark.parametrize(("button", "outcome"), [("success", 1), ("failure", 2)])
def test_labels_end_the_episode_or_name_the_last_one(button: str, outcome: int) -> None:
    bench = in_state(S.TELEOP)
    bench.press(button)
    assert bench.last(Stop) == Stop(outcome=outcome, skill_outcome="no_skill", soft=True)
    bench.press(button)
    assert bench.last(Label) == Label(label=outcome)


@pytest.mark.parametrize("code", [UNREACHABLE, NOT_READY])
@pytest.mark.parametrize(
    ("state", "back", "phase"), [(S.TELEOP, S.TELEOP, TELEOP), (S.CORRECTION, S.CORRECTION, CORRECTION)]
)
def test_a_skill_that_moved_nothing_gives_the_arm_back(code: int, state: State, back: State, phase: int) -> None:
    bench = in_state(state)
    bench.press("skill/cpu")
    bench.done.clear()
    assert bench.skill(SkillEnd(code=code, text="waypoint 3 is out of reach; move nearer")) == back
    assert bench.done == [SetPhase(phase=phase, label="skill not begun", soft=True), Teleop(enable=True)]
    assert bench.said[-1].startswith("skill 'cpu' was not begun: waypoint 3 is out of reach; move nearer. ")


@pytest.mark.parametrize(
    ("code", "label"), [(MOTION, "skill stopped"), (DROPPED, "dropped"), (UNREACHABLE, "skill stopped")]
)
def test_a_skill_that_fails_on_its_way_waits_for_a_correction(code: int, label: str) -> None:
    bench = in_state(S.SKILL)
    assert bench.skill(SkillEnd(code=code, text="why", waypoints=4)) == S.FAILED
    assert bench.last(SetPhase) == SetPhase(phase=ARMED, label=label, soft=True)
    assert ("drop_detected" in bench.last(Annotate).values) == (code == DROPPED)


def test_a_correction_that_takes_too_long_is_saved_as_such() -> None:
    bench = in_state(S.FAILED, correction_timeout_s=30.0)
    assert bench.hear(bench.day.on_time(bench.t + 20.0)) == S.FAILED
    assert bench.hear(bench.day.on_time(bench.t + 31.0)) == S.IDLE
    assert bench.done[0] == Stop(outcome=2, skill_outcome="correction_timeout")
    assert "no resume within 30 s of the failure" in bench.said[-1]


@pytest.mark.parametrize(
    ("state", "kind", "after", "text"),
    [
        (S.IDLE, Start, S.IDLE, "no episode was begun: the camera is silent"),
        (S.IDLE, Teleop, S.IDLE, "no episode was begun: the camera is silent"),
        (S.TELEOP, Teleop, S.TELEOP, "skill 'cpu' was not begun: the camera is silent"),
        (S.TELEOP, SetPhase, S.TELEOP, "skill 'cpu' was not begun: the camera is silent"),
        (S.TELEOP, RunSkill, S.TELEOP, "skill 'cpu' was not begun: the camera is silent"),
        (S.CORRECTION, RunSkill, S.CORRECTION, "skill 'cpu' was not begun: the camera is silent"),
    ],
    ids=lambda v: getattr(v, "name", getattr(v, "__name__", None)),
)
def test_what_is_refused_on_the_way_leads_back(state: State, kind: type, after: State, text: str) -> None:
    bench = in_state(state)
    bench.refuse[kind] = "the camera is silent"
    assert bench.press("record" if state == S.IDLE else "skill/cpu") == after
    assert text in bench.said[-1]
    assert not bench.desk.busy
    assert bench.last(Teleop).enable or kind is Teleop


def test_a_recorder_that_refuses_to_stop_does_not_keep_the_arm_from_home() -> None:
    bench = in_state(S.TELEOP)
    bench.refuse[Stop] = "the disk is full"
    assert bench.press("home") == S.IDLE
    assert "the disk is full" in bench.said
    assert bench.done[-2] == Home()


def test_a_way_home_that_fails_is_told() -> None:
    bench = in_state(S.TELEOP)
    bench.refuse[Home] = "protective stop"
    assert bench.press("home") == S.IDLE
    assert bench.said[-1] == "not home: protective stop. The episode is saved; press home again, or enable and drive"


def test_a_silent_device_stops_the_skill_and_pauses() -> None:
    bench = in_state(S.SKILL, device_grace_s=0.2)
    silent = TeleopView(stale=True, line="sol_r2 silent for 0.3 s")
    assert bench.hear(bench.day.on_teleop(silent, bench.t)) == S.SKILL
    assert bench.hear(bench.day.on_time(bench.t)) == S.SKILL, "it may be a hiccup"
    assert (bench.done, bench.said) == ([], [])
    assert bench.hear(bench.day.on_time(bench.t + 0.1)) == S.STOPPING
    assert bench.done == [CancelSkill()]
    assert "the device is silent (sol_r2 silent for 0.3 s): nobody could interrupt the skill" in bench.said[0]
    assert bench.skill(SkillEnd(code=INTERRUPTED, waypoints=2)) == S.FAILED
    assert bench.hear(bench.day.on_teleop(TeleopView(line="sol_r2"), bench.t)) == S.FAILED
    assert bench.said[-1].startswith("the device is back (sol_r2); correct the grasp")


def test_a_hiccup_of_the_device_leaves_the_skill_alone() -> None:
    bench = in_state(S.SKILL, device_grace_s=0.2)
    bench.hear(bench.day.on_teleop(TeleopView(stale=True), bench.t))
    bench.hear(bench.day.on_teleop(TeleopView(), bench.t))
    assert bench.hear(bench.day.on_time(bench.t + 1.0)) == S.SKILL
    assert bench.done == []


def test_a_skill_that_begins_with_a_silent_device_is_stopped() -> None:
    bench = in_state(S.TELEOP)
    bench.hear(bench.day.on_teleop(TeleopView(active=True, stale=True, line="silent"), bench.t))
    bench.press("skill/cpu")
    assert bench.hear(bench.day.on_time(bench.t)) == S.STOPPING


def test_a_silent_device_in_teleop_is_told_once() -> None:
    bench = in_state(S.TELEOP)
    for _ in range(3):
        bench.hear(bench.day.on_teleop(TeleopView(active=True, stale=True, line="silent"), bench.t))
    assert bench.said == [
        "the device is silent (silent): the arm stands still. Plug it in again; ctrl-c saves the episode"
    ]
    assert bench.day.state == S.TELEOP


def test_a_silent_device_between_episodes_says_nothing_of_an_episode() -> None:
    bench = in_state(S.IDLE)
    bench.hear(bench.day.on_teleop(TeleopView(stale=True, line="silent"), bench.t))
    assert bench.said == ["the device is silent (silent): the arm stands still. Plug it in again"]


@pytest.mark.parametrize(("state", "after"), [(S.TELEOP, S.ARMED), (S.CORRECTION, S.FAILED), (S.SKILL, S.STOPPING)])
def test_a_fault_of_teleoperation_pauses_recording(state: State, after: State) -> None:
    bench = in_state(state)
    assert bench.hear(bench.day.on_teleop(TeleopView(fault=True, line="switch refused"), bench.t)) == after
    assert "teleoperation has stopped: switch refused; mend that, then press enable" in bench.said[0]
    assert bench.done == (
        [CancelSkill()] if state == S.SKILL else [SetPhase(phase=ARMED, label="teleoperation lost", soft=True)]
    )


def test_enable_and_freedrive_change_what_teleoperation_says() -> None:
    bench = in_state(S.IDLE)
    bench.press("enable")
    assert bench.done == [Teleop(enable=True)]
    bench.hear(bench.day.on_teleop(TeleopView(active=True, freedrive=True), bench.t))
    bench.press("enable")
    bench.press("freedrive")
    assert bench.done[1:] == [Teleop(enable=False), Freedrive(enable=False)]


@pytest.mark.parametrize("state", [S.TELEOP, S.SKILL, S.FAILED])
def test_a_lost_recorder_brings_the_arm_to_rest(state: State) -> None:
    bench = in_state(state)
    assert bench.hear(bench.day.on_lost("recorder", 4.0, bench.t)) == S.IDLE
    assert bench.done == ([CancelSkill(), Still()] if state == S.SKILL else []) + [Teleop(enable=False, soft=True)]
    assert "nothing heard of the recorder node for 4.0 s" in bench.said[-1]
    assert "ros2 run vla_recorder repair" in bench.said[-1]


def test_lost_skills_bring_the_arm_to_rest_and_wait_for_the_person() -> None:
    bench = in_state(S.SKILL)
    assert bench.hear(bench.day.on_lost("skills", 1.1, bench.t)) == S.FAILED
    assert bench.done[:2] == [CancelSkill(), Still()]
    assert "SKILL STOPPED: nothing heard of the skills node for 1.1 s; start it again" in bench.said[-1]
    assert in_state(S.TELEOP).day.on_lost("skills", 1.1, 200.0) == ()


def test_an_episode_that_the_recorder_closes_by_itself() -> None:
    bench = in_state(S.SKILL)
    assert bench.phase(IDLE, label="timeout") == S.IDLE
    assert bench.done == [CancelSkill(), Speed(scale=1.0, soft=True)]
    assert "the recorder has closed the episode (timeout)" in bench.said[-1]
    assert bench.skill(SkillEnd(code=INTERRUPTED)) == S.IDLE


def test_what_the_recorder_said_before_the_episode_is_of_no_interest() -> None:
    bench = in_state(S.ARMED)
    assert bench.hear(bench.day.on_phase(IDLE, bench.day.opened_s - 0.1)) == S.ARMED


def test_another_programs_episode_is_not_joined_but_can_be_closed() -> None:
    bench = in_state(S.IDLE)
    bench.phase(TELEOP)
    assert bench.press("record") == S.IDLE
    assert "another program's episode is open; home saves it" in bench.said[-1]
    bench.press("home")
    assert bench.done[0] == Stop(outcome=0, skill_outcome="", soft=True)


def test_a_paused_recording_is_told() -> None:
    bench = in_state(S.TELEOP)
    bench.phase(ARMED, label="paused: front camera silent", paused=True)
    assert bench.said == ["recording is paused: front camera silent; it goes on by itself when the stream is back"]


def test_without_skills_their_buttons_say_how_to_get_them() -> None:
    bench = in_state(S.TELEOP, skills=False)
    assert bench.press("skill/cpu") == S.TELEOP
    assert bench.said == ["skill 'cpu' does nothing now: no skills are loaded; launch with skill_table:=FILE"]


def test_without_the_option_nobody_takes_over() -> None:
    bench = in_state(S.IDLE)
    bench.hear(bench.day.on_policy(running=True))
    bench.press("interrupt")
    assert bench.done == []
    bench.press("skill/cpu")
    assert bench.said[-1] == "skill/cpu does nothing now: a policy drives; wait for its end, or cancel its run"


@pytest.mark.parametrize("state", [S.TELEOP, S.SKILL, S.CORRECTION, S.ENDING])
def test_at_the_end_what_exists_is_saved_and_the_arm_returned(state: State) -> None:
    plan = in_state(state).day.on_shutdown()
    kinds = [type(intent).__name__ for intent in plan]
    assert ("Stop" in kinds) == (state != S.ENDING)
    assert plan[-1] == Teleop(enable=False, soft=True)
    assert ("Still" in kinds) == (state == S.SKILL)


def test_at_the_end_nothing_is_asked_where_nothing_is_open_or_taken() -> None:
    bench = in_state(S.IDLE)
    assert bench.day.on_shutdown() == (Forget(),)
    bench.day.on_teleop(TeleopView(active=True), bench.t)
    assert bench.day.on_shutdown() == (Forget(), Teleop(enable=False, soft=True))


def test_every_phase_that_the_day_sets_may_follow() -> None:
    """The recorder's rules, gone through with the episodes that a person can make."""
    bench, machine = Bench(), PhaseMachine()
    machine.to(ARMED)
    bench.press("record")
    script = [TELEOP, "skill/cpu", MISSED, CORRECTION, "skill/cpu", MISSED, CORRECTION, "skill/cpu"]
    script += [
        "interrupt",
        SkillEnd(code=INTERRUPTED),
        "skill/cpu",
        SkillEnd(code=UNREACHABLE),
        "skill/cpu",
        SkillEnd(),
    ]
    for step in script:
        before = len(bench.done)
        if isinstance(step, int):
            machine.to(machine.on_motion(policy=False))
            assert machine.phase == step
            bench.phase(step)
        elif isinstance(step, str):
            bench.press(step)
        else:
            bench.skill(step)
        for intent in bench.done[before:]:
            if isinstance(intent, SetPhase):
                machine.to(intent.phase)
    assert bench.day.state == S.IDLE
    assert bench.last(Stop).skill_outcome == "completed_after_correction"
