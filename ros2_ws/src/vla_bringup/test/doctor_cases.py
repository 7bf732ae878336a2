# SPDX-License-Identifier: Apache-2.0

"""A small robot that is well, as the doctor sees it; each test spoils one thing."""

from dataclasses import replace

import numpy as np
from vla_bringup.doctor.samples import Endpoint, Graph, Sample, Tap
from vla_core.profile import parse_profile
from vla_core.testing import PROFILE, image, joint_state

EXTRAS = """
monitors:
  safety: {topic: safety_mode, type: std_msgs/msg/Bool, allowed: [true], hint: unlock the protective stop}
  program: {topic: program_running, type: std_msgs/msg/Bool, allowed: [true], hint: press play}
"""
START_NS = 1_700_000_000_000_000_000
DRIVER = "/driver"
URDF = """<robot name="r"><link name="a"/><link name="b"/>
<joint name="elbow_joint" type="revolute"><parent link="a"/><child link="b"/>
<limit lower="{low}" upper="3.1" velocity="2.5" effort="1"/></joint>
<joint name="wrist_joint" type="revolute"><parent link="a"/><child link="b"/>
<limit lower="-3.1" upper="3.1" velocity="2.5" effort="1"/></joint>
<joint name="finger_joint" type="revolute"><parent link="a"/><child link="b"/>
<limit lower="0" upper="0.8" velocity="2.5" effort="1"/></joint></robot>"""


def profile(text=PROFILE + EXTRAS):
    return parse_profile(text, "robot.yaml")


def sample(stamp_ns, sequence, content=0, msg=None, delay_ns=2_000_000):
    return Sample(
        clock_ns=stamp_ns + delay_ns,
        received_ns=stamp_ns + delay_ns,
        sent_ns=stamp_ns + delay_ns - 100_000,
        stamp_ns=stamp_ns,
        sequence=sequence,
        content=content,
        msg=msg,
    )


def stream(rate_hz, seconds=2.0, make=None):
    stamps = [START_NS + round(i * 1e9 / rate_hz) for i in range(int(rate_hz * seconds))]
    return [sample(t, i + 1, content=i, msg=make(t) if make else None) for i, t in enumerate(stamps)]


def joints(t_ns):
    return joint_state(t_ns, ["wrist_joint", "elbow_joint", "finger_joint"], [0.1, 0.2, 0.3])


def graph():
    """A graph of the profile in which nothing is wrong."""
    camera = Tap("/front/image_raw", "sensor_msgs/msg/Image", types=("sensor_msgs/msg/Image",))
    camera.samples, camera.last = stream(20), image(START_NS, np.zeros((24, 32, 3), np.uint8))
    state = Tap("/joint_states", "sensor_msgs/msg/JointState", types=("sensor_msgs/msg/JointState",))
    state.samples = stream(100, make=joints)
    for tap in (camera, state):
        tap.publishers = (Endpoint(DRIVER, tap.type),)
    return Graph(
        seconds=2.0,
        nodes=(DRIVER, "/viewer"),
        taps={
            "front/image_raw": camera,
            "joint_states": state,
            "command/arm": Tap("/command/arm", state.type),
            "command/gripper": Tap("/command/gripper", state.type),
        },
        servers={
            "/arm_controller/follow_joint_trajectory": (DRIVER,),
            "/gripper_controller/gripper_cmd": (DRIVER,),
        },
        controllers={"/arm_controller": "active", "/gripper_controller": "active"},
        manager="/controller_manager",
        monitors={"safety": True, "program": True},
        descriptions={"/robot_description": URDF.format(low="-3.1")},
    )


def retimed(samples, **changes):
    """Samples with fields that a function of (index, sample) gives."""
    return [replace(one, **{key: make(i, one) for key, make in changes.items()}) for i, one in enumerate(samples)]
