# SPDX-License-Identifier: Apache-2.0

"""The launch files: every argument is a parameter of the node with the same default, and they start and end clean."""

import dataclasses
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import JointState
from vla_common.executor import ExecutorThread
from vla_common.qos import SENSOR
from vla_drivers.robotiq.robotiq_socket_params import RobotiqSocketParams
from vla_drivers.so101.so101_driver_params import So101DriverParams

FOLDER = Path(__file__).parents[1] / "launch"
FULL = os.environ.get("VLA_TEST_FULL") == "1"
FILES = {"so101.launch.py": So101DriverParams, "robotiq_socket.launch.py": RobotiqSocketParams}


@pytest.mark.parametrize("file", FILES)
def test_arguments_are_parameters_with_the_same_default(file):
    content = runpy.run_path(str(FOLDER / file))
    fields = {field.name: field for field in dataclasses.fields(FILES[file])}
    for name, (kind, default, description) in content["ARGUMENTS"].items():
        expected = fields[name].default
        assert type(expected) is kind, name
        assert default == (str(expected).lower() if kind is bool else str(expected)), name
        assert len(description) > 15
    assert f"ros2 launch vla_drivers {file} use_mock_hardware:=true" in content["__doc__"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("file", "joint"),
    [
        ("robotiq_socket.launch.py", "robotiq_85_left_knuckle_joint"),
        pytest.param(
            "so101.launch.py",
            "gripper",
            marks=pytest.mark.skipif(not FULL, reason="loads PyTorch; VLA_TEST_FULL=1 runs it"),
        ),
    ],
)
def test_mock_hardware_starts_publishes_and_ends_clean(file, joint):
    ros2 = Path(sys.executable).parent / "ros2"
    command = [str(ros2), "launch", "vla_drivers", file, "use_mock_hardware:=true", "namespace:=cell"]
    launched = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    rclpy.init()
    heard = []
    node = Node("listener")
    node.create_subscription(JointState, "/cell/joint_states", heard.append, SENSOR)
    executor = ExecutorThread(node)
    try:
        end = time.monotonic() + 200.0
        while len(heard) < 10 and launched.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        launched.send_signal(signal.SIGINT)
        output, _ = launched.communicate(timeout=60.0)
        assert len(heard) >= 10, output
        assert joint in heard[-1].name
        assert launched.returncode == 0, output
        assert "stopping: received SIGINT" in output, output
        with pytest.raises(ProcessLookupError):
            os.killpg(launched.pid, 0)  # nothing is left of it
    finally:
        executor.close()
        node.destroy_node()
        rclpy.try_shutdown()
        if launched.poll() is None:
            os.killpg(launched.pid, signal.SIGKILL)
