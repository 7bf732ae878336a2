# SPDX-License-Identifier: Apache-2.0

"""The simulator's own log: what it says of goals, streams, grasps and faults, and when."""

import json
from types import SimpleNamespace as Ns

import numpy as np
import pytest
from vla_sim import constants as c
from vla_sim import kinematics, skills, tasks
from vla_sim.cell import Cell
from vla_sim.expert import Expert
from vla_sim.parts import PARTS
from vla_sim.plant import FORWARD_CONTROLLER, TRAJECTORY_CONTROLLER, Plant
from vla_sim.referee import Log, Referee


class Bench:
    """Physics, plant and referee; `run(s)` lets time pass."""

    def __init__(self, path, task="extract_cpu"):
        self.path = path / "log" / "cell.jsonl"
        self.cell = Cell({}, 0, task)
        self.plant = Plant(self.cell, start_ns=10**9)
        self.log = Log(self.path)
        self.referee = Referee(self.cell, self.plant, self.log)

    def run(self, seconds):
        for _ in range(round(seconds * 500)):
            self.plant.step()
            self.referee.step()
            self.plant.trajectory.outcomes.clear()
            self.plant.gripper.outcomes.clear()

    def go(self, T_tcp, seconds=1.0, token="goal"):
        q = kinematics.inverse(T_tcp @ np.linalg.inv(skills.T_TOOL_TCP), self.plant.q)
        point = Ns(positions=q.tolist(), velocities=[0.0] * 6, accelerations=[], effort=[],
                   time_from_start=Ns(sec=0, nanosec=round(seconds * 1e9)))  # fmt: skip
        trajectory = Ns(header=Ns(stamp=Ns(sec=0, nanosec=0)), joint_names=list(c.ARM_JOINTS), points=[point])
        self.plant.trajectory.accept(self.plant.trajectory.check(trajectory, self.plant.time_ns), token)

    def grip(self, number, token="grip"):
        self.plant.gripper.accept(skills.knuckle(number), None, None, token, self.plant.time_ns)

    def lines(self, *events):
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        assert [line["t"] for line in found] == sorted(line["t"] for line in found)
        return [line for line in found if not events or line["event"] in events]

    def names(self, *events):
        return [line["event"] for line in self.lines(*events)]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.log.close()


def test_a_goal_begins_moves_the_arm_and_ends(bench):
    bench.run(0.2)
    bench.go(skills.trigger_pose(PARTS["extract_cpu"], bench.cell.seat), 0.8)
    bench.run(1.2)
    arm = ("controller", "goal_started", "goal_ended", "arm_moves", "arm_rests")
    assert bench.names(*arm) == ["controller", "goal_started", "arm_moves", "goal_ended", "arm_rests"]
    owner, started, moves, ended, rests = bench.lines(*arm)
    assert owner["active"] == started["controller"] == moves["controller"] == TRAJECTORY_CONTROLLER
    assert (ended["status"], ended["code"], ended["goal"]) == ("succeeded", 0, 1)
    assert started["t"] == pytest.approx(1.2, abs=0.01)
    assert moves["t"] - started["t"] <= 0.006
    assert ended["t"] - started["t"] == pytest.approx(0.8, abs=0.05)
    assert rests["t"] - started["t"] == pytest.approx(0.9, abs=0.02)


def test_a_goal_that_replaces_another_is_told_from_it(bench):
    T = skills.trigger_pose(PARTS["extract_cpu"], bench.cell.seat)
    bench.go(T, 0.9, "one")
    bench.run(0.2)
    bench.go(T, 0.5, "two")
    bench.run(0.01)
    bench.plant.trajectory.abort("stopped from outside", bench.plant.q)
    bench.go(T, 0.5, "three")
    bench.plant.trajectory.abort("at once", bench.plant.q)
    bench.run(0.2)
    goals = bench.lines("goal_started", "goal_ended")
    assert [(line["event"][5:], line["goal"]) for line in goals] == [
        ("started", 1), ("ended", 1), ("started", 2), ("ended", 2), ("started", 3), ("ended", 3),
    ]  # fmt: skip
    assert [line["text"] for line in goals[1::2]][1:] == ["stopped from outside", "at once"]
    assert {line["status"] for line in goals[1::2]} == {"aborted"}


def test_streaming_is_commands_that_come_and_motion_is_commands_that_change(bench):
    bench.plant.manager.switch([FORWARD_CONTROLLER], [TRAJECTORY_CONTROLLER], 2)
    q = bench.plant.q
    bench.run(0.1)
    for i in range(60):
        bench.plant.command_forward(q + 0.001 * max(0, min(i - 20, 20)))
        bench.run(0.02)
    bench.run(0.3)
    bench.plant.manager.switch([TRAJECTORY_CONTROLLER], [FORWARD_CONTROLLER], 2)
    bench.run(0.3)
    begins, ends = bench.lines("streaming_begins", "streaming_ends")
    assert (begins["t"], ends["t"]) == (pytest.approx(1.1, abs=0.01), pytest.approx(2.38, abs=0.02))
    moves, rests = bench.lines("arm_moves", "arm_rests")  # switching is no motion
    assert (moves["t"], rests["t"]) == (pytest.approx(1.52, abs=0.01), pytest.approx(2.0, abs=0.02))
    assert {moves["controller"], rests["controller"]} == {FORWARD_CONTROLLER}
    assert [line["active"] for line in bench.lines("controller")] == [FORWARD_CONTROLLER, TRAJECTORY_CONTROLLER]


def test_grasp_extraction_and_loss_of_the_part(bench):
    part = PARTS["extract_cpu"]
    bench.go(skills.grasp_pose(part, bench.cell.seat), 0.9)
    bench.run(1.3)
    bench.grip(168)
    bench.run(1.0)
    bench.go(skills.trigger_pose(part, bench.cell.seat), 0.9)
    bench.run(1.2)
    bench.grip(3)
    bench.run(1.0)
    scene = ("grasped", "lost", "left_socket", "in_socket", "gripper_goal", "gripper_ended")
    names = bench.names(*scene)
    assert names[:6] == ["gripper_goal", "grasped", "gripper_ended", "left_socket", "gripper_goal", "lost"]
    assert sorted(names[6:]) == ["gripper_ended", "in_socket"]
    close, held, stalled = bench.lines("gripper_goal", "grasped", "gripper_ended")[:3]
    assert close["target"] == 168.0
    assert stalled["stalled"]
    assert not stalled["reached"]
    assert 100 < held["reading"] < skills.THRESHOLD["cpu"]
    assert bench.lines("gripper_ended")[1]["reached"]


def test_placed_and_displaced_and_reset_and_faults(bench):
    bench.run(0.1)
    target = bench.cell.task_state().target_pose
    pose = bench.cell.displace(tasks.relative(bench.cell.seat, target))
    bench.referee.displaced(pose)
    bench.run(0.3)
    bench.referee.fault("gripper_stuck", True)
    bench.plant.protective_stop()
    bench.run(0.1)
    bench.plant.reset(7, None)
    bench.referee.reset(7)
    bench.run(0.3)
    assert bench.names("displaced", "placed", "unplaced", "left_socket", "fault", "reset") == [
        "displaced", "left_socket", "placed", "fault", "reset",
    ]  # fmt: skip
    (displaced,) = bench.lines("displaced")
    np.testing.assert_allclose(displaced["xyz"], target.xyz, atol=1e-4)
    assert [line.get("mode") for line in bench.lines("safety")] == [3, 1]
    assert [line["running"] for line in bench.lines("program")] == [False, True]
    assert bench.lines("fault")[0]["name"] == "gripper_stuck"
    (reset,) = bench.lines("reset")
    assert (reset["seed"], reset["task"]) == (7, "extract_cpu")
    assert bench.names("arm_moves") == []


def test_the_other_block_is_told_from_the_named_one(tmp_path):
    bench = Bench(tmp_path, "pick_which")
    cell = bench.cell
    bench.referee.reset(0)
    named, other = cell.task_state(), cell.other_state()
    assert named.object_pose != other.object_pose
    x, y, z = other.target_pose.xyz
    cell._put(cell._other, tasks.upright(x, y, z + c.BLOCK_HALF))
    bench.run(0.2)
    assert cell.other_state().success
    assert not cell.task_state().success
    plan = Expert("pick_which", 0).plan(bench.plant.q, named.object_pose, named.target_pose)
    for i in range(round(2.6 * 500)):  # until the fingers hold the named block
        cell.set_arm_target(plan.executed(i * 0.002))
        cell.set_gripper_target(plan.gripper(i * 0.002))
        cell.step()
        if i % 5 == 0:
            bench.referee._scene(cell.time_ns)
    assert bench.lines("reset")[0]["sentence"] == "put the red block into the green bin"
    scene = ("grasped", "other_grasped", "placed", "other_placed", "other_unplaced")
    assert bench.names(*scene) == ["other_placed", "other_unplaced", "grasped"]  # closing fingers undo the condition
    bench.log.close()


def test_lines_are_complete_before_the_file_is_closed(bench):
    bench.run(0.01)
    assert bench.path.read_text().endswith("}\n")
