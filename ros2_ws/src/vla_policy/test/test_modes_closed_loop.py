# SPDX-License-Identifier: Apache-2.0

"""mode:=planner against the simulated cell in lockstep: the first grasp fails, a correction mends it, the skill goes on."""

import numpy as np
import pytest
from sim_stage import Stage
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_sim import constants as c
from vla_sim.expert import Expert
from vla_sim.skill_node import SkillNode
from vla_sim.tasks import start_state

Result = RunPolicy.Result
SEED = 5
OPENING_S = 0.8


class Scripted:
    """A policy that knows where the block is; it keeps predicting its last action, as one trained with stop frames does."""

    guidable = False
    n_action_steps = chunk_size = 12

    def __init__(self, profile, name):
        self.profile, self.description = profile, name
        self.map = ActionMap(profile)
        self.plan = None

    def reset(self):
        self.plan = None

    def close(self):
        pass

    def targets(self, t):
        """Arm (6,) and gripper [rad] at a time since the begin."""
        raise NotImplementedError

    def infer(self, frame, task, prefix=None):
        if self.plan is None:
            self.start_ns, self.plan = frame.t_ns, self.make(np.array(frame.joints["arm"]))
        dt_s = 1.0 / self.profile.fps
        times = (frame.t_ns - self.start_ns) * 1e-9 + dt_s * np.arange(self.chunk_size)
        arm, gripper = zip(*(self.targets(t) for t in times), strict=True)
        values = self.map.encode({"arm": np.array(arm), "gripper": np.array(gripper)[:, None]}, frame.state64)
        return ActionChunk(t0_ns=frame.t_ns, dt_s=dt_s, values=values)


class Approach(Scripted):
    """Goes half way down to the block with the gripper open, then closes it at once: the stop signal."""

    def make(self, q):
        return Expert("lift", 0, noise=False).grasp(q, start_state(SEED).block)

    def targets(self, t):
        return self.plan.arm(min(t, 0.8)), 0.0 if t < 1.2 else c.KNUCKLE_CLOSED


class Correction(Scripted):
    """Opens the gripper, grasps the block and holds it."""

    def make(self, q):
        return Expert("lift", 0, noise=False).grasp(q, start_state(SEED).block)

    def targets(self, t):
        return self.plan.arm(t - OPENING_S), self.plan.gripper(t - OPENING_S)


def finished(stage, participants=("policy", "skills"), **params):
    """The result of one run."""
    runners = {"approach": Approach, "correction": Correction}
    run = stage.begin(runners, participants, seed=SEED, skill="grasp", **params)
    return run.wait(100.0).result


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


def test_a_failed_grasp_is_corrected_and_the_skill_goes_on(stage):
    stage.start(SkillNode, lockstep=True, fail_first=1)
    result = finished(stage, checkpoint="approach", mode="planner", correction_checkpoint="correction")
    assert (result.termination, result.error_code) == (Result.TERMINATION_COMPLETED, Result.NONE), result.error_msg
    assert result.error_msg == "skill 'grasp' succeeded"
    assert stage.task.success
    drivers = [state for state, _ in stage.states if state in (PolicyStatus.RUNNING, PolicyStatus.SKILL)]
    assert drivers[-4:] == [PolicyStatus.RUNNING, PolicyStatus.SKILL, PolicyStatus.RUNNING, PolicyStatus.SKILL]


def test_correction_begins_with_its_policy(stage):
    stage.start(SkillNode, lockstep=True)
    result = finished(stage, checkpoint="correction", mode="correction")
    assert (result.termination, result.error_msg) == (Result.TERMINATION_COMPLETED, "skill 'grasp' succeeded")
    assert stage.task.success


def test_without_a_skill_server_the_arm_does_not_move(stage):
    result = finished(stage, ("policy",), checkpoint="approach", mode="planner", start_timeout_s=1.0)
    assert result.error_code == Result.SKILL
    assert "nobody offers skills/execute after 1 s" in result.error_msg
    assert result.goals_sent == 0
