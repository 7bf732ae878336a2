# SPDX-License-Identifier: Apache-2.0

"""The ``ros2`` command as tests see it: processes of a ROS domain of their own."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: Seconds until a process that should long have ended fails its test.
PATIENCE_S = 60.0


class Command:
    """A running command whose output goes into files, so that it can be read while it runs."""

    def __init__(self, argv: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._out = folder / "stdout"
        self._err = folder / "stderr"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, start_new_session=True
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def wait(self, code: int | None = 0) -> "Command":
        """Wait for the end and, unless ``code`` is None, assert the exit code."""
        actual = self.process.wait(PATIENCE_S)
        assert code is None or actual == code, f"{self.process.args}: exit code {actual}\n{self.out}\n{self.err}"
        return self

    def wait_for(self, found: Callable[["Command"], object]) -> "Command":
        """Wait until the output satisfies ``found``."""
        deadline = time.monotonic() + PATIENCE_S
        while not found(self):
            told = f"{self.process.args}:\n{self.out}\n{self.err}"
            assert self.process.poll() is None, f"ended with {self.process.returncode} before its output came: {told}"
            assert time.monotonic() < deadline, f"output did not come: {told}"
            time.sleep(0.02)
        return self

    def interrupt(self, number: int = signal.SIGINT) -> "Command":
        self.process.send_signal(number)
        return self

    def interrupt_group(self, number: int = signal.SIGINT) -> "Command":
        """Send a signal to the command and its children, as a terminal does."""
        os.killpg(self.process.pid, number)
        return self


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Iterator[Callable[..., Command]]:
    """Give a function that starts a command in the domain of the module; what still runs at the end is stopped."""
    environment = dict(
        os.environ,
        ROS_DOMAIN_ID=str(random.randrange(1, 233)),
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        PYTHONUNBUFFERED="1",
    )
    started: list[Command] = []

    def begin(*argv: object, **variables: str) -> Command:
        folder = tmp_path_factory.mktemp("command")
        command = Command([str(part) for part in argv], folder, environment | variables)
        started.append(command)
        return command

    yield begin
    for command in started:
        if command.process.poll() is None:
            command.interrupt(signal.SIGKILL)
            command.process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def ros2(start) -> Callable[..., Command]:
    """Give a function that starts ``ros2`` with arguments."""
    program = shutil.which("ros2", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert program, "there is no command ros2: run setup/make_ros2_command.py, or source ROS"

    def begin(*argv: object, **variables: str) -> Command:
        return start(program, *argv, **variables)

    return begin


@pytest.fixture(scope="module")
def cli_node(start) -> Iterator[Command]:
    """Run the node of cli_node.py in the domain of the module."""
    pytest.importorskip("control_msgs.action", reason="the node needs control_msgs: source the workspace")
    node = start(sys.executable, HERE / "cli_node.py")
    node.wait_for(lambda command: "ready" in command.out)
    yield node
    node.interrupt(signal.SIGTERM).process.wait(PATIENCE_S)
