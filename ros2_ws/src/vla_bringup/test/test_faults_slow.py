# SPDX-License-Identifier: Apache-2.0

"""A policy that is slower than its chunks last, and a deadman switch, through the launch files."""

import pytest
from fault_cell import FaultCell, Result
from sensor_msgs.msg import Joy
from vla_common.qos import EVENT

STOP_S = 0.15
LATENCY_S, CHUNK = 2.0, 30
DEADMAN_S = 5.0  # of wall time; a busy machine is no silent joystick
BUTTON = 2


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    policy = {
        "inference_latency_s": LATENCY_S,
        "starvation_timeout_s": 0.5,
        "deadman_button": BUTTON,
        "deadman_timeout_s": DEADMAN_S,
    }
    arguments = ["clock:=lockstep", "strategy:=sync", "on_starvation:=abort", "deadman_topic:=joy"]
    made = FaultCell(tmp_path_factory.mktemp("slow"), *arguments, chunk=CHUNK, policy=policy)
    made.joystick = Joystick(made.node)
    made.until(lambda: made.joystick.heard, 20.0, "the joystick's listener")
    made.until(lambda: enabled(made), 60.0, "the first message of the joystick")
    yield made
    print(made.table())
    made.close()


def enabled(cell):
    """Whether a short goal is not refused for want of a permission."""
    return cell.result(cell.goal(max_duration=0.05), "the first goal").error_code != Result.NOT_ENABLED


class Joystick:
    """Publishes its buttons at 50 Hz of wall time, as a driver with autorepeat."""

    def __init__(self, node):
        self._publisher = node.create_publisher(Joy, "joy", EVENT)
        self.held = True
        self._timer = node.create_timer(0.02, self._publish)

    @property
    def heard(self):
        return self._publisher.get_subscription_count() > 0

    def _publish(self):
        self._publisher.publish(Joy(buttons=[0] * BUTTON + [int(self.held)]))


@pytest.fixture(autouse=True)
def fresh(cell):
    cell.reset()
    cell.stopping_s = None
    cell.joystick.held = True


def stopped(cell, what, result, code, text, within_s=STOP_S):
    cell.until(lambda: cell.stopping_s is not None, 5.0, "the status STOPPING")
    cell.expect(what, result, cell.stopping_s, code=code, text=text, within_s=within_s)


def test_a_released_button_stops_the_arm(cell):
    running = cell.moving()
    cell.joystick.held = False
    result = cell.result(running, "deadman")
    text = f"deadman switch: the button is not held; hold button {BUTTON} of the joystick on joy"
    stopped(cell, "deadman released", result, Result.NOT_ENABLED, text)
    cell.joystick.held = True
    cell.until(
        lambda: cell.result(cell.goal(max_duration=0.1), "deadman").error_code != Result.NOT_ENABLED,
        20.0,
        "the held button to be heard",
    )
    cell.serves("deadman", LATENCY_S + 1.0)


def test_a_slow_policy_is_given_up(cell):
    result = cell.result(cell.goal(), "slow policy")
    text = "after the last one was over (starvation_timeout_s 0.5 s); is the policy too slow"
    stopped(cell, "policy starves the arm", result, Result.STARVED, text, within_s=0.0)
    assert result.termination == Result.TERMINATION_STARVED
    cell.serves("slow policy", LATENCY_S + 1.0)
