# SPDX-License-Identifier: Apache-2.0

"""The images without an engine: the Dockerfile is linted, its steps are scripts that exist, and the scripts run here."""

import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "setup"))

import bootstrap
import system
import workspace

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
SCRIPTS = sorted((DOCKER / "scripts").glob("*.sh"))
STAGES = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.M)
NO_ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root")}


def tool(name):
    """A linter from PyPI, beside the interpreter of the tests."""
    return str(Path(sys.executable).parent / name)


def run(*command, env=None, **kwargs):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=NO_ENVIRONMENT | (env or {}), **kwargs
    )


def instructions(keyword):
    """Arguments of an instruction, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{keyword} (.*)$", joined, re.M)


def listed(name):
    done = run(DOCKER / "scripts" / "apt_install.sh", "--dry-run", DOCKER / "apt" / f"{name}.txt")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_dockerfile_passes_hadolint():
    done = run(tool("hadolint"), "--failure-threshold", "warning", DOCKER / "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_would_find_something(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM ros:latest\nRUN cd /tmp && apt-get install git\n")
    done = run(tool("hadolint"), "--failure-threshold", "warning", tmp_path / "Dockerfile")
    assert done.returncode == 1
    assert "DL3007" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_scripts_pass_shellcheck_and_stop_at_the_first_error(script):
    done = run(tool("shellcheck"), "-x", script, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n# SPDX-License-Identifier: Apache-2.0\n# ")
    assert "\nset -euo pipefail\n" in text
    assert os.access(script, os.X_OK)


def test_every_step_of_the_dockerfile_is_one_script_of_this_checkout():
    steps = instructions("RUN")
    assert len(steps) >= 9
    for step in steps:
        words = [word for word in shlex.split(step) if not word.startswith("--mount=")]
        assert not set("&|;") & set("".join(words)), step
        path = words[0].replace("/opt/build/scripts", "docker/scripts")
        assert (ROOT / path).is_file(), f"RUN {step}: no {path}"
        for word in words[1:]:
            name = word.replace("/opt/build/apt", "docker/apt")
            if re.search(r"\.(txt|in|py|sh)$", name):
                assert (ROOT / name).is_file(), f"RUN {step}: no {name}"


def test_what_is_copied_exists_and_is_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in instructions("COPY"):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), f"COPY {line}"
            assert source not in ignored


def test_secrets_builds_and_data_of_the_host_stay_out_of_the_images():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for needed in (".venv", ".state", "ros2_ws/install", "outputs", "docker/.env*", ".git"):
        assert needed in ignored


def test_bases_are_pinned_by_tag_and_the_user_is_not_root():
    for image in re.findall(r"^ARG \w+_IMAGE=(\S+)$", DOCKERFILE, re.M):
        assert re.fullmatch(r"[a-z0-9./-]+:[\w.-]+", image)
        assert not image.endswith(":latest")
    assert STAGES == ["base", "robot", "dev", "learning", "server", "trainer"]
    for part in re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]:
        users = re.findall(r"^USER (.*)$", part, re.M)
        assert users[-1:] in ([], ["${VLA_UID}:${VLA_GID}"]), part.splitlines()[0]


def test_health_is_asked_of_the_server_only():
    assert len(instructions("HEALTHCHECK")) == 1
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["docker/scripts/healthcheck.sh"]')


def test_steps_of_the_set_up_that_the_dockerfile_names_exist():
    named = re.findall(r"bootstrap\.py --until (\w+)", DOCKERFILE)
    assert named
    assert set(named) <= {step.name for step in bootstrap.STEPS}


def test_the_base_list_holds_all_that_the_set_up_looks_for():
    wanted = {package for _, _, packages in system.SYSTEM for package in packages}
    assert wanted <= set(listed("base"))
    assert {"python3-venv", "python3-pip"} <= set(listed("base"))


def test_the_robot_image_has_every_interface_package_from_apt():
    robot = set(listed("robot"))
    for package in workspace.INTERFACES.glob("*/package.xml"):
        assert f"ros-jazzy-{package.parent.name.replace('_', '-')}" in robot


@pytest.mark.parametrize("name", sorted(p.stem for p in (DOCKER / "apt").glob("*.txt")))
def test_lists_of_packages_are_sorted_and_without_repetition(name):
    packages = listed(name)
    assert packages
    assert packages == sorted(set(packages))


def test_a_list_that_is_not_there_or_not_a_list_is_refused(tmp_path):
    done = run(DOCKER / "scripts" / "apt_install.sh", "--dry-run", tmp_path / "none.txt")
    assert done.returncode == 2
    assert "none.txt: no such list; those that ship are docker/apt/*.txt" in done.stderr
    (tmp_path / "two.txt").write_text("git curl\n")
    done = run(DOCKER / "scripts" / "apt_install.sh", "--dry-run", tmp_path / "two.txt")
    assert "'git curl': one package a line" in done.stderr


@pytest.fixture
def system_prefix(tmp_path):
    """The user tables of a base image: root, the groups of devices, and a user 1000 of the image's own."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash\n"
    )
    (tmp_path / "etc" / "group").write_text("root:x:0:\ndialout:x:20:\nvideo:x:44:ubuntu\nubuntu:x:1000:\n")
    for name in ("shadow", "gshadow", "login.defs"):
        (tmp_path / "etc" / name).write_text("")
    return tmp_path


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("useradd"), reason="making users needs root and useradd")
def test_the_user_replaces_the_base_image_s_own_and_may_use_devices(system_prefix):
    done = run(DOCKER / "scripts" / "make_user.sh", "vla", "1000", "1000", system_prefix)
    assert done.returncode == 0, done.stderr
    passwd = (system_prefix / "etc" / "passwd").read_text()
    assert "vla:x:1000:1000::" in passwd
    assert "ubuntu" not in passwd
    groups = (system_prefix / "etc" / "group").read_text().splitlines()
    assert {"dialout:x:20:vla", "video:x:44:vla"} <= set(groups)
    for folder in ("data", "opt/vla", "home/vla/.cache/uv"):
        assert (system_prefix / folder).stat().st_uid == 1000


def test_root_is_refused_as_the_image_s_user(system_prefix):
    done = run(DOCKER / "scripts" / "make_user.sh", "vla", "0", "0", system_prefix)
    assert done.returncode == 2
    assert "the images run without root (see VLA_UID in docker/.env)" in done.stderr


@pytest.fixture
def fake_ros(tmp_path):
    """A ROS prefix whose setup.bash reads a variable that is not set, as the real one does."""
    (tmp_path / "ros").mkdir()
    (tmp_path / "ros" / "setup.bash").write_text('export FROM_ROS="yes${AMENT_TRACE_SETUP_FILES}"\n')
    return {"VLA_ROS_PREFIX": str(tmp_path / "ros")}


def test_a_step_runs_with_ros_sourced(fake_ros):
    done = run(DOCKER / "scripts" / "with_ros.sh", "sh", "-c", "echo $FROM_ROS; exit 7", env=fake_ros)
    assert (done.stdout, done.returncode) == ("yes\n", 7)


def test_an_image_without_ros_says_so(tmp_path):
    done = run(DOCKER / "scripts" / "with_ros.sh", "true", env={"VLA_ROS_PREFIX": str(tmp_path)})
    assert done.returncode == 1
    assert "not there, so this is no image with ROS; build from ros:jazzy-ros-base-noble" in done.stderr


def test_the_entry_point_brings_ros_and_the_workspace_and_becomes_the_command(fake_ros):
    env = {**fake_ros, "VLA_ROOT": str(ROOT)}
    command = ["python", "-c", "import os, vla_core, vla_msgs; print(os.environ['FROM_ROS'], os.getpid())"]
    with subprocess.Popen(
        [DOCKER / "scripts" / "entrypoint.sh", *command], env=NO_ENVIRONMENT | env, stdout=subprocess.PIPE, text=True
    ) as process:
        out = process.communicate(timeout=60)[0]
    assert out == f"yes {process.pid}\n"  # the same process: signals of `docker stop` reach the command


def test_the_entry_point_of_an_image_without_ros_runs_the_command_quietly(tmp_path):
    env = {"VLA_ROS_PREFIX": str(tmp_path), "VLA_ROOT": str(tmp_path)}
    done = run(DOCKER / "scripts" / "entrypoint.sh", "echo", "two words", env=env)
    assert (done.stdout, done.stderr, done.returncode) == ("two words\n", "", 0)


def test_a_workspace_that_is_not_built_is_named(fake_ros, tmp_path):
    done = run(DOCKER / "scripts" / "entrypoint.sh", "true", env={**fake_ros, "VLA_ROOT": str(tmp_path)})
    assert done.returncode == 0
    assert "workspace.sh: not there, so the workspace is not built; run: source ./activate" in done.stderr


def test_health_is_what_the_server_answers():
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = {"VLA_PORT": str(server.server_port)}
    try:
        assert run(DOCKER / "scripts" / "healthcheck.sh", env=port).returncode == 0
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert run(DOCKER / "scripts" / "healthcheck.sh", env=port).returncode == 1
