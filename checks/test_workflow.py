# SPDX-License-Identifier: Apache-2.0

"""The workflow: stages and scripts that it runs exist, every stage is run somewhere, actions are pinned."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "checks"))

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
ACTION = yaml.safe_load((ROOT / ".github" / "actions" / "environment" / "action.yaml").read_text())
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]] + ACTION["runs"]["steps"]


def known_stages():
    listed = subprocess.run(
        [sys.executable, ROOT / "checks" / "run.py", "--list"], capture_output=True, text=True, check=True
    )
    return {line.split()[0] for line in listed.stdout.splitlines()}


def commands(job):
    """Command lines of a job, once per entry of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {}).get("stages", [""])
    for step in job["steps"]:
        text = step.get("run", "").replace("\\\n", " ")
        for line in text.splitlines():
            for stages in matrix:
                yield line.replace("${{ matrix.stages }}", stages)


def test_stages_of(job):
    found = [line.split("./test", 1)[1].split() for line in commands(job) if "./test" in line]
    return {word for words in found for word in words if not word.startswith(("-", "$"))}


test_stages_of.__test__ = False


def test_the_jobs_are_lint_pip_and_image_with_time_limits():
    assert set(JOBS) == {"lint", "pip", "image"}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in JOBS.values():
        assert job["runs-on"] == "ubuntu-24.04"
        assert 0 < job["timeout-minutes"] <= 240


def test_the_stages_exist_and_each_is_run_on_the_wheels():
    known = known_stages()
    for job in JOBS.values():
        assert test_stages_of(job) <= known
        assert any("./test" in line for line in commands(job))
    assert test_stages_of(JOBS["lint"]) | test_stages_of(JOBS["pip"]) == known
    # where the real packages differ
    assert {"stand-ins", "launch"} <= test_stages_of(JOBS["image"])


def test_files_and_targets_that_commands_name_exist():
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    for job in [*JOBS.values(), {"steps": ACTION["runs"]["steps"]}]:
        for line in commands(job):
            for path in re.findall(r"(?<![\w/.])(?:\./)?((?:docker|setup|checks)/[\w./-]+|activate|test)(?= |$)", line):
                made = path in ("docker/.env", "docker/token.txt")  # an earlier line of the step makes them
                assert made or (ROOT / path).is_file(), f"{line}: no {path}"
            for target in re.findall(r"--target (\w+)", line):
                assert f" AS {target}\n" in dockerfile


def test_commands_run_in_the_images_are_installed_there():
    ours = "\n".join(path.read_text() for path in (ROOT / "ros2_ws" / "src").glob("vla_*/setup.py"))
    tried = [
        shlex.split(line)[4]
        for line in commands(JOBS["image"])
        if re.match(r"docker run --rm vla-(server|trainer)", line)
    ]
    assert sorted(tried) == ["convert", "serve", "train"]
    for command in tried:
        assert f'"{command} = ' in ours


def test_actions_are_pinned_by_version_and_local_ones_exist():
    for step in STEPS:
        assert len({"run", "uses"} & set(step)) == 1
        uses = step.get("uses", "./.github/actions/environment")
        if uses.startswith("./"):
            assert (ROOT / uses / "action.yaml").is_file()
        else:
            assert re.fullmatch(r"(actions|docker)/[\w-]+@v\d+", uses)


def test_real_packages_are_told_from_stand_ins():
    script = ROOT / "docker" / "scripts" / "real_ros.py"
    env = {"PATH": "/usr/bin:/bin", "AMENT_PREFIX_PATH": "/opt/ros/jazzy"}
    done = subprocess.run([sys.executable, script, "json", "yaml"], capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert re.search(r"^yaml .*/yaml   NOT of the sourced ROS$", done.stdout, re.M)
    assert "2 package(s) do not come from /opt/ros/jazzy. Source it before the set-up" in done.stderr
