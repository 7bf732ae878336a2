# SPDX-License-Identifier: Apache-2.0

"""The set-up's decisions: what runs again, what a sourced ROS changes, paths with spaces, clear refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "setup"))

import base
import bootstrap
import browser
import environment
import referees
import repair_wheels
import system
import workspace

SETUP = Path(base.__file__).parent


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state folder of this test's own, and three steps that note when they run."""
    ran = []

    def step(name):
        return bootstrap.Step(name, lambda: inputs[name], lambda: ran.append(name))

    inputs = {"system": "s", "packages": "p", "later": "l"}
    monkeypatch.setattr(bootstrap, "STATE", tmp_path)
    monkeypatch.setattr(bootstrap, "STEPS", tuple(step(name) for name in inputs))
    return inputs, ran


def test_a_second_run_does_nothing(state):
    _, ran = state
    bootstrap.carry_out(bootstrap.pending())
    assert ran == ["system", "packages", "later"]
    assert bootstrap.pending() == []


def test_a_changed_input_repeats_its_step_and_those_that_rest_on_it(state):
    inputs, ran = state
    bootstrap.carry_out(bootstrap.pending())
    ran.clear()
    inputs["packages"] = "other"
    bootstrap.carry_out(bootstrap.pending())
    assert ran == ["packages", "later"]


def test_a_changed_system_library_rebuilds_nothing(state):
    inputs, ran = state
    bootstrap.carry_out(bootstrap.pending())
    ran.clear()
    inputs["system"] = "other"
    bootstrap.carry_out(bootstrap.pending())
    assert ran == ["system"]


def test_an_interrupted_run_goes_on_at_the_step_that_did_not_finish(state, monkeypatch):
    _, ran = state

    def interrupted():
        raise KeyboardInterrupt

    steps = bootstrap.STEPS
    monkeypatch.setattr(bootstrap, "STEPS", (steps[0], steps[1]._replace(action=interrupted), steps[2]))
    with pytest.raises(KeyboardInterrupt):
        bootstrap.carry_out(bootstrap.pending())
    monkeypatch.setattr(bootstrap, "STEPS", steps)
    ran.clear()
    bootstrap.carry_out(bootstrap.pending())
    assert ran == ["packages", "later"]


def test_a_sourced_ros_keeps_its_own_packages(tmp_path, monkeypatch):
    (tmp_path / "share" / "rclpy").mkdir(parents=True)
    (tmp_path / "share" / "rclpy" / "package.xml").write_text("<package/>")
    (tmp_path / "share" / "control_msgs").mkdir()
    (tmp_path / "share" / "control_msgs" / "package.xml").write_text("<package/>")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(base.VENV))
    assert not base.sourced_ros()
    assert "control_msgs" in {p.name for p in workspace.missing_interfaces()}
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setattr(environment, "STATE", tmp_path)
    assert base.sourced_ros()
    assert "control_msgs" not in {p.name for p in workspace.missing_interfaces()}
    assert "tf2_msgs" in {p.name for p in workspace.missing_interfaces()}
    kept = environment.requirements().read_text()
    assert "\nlerobot==0.6.1" in kept
    assert "\nros-" not in kept  # neither the names that were asked for nor the wheels behind them
    assert "\nrosbags==" in kept


def test_a_layer_of_an_image_stops_at_the_step_that_it_names(state):
    _, ran = state
    bootstrap.carry_out(bootstrap.pending("packages"))
    assert ran == ["system", "packages"]
    assert bootstrap.pending("packages") == []
    bootstrap.carry_out(bootstrap.pending())
    assert ran == ["system", "packages", "later"]


@pytest.mark.parametrize("wheels", [True, False])
def test_the_environment_names_the_ament_index_of_the_wheels_only_where_they_are(tmp_path, wheels):
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state" / "workspace.sh").write_text("")
    if wheels:
        (tmp_path / ".venv" / "share" / "rclpy").mkdir(parents=True)
        (tmp_path / ".venv" / "share" / "rclpy" / "package.xml").write_text("<package/>")
    script = f'. "{SETUP}/env.sh"; . "{SETUP}/env.sh"; printf "%s\n%s" "$AMENT_PREFIX_PATH" "${{CMAKE_PREFIX_PATH:-}}"'
    env = {
        "PATH": "/usr/bin:/bin",
        "VLA_ROOT": str(tmp_path),
        "ROS_DISTRO": "jazzy",
        "AMENT_PREFIX_PATH": "/opt/ros/jazzy",
    }
    shown = subprocess.run(["bash", "-euc", script], env=env, capture_output=True, text=True, check=True).stdout
    expected = [f"{tmp_path}/.venv:/opt/ros/jazzy", f"{tmp_path}/.venv"] if wheels else ["/opt/ros/jazzy"]
    assert shown.splitlines() == expected


def test_wheels_are_repaired_once_also_where_the_path_holds_a_space(tmp_path):
    cmake = tmp_path / "my env" / "share" / "some_msgs" / "cmake" / "export.cmake"
    cmake.parent.mkdir(parents=True)
    foreign = '"/opt/python/cp312-cp312/include/python3.12;/opt/python/cp312/lib/site-packages/numpy/_core/include"'
    cmake.write_text(f"set(dirs {foreign})")
    assert repair_wheels.repair(tmp_path / "my env") == 1
    text = cmake.read_text()
    assert "/opt/python" not in text
    assert repair_wheels.repair(tmp_path / "my env") == 0
    assert cmake.read_text() == text


def test_the_workspace_environment_survives_spaces_and_a_second_sourcing(tmp_path, monkeypatch):
    root = tmp_path / "my checkout"
    prefix = root / "ros2_ws" / "install" / "pkg"
    (prefix / "share" / "pkg").mkdir(parents=True)
    (prefix / "share" / "pkg" / "package.xml").write_text("<package/>")
    (prefix / "lib" / "python3.12" / "site-packages").mkdir(parents=True)
    monkeypatch.setattr(workspace, "WORKSPACE", root / "ros2_ws")
    monkeypatch.setattr(workspace, "STATE", tmp_path)
    workspace.write_workspace_environment()
    script = (
        f'. "{tmp_path}/workspace.sh"; . "{tmp_path}/workspace.sh"; printf "%s\\n%s" "$AMENT_PREFIX_PATH" "$PYTHONPATH"'
    )
    shown = subprocess.run(
        ["bash", "-euc", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    ).stdout
    assert shown.splitlines() == [str(prefix), str(prefix / "lib" / "python3.12" / "site-packages")]


def test_executables_start_where_the_interpreter_s_path_holds_a_space(tmp_path, monkeypatch):
    python = tmp_path / "my env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    script = tmp_path / "ros2_ws" / "install" / "pkg" / "lib" / "pkg" / "tool"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!{python}\nprint('started')\n")
    script.chmod(0o755)
    monkeypatch.setattr(workspace, "VENV", tmp_path / "my env")
    monkeypatch.setattr(workspace, "WORKSPACE", tmp_path / "ros2_ws")
    workspace.mend_script_headers()
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == "started\n"


def test_missing_system_libraries_without_rights_print_the_line_to_run(monkeypatch):
    monkeypatch.setattr(system, "SYSTEM", (("EGL (headless rendering)", lambda: False, ("libegl1",)),))
    monkeypatch.setattr(system.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(system.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    with pytest.raises(base.SetupError, match=r"EGL .*\n    sudo apt-get update && sudo apt-get install -y libegl1"):
        system.install_system()


def test_no_python_312_is_one_clear_message(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "VENV", tmp_path / "venv")
    monkeypatch.setattr(environment, "find_python", lambda: None)
    monkeypatch.setattr(environment, "uv_command", lambda: None)
    with pytest.raises(base.SetupError, match=r"no Python 3\.12 found .*apt-get install python3\.12-venv.*VLA_PYTHON="):
        environment.make_venv()


def test_a_failed_command_shows_the_end_of_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "STATE", tmp_path)
    monkeypatch.setattr(base, "ROOT", tmp_path)
    with pytest.raises(
        base.SetupError, match=r"failed with exit code 7\. The end of packages\.log:\n(.*\n)*the reason"
    ):
        base.run([sys.executable, "-c", "print('the reason'); raise SystemExit(7)"], "packages")


@pytest.fixture
def no_referees(tmp_path, monkeypatch):
    """A checkout that has no referee environment yet, with commands that only note what they would do."""
    ran = []
    folder = tmp_path / ".referees"
    monkeypatch.setattr(referees, "STATE", tmp_path / ".state")
    monkeypatch.setattr(referees, "REASON", tmp_path / ".state" / "referees.reason")
    monkeypatch.setattr(referees, "REFEREES", folder)
    monkeypatch.setattr(referees, "MARK", folder / "made_from")
    monkeypatch.setattr(referees, "uv_command", lambda: ["uv"])

    def run(command, log):
        ran.append(command)
        folder.mkdir(exist_ok=True)

    monkeypatch.setattr(referees, "run", run)
    return ran


def test_the_referees_are_made_once(no_referees, monkeypatch, tmp_path):
    assert referees.make_referees()
    assert [command[1:4] for command in no_referees] == [
        ["-m", "venv", str(tmp_path / ".referees")],
        ["pip", "install", "-q"],
        ["-I", "-c", "import tensorflow, tensorflow_datasets, moto.server"],
    ]
    no_referees.clear()
    assert referees.make_referees()
    assert no_referees == []
    monkeypatch.setattr(referees, "file_digest", lambda paths: "another lock")
    assert referees.make_referees()
    assert len(no_referees) == 3


def test_a_machine_that_cannot_have_the_referees_says_why_and_keeps_nothing_half_made(
    no_referees, monkeypatch, tmp_path, capsys
):
    note = referees.run

    def fails(command, log):
        note(command, log)
        if "install" in command:
            raise base.SetupError("`pip install` failed with exit code 1. The end of .state/referees.log:\nno network")

    monkeypatch.setattr(referees, "run", fails)
    assert not referees.make_referees()
    assert ["uv" if command[0] == "uv" else "pip" for command in no_referees[1:]] == ["uv", "pip"]
    assert not (tmp_path / ".referees").exists()
    assert (tmp_path / ".state" / "referees.reason").read_text().startswith("`pip install` failed with exit code 1.")
    assert "no network" in capsys.readouterr().err
    monkeypatch.setattr(referees, "run", note)
    assert referees.make_referees()
    assert not (tmp_path / ".state" / "referees.reason").exists()


def test_nothing_but_the_tests_asks_for_the_referees():
    root = SETUP.parent
    asking = [
        name
        for name in ("demo", "activate", "setup/enter.sh", "setup/bootstrap.py")
        if "referees" in (root / name).read_text()
    ]
    assert asking == []
    assert "setup/referees.py" in (root / "checks" / "run.py").read_text()


@pytest.fixture
def apt(monkeypatch, tmp_path):
    """No browser, and an apt-get that notes what it is asked for; one that may fail, and a user who may not be root."""
    there, commands = {"apt-get"}, []

    def run(command, log, env):
        commands.append(command)
        if "broken" in there:
            raise base.SetupError(
                "`apt-get install` failed with exit code 100. The end of .state/browser.log:\nno network"
            )
        there.update({"chromium"} & set(command))

    monkeypatch.setattr(browser, "STATE", tmp_path)
    monkeypatch.setattr(browser.shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    monkeypatch.setattr(browser, "run", run)
    return there, commands


def test_the_browser_is_installed_once_and_only_where_that_needs_no_question(apt, monkeypatch, capsys):
    _, commands = apt
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    assert not browser.make_browser()
    assert "sudo apt-get install chromium" in capsys.readouterr().err
    assert commands == []
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    assert browser.make_browser()
    assert browser.make_browser()
    assert [command[1] for command in commands] == ["update", "install"]


def test_a_machine_that_cannot_have_the_browser_says_why(apt, capsys):
    there, _ = apt
    there.add("broken")
    assert not browser.make_browser()
    assert "the tests that need it are skipped. `apt-get install` failed" in capsys.readouterr().err


@pytest.mark.parametrize("python", ["python3.8", "python3.9", "python3.10", "python3.11"])
def test_old_pythons_can_start_the_set_up(python):
    found = next(Path.home().glob(f".pyenv/versions/{python.removeprefix('python')}*/bin/python"), None)
    if found is None:
        pytest.skip(f"no {python} here")
    done = subprocess.run([found, "-EsS", SETUP / "bootstrap.py", "--check"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.startswith(("complete", "missing: "))


def test_the_lock_pins_what_was_tested():
    lock = (SETUP / "requirements.lock").read_text()
    assert "\nlerobot==0.6.1" in lock
    assert "\ntensorflow-cpu==" in (SETUP / "requirements-referees.lock").read_text()
    pinned = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in pinned)
    assert json.dumps(sorted(pinned)) == json.dumps(sorted(set(pinned)))
