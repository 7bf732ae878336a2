# SPDX-License-Identifier: Apache-2.0

"""A takeover in a recorded run, from the service call to the dataset: cell, policy and recorder in lockstep."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from sensor_msgs.msg import JointState
from sim_stage import PROFILE, Stage
from std_srvs.srv import SetBool
from vla_common.services import call_service
from vla_core.profile import load_profile
from vla_core.stamps import time_ns
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_policy.policies.scripted import ScriptedOptions, ScriptedRunner
from vla_recorder.capture.recorder_node import RecorderNode
from vla_recorder.convert.command import main as convert

Result = RunPolicy.Result


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


class Teleoperator:
    """Publishes what the person commands, like every driver of the arm: here, to stay where the arm is."""

    def __init__(self, stage):
        self.active = False
        self.stage, self.joints = stage, {}
        node = stage.helper
        self.publishers = [
            (node.create_publisher(JointState, spec.record.topic, 10), spec.joints)
            for spec in load_profile(PROFILE).action
        ]
        node.create_subscription(JointState, "joint_states", self._on_joints, 60)

    def _on_joints(self, msg):
        self.joints |= dict(zip(msg.name, msg.position, strict=True))
        if not self.active or time_ns(msg.header.stamp) % 20_000_000:
            return
        for publisher, joints in self.publishers:
            command = JointState(name=list(joints), position=[self.joints[joint] for joint in joints])
            command.header.stamp = msg.header.stamp
            publisher.publish(command)


def test_the_rows_of_the_person_and_no_others_are_marked(stage, tmp_path):
    stage.start(RecorderNode, lockstep=True, output_dir=str(tmp_path / "bags"))
    person = Teleoperator(stage)
    run = stage.begin(
        {"circles": lambda profile, _: ScriptedRunner(profile, ScriptedOptions())},
        ("policy", "recorder"),
        seed=1,
        goal={"record_eval": True, "scene": "lift", "max_duration": 600.0},
        checkpoint="circles",
    )
    takeover = stage.helper.create_client(SetBool, "policy/takeover")
    stage.wait(lambda: stage.states[-1:] and stage.states[-1][0] == PolicyStatus.RUNNING)
    stage.pass_time(1.5)
    person.active = True
    assert call_service(takeover, SetBool.Request(data=True)).success
    stage.pass_time(1.5)
    assert call_service(takeover, SetBool.Request(data=False)).success
    person.active = False
    stage.pass_time(1.5)
    run.cancel()
    result = run.wait(60.0).result
    assert result.termination == Result.TERMINATION_CANCELED
    assert result.status.interventions == 1

    text = (Path(result.eval_dir) / "metadata.yaml").read_text()
    about = yaml.safe_load(text)["rosbag2_bagfile_information"]["custom_data"]
    phases = [segment["phase"] for segment in json.loads(about["phase_segments"])]
    assert phases == ["ARMED", "POLICY", "CORRECTION", "POLICY"]
    assert (about["x_interventions"], about["skill_outcome"], about["outcome"]) == ("1", "incomplete", "unknown")

    assert convert(["--bags", str(tmp_path / "bags"), "--output", str(tmp_path / "set"), "--workers", "1"]) == 0
    (file,) = (tmp_path / "set/data").rglob("*.parquet")
    table = pq.read_table(file)
    stamps, marks = (np.array(table.column(name).to_pylist()) for name in ("stamp_ns", "intervention"))
    changes = {state: stamp for state, stamp in stage.states if state == PolicyStatus.TAKEOVER}
    begin = changes[PolicyStatus.TAKEOVER]
    end = next(stamp for state, stamp in stage.states if state == PolicyStatus.RUNNING and stamp > begin)
    np.testing.assert_array_equal(marks, (stamps >= begin) & (stamps < end))
    assert marks.sum() >= 10
    assert (~marks).sum() >= 20
