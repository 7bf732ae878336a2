# SPDX-License-Identifier: Apache-2.0

import re
from itertools import pairwise
from pathlib import Path

import pytest
from vla_core import episode
from vla_core.episode import EpisodeMeta, PhaseLog, PhaseMachine, phase_name, skill_outcome
from vla_core.errors import BagError, EpisodeError

META = EpisodeMeta(
    episode_uuid="u-1",
    task="pick up the 'red' block: now",
    outcome="success",
    robot="test_arm",
    profile="robot: test_arm\n",
    profile_sha256="abc",
    seed=7,
    termination="stopped",
    versions={"python": "3.12", "vla_core": "0.1.0"},
    extra={"operator": "scripted"},
)
INTERFACES = Path(__file__).parents[2] / "vla_msgs"


def test_metadata_round_trip():
    data = META.to_dict()
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in data.items())
    assert EpisodeMeta.from_dict(data) == META
    unseeded = EpisodeMeta.from_dict({**data, "seed": "", "versions": "", "termination": ""})
    assert (unseeded.seed, unseeded.versions, unseeded.termination) == (None, {}, "")
    assert unseeded.to_dict()["seed"] == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"task": None},
            r"bag/metadata.yaml: the episode's metadata lack task; was the bag recorded by another program",
        ),
        ({"seed": "seven"}, "bag/metadata.yaml: the episode's metadata cannot be read: invalid literal"),
        ({"versions": "{"}, "cannot be read: Expecting property name"),
        ({"versions": "[1]"}, "cannot be read: 'list' object has no attribute"),
        ({"outcome": "great"}, "cannot be read: outcome 'great' is not one of unknown, success, failure"),
        ({"termination": "tired"}, "termination 'tired' is not one of stopped, canceled"),
    ],
)
def test_unreadable_metadata(change, message):
    data = {key: value for key, value in {**META.to_dict(), **change}.items() if value is not None}
    with pytest.raises(BagError, match=message):
        EpisodeMeta.from_dict(data, "bag/metadata.yaml")


def test_a_whole_episode():
    machine = PhaseMachine()
    driven = []
    for phase in (episode.ARMED, episode.TELEOP, episode.SKILL, episode.CORRECTION, episode.SKILL_RESUME, episode.IDLE):
        assert machine.to(phase)
        driven.append(machine.driven)
    assert driven == [False, True, True, True, True, False]
    assert not machine.to(episode.IDLE)


def test_every_phase_may_end_the_episode_and_none_starts_without_arming():
    for allowed in ({key: to for key, to in episode._ALLOWED.items() if key != episode.IDLE}, episode._ALLOWED_ARMED):
        assert all(episode.IDLE in phases for phases in allowed.values())
    assert set(episode._ALLOWED) | {episode.ARMED} == set(range(7))
    machine = PhaseMachine()
    with pytest.raises(EpisodeError, match="phase TELEOP cannot follow IDLE; allowed: ARMED"):
        machine.to(episode.TELEOP)
    assert machine.phase == episode.IDLE
    machine.to(episode.ARMED)
    with pytest.raises(EpisodeError, match="phase SKILL cannot follow ARMED; allowed: IDLE, TELEOP, POLICY"):
        machine.to(episode.SKILL)
    with pytest.raises(EpisodeError, match="there is no phase 9; phases: 0 to 6, IDLE"):
        phase_name(9)


def reached(*phases):
    machine = PhaseMachine()
    for phase in phases:
        machine.to(phase)
    return machine


def test_what_may_follow_after_waiting_depends_on_what_was_driven_before():
    first = (episode.ARMED, episode.TELEOP, episode.SKILL)
    failed = reached(*first, episode.ARMED)
    assert not failed.driven
    with pytest.raises(EpisodeError, match="phase SKILL_RESUME cannot follow ARMED after SKILL; allowed: IDLE, CORREC"):
        failed.to(episode.SKILL_RESUME)
    assert failed.on_motion(policy=False) == episode.CORRECTION
    assert failed.to(failed.on_motion(policy=False))
    assert reached(episode.ARMED).on_motion(policy=False) == episode.TELEOP
    assert reached(episode.ARMED).on_motion(policy=True) == episode.POLICY
    assert reached(episode.ARMED, episode.TELEOP, episode.ARMED).on_motion(policy=False) == episode.TELEOP
    again = reached(*first, episode.CORRECTION, episode.SKILL_RESUME, episode.ARMED)
    assert again.on_motion(policy=True) == episode.CORRECTION, "a policy does not correct a skill"
    assert reached(*first, episode.CORRECTION, episode.ARMED).allows(episode.SKILL_RESUME)
    assert reached(episode.ARMED, episode.POLICY, episode.ARMED).on_motion(policy=False) == episode.CORRECTION
    assert reached(episode.ARMED, episode.POLICY, episode.IDLE, episode.ARMED).on_motion(policy=False) == episode.TELEOP


def test_the_phase_log_has_no_gaps_and_its_counts_add_up():
    log = PhaseLog()
    log.begin("ARMED", 0, 0)
    log.begin("TELEOP", 2_000_000_000, 3)
    log.begin("ARMED", 3_000_000_000, 43)
    assert log.phases == {"ARMED", "TELEOP"}
    log.end(4_500_000_000, 43)
    log.end(9_000_000_000, 99)
    segments = log.segments
    assert [segment.phase for segment in segments] == ["ARMED", "TELEOP", "ARMED"]
    assert all(a.end_ns == b.start_ns for a, b in pairwise(segments))
    assert log.messages() == {"ARMED": 3, "TELEOP": 40}
    assert sum(log.messages().values()) == 43
    assert log.seconds() == {"ARMED": 3.5, "TELEOP": 1.0}


@pytest.mark.parametrize(
    ("phases", "last", "termination", "outcome"),
    [
        ({"TELEOP"}, "TELEOP", "stopped", "no_skill"),
        ({"TELEOP", "SKILL"}, "SKILL", "stopped", "completed"),
        ({"TELEOP", "SKILL", "CORRECTION", "SKILL_RESUME"}, "SKILL_RESUME", "stopped", "completed_after_correction"),
        ({"POLICY", "SKILL", "SKILL_RESUME"}, "SKILL_RESUME", "stopped", "completed_after_correction"),
        ({"POLICY", "SKILL_RESUME"}, "SKILL_RESUME", "stopped", "completed_after_correction"),
        ({"POLICY", "CORRECTION"}, "POLICY", "stopped", "no_skill"),
        ({"TELEOP", "SKILL", "CORRECTION"}, "CORRECTION", "stopped", "incomplete"),
        ({"TELEOP", "SKILL"}, "SKILL", "timeout", "timeout"),
        ({"TELEOP", "SKILL"}, "SKILL", "shutdown", "incomplete"),
        (set(), "", "canceled", "incomplete"),
    ],
)
def test_skill_outcome(phases, last, termination, outcome):
    assert skill_outcome(phases, last, termination) == outcome
    assert outcome in episode.SKILL_OUTCOMES


def constants(path, prefix=""):
    found = re.findall(rf"^u?int\d+ {prefix}([A-Z_]+)=(\d+)", path.read_text(), re.MULTILINE)
    return {name: int(value) for name, value in found}


def test_numbers_equal_those_of_the_interfaces():
    phases = constants(INTERFACES / "msg" / "EpisodeEvent.msg")
    assert phases == {name: i for i, name in enumerate(episode.PHASES)}
    assert all(getattr(episode, name) == value for name, value in phases.items())
    action = INTERFACES / "action" / "RecordEpisode.action"
    assert {k.lower(): v for k, v in constants(action, "OUTCOME_").items()} == {
        name: i for i, name in enumerate(episode.OUTCOMES)
    }
    assert {k.lower(): v for k, v in constants(action, "TERMINATION_").items()} == {
        name: i for i, name in enumerate(episode.TERMINATIONS)
    }
