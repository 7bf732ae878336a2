# SPDX-License-Identifier: Apache-2.0

"""What goes wrong in an operator's day: the arm is still at once, he reads what to do, and what was recorded is kept."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from joy_faults import FAULTS, FULL
from launches import begin, end, isolated
from vla_core.stamps import stamp_ns, time_ns
from vla_recorder.bags.reader import find_episodes, open_episode

pytestmark = pytest.mark.timeout(400)

SCRIPT = Path(__file__).with_name("joy_faults.py")
STILL_S = 0.2  # from the fault, or from the last message of the sticks, until the arm stands
TICK_S = 0.02  # the sticks were heard for the last time a tick before they were unplugged
MOVING = 0.005  # [rad/s]; more is no rest
REST_S = 0.1  # the simulator's log says that the arm rests this much later


class Day:
    """What is left of a launch: its output, the player's deeds, the simulator's log and the bags."""

    def __init__(self, folder: Path) -> None:
        self.out = (folder / "launch.log").read_text()
        self.played = json.loads((folder / "played.json").read_text())["episodes"]
        self.log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        self.bags = sorted(
            (open_episode(path) for path in find_episodes(folder / "bags")), key=lambda b: b.get("start_ns")
        )

    def deed(self, fault: str, what: str) -> float:
        """When the player did something."""
        episode = self.played[FAULTS.index(fault)]
        return next(deed["t"] for deed in episode["deeds"] if deed["what"] == what)

    def moved_until(self, t: float) -> float:
        """When the arm, which moves at a time, came to rest."""
        before = [e for e in self.log if e["event"] in ("arm_moves", "arm_rests") and e["t"] <= t]
        assert before[-1]["event"] == "arm_moves", "the arm moves when the fault comes"
        return next(e["t"] for e in self.log if e["event"] == "arm_rests" and e["t"] > t) - REST_S

    def measured_until(self, t: float) -> float:
        """When the joints of the episode that runs at a time turned for the last time, as recorded until its next phase."""
        bag = next(b for b in reversed(self.bags) if int(b.get("start_ns")) * 1e-9 <= t)
        events = [(time_ns(r.message.stamp) * 1e-9, r.message.phase) for r in bag.messages({"/episode/event"})]
        end = next(since for since, _ in events if since > t)
        turned = [
            stamp_ns(r.message) * 1e-9
            for r in bag.messages({"/joint_states"})
            if len(r.message.name) == 6 and np.abs(r.message.velocity).max() > MOVING
        ]
        return max(since for since in turned if t <= since < end)


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    (folder / "cell.yaml").write_text(f"/**/cell:\n  ros__parameters:\n    log_file: {folder / 'log.jsonl'}\n")
    env = isolated(folder / "ros_log")
    with (folder / "launch.log").open("w") as file:
        launched = begin(
            ["ros2", "launch", "vla_bringup", "record.launch.py", "sim:=true", "robot:=sim_ur5e_tiny", "scene:=extract_cpu",
             "operator:=joystick", "participants:=joy_player", f"output_dir:={folder / 'bags'}",
             f"params_file:={folder / 'cell.yaml'}"],
            env, stdout=file,
        )  # fmt: skip
        player = begin(
            [sys.executable, str(SCRIPT), "--ros-args", "-p", "lockstep:=true", "-p", "use_sim_time:=true",
             "-p", f"episodes:={len(FAULTS)}", "-p", f"result_file:={folder / 'played.json'}"],
            env,
        )  # fmt: skip
        try:
            said, _ = player.communicate(timeout=280)
            assert player.returncode == 0, said + (folder / "launch.log").read_text()[-5000:]
            launched.send_signal(signal.SIGINT)
            launched.wait(30)
        finally:
            end(player)
            end(launched)
    return Day(folder)


def test_nothing_recorded_is_lost(day: Day) -> None:
    assert len(day.bags) == len(FAULTS)
    assert [bag.get("skill_outcome") for bag in day.bags[:2]] == ["incomplete", "incomplete"]
    assert all(int(bag.counts["/command/arm"]) > 50 for bag in day.bags)


def test_a_device_that_falls_silent_stops_the_skill(day: Day) -> None:
    heard = day.deed("unplugged", "unplugged") - TICK_S
    commanded, measured = day.moved_until(heard) - heard, day.measured_until(heard) - heard
    assert commanded <= STILL_S, (commanded, measured)
    assert measured <= STILL_S, (commanded, measured)
    assert "nobody could interrupt the skill, so it is stopped. Plug it in again" in day.out
    assert "SKILL STOPPED: " in day.out


def test_a_protective_stop_is_told_and_the_day_goes_on(day: Day) -> None:
    stopped = next(e["t"] for e in day.log if e["event"] == "fault" and e["name"] == "protective_stop" and e["on"])
    assert day.moved_until(stopped - 0.01) - stopped <= STILL_S
    assert "protective" in day.out.lower()


@pytest.mark.skipif(not FULL, reason="the gripper sticks with VLA_TEST_FULL=1 only")
def test_a_gripper_that_sticks_is_no_grasp(day: Day) -> None:
    bag = day.bags[FAULTS.index("gripper_stuck")]
    assert bag.get("skill_outcome") in ("grasp_failed_no_correction", "incomplete")
    assert bag.get("outcome") != "success"


def test_ctrl_c_saves_the_episode(day: Day) -> None:
    bag = day.bags[-1]
    assert (bag.get("skill_outcome"), bag.get("outcome")) == ("incomplete", "unknown")
    assert bag.damage == ""
    assert "Traceback" not in day.out
