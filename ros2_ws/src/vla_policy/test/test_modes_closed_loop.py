# SPDX-License-Identifier: Apache-2.0

"""mode:=planner against the simulated cell in lockstep: the first grasp fails, a correction mends it, the skill goes on."""

import pytest
from planner_policies import RUNNERS, SEED
from sim_stage import Stage
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_sim.skill_node import SkillNode

Result = RunPolicy.Result


def finished(stage, participants=("policy", "skills"), **params):
    """The result of one run."""
    run = stage.begin(RUNNERS, participants, seed=SEED, skill="grasp", **params)
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
