# SPDX-License-Identifier: Apache-2.0

"""The teleop node on a clock: ticks go on while the controllers are switched, and a fault meanwhile is not overlooked."""

import threading

import pytest
from teleop_stage import TeleopStage
from vla_core.stamps import stamp_ns
from vla_msgs.msg import TeleopState


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    made = TeleopStage(
        tmp_path_factory.mktemp("clock"),
        cell={"clock_mode": "paced", "participants": ()},
        lockstep=False,
        rate_hz=50.0,
    )
    yield made
    made.close()


@pytest.fixture
def slow_switch(stage, monkeypatch):
    """Controllers are switched only once the test lets them."""
    asked, let = threading.Event(), threading.Event()
    give = stage.node._robot.give

    def give_slowly(controller):
        asked.set()
        assert let.wait(30.0)
        give(controller)

    monkeypatch.setattr(stage.node._robot, "give", give_slowly)
    return asked, let


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_targets_are_published_while_the_controllers_are_switched(stage, slow_switch):
    asked, let = slow_switch
    let.set()
    assert stage.enable().success
    let.clear()
    asked.clear()
    giving = in_thread(lambda: stage.enable(False))
    assert asked.wait(30.0)
    before = len(stage.targets["command/arm"])
    stage.until(lambda: len(stage.targets["command/arm"]) > before + 5, "targets during the switch")
    assert stage.state.state == TeleopState.RETURNING
    let.set()
    giving.join(60.0)
    stage.until(lambda: stage.state.state == TeleopState.OFF, "the arm to be given back")
    after = len(stage.targets["command/arm"])
    stage.until(lambda: len(stage.targets["command/arm"]) > after + 5, "targets that stand")
    held = {tuple(msg.position) for msg in stage.targets["command/arm"][before:]}
    assert len(held) == 1, "the same target all the time"
    stamps = [stamp_ns(msg) for msg in stage.targets["command/arm"]]
    assert stamps == sorted(set(stamps))


def test_a_fault_during_the_switch_ends_in_a_fault(stage, slow_switch):
    asked, let = slow_switch
    let.set()
    stage.enable(False)
    let.clear()
    asked.clear()
    answers = []
    taking = in_thread(lambda: answers.append(stage.enable()))
    assert asked.wait(30.0)
    stage.fault("protective_stop")
    stage.until(lambda: stage.state.state == TeleopState.FAULT, "the fault to be seen")
    let.set()
    taking.join(60.0)
    assert not answers[0].success
    assert "safety_mode says mode = 3" in answers[0].message
    assert "call ~/enable with true to try again" in answers[0].message
    stage.fault("protective_stop", False)
