# SPDX-License-Identifier: Apache-2.0

"""infer.launch.py operator:=joystick with a played person who takes over and hands back, compared with the simulator's log."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cell_log import STARTED, STREAMING, TRAJECTORY, CellLog
from launches import isolated, launch
from vla_core.episode import ARMED, CORRECTION, IDLE, PHASES, POLICY
from vla_recorder.bags.reader import open_episode

pytestmark = pytest.mark.timeout(300)

SWITCH_S = 0.3  # from standstill, and from the wish, until the arm has changed hands
LAG_S = 0.1  # between a switch and the recorder's knowledge of it
LARGEST_SPEED = 1.0  # rad/s, of any joint: nothing jumps when the arm changes hands
STILL = 0.01  # rad/s


class Run:
    """What is left of a launch."""

    def __init__(self, folder, out) -> None:
        self.out = out
        played = json.loads((folder / "played.json").read_text())
        (self.episode,) = played["episodes"]
        self.deeds = self.episode["deeds"]
        self.log = CellLog(folder / "cell.jsonl")
        self.bag = open_episode(Path(self.deeds[-1]["bag"]))
        (self.rollouts,) = (folder / "rollouts").iterdir()
        (_, self.first), (self.taken, self.second), (self.given, self.third) = self.log.owners()
        self.presses = [deed["t"] for deed in self.deeds if deed["what"] == "press interrupt"]

    def phases(self):
        """When which phase began, as recorded."""
        events = [record.message for record in self.bag.messages({"/episode/event"})]
        return [(e.stamp.sec + 1e-9 * e.stamp.nanosec, e.phase) for e in events]

    def speeds(self):
        """Times [s] and largest speed of a joint of the arm [rad/s], as recorded."""
        heard = [record.message for record in self.bag.messages({"/joint_states"})]
        states = [state for state in heard if "elbow_joint" in state.name]  # the gripper's have a message of their own
        times = [state.header.stamp.sec + 1e-9 * state.header.stamp.nanosec for state in states]
        return np.array(times), np.array([np.abs(state.velocity).max() for state in states])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("takeover")
    code, out = launch(
        isolated(folder / "ros_log"),
        "infer",
        *("policy:=scripted", "robot:=sim_ur5e_tiny", "sim:=true", "operator:=joystick", "joy_player:=takeover"),
        *("record_eval:=true", "max_duration:=7", f"output_dir:={folder / 'rollouts'}"),
        *(f"cell_log:={folder / 'cell.jsonl'}", f"result_file:={folder / 'played.json'}"),
        timeout=250,
    )
    assert code == 0, out
    return Run(folder, out)


def test_the_person_takes_over_and_the_launch_ends_by_itself(run):
    assert run.episode["error"] == ""
    assert run.episode["run"] == "timeout: the time limit of 7 s was reached"
    assert run.deeds[-1]["interventions"] == 1
    course = ("takeover: the policy lets go", "you drive instead of the policy", "handed back: the policy goes on")
    found = [run.out.find(text) for text in course]
    assert -1 not in found, run.out
    assert found == sorted(found)
    assert "Traceback" not in run.out


def test_the_arm_changes_hands_by_controller_at_rest_and_in_time(run):
    assert [run.first, run.second, run.third] == [TRAJECTORY, STREAMING, TRAJECTORY]
    for switch, pressed in zip((run.taken, run.given), run.presses, strict=True):
        wished = max(run.log.stood_since(switch), pressed)
        assert switch - wished <= SWITCH_S
    times, speeds = run.speeds()
    for switch in (run.taken, run.given):
        assert speeds[(times > switch - 0.02) & (times <= switch)].max() < STILL
    assert speeds.max() < LARGEST_SPEED


def test_the_policy_sends_nothing_while_the_person_drives(run):
    goals = run.log.of("goal_started", "goal_ended", end=run.taken)
    assert goals[-1]["event"] == "goal_ended"
    assert goals[-1]["status"] == "canceled"
    assert run.log.of(*STARTED, begin=goals[-1]["t"], end=run.given) == []
    assert run.log.of("goal_started", begin=run.given)[0]["t"] - run.given < 0.5
    for event in run.log.of("arm_moves"):
        by_hand = run.taken <= event["t"] <= run.given
        assert event["controller"] == (STREAMING if by_hand else TRAJECTORY)


def test_the_recording_says_who_drove(run):
    phases = run.phases()
    assert [phase for _, phase in phases] == [ARMED, POLICY, CORRECTION, POLICY, IDLE]
    begin, end = phases[2][0], phases[3][0]
    assert run.presses[0] <= begin + LAG_S
    assert begin <= run.taken
    assert run.given <= end <= run.given + LAG_S
    segments = [part["phase"] for part in json.loads(run.bag.get("phase_segments"))]
    assert segments == [PHASES[phase] for phase in (ARMED, POLICY, CORRECTION, POLICY)]
    assert run.bag.get("x_interventions") == "1"


def test_the_dataset_marks_the_person_s_rows(run):
    (file,) = (run.rollouts / "dataset" / "data").rglob("*.parquet")
    table = pq.read_table(file)
    stamps = 1e-9 * np.array(table.column("stamp_ns").to_pylist())
    marks = np.array(table.column("intervention").to_pylist(), dtype=bool).ravel()
    actions = np.array(table.column("action").to_pylist())
    (_, _), (_, _), (begin, _), (end, _), _ = run.phases()
    np.testing.assert_array_equal(marks, (stamps >= begin) & (stamps < end))
    assert marks[(stamps > run.taken) & (stamps < run.given)].all()
    assert marks.sum() >= 10
    assert (~marks).sum() >= 20
    assert np.ptp(actions[marks][:, :6], axis=0).max() > 0.03, "the person's commands are recorded as actions"
    assert "phase IDLE" in run.out
