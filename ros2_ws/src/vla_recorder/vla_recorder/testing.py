# SPDX-License-Identifier: Apache-2.0

"""A small robot and synthetic episodes, for tests and benchmarks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

PROFILE = """\
robot: test_arm
fps: 10
base_frame: base_link
tool_frame: tool0
task: lift the block
cameras:
  front: {topic: front/image_raw, size: [24, 32], rate_hz: 20, max_age_s: 0.3}
state:
  - topic: joint_states
    fields: [position.elbow_joint, position.wrist_joint]
    rate_hz: 50
    max_age_s: 0.2
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 20, max_age_s: 0.5}
    command: {interface: none}
    joints: [elbow_joint, wrist_joint]
    limits: {lower: [-3.0, -3.0], upper: [3.0, 3.0]}
record_topics:
  - {topic: robot_description, type: std_msgs/msg/String, qos: latched}
"""


def write_profile(folder: Path, text: str = PROFILE) -> Path:
    path = folder / "robot.yaml"
    path.write_text(text)
    return path


def wait_for(condition: Callable[[], object], timeout_s: float = 15.0, what: str = "") -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
        threading.Event().wait(0.01)
