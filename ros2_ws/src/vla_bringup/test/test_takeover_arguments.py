# SPDX-License-Identifier: Apache-2.0

"""infer.launch.py operator:=joystick: which nodes it names, which arguments it refuses. Nothing is started."""

import importlib.util
from pathlib import Path

import pytest
import yaml
from launch import LaunchContext
from launch.actions import LogInfo
from launch.utilities import perform_substitutions
from vla_bringup import teleop_launch

PACKAGE = Path(__file__).parent.parent
TABLE = yaml.safe_load((PACKAGE / "config" / "arguments.yaml").read_text())
TINY = PACKAGE / "robots" / "sim_ur5e_tiny.yaml"
SECTIONS = ("robot", "sim", "infer", "teleop", "skills", "monitor")
SPEC = importlib.util.spec_from_file_location("infer_launch", PACKAGE / "launch" / "infer.launch.py")
INFER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(INFER)


def context(**given) -> LaunchContext:
    """A launch's arguments: those of a person at a joystick beside a scripted policy, and the given ones."""
    made = LaunchContext()
    for section in SECTIONS:
        made.launch_configurations.update({name: entry.get("default", "") for name, entry in TABLE[section].items()})
    person = {"policy": "scripted", "operator": "joystick", "sim": "true", "robot": "sim_ur5e_tiny"}
    made.launch_configurations.update({**person, **given})
    return made


@pytest.fixture
def nodes(monkeypatch):
    """Names of the nodes that would be started, with their parameters."""

    def named(**given):
        found = {}

        def node(_context, _package, _executable, name, parameters, **_):
            found[name] = parameters

        monkeypatch.setattr(INFER, "node", node)
        monkeypatch.setattr(teleop_launch, "node", node)
        INFER.inference(context(**given))
        return found

    return named


def participants(**given):
    return set(INFER.participants(context(**given)).split(","))


def test_a_person_at_a_joystick_gets_teleop_and_operator_beside_the_policy(nodes):
    found = nodes()
    assert set(found) == {"policy", "teleop", "operator"}
    day = found["operator"]
    assert [day[name] for name in ("takeover", "skills", "recorder")] == [True, False, False]
    assert "enable_on_start" not in day
    assert found["teleop"]["device"].endswith("sol_r2.yaml")
    assert "own_buttons" not in found["teleop"], "the operator node acts on the buttons"
    assert set(nodes(operator="")) == {"policy"}


def test_with_a_recorder_the_operator_s_buttons_reach_it(nodes):
    found = nodes(record_eval="true")
    assert set(found) == {"policy", "teleop", "operator", "recorder"}
    assert found["operator"]["recorder"] is True


def test_the_played_person_starts_the_runs_instead_of_the_trials(nodes):
    found = nodes(joy_player="takeover", episodes="2", seed="4", max_duration="9", task="wave")
    assert "trial" not in found
    player = found["joy_player"]
    assert (player["scenario"], player["episodes"], player["first_seed"]) == ("takeover", 2, 4)
    assert (player["max_duration_s"], player["instruction"], player["lockstep"]) == (9.0, "wave", True)
    assert "trial" in nodes(episodes="2")


def test_simulated_time_waits_for_everybody_who_takes_part():
    assert participants() == {"policy", "teleop", "operator"}
    assert participants(operator="") == {"policy"}
    assert participants(joy_player="takeover", episodes="3", record_eval="true") == {
        "policy", "teleop", "operator", "joy_player", "recorder",
    }  # fmt: skip
    assert participants(mode="planner", participants="mine") == {"policy", "teleop", "operator", "skills", "mine"}


def test_a_driver_of_the_device_that_is_not_installed_is_named(monkeypatch):
    def absent(package):
        raise LookupError(package)

    monkeypatch.setattr(teleop_launch, "get_package_share_directory", absent)
    given = context(device_drivers="true", teleop_device="gamepad")
    said = [perform_substitutions(given, a.msg) for a in INFER.inference(given) if isinstance(a, LogInfo)]
    assert said == [
        "device gamepad: its driver game_controller_node is in the ROS 2 package joy, which is not installed: "
        "sudo apt-get install ros-jazzy-joy"
    ]


@pytest.mark.parametrize("device", ["sol_r2", "gamepad", "keyboard", "gello_keyboard"])
def test_devices_with_a_button_to_take_over(device):
    assert teleop_launch.without_button(context(teleop_device=device), "interrupt", "teleop_device") == []


def test_a_device_without_a_button_to_take_over_is_told():
    given = context(teleop_device="spacemouse")
    (said,) = [perform_substitutions(given, a.msg) for a in INFER.inference(given) if isinstance(a, LogInfo)]
    assert said.startswith("device spacemouse: it has no button interrupt. Name one under `buttons` of its mapping")
    assert said.endswith('ros2 topic pub --once /teleop/event vla_msgs/msg/TeleopEvent "{name: interrupt}"')


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"operator": "", "joy_player": "takeover"}, "joy_player:=takeover: for a person at a joystick only"),
        ({"operator": "", "frame": "tool"}, "frame:=tool: for a person at a joystick only; add operator:=joystick"),
        ({"operator": "", "require_deadman": "true"}, "require_deadman:=true: for a person at a joystick only"),
        ({"sim": "false", "robot": "none", "profile": str(TINY)}, "robot:=none has none; name a robot"),
        ({"sim": "false", "joy_player": "takeover", "profile": str(TINY)}, "in the simulated cell; add sim:=true"),
        ({"takeover_topic": "joy"}, "takeover_topic:=joy would take over a second time"),
        ({"joy_player": "takeover", "record_episodes": "1"}, "record its runs with record_eval:=true"),
        ({"joy_player": "takeover", "sentence": "swapped"}, "sentence:=swapped is for trials"),
        ({"joy_player": "takeover", "dry_run": "true"}, "dry_run:=true never does; leave dry_run out"),
        ({"robot": "sim_ur5e_stream"}, "needs action.command.interface follow_joint_trajectory"),
        ({"teleop_device": "sol_r3"}, "launch argument teleop_device:=sol_r3: device 'sol_r3'"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(given, message):
    with pytest.raises(RuntimeError) as refused:
        INFER.inference(context(**given))
    assert message in str(refused.value)


def test_a_robot_that_nobody_can_drive_is_refused(tmp_path):
    profile = yaml.safe_load((TINY.parent / "sim_ur5e.yaml").read_text())
    del profile["teleop"]
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(profile))
    with pytest.raises(RuntimeError, match=r"robot.yaml: no section 'teleop', so nobody can drive sim_ur5e by hand"):
        INFER.inference(context(robot="", profile=str(path)))
