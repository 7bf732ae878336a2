# SPDX-License-Identifier: Apache-2.0

"""A chunk that replaces the running one, as the trajectory controller plays it on an arm that lags; and a stop."""

from types import SimpleNamespace as Ns

import numpy as np
import pytest
from vla_core.controller_trajectory import TrajectoryController
from vla_core.trajectory import build_trajectory
from vla_sim import constants as c
from vla_sim.cell import Cell
from vla_sim.plant import FORWARD_CONTROLLER, TRAJECTORY_CONTROLLER, Plant

JOINTS = ("a", "b")
PERIOD_S, PERIOD_NS = 0.002, 2_000_000
T0 = 10**9
FPS = 30
SPEED = np.array([0.6, -0.3])


def stamp(t_ns):
    return Ns(sec=t_ns // 10**9, nanosec=t_ns % 10**9)


def message(trajectory, joints=JOINTS):
    """The goal as the policy node sends it."""
    points = [
        Ns(
            positions=list(p),
            velocities=list(v),
            accelerations=[],
            effort=[],
            time_from_start=stamp(round(float(t) * 1e9)),
        )
        for t, p, v in zip(trajectory.time_from_start, trajectory.positions, trajectory.velocities, strict=True)
    ]
    return Ns(header=Ns(stamp=stamp(trajectory.start_ns)), joint_names=list(joints), points=points)


def chunk_from(t_ns, now_ns, **options):
    """A chunk observed at `t_ns` on a motion of constant speed."""
    rows = SPEED * ((t_ns - T0) * 1e-9 + np.arange(50)[:, None] / FPS)
    return build_trajectory(rows, t_ns, 1 / FPS, now_ns, joint_names=JOINTS, **options)


def preempt(go_on, *, lag_s=0.04, late_ns=4 * PERIOD_NS):
    """Reference velocity along the motion around a take-over at 0.8 s; `late_ns`: the goal's way to the controller."""
    controller = TrajectoryController(JOINTS)
    q, dq, now = np.zeros(2), np.zeros(2), T0
    controller.activate(q)
    first = chunk_from(T0, now, current=q)
    controller.accept(controller.check(message(first), now), "first")
    swap, second, speeds = T0 + round(0.8e9), None, []
    while now < T0 + round(1.2e9):
        if now == swap:
            options = {"start": first.state_at(now)} if go_on else {"current": q}
            second = chunk_from(T0 + round(0.65e9), now, **options)
        if second is not None and now == swap + late_ns:
            controller.accept(controller.check(message(second), now), "second")
        before = controller.reference.output.copy()
        command = controller.update(now, PERIOD_S, 1.0, q, dq)
        along = (command - before) @ SPEED / np.linalg.norm(SPEED) / PERIOD_S
        if now >= swap:
            speeds.append(along / np.linalg.norm(SPEED))
        new = q + (command - q) * (PERIOD_S / lag_s)
        dq, q = (new - q) / PERIOD_S, new
        now += PERIOD_NS
    return np.array(speeds)


def test_without_a_start_the_reference_jumps_back_to_the_measured_position():
    assert preempt(False).min() < -10.0, "else the next test would show nothing"


@pytest.mark.parametrize("lag_s", [0.01, 0.04, 0.1])
@pytest.mark.parametrize("late_ns", [0, PERIOD_NS, 10 * PERIOD_NS])
def test_with_a_start_the_reference_never_goes_back_nor_hesitates(lag_s, late_ns):
    speeds = preempt(True, lag_s=lag_s, late_ns=late_ns)
    assert speeds.min() > 0.95
    assert speeds.max() < 1.05


def moving_arm(speed, interface):
    """The cell with its arm in motion at `speed` [rad/s] for half a second."""
    plant = Plant(Cell({}), initial_controller=interface)
    start = plant.q.copy()

    def row(t_ns):
        return start + speed * (t_ns - plant_begin) * 1e-9 * np.array([1.0, 0.0, 0.0, 0.5, 0.0, 0.0])

    plant_begin = plant.time_ns
    if interface == TRAJECTORY_CONTROLLER:
        rows = np.stack([row(plant_begin + round(k * 1e9 / FPS)) for k in range(50)])
        chunk = build_trajectory(rows, plant_begin, 1 / FPS, plant_begin, joint_names=c.ARM_JOINTS, current=start)
        plant.trajectory.accept(plant.trajectory.check(message(chunk, c.ARM_JOINTS), plant_begin), "chunk")
    for i in range(250):
        if interface == FORWARD_CONTROLLER and i % 10 == 0:
            plant.command_forward(row(plant.time_ns))
        plant.step()
    assert plant.dq[0] > 0.5 * speed  # streamed steps of 20 ms make it ripple
    return plant


@pytest.mark.parametrize("interface", [TRAJECTORY_CONTROLLER, FORWARD_CONTROLLER])
def test_a_stop_brings_the_moving_arm_to_rest_within_a_tenth_of_a_second(interface):
    plant = moving_arm(0.6, interface)
    if interface == TRAJECTORY_CONTROLLER:
        plant.trajectory.cancel("chunk", plant.q)  # where positions are streamed, a stop is to send nothing more
    slow_s = None
    for i in range(150):
        plant.step()
        if np.abs(plant.dq).max() > 0.02:
            slow_s = None
        elif slow_s is None:
            slow_s = i * PERIOD_S
    assert slow_s is not None
    assert slow_s <= 0.1
