# SPDX-License-Identifier: Apache-2.0

"""The skills of the cell in lockstep: a grasp, one that fails, one that goes on after a correction, and refusals."""

import os
import random
import threading
from pathlib import Path

import pytest
import rclpy
from action_msgs.msg import GoalStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_common.action_client import GoalClient
from vla_common.params import overrides
from vla_common.qos import SENSOR
from vla_common.services import call_checked, send_goal
from vla_msgs.action import ExecuteSkill
from vla_msgs.msg import TaskState
from vla_msgs.srv import ResetCell
from vla_sim.sim_node import CellNode
from vla_sim.skill_node import SkillNode

PROFILE = str(Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml")
Result = ExecuteSkill.Result


class Bench:
    """Cell, skills and a client; time runs by itself, because nobody else takes part in the ticks."""

    def __init__(self, **params):
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.randint(1, 200))
        self.running = []
        self.closing = threading.Event()
        self.helper = self.add(Node("helper", context=self.context))
        self.task = None
        self.helper.create_subscription(TaskState, "sim/task_state", self.seen, SENSOR)
        self.reset = self.helper.create_client(ResetCell, "sim/reset")
        self.client = GoalClient(self.helper, ExecuteSkill, "skills/execute")
        values = {"profile": PROFILE, "clock_mode": "lockstep", "participants": ("skills",)}
        self.add(CellNode(context=self.context, parameter_overrides=overrides(values)))
        values = {"profile": PROFILE, "lockstep": True, **params}
        self.add(SkillNode(context=self.context, parameter_overrides=overrides(values)))
        call_checked(self.reset, ResetCell.Request(seed=3, task="lift"), timeout_s=30.0)

    def seen(self, msg):
        self.task = msg

    def spin(self, executor):
        while not self.closing.is_set():
            executor.spin_once(timeout_sec=0.1)

    def add(self, node):
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)
        thread = threading.Thread(target=self.spin, args=(executor,), daemon=True)
        thread.start()
        self.running.append((node, executor, thread))
        return node

    def execute(self, skill="grasp", resume=False):
        return send_goal(self.client, ExecuteSkill.Goal(skill=skill, resume=resume), timeout_s=30.0)

    def close(self):
        for node, _, _ in reversed(self.running):
            if hasattr(node, "close"):
                node.close()
        self.closing.set()
        for _, executor, thread in self.running:
            thread.join()  # an executor that is shut down while it turns may raise
            executor.shutdown()
        for node, _, _ in self.running:
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def bench():
    made = []

    def make(**params):
        made.append(Bench(**params))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_grasp_lifts_the_block_from_where_the_arm_stands(bench):
    b = bench()
    outcome = b.execute().wait(60.0)
    assert outcome.succeeded, outcome.result.error_msg
    assert 3.0 < outcome.result.duration < 8.0
    assert b.task.grasped
    assert b.task.success
    # Going on from there is what a correction leads to: the block is held, so only the rest is done.
    again = b.execute(resume=True).wait(60.0)
    assert again.succeeded, again.result.error_msg
    assert again.result.duration < outcome.result.duration


def test_a_grasp_beside_the_block_is_noticed_by_the_gripper_and_the_next_one_holds(bench):
    b = bench(fail_first=1)
    outcome = b.execute().wait(60.0)
    assert outcome.status == GoalStatus.STATUS_ABORTED
    assert outcome.result.error_code == Result.VERIFICATION_FAILED
    assert "the gripper is closed around nothing: robotiq_85_left_knuckle_joint is at 0.7" in outcome.result.error_msg
    resumed = b.execute(resume=True).wait(60.0)
    assert resumed.result.error_code == Result.VERIFICATION_FAILED
    assert "the correction must end with the block in the gripper" in resumed.result.error_msg
    assert b.execute().wait(60.0).succeeded
    assert b.task.success


def test_goals_that_cannot_be_served_say_why(bench):
    b = bench()
    unknown = b.execute("sing").wait(30.0)
    assert unknown.result.error_code == Result.UNKNOWN_SKILL
    assert unknown.result.error_msg == "there is no skill 'sing'; there are: grasp"
    running = b.execute()
    second = b.execute().wait(30.0)
    assert second.result.error_code == Result.NOT_READY
    assert "another skill is running" in second.result.error_msg
    running.cancel()
    ended = running.wait(30.0)
    assert (ended.status, ended.result.error_code) == (GoalStatus.STATUS_CANCELED, Result.INTERRUPTED)
    assert ended.result.duration < 3.0
