# SPDX-License-Identifier: Apache-2.0

import re
from pathlib import Path

import pytest
from vla_core import episode
from vla_core.episode import EpisodeMeta, PhaseMachine, phase_name
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
    for phase in range(1, 7):
        assert episode.IDLE in episode._ALLOWED[phase]
    machine = PhaseMachine()
    with pytest.raises(EpisodeError, match="phase TELEOP cannot follow IDLE; allowed: ARMED"):
        machine.to(episode.TELEOP)
    assert machine.phase == episode.IDLE
    machine.to(episode.ARMED)
    with pytest.raises(
        EpisodeError, match="phase SKILL_RESUME cannot follow ARMED; allowed: IDLE, TELEOP, SKILL, POLICY"
    ):
        machine.to(episode.SKILL_RESUME)
    with pytest.raises(EpisodeError, match="there is no phase 9; phases: 0 to 6, IDLE"):
        phase_name(9)


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
