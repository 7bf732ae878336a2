# SPDX-License-Identifier: Apache-2.0

"""The images without ROS, put together here from what is installed: their requirement lists suffice for their commands."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(Path(__file__).resolve().parent))

from import_contract import imported_modules

ROOT = Path(__file__).resolve().parent.parent
DOCKER, SOURCE = ROOT / "docker", ROOT / "ros2_ws" / "src"
INSTALL = DOCKER / "scripts" / "install_learning.sh"
PACKAGES = {"server": ("vla_core", "vla_policy"), "trainer": ("vla_core", "vla_recorder", "vla_policy")}
MODULES = {
    "server": ("vla_policy.serving.server", "vla_policy.policies.lerobot_runner", "vla_policy.tools.smoke"),
    "trainer": ("vla_policy.training.train", "vla_policy.training.trainer", "vla_recorder.convert.command"),
}
# imported only where a feature asks for it: odd image encodings, cameras that send video
OPTIONAL = {"server": {"cv_bridge", "av"}, "trainer": {"cv_bridge"}}
pytestmark = pytest.mark.timeout(300)


def wanted(name):
    lines = (DOCKER / f"requirements-{name}.in").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def closure(name):
    """All distributions that an installer would bring for a requirement list."""
    todo = [(one.name, frozenset(one.extras)) for one in wanted(name)]
    seen = set()
    while todo:
        project, extras = todo.pop()
        key = (canonicalize_name(project), extras)
        if key in seen:
            continue
        seen.add(key)
        for text in importlib.metadata.requires(project) or []:
            further = Requirement(text)
            contexts = [{"extra": extra} for extra in ("", *extras)]
            if further.marker is None or any(further.marker.evaluate(context) for context in contexts):
                todo.append((further.name, frozenset(further.extras)))
    return {project for project, _ in seen}


def tops(project):
    """What a distribution has at the top of site-packages."""
    files = importlib.metadata.distribution(project).files or []
    return {file.parts[0] for file in files if ".." not in file.parts and file.parts[0] != "__pycache__"}


def assemble(name, folder):
    """A folder of links to the installed files of those distributions and to our own packages, and to nothing else."""
    folder.mkdir()
    site = Path(importlib.metadata.distribution("numpy").locate_file("")).resolve()
    closed = closure(name)
    others = {found.metadata["Name"] for found in importlib.metadata.distributions()}
    shared = {top for project in others if canonicalize_name(project) not in closed for top in tops(project)}
    for project in closed:
        for top in tops(project) - shared:
            if not (folder / top).exists():
                (folder / top).symlink_to(site / top)  # with its compiled files
        for file in importlib.metadata.distribution(project).files or []:
            if file.parts[0] in shared and file.suffix != ".pyc":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).symlink_to(site / file)
    for package in PACKAGES[name]:
        (folder / package).symlink_to(SOURCE / package / package)
    return folder


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_what_is_asked_for_is_pinned_in_the_lock(name):
    lock = (ROOT / "setup" / "requirements.lock").read_text()
    pinned = {canonicalize_name(found) for found in re.findall(r"^([\w.-]+)==", lock, re.M)}
    closed = closure(name)
    assert {canonicalize_name(one.name) for one in wanted(name)} <= pinned
    assert not [project for project in closed if project.startswith(("ros-", "rclpy"))]
    assert closed <= pinned | {"pip"}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_the_packages_of_the_dockerfile_are_those_tried_here(name):
    line = re.search(rf"AS {name}\n.*?own \.venv ([\w ]+)\n", (DOCKER / "Dockerfile").read_text(), re.S)[1]
    assert set(PACKAGES[name]) | {"lerobot_policy_vla_keypoints"} == set(line.split())


def source_of(module):
    path = SOURCE / module.split(".")[0] / Path(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def reached(modules):
    """Our own modules that are imported from `modules` on, also inside functions, and the names of all others."""
    todo, own, foreign = list(modules), set(), set()
    while todo:
        module = todo.pop()
        if module in own:
            continue
        own.add(module)
        for _, found in imported_modules(ast.parse(source_of(module).read_text())):
            if source_of(found):
                todo.append(found)
            else:
                foreign.add(found.split(".")[0])
    return own, foreign - sys.stdlib_module_names


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_the_list_brings_what_the_commands_import(name):
    own, foreign = reached(MODULES[name])
    assert {module.split(".")[0] for module in own} == set(PACKAGES[name])  # nothing of the rooms that need ROS
    owners, closed = importlib.metadata.packages_distributions(), closure(name)
    assert {"numpy", "torch", "lerobot"} <= foreign  # the search finds what there is
    lacking = {top for top in foreign if not {canonicalize_name(one) for one in owners.get(top, [])} & closed}
    assert lacking == OPTIONAL[name], f"docker/requirements-{name}.in: the distributions of {sorted(lacking)}"


@pytest.mark.skipif(os.environ.get("VLA_TEST_FULL") != "1", reason="imports torch twice; ./test --full runs it")
@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_the_commands_start_with_those_packages_alone(name, tmp_path):
    site = assemble(name, tmp_path / "site")
    code = f"import sys; sys.path.append({str(site)!r})\n" + "\n".join(f"import {module}" for module in MODULES[name])
    code += "\nassert not {'rclpy', 'vla_common', 'vla_msgs'} & set(sys.modules)\nprint('all there')"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    base = [getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-c", code]
    done = subprocess.run(base, capture_output=True, text=True, env=env, timeout=280)
    assert done.stdout == "all there\n", done.stderr[-3000:]


def test_the_installer_asks_for_the_list_in_the_versions_of_the_lock(tmp_path):
    prefix = tmp_path / "venv"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "uv").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for name in ("uv", "python"):
        (prefix / "bin" / name).touch()
        (prefix / "bin" / name).chmod(0o755)
    requirements = DOCKER / "requirements-server.in"
    env = {"PATH": f"{prefix / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(
        [INSTALL, "packages", requirements, prefix, "--dry-run"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:4] == ["pip", "install", "--python", str(prefix / "bin" / "python")]
    assert words[words.index("--constraints") + 1] == str(ROOT / "setup" / "requirements.lock")
    assert words[-3:] == ["--requirements", str(requirements), "--dry-run"]


def test_our_own_packages_are_installed_into_a_scratch_environment(tmp_path):
    prefix = tmp_path / "venv"
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", prefix], check=True, timeout=200)
    site = next(prefix.glob("lib/python3.*/site-packages"))
    outer = Path(importlib.metadata.distribution("setuptools").locate_file(""))
    (site / "outer.pth").write_text(f"{outer}\n")  # setuptools of the environment that runs the tests
    checkout = tmp_path / "checkout"
    for part in ("docker/scripts", "setup"):
        (checkout / part).parent.mkdir(parents=True, exist_ok=True)
        (checkout / part).symlink_to(ROOT / part)
    source = checkout / "ros2_ws" / "src" / "vla_policy"  # a copy: a build leaves files beside the sources
    source.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", SOURCE / "vla_policy", source], check=True)
    script = checkout / "docker" / "scripts" / "install_learning.sh"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [script, "own", prefix, "vla_policy"], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (prefix / "bin" / "serve").is_file()
    assert (site / "vla_policy" / "serving" / "server.py").is_file()
    assert list((site / "vla_policy" / "training" / "config").glob("*.yaml"))


def test_the_installer_says_how_it_is_used():
    done = subprocess.run([INSTALL, "everything"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "install_learning.sh packages REQUIREMENTS PREFIX [--dry-run]" in done.stderr
