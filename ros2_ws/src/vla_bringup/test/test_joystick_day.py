# SPDX-License-Identifier: Apache-2.0

"""Whole episodes through record.launch.py operator:=joystick with a played person, judged by benchmarks/scenarios.py."""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
from target_gaps import drivers, silences
from vla_core.episode import ARMED, CORRECTION, IDLE, SKILL, SKILL_RESUME, TELEOP
from vla_recorder.bags.reader import find_episodes

SCRIPT = Path(__file__).resolve().parents[4] / "benchmarks" / "scenarios.py"
FULL = os.environ.get("VLA_TEST_FULL") == "1"
pytestmark = pytest.mark.timeout(20 * 5 * 600 if FULL else 400)
ALWAYS = ("failed_grasp",)
FRESH_S = 0.1  # max_age_s of the actions


@pytest.fixture(scope="module")
def scenarios():
    spec = importlib.util.spec_from_file_location("scenarios", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["scenarios"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scenarios"]


@pytest.mark.parametrize("scenario", ["success", "failed_grasp", "interrupt", "abort", "unplug"])
def test_an_episode_is_recorded_as_it_happened(scenarios, tmp_path, scenario) -> None:
    if not FULL and scenario not in ALWAYS:
        pytest.skip("20 episodes of every scenario are played with VLA_TEST_FULL=1 only")
    args = argparse.Namespace(robot="sim_ur5e_tiny", scene="extract_cpu", episodes=20 if FULL else 1, first_seed=0)
    scenarios.play(args, scenario, tmp_path)
    row = scenarios.judge(scenario, tmp_path)
    assert row["wrong"] == [], (tmp_path / "launch.log").read_text()[-6000:]
    n = args.episodes
    assert (row["n"], row["phases"], row["outcome"], row["grasp"]) == (n, n, n, n)
    assert row["datasets"]["planner"]["rows"] > 3 * n
    assert (row["datasets"]["correction"]["rows"] > 0) == (scenario in ("failed_grasp", "interrupt"))
    check_targets(tmp_path)


def check_targets(folder) -> None:
    """The arm goes from hand to hand, and never are its targets silent for so long that a frame has to be dropped."""
    for episode in find_episodes(folder / "bags"):
        longest, conflicts = silences(episode)
        assert max(longest.values()) <= FRESH_S, longest
        assert conflicts == []
        assert set(drivers(episode)) <= {"/teleop", "/skills"}
    dropped = json.loads((folder / "convert.json").read_text())["dropped"]
    assert not [why for why in dropped if why.startswith("action")], dropped


class Meta(dict):
    """The metadata of a bag."""

    def get(self, key, default=""):
        return super().get(key, default)


def recorded(scenarios, phases, **meta):
    return scenarios.Recorded(Meta(meta), phases)


def log(scenarios, tmp_path, *events):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return scenarios.Log(path)


STRAIGHT = [(1.0, ARMED), (2.0, TELEOP), (5.0, SKILL), (9.0, IDLE)]


def truth(scenarios, tmp_path, *more):
    hand, skill = scenarios.STREAMING, scenarios.TRAJECTORY
    events = [
        {"t": 0.9, "event": "controller", "active": hand},
        {"t": 2.0, "event": "arm_moves", "controller": hand},
        {"t": 4.9, "event": "controller", "active": skill},
        {"t": 5.1, "event": "arm_moves", "controller": skill},
        {"t": 7.0, "event": "grasped"},
        {"t": 8.0, "event": "lost"},
        {"t": 8.5, "event": "placed"},
        *more,
    ]
    return log(scenarios, tmp_path, *sorted(events, key=lambda event: event["t"]))


def test_the_judge_finds_nothing_where_all_is_right(scenarios, tmp_path) -> None:
    happened, wanted = truth(scenarios, tmp_path), scenarios.SCENARIOS["success"]
    grasp = {"grasp_verified": "true", "grasp_actual": "130", "grasp_threshold": "155", "grasp_commanded": "165"}
    bag = recorded(scenarios, STRAIGHT, outcome="success", skill_outcome="completed", **grasp)
    for check in (scenarios.check_phases, scenarios.check_outcome, scenarios.check_grasp):
        assert check(bag, wanted, happened) == []


@pytest.mark.parametrize(
    ("phases", "more", "text"),
    [
        (STRAIGHT[:2] + STRAIGHT[3:], (), "phases ARMED TELEOP IDLE instead of ARMED TELEOP SKILL IDLE"),
        ([(1.0, ARMED), (3.0, TELEOP), *STRAIGHT[2:]], (), "but nothing moved within 0.25 s of that"),
        (
            [*STRAIGHT[:2], (4.0, SKILL), (9.0, IDLE)],
            (),
            "SKILL begins at 4.00 s, but 'forward_position_controller' has",
        ),
        (
            STRAIGHT,
            ({"t": 3.5, "event": "arm_moves", "controller": "scaled_joint_trajectory_controller"},),
            "in TELEOP",
        ),
    ],
)
def test_the_judge_finds_wrong_phases(scenarios, tmp_path, phases, more, text) -> None:
    found = scenarios.check_phases(
        recorded(scenarios, phases), scenarios.SCENARIOS["success"], truth(scenarios, tmp_path, *more)
    )
    assert text in "\n".join(found)


def test_the_judge_finds_wrong_outcomes_and_grasps(scenarios, tmp_path) -> None:
    happened = truth(scenarios, tmp_path, {"t": 8.7, "event": "unplaced"})
    bag = recorded(
        scenarios, STRAIGHT, outcome="unknown", skill_outcome="completed",
        grasp_verified="false", grasp_actual="160", grasp_threshold="155", grasp_commanded="165",
    )  # fmt: skip
    wanted = scenarios.SCENARIOS["success"]
    assert scenarios.check_outcome(bag, wanted, happened) == [
        "outcome 'unknown' instead of 'success'",
        "'completed', but the part is not in its place",
    ]
    assert scenarios.check_grasp(bag, wanted, happened) == [
        "grasp_verified false instead of true",
        "grasp_verified false, but the gripper held the part",
    ]
    nothing = recorded(scenarios, [*STRAIGHT[:3], (6.0, ARMED), (6.5, CORRECTION), (7.5, SKILL_RESUME), (9.0, IDLE)])
    assert scenarios.check_grasp(nothing, wanted, happened) == ["no grasp values were recorded"]
