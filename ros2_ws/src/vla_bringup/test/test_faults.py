# SPDX-License-Identifier: Apache-2.0

"""Every fault through the launch files: its error code and text, the arm at rest in time, and the next goal served."""

import os
import signal

import pytest
from controller_manager_msgs.srv import SwitchController
from fault_cell import MOVING, FaultCell, PolicyStatus, Result, seconds
from std_srvs.srv import SetBool

STOP_S = 0.15  # from the decision to standstill
WATCHDOG_S = 0.5
HELD_S = 1.0  # that a person has the arm
ARM = "scaled_joint_trajectory_controller"


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    made = FaultCell(tmp_path_factory.mktemp("lockstep"), "clock:=lockstep")
    yield made
    print(made.table())
    made.close()


@pytest.fixture(autouse=True)
def fresh(cell):
    cell.reset()
    cell.stopping_s = None


@pytest.mark.parametrize(
    ("fault", "code", "text", "within_s"),
    [
        (
            "protective_stop",
            Result.ROBOT_FAULT,
            "monitor safety_mode: io_and_status_controller/safety_mode says mode = 3",
            STOP_S,
        ),
        (
            "program_stop",
            Result.ROBOT_FAULT,
            "monitor program: io_and_status_controller/robot_program_running says",
            STOP_S,
        ),
        ("silent/arm", Result.STALE_INPUT, "no message for 0.5", WATCHDOG_S + STOP_S),
        ("silent/front", Result.STALE_INPUT, "no message for 0.5", WATCHDOG_S + STOP_S),
        (
            "image_size/wrist",
            Result.STALE_INPUT,
            "camera 'wrist' sends [48, 48] (height, width) on ",
            WATCHDOG_S + STOP_S,
        ),
    ],
)
def test_a_fault_of_the_robot_stops_the_arm(cell, fault, code, text, within_s):
    running = cell.moving()
    t_s = cell.switch(fault)
    cell.expect(fault, cell.result(running, fault), t_s, code=code, text=text, within_s=within_s)
    cell.serves(fault)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("silent/front", "no complete observation within 3.0 s: observation.images.front: no message for "),
        ("image_size/front", "camera 'front' sends [48, 48] (height, width) on front_camera/color/image_raw, but"),
    ],
)
def test_a_run_without_all_its_images_never_moves(cell, fault, text):
    t_s = cell.switch(fault)
    cell.until(lambda: cell.now_s > t_s + WATCHDOG_S, 30.0, "the age of the images from before the fault")
    result = cell.result(cell.goal(), fault)
    cell.expect(f"{fault} at the start", result, t_s + 0.1, code=Result.NO_OBSERVATION, text=text, within_s=0.0)
    assert result.goals_sent == 0
    cell.serves(fault)


@pytest.mark.parametrize(
    ("task", "code", "text"),
    [
        ("nan", Result.UNSAFE_ACTION, "the action is not finite: shoulder_lift_joint.pos at step 3 is nan"),
        ("jump", Result.UNSAFE_ACTION, "broke the limits of the profile, nothing of them was sent"),
        ("lost", Result.SERVER_LOST, "policy server ws://gpu:8000: the connection was lost"),
        ("raise", Result.INFERENCE, "the policy raised RuntimeError: the camera lens is dirty"),
    ],
)
def test_a_policy_that_fails_stops_the_arm(cell, task, code, text):
    running = cell.moving(task)
    result = cell.result(running, task)
    cell.until(lambda: cell.stopping_s is not None, 5.0, "the status STOPPING")
    cell.expect(f"policy: {task}", result, cell.stopping_s, code=code, text=text, within_s=STOP_S)
    cell.serves(task)


def test_a_controller_that_is_deactivated_stops_the_arm(cell):
    cell.found(SwitchController, "controller_manager/switch_controller")
    running = cell.moving()
    t_s = cell.now_s
    assert cell.call(SwitchController, "controller_manager/switch_controller", deactivate_controllers=[ARM]).ok
    result = cell.result(running, "deactivation")
    text = f"action {ARM}/follow_joint_trajectory: the goal was "
    cell.expect("controller deactivated", result, t_s, code=Result.CONTROLLER, text=text, within_s=2 * STOP_S)
    cell.serves("deactivation")


def test_the_emergency_stop_holds_until_it_is_reset(cell):
    running = cell.moving()
    t_s = cell.trigger("policy/estop")
    result = cell.result(running, "e-stop")
    cell.expect("e-stop", result, t_s, code=Result.ESTOP, text="the emergency stop was called", within_s=2 * STOP_S)
    cell.reset()
    assert cell.result(cell.goal(), "e-stop").error_code == Result.ESTOP
    cell.trigger("policy/reset_estop")
    cell.serves("e-stop")


def test_a_withdrawn_permission_stops_the_arm(cell):
    running = cell.moving()
    t_s = cell.enable(False)
    result = cell.result(running, "enable")
    text = "the permission to move was withdrawn"
    cell.expect("enable withdrawn", result, t_s, code=Result.NOT_ENABLED, text=text, within_s=2 * STOP_S)
    cell.enable(True)
    cell.serves("enable")


def test_a_client_that_vanishes_stops_the_arm(cell):
    running = cell.moving(client="agent", heartbeat_timeout=2.0)
    result = cell.result(running, "client")
    text = "client 'agent': no heartbeat for 2."
    cell.until(lambda: cell.stopping_s is not None, 5.0, "the status STOPPING")
    cell.expect("client lost", result, cell.stopping_s, code=Result.CLIENT_LOST, text=text, within_s=STOP_S)
    cell.serves("client")


def test_a_person_takes_over_and_hands_back(cell):
    """Lockstep goes on while nobody commands, and the policy begins anew from where the arm is."""
    running = cell.moving(max_duration=12.0)
    asked_s = cell.now_s
    assert cell.call(SetBool, "policy/takeover", data=True).success
    cell.until(lambda: cell.status.state == PolicyStatus.TAKEOVER, 10.0, "the status TAKEOVER")
    begun_s, commands = seconds(cell.status.stamp), len(cell.commands)
    assert cell.standstill_s(begun_s, begun_s + HELD_S) <= STOP_S
    assert cell.status.state == PolicyStatus.TAKEOVER
    assert len(cell.commands) == commands, "nothing is commanded while a person has the arm"
    assert begun_s - asked_s < HELD_S

    back_s = cell.now_s
    assert cell.call(SetBool, "policy/takeover", data=False).success
    cell.until(lambda: any(t > back_s and speed > MOVING for t, speed in cell.motion), 30.0, "motion of the policy")
    assert cell.status.state == PolicyStatus.RUNNING
    result = cell.result(running, "takeover")
    assert (result.error_code, result.termination) == (Result.NONE, Result.TERMINATION_TIMEOUT), result.error_msg
    assert result.status.interventions == 1
    assert len(cell.commands) > commands


def test_ctrl_c_stops_the_arm_before_the_node_ends(cell):
    """Last of this launch, which ends with it."""
    cell.moving()
    cell.motion.clear()
    os.kill(cell.policy_pid(), signal.SIGINT)
    cell.process.wait(30.0)
    text = cell.text()
    assert "the node was told to end" in text
    assert cell.motion[-1][1] < 0.005, cell.motion[-1]
