# SPDX-License-Identifier: Apache-2.0

"""The written ``ros2`` command starts the right interpreter, wherever the environment lies."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "setup" / "make_ros2_command.py"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_ros2_command", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(maker, tmp_path):
    folder = tmp_path / "with a space" / "bin"
    folder.mkdir(parents=True)
    return maker.write_command(folder, Path(sys.executable))


def _run(command, *arguments, **variables):
    return subprocess.run(
        [command, *arguments], capture_output=True, text=True, env=os.environ | variables, check=False
    )


def test_it_runs_from_a_path_with_a_space(command):
    result = _run(command, "pkg", "prefix", "rclpy")
    assert (result.returncode, result.stderr) == (0, "")
    assert Path(result.stdout.strip()).is_dir()


def test_errors_have_their_exit_code(command):
    result = _run(command, "pkg", "prefix", "no_such_package")
    assert (result.returncode, result.stderr) == (1, "Package not found\n")


def test_writing_again_leaves_nothing_else(maker, command):
    maker.write_command(command.parent, Path(sys.executable))
    assert [path.name for path in command.parent.iterdir()] == ["ros2"]
    assert os.access(command, os.X_OK)


def test_a_real_command_that_is_found_at_run_time_wins(command, tmp_path):
    package = tmp_path / "ros2cli"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text("def main():\n    print('the real one')\n    return 3\n")
    result = _run(command, "pkg", "list", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout) == (3, "the real one\n")
