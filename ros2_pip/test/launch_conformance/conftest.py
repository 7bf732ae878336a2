# SPDX-License-Identifier: Apache-2.0

"""Fixtures of the launch conformance tests, which call only public API and so also run against the real packages."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import launch
import pytest

PACKAGE = "conformance_pkg"
DEADLINE_S = 20.0

SHOW = """\
    #!{python}
    import sys
    for argument in sys.argv[1:]:
        print("ARG", argument)
    for before, argument in zip(sys.argv, sys.argv[1:]):
        if before == "--params-file":
            print("FILE", open(argument).read())
    print("on stderr", file=sys.stderr)
    """

HEADER = """\
import sys
from typing import List
from launch import LaunchDescription
from launch.actions import *
from launch.conditions import *
from launch.event_handlers import *
from launch.events import Shutdown as ShutdownEvent
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import *
from launch_ros.actions import *
from launch_ros.parameter_descriptions import Parameter, ParameterFile, ParameterValue

def python(code, **kwargs):
    return ExecuteProcess(cmd=[sys.executable, "-u", "-c", code], **{"name": "child", **kwargs})

def generate_launch_description():
    return LaunchDescription([
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "deliberate: behaviour in which the stand-in differs from the original on purpose"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip deliberate differences where the real packages are tested."""
    real = "ros2_pip" not in Path(launch.__file__).parts
    for item in items:
        if real and item.get_closest_marker("deliberate"):
            item.add_marker(pytest.mark.skip(reason="the original differs here"))


@pytest.fixture(autouse=True, scope="session")
def _log_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("ROS_LOG_DIR")
    os.environ["ROS_LOG_DIR"] = str(tmp_path_factory.mktemp("log"))
    yield
    if before is None:
        del os.environ["ROS_LOG_DIR"]
    else:
        os.environ["ROS_LOG_DIR"] = before


class Running:
    """A launch in a session of its own, its output read in the background."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    @property
    def output(self) -> str:
        with self._changed:
            return "\n".join(self._lines)

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Return the count-th match in the output, waiting for it."""

        def found() -> list[re.Match[str]]:
            return list(re.finditer(pattern, "\n".join(self._lines), re.MULTILINE))

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, DEADLINE_S), (
                f"no {pattern!r} in:\n" + "\n".join(self._lines)
            )
            return found()[count - 1]

    def child_pid(self, number: int = 1) -> int:
        return int(self.wait_for(r"process started with pid \[(\d+)\]", number)[1])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def finish(self) -> int:
        """Return the exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for pid in map(int, re.findall(r"process started with pid \[(\d+)\]", self.output)):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_dead(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still alive"
        time.sleep(0.02)


class Workspace:
    """An ament prefix with one package, and launches of files in it."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.share = prefix / "share" / PACKAGE
        self.launch_folder = self.share / "launch"
        self.launch_folder.mkdir(parents=True)
        index = prefix / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True)
        (index / PACKAGE).touch()
        self.lib = prefix / "lib" / PACKAGE
        self.lib.mkdir(parents=True)
        show = self.lib / "show"
        show.write_text(textwrap.dedent(SHOW).format(python=sys.executable))
        show.chmod(0o755)
        self.log_root = prefix / "log"
        self.env = {
            **os.environ,
            "AMENT_PREFIX_PATH": f"{prefix}{os.pathsep}{os.environ.get('AMENT_PREFIX_PATH', '')}",
            "ROS_LOG_DIR": str(self.log_root),
        }
        self._running: list[Running] = []

    def write(self, entities: str, name: str = "main.launch.py") -> Path:
        """Write a launch file with these entities."""
        path = self.launch_folder / name
        path.write_text(HEADER + textwrap.indent(textwrap.dedent(entities), " " * 8) + "\n    ])\n")
        return path

    def start(self, *arguments: str) -> Running:
        ros2 = shutil.which("ros2")
        assert ros2, "ros2 is not on PATH"
        running = Running([ros2, "launch", *arguments], self.env)
        self._running.append(running)
        return running

    def launch(self, entities: str, *arguments: str) -> tuple[int, str]:
        """Return exit code and output of a launch."""
        running = self.start(str(self.write(entities)), *arguments)
        return running.finish(), running.output

    def run_folders(self) -> list[Path]:
        """Return the log folders of the launches so far."""
        return [path for path in self.log_root.iterdir() if path.name != "latest"]

    def close(self) -> None:
        for running in self._running:
            running.kill()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path)
    yield made
    made.close()


@pytest.fixture
def run_entities() -> Callable[..., tuple[int, list[str]]]:
    """Run entities in this process; returns the exit code and what the recorders noted."""

    def run(make: Callable[[Callable[..., object]], list]) -> tuple[int, list[str]]:
        notes: list[str] = []

        def note(*substitutions: object) -> object:
            def function(context: launch.LaunchContext) -> None:
                subs = launch.utilities.normalize_to_list_of_substitutions(substitutions)
                notes.append(launch.utilities.perform_substitutions(context, subs))

            return launch.actions.OpaqueFunction(function=function)

        service = launch.LaunchService(noninteractive=True)
        service.include_launch_description(launch.LaunchDescription(make(note)))
        return service.run(), notes

    return run


@pytest.fixture
def process_is_alive() -> Callable[[int], bool]:
    return alive


@pytest.fixture
def wait_until_dead() -> Callable[[int], None]:
    return wait_dead
