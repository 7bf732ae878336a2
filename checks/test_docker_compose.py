# SPDX-License-Identifier: Apache-2.0

"""compose.yaml without Compose: commands are real, variables are in .env.example, targets exist; the devcontainer too."""

import argparse
import ast
import importlib
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCKER, SOURCE = ROOT / "docker", ROOT / "ros2_ws" / "src"
TEXT = (DOCKER / "compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
LAUNCHED = [name for name, service in SERVICES.items() if service["command"][:2] == ["ros2", "launch"]]
OTHERS = [name for name in SERVICES if name not in LAUNCHED]
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def example():
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(words, values):
    return [VARIABLE.sub(lambda found: values.get(found[1]) or found[2] or "", word) for word in words]


def settings():
    """The command lines' variables: as nobody has set them, and as the example sets them."""
    return [pytest.param({}, id="unset"), pytest.param(example(), id="example")]


def launch_arguments(package, file):
    """Name -> entry of arguments.yaml, for the sections that a launch file declares."""
    table = yaml.safe_load((SOURCE / package / "config" / "arguments.yaml").read_text())
    tree = ast.parse((SOURCE / package / "launch" / file).read_text())
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "declare"
    ]
    assert len(calls) == 1
    return {name: entry for section in calls[0].args for name, entry in table[ast.literal_eval(section)].items()}


@pytest.mark.parametrize("values", settings())
@pytest.mark.parametrize("service", LAUNCHED)
def test_launch_commands_use_arguments_that_exist(service, values):
    _, _, package, file, *arguments = filled(SERVICES[service]["command"], values)
    known = launch_arguments(package, file)
    for argument in arguments:
        name, value = argument.split(":=", 1)
        assert name in known, f"{service}: {file} has no argument {name}"
        assert value in known[name].get("choices", [value]), f"{service}: {argument}"


class ParsedError(Exception):
    """Stops a command when its options are read."""


@pytest.mark.parametrize("values", settings())
@pytest.mark.parametrize("service", OTHERS)
def test_other_commands_are_ours_and_their_options_parse(service, values, monkeypatch):
    command, *options = filled(SERVICES[service]["command"], values)
    target = SERVICES[service]["build"]["target"]
    dockerfile = (DOCKER / "Dockerfile").read_text()
    installed = re.search(rf"AS {target}\n.*?install_learning\.sh own \.venv ([\w ]+)\n", dockerfile, re.S)[1].split()
    scripts = "\n".join((SOURCE / package / "setup.py").read_text() for package in installed)
    module, function = re.search(rf'"{command} = ([\w.]+):(\w+)"', scripts).groups()
    original, seen = argparse.ArgumentParser.parse_known_args, []

    def parse(self, args=None, namespace=None):
        _, unknown = original(self, options if args is None else args, namespace)
        seen.append(unknown)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
    monkeypatch.setattr("sys.argv", [command, *options])
    with pytest.raises(ParsedError):
        getattr(importlib.import_module(module), function)()
    assert seen == [[]]


def test_every_variable_is_in_the_example_and_the_example_holds_no_other():
    used = {name for name, _ in VARIABLE.findall(TEXT)}
    assert used == set(example())
    for name, default in VARIABLE.findall(TEXT):
        assert f"${{{name}:-{default}}}" in TEXT, f"{name}: give it a default, so that Compose does not warn"


def test_the_defaults_are_those_of_the_example_or_nothing():
    values = example()
    for name, default in VARIABLE.findall(TEXT):
        assert default in ("", values[name]), name


def test_the_robot_image_has_every_driver_that_a_profile_names():
    robots = [yaml.safe_load(path.read_text()) for path in (SOURCE / "vla_bringup" / "robots").glob("*.yaml")]
    packages = {
        driver["package"] for robot in robots for driver in robot.get("drivers", {}).values() if "package" in driver
    }
    assert {"ur_robot_driver", "realsense2_camera", "robotiq_description"} <= packages
    listed = (DOCKER / "apt" / "robot.txt").read_text().split()
    for package in packages - {path.parent.name for path in SOURCE.glob("*/package.xml")}:
        assert f"ros-jazzy-{package.replace('_', '-')}" in listed


def test_services_build_stages_that_exist_from_the_top_of_the_checkout():
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (DOCKER / "Dockerfile").read_text(), re.M)
    assert {"record", "infer", "convert", "train", "serve"} <= set(SERVICES)
    for service in SERVICES.values():
        assert service["build"]["target"] in stages
        assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["image"] == f"vla-{service['build']['target']}"


def test_a_bare_up_starts_nothing_and_everything_is_told_to_stop_as_by_ctrl_c():
    for service in SERVICES.values():
        assert service["profiles"]
        assert service["stop_signal"] == "SIGINT"
        assert service["init"] is True


def test_gpu_services_differ_in_the_device_only():
    for name in ("infer", "train", "serve"):
        plain, gpu = SERVICES[name], SERVICES[f"{name}-gpu"]
        assert [word.replace("cuda", "cpu") for word in gpu["command"]] == plain["command"]
        assert any(word.endswith("cuda") for word in gpu["command"])
        assert gpu["profiles"] == ["gpu"]
        (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        assert "deploy" not in plain
        rest = set(plain) - {"command", "profiles"}
        assert {key: gpu[key] for key in rest} == {key: plain[key] for key in rest}


@pytest.mark.parametrize("service", LAUNCHED)
def test_services_with_ros_share_the_network_and_the_memory_of_the_host(service):
    assert (SERVICES[service]["network_mode"], SERVICES[service]["ipc"]) == ("host", "host")
    assert "privileged" not in SERVICES[service]


def test_nothing_moves_and_nobody_gets_in_unless_asked():
    for values in ({}, example()):
        assert "dry_run:=" in filled(SERVICES["infer"]["command"], values)  # empty: goals are not sent on a real arm
        assert filled(SERVICES["serve"]["ports"], values) == ["127.0.0.1:8000:8000"]
    assert "--token-file" in SERVICES["serve"]["command"]
    ignored = (DOCKER / ".gitignore").read_text().split()
    assert {".env", ".env.wandb", "token.txt"} <= set(ignored)
    assert "docker/.env*" in (ROOT / ".dockerignore").read_text()


def test_the_devcontainer_stands_on_the_dev_stage():
    config = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    build = config["build"]
    dockerfile = (ROOT / ".devcontainer" / build["dockerfile"]).resolve()
    assert dockerfile == DOCKER / "Dockerfile"
    assert (ROOT / ".devcontainer" / build["context"]).resolve() == ROOT
    text = dockerfile.read_text()
    assert f" AS {build['target']}\n" in text
    assert set(build["args"]) == set(re.findall(r"^ARG (VLA_\w+)=", text, re.M))
    root = re.search(r"VLA_ROOT=(\S+)", text)[1]
    assert config["workspaceFolder"] == root  # the volumes hold what the image built at that very path
    for mount in config["mounts"]:
        assert re.search(rf"target={root}/(\.venv|\.state|ros2_ws/build|ros2_ws/install),", mount)
    script, *command = config["postCreateCommand"].split()
    assert (ROOT / script).is_file()
    assert command == ["python3", "setup/bootstrap.py"]
    rcfile = config["customizations"]["vscode"]["settings"]["terminal.integrated.profiles.linux"]["workspace"]["args"][
        1
    ]
    assert (ROOT / Path(rcfile).relative_to(root)).is_file()
