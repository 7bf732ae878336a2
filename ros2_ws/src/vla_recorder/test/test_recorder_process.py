# SPDX-License-Identifier: Apache-2.0

"""The recorder as a program: signals, exit codes, what a killed one leaves behind."""

import signal
import time
from pathlib import Path

import pytest
from vla_recorder.testing import PROFILE, read_bag, wait_for, write_profile
from vla_recorder.testing.recorder import Operator, RecorderProgram


@pytest.fixture
def program(tmp_path):
    made = RecorderProgram(tmp_path, write_profile(tmp_path))
    yield made
    made.kill()


def start_episode() -> Path:
    """Start an episode as soon as the recorder has heard every observation."""
    operator = Operator()
    try:
        return operator.start()
    finally:
        operator.close()


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
    assert topics["/joint_states"], "what was received before the signal is kept"


def test_a_killed_recorder_leaves_an_open_folder_that_the_next_one_names(driver, program, tmp_path: Path) -> None:
    folder = start_episode()
    wait_for_data(folder)
    program.kill()
    assert [path.name for path in (tmp_path / "bags").iterdir()] == [folder.name]
    again = RecorderProgram(tmp_path, tmp_path / "robot.yaml")
    start_episode()
    assert f"{folder}: left open by a recorder that was killed" in again.interrupt()


def test_a_wrong_profile_is_refused_at_the_start(tmp_path: Path) -> None:
    bad = write_profile(tmp_path, PROFILE.replace("fps: 10", "fps: fast"))
    program = RecorderProgram(tmp_path, bad)
    said = program.end()
    assert program.process.returncode == 2
    assert f"{bad}" in said
    assert "fps" in said
    assert "Traceback" not in said
    assert not (tmp_path / "bags").exists()
