# SPDX-License-Identifier: Apache-2.0

"""Two leader arms drive both arms of the simulated cell, one teleop node each, in lockstep and in one process."""

from pathlib import Path

import numpy as np
import pytest
from rclpy.node import Node
from running_nodes import RunningNodes
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool
from teleop_stage import Stick, wait_until
from vla_common.params import overrides
from vla_common.qos import SENSOR
from vla_core.arm_distance import ArmDistance
from vla_core.errors import ProfileError
from vla_core.profile import load_profile
from vla_msgs.msg import TeleopState
from vla_sim.sim_node import CellNode
from vla_teleop.motion.apart import Apart
from vla_teleop.node.teleop_node import TeleopNode
from vla_teleop.node.teleop_report import STATES
from vla_teleop.node.teleop_robot import teleop_spec

PATH = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_bimanual_tiny.yaml"
PROFILE = load_profile(PATH)
SIDES = ("left", "right")
JOINTS = {spec.name: spec.joints for spec in PROFILE.action}


class Stage(RunningNodes):
    """The cell, two teleop nodes, and leaders in the hands of the test."""

    def __init__(self):
        super().__init__()
        self.q, self.states, self.targets, self.lowest = {}, {}, {}, np.inf
        self.distance = ArmDistance(*PROFILE.arms, PROFILE.safety.arms_min_distance_m)
        self.leaders = {side: Stick() for side in SIDES}
        helper = self.helper = self.add(Node("helper", context=self.context))
        for side in SIDES:
            helper.create_subscription(JointState, f"{side}/joint_states", self.on_joints, SENSOR)
            helper.create_subscription(
                TeleopState, f"{side}_teleop/state", lambda msg, side=side: self.states.update({side: msg}), STATES
            )
            helper.create_subscription(
                JointState, f"{side}/command/arm", lambda msg, side=side: self.targets.update({side: msg}), 100
            )
        ticks = {"clock_mode": "lockstep", "participants": [f"{side}_teleop" for side in SIDES], "tick_rate_hz": 100.0}
        self.add(self.make(CellNode, {"profile": str(PATH), **ticks}))
        node = {"profile": str(PATH), "lockstep": True, "use_sim_time": True, "rate_hz": 100.0}
        slow = {"switch_timeout_s": 10.0, "answer_timeout_s": 10.0, "leader_refuse": 3.0, "leader_speed": 1.0}
        for side in SIDES:
            name = ["--ros-args", "-r", f"__node:={side}_teleop"]
            own = {**node, **slow, "arm": f"{side}_arm"}
            self.add(self.make(TeleopNode, own, device=lambda _, side=side: self.leaders[side], cli_args=name))
        wait_until(lambda: len(self.states) == 2 and len(self.q) == 2, what="states of both")

    def make(self, cls, values, **options):
        return cls(context=self.context, parameter_overrides=overrides(values), **options)

    def on_joints(self, msg):
        for name in ("left_arm", "right_arm"):
            if JOINTS[name][0] in msg.name:
                at = dict(zip(msg.name, msg.position, strict=True))
                self.q[name] = np.array([at[joint] for joint in JOINTS[name]])
        if len(self.q) == 2:
            apart = self.distance.distances(self.q["left_arm"][None], self.q["right_arm"][None])
            self.lowest = min(self.lowest, float(apart.min()))

    def enable(self):
        for side in SIDES:
            client = self.helper.create_client(SetBool, f"{side}_teleop/enable")
            assert client.wait_for_service(30.0), side
            future = client.call_async(SetBool.Request(data=True))
            wait_until(future.done, what=f"the answer of {side}_teleop")
            assert future.result().success, future.result().message

    def lead(self, turns):
        """Both leaders stand where their arms are at the ready pose, turned by these angles about their feet [rad]."""
        for side, turn in turns.items():
            at = np.array(PROFILE.ready[f"{side}_arm"]) + turn * np.eye(6)[0]
            self.leaders[side].move(joints=dict(zip(JOINTS[f"{side}_arm"], at, strict=True)), moving=True)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


def test_both_follow_their_leaders_and_stop_before_they_touch(stage):
    stage.enable()
    stage.lead({"left": 0.2, "right": -0.3})
    wanted = {
        side: np.array(PROFILE.ready[f"{side}_arm"]) + t * np.eye(6)[0] for side, t in (("left", 0.2), ("right", -0.3))
    }
    wait_until(
        lambda: all(np.abs(stage.q[f"{side}_arm"] - wanted[side]).max() < 0.01 for side in SIDES),
        what="both arms at their leaders",
    )
    for side in SIDES:
        assert list(stage.targets[side].name) == list(JOINTS[f"{side}_arm"])
    stage.lead({"left": -1.2, "right": 1.5})  # they would meet between their bases
    wait_until(
        lambda: any("must stay between the arms" in state.line for state in stage.states.values()), what="a stop"
    )
    reason = next(state.line for state in stage.states.values() if "must stay between the arms" in state.line)
    assert "m near to " in reason
    assert 0.0 < stage.lowest < 0.12, "near, and they have not touched"
    stage.lead({"left": 0.2, "right": -0.3})
    wait_until(
        lambda: all(np.abs(stage.q[f"{side}_arm"] - wanted[side]).max() < 0.01 for side in SIDES),
        what="both arms apart",
    )
    assert stage.lowest > 0.0


def test_which_of_two_arms_has_to_be_said():
    assert [spec.arm for spec in PROFILE.teleops] == ["left_arm", "right_arm"]
    assert PROFILE.teleop is None
    assert teleop_spec(PROFILE, "right_arm").manager == "right/controller_manager"
    with pytest.raises(
        ProfileError, match=r"drives left_arm, right_arm, and one teleop node drives one arm; .* -p arm:=left_arm"
    ):
        teleop_spec(PROFILE)
    with pytest.raises(ProfileError, match="drives no arm 'left'; it drives left_arm, right_arm"):
        teleop_spec(PROFILE, "left")


def test_an_arm_rests_while_nothing_is_heard_of_the_other():
    apart, ready = Apart(PROFILE, "left_arm"), np.array(PROFILE.ready["left_arm"])
    assert apart.others == ("right_arm",)
    there = {"right_arm": np.array(PROFILE.ready["right_arm"])}
    assert apart.why_not(ready, ready + 0.01, there) == ""
    assert apart.why_not(ready, ready, {}) == ""
    text = apart.why_not(ready, ready + 0.01, {})
    assert text == "nothing is heard of where right_arm is, so left_arm rests; is its driver running?"
