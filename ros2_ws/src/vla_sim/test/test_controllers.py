# SPDX-License-Identifier: Apache-2.0

import math

import pytest
from vla_core.controller_gripper import GripperController
from vla_core.controller_manager import Controller, ControllerManager, Strictness
from vla_core.controller_outcome import GoalRefusedError, GoalStatus
from vla_sim.controllers.forward import ForwardController, SpeedLimitError
from vla_sim.controllers.robot import SAFETY_PROTECTIVE_STOP, RobotState
from vla_sim.disturbances import CameraDisturbance, CameraSchedule

MS = 1_000_000


def make_gripper(**options):
    return GripperController(lower=0.0, upper=0.8, max_velocity=1.4, max_effort=235.0, default_effort=40.0, **options)


def test_gripper_reaches_within_tolerance():
    g = make_gripper()
    g.accept(0.5, None, None, token=1, now_ns=0)
    assert (g.target, g.velocity, g.effort) == (0.5, 1.4, 40.0)
    g.update(2 * MS, 0.47, 1.0)
    assert g.outcomes == []
    g.update(4 * MS, 0.485, 1.0)
    assert (g.outcomes[0].status, g.outcomes[0].reached, g.outcomes[0].stalled) == (GoalStatus.SUCCEEDED, True, False)


@pytest.mark.parametrize(("allow", "status"), [(True, GoalStatus.SUCCEEDED), (False, GoalStatus.ABORTED)])
def test_gripper_stall(allow, status):
    g = make_gripper(allow_stalling=allow)
    g.accept(0.8, 9.0, 300.0, token=1, now_ns=0)
    assert (g.velocity, g.effort) == (1.4, 235.0)
    for t in range(0, 100, 2):
        g.update(t * MS, 0.3, 0.5 if t < 30 else 0.0)
        if g.outcomes:
            break
    assert t == 80  # 50 ms after the last motion, strictly more
    assert (g.outcomes[0].status, g.outcomes[0].stalled, g.outcomes[0].reached) == (status, True, False)


def test_gripper_preempt_cancel_and_clamp():
    g = make_gripper()
    g.accept(0.5, None, None, token=1, now_ns=0)
    g.accept(0.9, None, None, token=2, now_ns=0)
    assert g.target == 0.8
    assert (g.outcomes[0].token, g.outcomes[0].status) == (1, GoalStatus.ABORTED)
    assert not g.cancel(1, 0.2)
    assert g.cancel(2, 0.2)
    assert g.target == 0.2
    assert g.outcomes[1].status is GoalStatus.CANCELED


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        ((math.nan, None, None), "position nan is not finite"),
        ((0.1, math.inf, None), "velocity inf"),
        ((0.1, None, -1.0), "effort -1.0 is negative"),
    ],
)
def test_gripper_refuses(goal, text):
    with pytest.raises(GoalRefusedError, match=text):
        make_gripper().check(*goal)


def make_forward():
    f = ForwardController(("a", "b"), math.pi)
    f.activate([0.0, 0.0], 0)
    return f


def test_forward_takes_small_steps():
    f = make_forward()
    for k in range(1, 6):
        f.command([0.05 * k, 0.0], k * 20 * MS)
    assert f.target.tolist() == pytest.approx([0.25, 0.0])


@pytest.mark.parametrize(
    ("values", "text"),
    [([0.0], "has 1 values, expected 2 in the order a, b"), ([0.0, math.nan], "not finite")],
)
def test_forward_drops(values, text):
    f = make_forward()
    with pytest.raises(GoalRefusedError, match=text):
        f.command(values, 10 * MS)
    assert f.target.tolist() == [0.0, 0.0]


def test_forward_speed_limit_also_after_a_pause():
    f = make_forward()
    with pytest.raises(SpeedLimitError, match=r"a step of 0\.400 rad of b in 0\.100 s .* speed limit of 3\.14"):
        f.command([0.0, 0.4], 5000 * MS)


def test_forward_inactive():
    f = make_forward()
    f.deactivate()
    with pytest.raises(GoalRefusedError, match="not active; switch to it"):
        f.command([0.0, 0.0], MS)


def make_manager():
    log = []

    def controller(name, interfaces, moves=True):
        return Controller(
            name=name,
            type=f"t/{name}",
            interfaces=interfaces,
            needs_program=moves,
            start=lambda: log.append(f"+{name}"),
            stop=lambda: log.append(f"-{name}"),
        )

    manager = ControllerManager(
        [controller("traj", ("p",)), controller("fwd", ("p",)), controller("io", (), moves=False)]
    )
    manager.switch(["traj", "io"], [], Strictness.STRICT)
    log.clear()
    return manager, log


def active(manager):
    return [name for name, controller in manager.controllers.items() if controller.active]


def test_exclusive_interfaces():
    manager, log = make_manager()
    ok, text = manager.switch(["fwd"], [], Strictness.STRICT)
    assert not ok
    assert text == "controller 'fwd' cannot start: 'p' is claimed by 'traj'"
    assert log == []
    assert manager.switch(["fwd"], ["traj"], Strictness.STRICT) == (True, "")
    assert active(manager) == ["fwd", "io"]
    assert log == ["-traj", "+fwd"]


def test_two_claims_in_one_switch():
    manager, _ = make_manager()
    manager.switch([], ["traj"], Strictness.STRICT)
    ok, text = manager.switch(["traj", "fwd"], [], Strictness.STRICT)
    assert not ok
    assert "'p' is claimed by 'traj'" in text
    assert manager.switch(["traj", "fwd"], [], Strictness.BEST_EFFORT)[0]
    assert active(manager) == ["traj", "io"]


@pytest.mark.parametrize(
    ("start", "stop", "text"),
    [
        (["nope"], [], "controller 'nope' is not loaded; loaded are fwd, io, traj"),
        (["io"], [], "'io' is active already"),
        ([], ["fwd"], "'fwd' is not active"),
    ],
)
def test_strict_switch_refuses(start, stop, text):
    manager, log = make_manager()
    ok, message = manager.switch(start, stop, Strictness.STRICT)
    assert not ok
    assert text in message
    assert log == []


def test_program_stop_and_start():
    manager, log = make_manager()
    manager.program_stopped()
    manager.program_stopped()
    assert active(manager) == ["io"]
    assert not manager.switch(["fwd"], [], Strictness.STRICT)[0]
    manager.program_started()
    assert active(manager) == ["traj", "io"]
    assert log == ["-traj", "+traj"]


def test_robot_state():
    robot = RobotState()
    assert robot.speed_scaling == 1.0
    assert robot.set_slider(0.5) == (True, "")
    assert not robot.set_slider(0.0)[0]
    assert not robot.set_slider(math.nan)[0]
    robot.protective_stop()
    assert robot.safety_mode == SAFETY_PROTECTIVE_STOP
    assert robot.speed_scaling == 0.0
    ok, text = robot.start_program()
    assert not ok
    assert "unlock_protective_stop first" in text
    assert robot.unlock()[0]
    assert not robot.unlock()[0]
    assert robot.start_program()[0]
    assert robot.speed_scaling == 0.5


def frames(schedule, seconds=2.0):
    return [t for t in range(0, round(seconds * 1e9), 2 * MS) if schedule.due(t)]


def test_camera_grid_does_not_drift():
    times = frames(CameraSchedule(30.0, CameraDisturbance()))
    assert len(times) == 60
    assert all(0 <= t - i * 1e9 / 30 <= 2 * MS for i, t in enumerate(times))


def test_camera_phase_jitter_drops_are_reproducible():
    def make():
        return CameraSchedule(30.0, CameraDisturbance(phase_s=0.01, jitter_s=0.005, drop_fraction=0.25, seed=3))

    a, b = make(), make()
    first = frames(a)
    assert first == frames(b)
    assert 35 < len(first) < 55
    assert a.dropped == 60 - len(first)
    assert first == sorted(first)
    b.restart(0, 7)
    assert frames(b) != first
