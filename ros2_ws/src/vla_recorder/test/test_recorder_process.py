# SPDX-License-Identifier: Apache-2.0

"""The recorder as a program: signals, exit codes, what a killed one leaves behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_msgs.srv import StartEpisode
from vla_recorder.testing import PROFILE, read_bag, wait_for, write_profile


class Program:
    """`recorder_node` in a process of its own; its output is read at the end."""

    def __init__(self, folder: Path, profile: Path) -> None:
        parameters = {"profile": profile, "output_dir": folder / "bags", "min_free_gb": 0.0, "record_from": "start"}
        pairs = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vla_recorder.capture.recorder_node", "--ros-args", *pairs],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, timeout_s: float = 10.0) -> str:
        try:
            return self.process.communicate(timeout=timeout_s)[0]
        finally:
            self.process.kill()


@pytest.fixture
def program(tmp_path):
    made = Program(tmp_path, write_profile(tmp_path))
    yield made
    made.process.kill()
    made.process.wait()


def start_episode() -> Path:
    """Start an episode as soon as the recorder has heard every observation."""
    node = Node("starter")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    client = node.create_client(StartEpisode, "recorder/start")
    answers = []

    def started() -> bool:
        if not client.wait_for_service(timeout_sec=0.1):
            return False
        future = client.call_async(StartEpisode.Request())
        executor.spin_until_future_complete(future, timeout_sec=2.0)
        answers.append(future.result())
        return answers[-1] is not None and answers[-1].success

    try:
        wait_for(started, what="an episode")
        return Path(answers[-1].bag_path)
    finally:
        executor.shutdown()
        node.destroy_node()


def wait_for_data(folder: Path) -> None:
    """Wait until a second flush has reached the disk, some half a second after the first one."""
    file = folder / f"{folder.stem}_0.mcap"
    sizes = {file.stat().st_size}

    def flushed_again() -> bool:
        sizes.add(file.stat().st_size)
        return len(sizes) > 3

    wait_for(flushed_again, what="data on the disk")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_episode_as_incomplete(driver, program, number: signal.Signals) -> None:
    folder = start_episode()
    wait_for_data(folder)
    asked = time.monotonic()
    program.process.send_signal(number)
    # A terminal and the launcher both send one.
    program.process.send_signal(number)
    said = program.end()
    assert time.monotonic() - asked < 5.0
    assert program.process.returncode == 0, said
    assert "Traceback" not in said
    meta, topics = read_bag(folder.with_suffix(""))
    assert meta["custom_data"]["termination"] == "shutdown"
    assert len(topics["/joint_states"]) > 5


def test_a_killed_recorder_leaves_an_open_folder_that_the_next_one_names(driver, program, tmp_path: Path) -> None:
    folder = start_episode()
    wait_for_data(folder)
    program.process.kill()
    program.end()
    assert [path.name for path in (tmp_path / "bags").iterdir()] == [folder.name]
    again = Program(tmp_path, tmp_path / "robot.yaml")
    start_episode()
    again.process.send_signal(signal.SIGINT)
    assert f"{folder}: left open by a recorder that was killed" in again.end()


def test_a_wrong_profile_is_refused_at_the_start(tmp_path: Path) -> None:
    bad = write_profile(tmp_path, PROFILE.replace("fps: 10", "fps: fast"))
    program = Program(tmp_path, bad)
    said = program.end()
    assert program.process.returncode == 2
    assert f"{bad}" in said
    assert "fps" in said
    assert "Traceback" not in said
    assert not (tmp_path / "bags").exists()
