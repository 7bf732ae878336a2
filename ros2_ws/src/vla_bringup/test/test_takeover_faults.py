# SPDX-License-Identifier: Apache-2.0

"""What goes wrong in a takeover: nobody gets an arm that he cannot drive, the policy stays stopped, and ctrl-c loses nothing."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from cell_log import STARTED, STREAMING, CellLog
from launches import begin, end, isolated
from vla_msgs.msg import PolicyStatus
from vla_recorder.bags.reader import find_episodes, open_episode

pytestmark = pytest.mark.timeout(300)

SCRIPT = Path(__file__).with_name("takeover_faults.py")
STILL_S = 0.2  # from a wish until the arm's set-point stands, simulated time
DEEDS = ("unplugged", "plugged", "drives")


class Day:
    """What is left of a launch that ctrl-c ended while the person drove."""

    def __init__(self, folder: Path, deeds, code: int, *, orphans: bool) -> None:
        self.out = (folder / "launch.log").read_text()
        self.deeds, self.code, self.orphans = deeds, code, orphans
        self.log = CellLog(folder / "cell.jsonl")
        (self.bag,) = (open_episode(path) for path in find_episodes(folder / "rollouts"))


def deeds_of(player, log):
    """What the player says, until he drives."""
    found = {}
    for line in player.stdout:
        if line.startswith("{"):
            deed = json.loads(line)
            found[deed["what"]] = deed
        if DEEDS[-1] in found:
            return found
    raise AssertionError(f"the player has ended: {found}\n{log.read_text()[-5000:]}")


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    env, log = isolated(folder / "ros_log"), folder / "launch.log"
    with log.open("w") as file:
        launched = begin(
            ["ros2", "launch", "vla_bringup", "infer.launch.py", "policy:=scripted", "robot:=sim_ur5e_tiny", "sim:=true",
             "operator:=joystick", "participants:=joy_player", "record_eval:=true", f"output_dir:={folder / 'rollouts'}",
             f"cell_log:={folder / 'cell.jsonl'}"],
            env, stdout=file,
        )  # fmt: skip
        player = begin(
            [sys.executable, str(SCRIPT), "--ros-args", "-p", "lockstep:=true", "-p", "use_sim_time:=true",
             "-p", "scenario:=takeover", "-p", "task:=lift"],
            env,
        )  # fmt: skip
        try:
            deeds = deeds_of(player, log)
            launched.send_signal(signal.SIGINT)
            code = launched.wait(60)
            orphans = group_lives(launched.pid)
        finally:
            end(player)
            end(launched)
    return Day(folder, deeds, code, orphans=orphans)


def test_a_takeover_without_a_device_stops_the_policy_and_moves_nothing(day) -> None:
    wished, over = day.deeds["unplugged"]["t"], day.deeds["plugged"]["t"]
    assert over - wished >= 1.0
    assert day.log.came_to_rest(wished) - wished <= STILL_S
    stood = wished + STILL_S
    assert day.log.of("arm_moves", "controller", "streaming_begins", *STARTED, begin=stood, end=over) == []
    assert day.deeds["plugged"]["state"] == PolicyStatus.TAKEOVER
    assert day.deeds["plugged"]["returned"], "teleoperation has not taken the arm"
    assert "the policy is stopped and the arm stands still, but you cannot drive it: the device is silent" in day.out
    assert "Mend that, then press interrupt to drive, or enable to hand back" in day.out


def test_with_the_device_back_the_same_button_gives_the_arm(day) -> None:
    (_, (taken, owner), *_) = day.log.owners()
    assert owner == STREAMING
    assert day.deeds["plugged"]["t"] < taken < day.deeds["drives"]["t"]
    moved = day.log.of("arm_moves", begin=taken)
    assert {event["controller"] for event in moved} == {STREAMING}
    assert day.log.of(*STARTED, begin=day.deeds["unplugged"]["t"] + STILL_S) == []


def test_ctrl_c_while_the_person_drives_keeps_the_recording_and_leaves_nobody_behind(day) -> None:
    drove = day.deeds["drives"]["t"]
    assert day.log.of("arm_moves", end=drove)[-1]["controller"] == STREAMING
    assert day.bag.damage == ""
    assert [part["phase"] for part in json.loads(day.bag.get("phase_segments"))] == ["ARMED", "POLICY", "CORRECTION"]
    assert int(day.bag.counts["/command/arm"]) > 50
    assert "Traceback" not in day.out
    assert day.log.of(*STARTED, begin=drove) == [], "the policy does not go on at the end"
    assert not day.orphans
