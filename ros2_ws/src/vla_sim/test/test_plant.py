# SPDX-License-Identifier: Apache-2.0

from types import SimpleNamespace as Ns

import numpy as np
import pytest
from vla_core.controller_outcome import GoalRefusedError
from vla_sim import constants as c
from vla_sim import kinematics
from vla_sim.controllers.forward import SpeedLimitError
from vla_sim.plant import FORWARD_CONTROLLER, FREEDRIVE_CONTROLLER, TRAJECTORY_CONTROLLER, Plant


class FakePhysics:
    """Goes to the set-points at once."""

    def __init__(self):
        self.time_ns = 0
        self.q = np.zeros(6)
        self.grip = 0.0
        self.resets = []

    def reset(self, seed, task=None):
        self.resets.append((seed, task))
        self.q, self.grip = np.full(6, 0.01 * seed), 0.0

    def step(self, n=1):
        self.time_ns += n * c.STEP_NS

    def set_arm_target(self, q):
        self.q = np.array(q)

    def arm_state(self):
        return self.q.copy(), np.zeros(6), np.zeros(6)

    def set_gripper_target(self, position, max_speed, max_effort):
        self.grip = position

    def gripper_state(self):
        return self.grip, 0.0, 0.0


def goal(values, t_s=0.1):
    point = Ns(
        positions=list(values),
        velocities=[0.0] * 6,
        accelerations=[],
        effort=[],
        time_from_start=Ns(sec=0, nanosec=round(t_s * 1e9)),
    )
    return Ns(header=Ns(stamp=Ns(sec=0, nanosec=0)), joint_names=list(c.ARM_JOINTS), points=[point])


def accept(plant, values, token="g"):
    plant.trajectory.accept(plant.trajectory.check(goal(values), plant.time_ns), token)


@pytest.fixture
def plant():
    return Plant(FakePhysics(), start_ns=10**9)


def run(plant, steps):
    for _ in range(steps):
        plant.step()


def test_follows_a_goal_and_the_clock_starts_late(plant):
    assert plant.time_ns == 10**9
    accept(plant, [0.1] * 6)
    run(plant, 60)
    assert plant.q == pytest.approx([0.1] * 6)
    assert plant.time_ns == 10**9 + 60 * c.STEP_NS


def test_program_stop_aborts_refuses_and_holds(plant):
    accept(plant, [0.1] * 6)
    run(plant, 20)
    here = plant.q.copy()
    assert plant.stop_program()[0]
    run(plant, 50)
    assert plant.q == pytest.approx(here)
    assert plant.trajectory.outcomes[0].text == "Current goal cancelled during deactivate transition."
    with pytest.raises(GoalRefusedError):
        accept(plant, [0.1] * 6)
    assert plant.start_program()[0]
    accept(plant, [0.1] * 6)
    run(plant, 60)
    assert plant.q == pytest.approx([0.1] * 6)


def test_streaming_after_a_switch(plant):
    with pytest.raises(GoalRefusedError, match="not active"):
        plant.command_forward([0.0] * 6)
    assert plant.manager.switch([FORWARD_CONTROLLER], [TRAJECTORY_CONTROLLER], 2)[0]
    plant.command_forward([0.02] * 6)
    run(plant, 2)
    assert plant.q == pytest.approx([0.02] * 6)
    with pytest.raises(GoalRefusedError):
        accept(plant, [0.1] * 6)


def test_a_jump_stops_protectively_until_unlocked(plant):
    plant.manager.switch([FORWARD_CONTROLLER], [TRAJECTORY_CONTROLLER], 2)
    with pytest.raises(SpeedLimitError):
        plant.command_forward([1.0] * 6)
    run(plant, 5)
    assert plant.q == pytest.approx([0.0] * 6)
    assert not plant.robot.program_running
    assert not plant.start_program()[0]
    assert plant.robot.unlock()[0]
    assert plant.start_program()[0]
    assert plant.manager.controllers[FORWARD_CONTROLLER].active


def test_reset_restores_everything(plant):
    plant.manager.switch([FORWARD_CONTROLLER], [TRAJECTORY_CONTROLLER], 2)
    plant.robot.set_slider(0.2)
    plant.protective_stop()
    plant.reset(3, "lift")
    assert plant.physics.resets == [(3, "lift")]
    assert plant.q == pytest.approx([0.03] * 6)
    assert plant.robot.speed_scaling == 1.0
    accept(plant, [0.05] * 6)
    plant.gripper.accept(0.4, None, None, "grip", plant.time_ns)
    run(plant, 5)
    plant.reset(4, None)
    assert "was reset" in plant.trajectory.outcomes[-1].text
    run(plant, 5)
    assert plant.q == pytest.approx([0.04] * 6)
    assert plant.knuckle[0] == 0.0


def test_protective_stop_as_a_disturbance():
    plant = Plant(FakePhysics(), protective_stop_after_ns=20 * 1_000_000)
    run(plant, 10)
    assert plant.robot.program_running
    run(plant, 2)
    assert not plant.robot.program_running
    plant.reset(0, None)
    assert plant.robot.program_running
    run(plant, 12)
    assert not plant.robot.program_running


def test_freedrive_follows_pushes_while_it_is_told_to():
    plant = Plant(FakePhysics())
    with pytest.raises(GoalRefusedError, match="freedrive_mode_controller is not active"):
        plant.freedrive.enable(True, plant.time_ns)
    plant.freedrive.enable(False, plant.time_ns)  # what is off may be switched off
    run(plant, 1)
    plant.physics.q = kinematics.home()
    plant.step()
    ok, text = plant.manager.switch([FREEDRIVE_CONTROLLER], [], 2)
    assert not ok
    assert "is claimed by 'scaled_joint_trajectory_controller'" in text
    assert plant.manager.switch([FREEDRIVE_CONTROLLER], [TRAJECTORY_CONTROLLER], 2)[0]
    assert plant.motion_controller == FREEDRIVE_CONTROLLER
    begin = kinematics.forward(plant.q)

    def push(seconds, told=True):
        for _ in range(round(seconds / 0.02)):
            if told:
                plant.freedrive.enable(True, plant.time_ns)
            plant.freedrive.push((0.0, 0.05, 0.0, 0.0, 0.0, 0.0), plant.time_ns)
            run(plant, 10)
        return kinematics.forward(plant.q)

    assert np.allclose(push(0.2, told=False), begin, atol=1e-3)  # active, but not enabled
    moved = push(1.0)
    np.testing.assert_allclose(moved[:3, 3] - begin[:3, 3], (0.0, 0.05, 0.0), atol=3e-3)
    np.testing.assert_allclose(moved[:3, :3], begin[:3, :3], atol=2e-2)
    here = plant.q.copy()
    run(plant, 200)
    assert np.abs(plant.q - here).max() < 0.05 * 0.2 * 3  # the last push counts for 0.2 s
    here = plant.q.copy()
    run(plant, 600)  # nobody says any more that it is enabled
    np.testing.assert_allclose(push(0.4, told=False), kinematics.forward(here), atol=1e-9)
    with pytest.raises(GoalRefusedError, match="a push is 6 finite numbers"):
        plant.freedrive.push((0.0, 0.1), plant.time_ns)
    assert plant.manager.switch([TRAJECTORY_CONTROLLER], [FREEDRIVE_CONTROLLER], 2)[0]
    run(plant, 5)
    np.testing.assert_allclose(plant.q, here, atol=1e-9)
