# SPDX-License-Identifier: Apache-2.0

"""The commands of the README and of the tutorial, run in order as they stand there, with smaller numbers."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.timeout(600)

# what makes a command short enough for a test; nothing else of it is changed
SMALLER = (
    (r"episodes:=\d+", "episodes:=2"),
    (r"--steps \d+", "--steps 4"),
    (r"(infer\.launch\.py .*)episodes:=2", r"\1episodes:=1 max_duration:=2.0"),
)
# commands that other tests run, and those that need a robot or a person
ELSEWHERE = {
    "./demo": "test_quick_demo.py runs it with --quick",
    "./test": "this is it",
    "source ./activate": "every command here runs in the environment that it makes",
    "git clone": "needs the network",
    "ros2 run vla_bringup check_profile": "vla_bringup/test/test_check_profile.py runs it on every profile",
    "ros2 run vla_bringup doctor": "vla_bringup/test/test_doctor*.py",
    "ros2 run vla_recorder keyboard": "needs a terminal; vla_recorder/test covers it",
}


def blocks(page):
    """Shell code blocks of a Markdown page, continuation lines joined, comments removed."""
    for block in re.findall(r"^```(?:bash|sh)?\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S):
        yield [
            re.sub(r"\s+#.*$", "", line).strip()
            for line in block.replace("\\\n", " ").splitlines()
            if line.strip() and not line.startswith("#")
        ]


def commands(page):
    return [re.sub(r"\s+", " ", line) for block in blocks(page) for line in block]


def shortened(command):
    for pattern, replacement in SMALLER:
        command = re.sub(pattern, replacement, command)
    return command


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("tutorial")


def test_the_tutorial_works_from_top_to_bottom(workdir, isolated):
    lines = [line for line in commands("docs/tutorials/first_policy.md") if not line.startswith(tuple(ELSEWHERE))]
    assert len(lines) >= 6
    for line in lines:
        done = subprocess.run(
            ["bash", "-ec", shortened(line)],
            cwd=workdir,
            env=isolated,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}"
    assert len(list((workdir / "outputs/tutorial/bags").glob("episode_*"))) == 2
    assert (workdir / "outputs/tutorial/dataset/meta/info.json").exists()
    assert (workdir / "outputs/tutorial/train/checkpoints/last/pretrained_model/model.safetensors").exists()
    assert (workdir / "outputs/tutorial/trials.json").exists()


def test_every_command_of_the_readme_is_run_by_a_test():
    tutorial = {shape(line) for line in commands("docs/tutorials/first_policy.md")}
    for line in commands("README.md"):
        known = line.startswith(tuple(ELSEWHERE)) or shape(line) in tutorial
        robot = "robot_ip:=" in line or line.startswith(("source /opt/ros", "ros2 action send_goal", "ros2 bag play"))
        assert known or robot, f"README.md: no test runs: {line}"


def shape(command):
    """A command without its values: what is run, and with which arguments."""
    return " ".join(
        re.sub(r"([:=]+).*", r"\1", word)
        for word in re.sub(r'"[^"]*"', "x", command).split()
        if "/" not in word or ":=" in word
    )
