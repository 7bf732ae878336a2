# SPDX-License-Identifier: Apache-2.0

"""check_profile and hardware_day as a person calls them."""

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from doctor_cases import profile
from vla_bringup.doctor import check_profile, hardware_day, main
from vla_bringup.doctor.findings import DoctorError, Group, green, red
from vla_bringup.doctor.profile_checks import judge_profile
from vla_bringup.doctor.ur import addresses, judge_ur
from vla_common.profiles import shipped_profiles
from vla_core.profile import load_profile, parse_profile
from vla_core.testing import PROFILE

STEPS = Path(__file__).parents[1] / "config" / "hardware_day.yaml"
DRIVERS = """
drivers:
  arm: {package: ur_robot_driver, launch: a.launch.py, args: {ur_type: ur5e, robot_ip: "192.168.56.101"}}
  front: {package: realsense2_camera, launch: r.launch.py, args: {serial_no: "_123"}}
  wrist: {package: realsense2_camera, launch: r.launch.py, args: {serial_no: "_123"}}
  base: {package: realsense2_camera, launch: r.launch.py, args: {serial_no: "_000000000000"}}
"""


@pytest.mark.parametrize("robot", sorted(shipped_profiles()))
def test_shipped_profiles_have_nothing_red(robot, capsys):
    assert check_profile.main([robot]) == 0
    out = capsys.readouterr().out
    assert "state (" in out
    assert " 0 red" in out


def test_all_mistakes_at_once_and_exit_status_1(tmp_path, capsys):
    path = tmp_path / "robot.yaml"
    path.write_text(PROFILE.replace("fps: 10", "fsp: 10").replace("size: [24, 32]", "sise: [24, 32]"))
    assert check_profile.main([str(path), "--json", str(tmp_path / "out.json")]) == 1
    out = capsys.readouterr().out
    for part in ("fsp: unknown key 'fsp'", "did you mean 'fps'", "cameras.front.sise", "docs/reference/profile.md"):
        assert part in out
    assert len(json.loads((tmp_path / "out.json").read_text())["groups"][0]["findings"]) == 4


@pytest.mark.parametrize("command", [check_profile.main, lambda args: main.main(["--robot", *args])])
def test_no_such_robot_is_exit_status_2_with_the_nearest(command, capsys):
    assert command(["sim_ur5"]) == 2
    assert "did you mean 'sim_ur5e" in capsys.readouterr().err


def lines(text):
    return [finding.line for finding in judge_profile(profile(text), needs_drivers=True) if finding.level != "green"]


def test_placeholders_and_duplicate_serials():
    found = lines(PROFILE + DRIVERS)
    for part in (
        "RED    drivers.wrist.args.serial_no: _123 is also that of drivers.front.args.serial_no",
        "YELLOW drivers.base.args.serial_no: '_000000000000' is a placeholder",
        "YELLOW drivers.arm.args.robot_ip: 192.168.56.101 is where URSim's containers are",
        "RED    drivers.arm: ur_robot_driver is not installed -> sudo apt-get install ros-jazzy-ur-robot-driver",
        "YELLOW monitors: nothing tells whether the robot is stopped",
    ):
        assert any(part in line for line in found), (part, found)


ARM = shipped_profiles()["sim_ur5e"]


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("min: [-0.95, -0.95, 0.02], max: [0.95, 0.95, 1.20]", "min: [5.0, 5.0, 5.0], max: [6.0, 6.0, 6.0]",
         "RED    safety.workspace: no joint position of 4000 brings the tool into it"),
        ("min: [-0.95, -0.95, 0.02], max: [0.95, 0.95, 1.20]", "min: [-9.0, -9.0, -9.0], max: [9.0, 9.0, 9.0]",
         "YELLOW safety.workspace: the box limits nothing"),
        ("max_velocity: 3.1416", "max_velocity: 9.0", "limits.max_velocity is beyond the robot's: shoulder_pan_joint 516"),
        ("rate_hz: 30.0, max_age_s: 0.10}\n  wrist", "rate_hz: 15.0, max_age_s: 0.10}\n  wrist",
         "cameras.front: 15 Hz, fewer than the 30 frames per second"),
        ("upper: [6.2832,", "upper: [7.5,", "shoulder_pan_joint may turn further than the ur5e can (2 pi)"),
    ],
)  # fmt: skip
def test_what_looks_wrong_though_it_is_allowed(old, new, part):
    text = ARM.read_text()
    assert old in text
    text = text.replace(old, new, 1)
    if "workspace" in part:
        text = text.partition("ready:")[0] + "kinematics:" + text.partition("kinematics:")[2]
    text += "drivers:\n  arm: {package: ur_robot_driver, launch: a.launch.py, args: {ur_type: ur5e}}\n"
    assert any(part in line for line in lines(text)), lines(text)


def test_each_of_two_arms_needs_a_box_and_both_a_distance():
    content = yaml.safe_load(load_profile(shipped_profiles()["sim_ur5e_bimanual"]).text)
    names = {finding.where for finding in judge_profile(parse_profile(yaml.safe_dump(content)), needs_drivers=False)}
    assert {"safety.workspace.left_arm", "safety.workspace.right_arm"} <= names
    assert "safety.arms_min_distance_m" not in names
    content["safety"]["workspace"] = {"left_arm": {"min": [5.0, 5.0, 5.0], "max": [6.0, 6.0, 6.0]}}
    del content["safety"]["arms_min_distance_m"], content["ready"]
    found = {
        finding.where: finding.line
        for finding in judge_profile(parse_profile(yaml.safe_dump(content)), needs_drivers=False)
    }
    assert "no joint position of 4000 brings the tool into it" in found["safety.workspace.left_arm"]
    assert "left_base_link" in found["safety.workspace.left_arm"]
    assert "none for right_arm" in found["safety.workspace"]
    assert "nothing keeps the arms from each other" in found["safety.arms_min_distance_m"]


def test_addresses_of_one_and_of_two_arms():
    one = profile(PROFILE + DRIVERS)
    assert addresses(one, {"": ""}) == {"arm": "192.168.56.101"}
    assert addresses(one, {"": "10.0.0.1"}) == {"arm": "10.0.0.1"}
    with pytest.raises(DoctorError, match=r"--left-robot-ip 10.0.0.1: fits 0 UR drivers of test_arm .there are: arm"):
        addresses(one, {"left": "10.0.0.1"})
    two = profile(PROFILE + DRIVERS.replace("  arm:", "  left_arm:").replace("  front:", "  right_arm:")
                  .replace("realsense2_camera", "ur_robot_driver", 1))  # fmt: skip
    with pytest.raises(DoctorError, match=r"--robot-ip 10.0.0.1: fits 2 UR drivers"):
        addresses(two, {"": "10.0.0.1"})
    assert addresses(two, {"right": "10.0.0.2"})["right_arm"] == "10.0.0.2"


def test_a_wrong_address_is_red():
    found = judge_ur({"arm": "127.0.0.1"}, running=True)
    assert [f.level for f in found if f.level == "red"]
    assert all(f.where == "arm 127.0.0.1" for f in found)


FINE = green("x", "fine")


def walked(tmp_path, answers, verdict=FINE):
    robot = profile()
    steps = hardware_day.load_steps(robot)
    day = hardware_day.Day(robot, steps, tmp_path / "day")
    out = io.StringIO()
    words = {"profile": "robot:=r", "option": "--robot r", "ip": "IP", "robot": "r"}
    hardware_day.walk(day, words, lambda: [Group("g", (verdict,))], io.StringIO(answers), out)
    return day, steps, out.getvalue()


def test_a_day_is_written_down_step_by_step_and_goes_on_later(tmp_path):
    day, steps, shown = walked(tmp_path, "y stop works\nmaybe\nn the sign of the wrist is wrong\nq\n")
    record = json.loads((tmp_path / "day.json").read_text())
    outcomes = {answer["step"]: answer for answer in record["answers"]}
    assert outcomes["emergency_stop"]["outcome"] == "passed"
    assert outcomes["emergency_stop"]["note"] == "stop works"
    assert outcomes["doctor"]["note"].startswith("1 green, 0 yellow, 0 red")
    assert outcomes["joint_signs"]["outcome"] == "failed"
    assert "'maybe' is no answer here" in shown
    assert "1 failed" in (tmp_path / "day.md").read_text()
    assert not day.good
    again, _, _ = walked(tmp_path, "")
    assert len(again.open_steps()) == len(steps) - 3


def test_a_day_with_only_good_answers_is_good(tmp_path):
    answers = "".join(
        "0.1 ok\n" if s.kind == "number" else "y\n" for s in hardware_day.load_steps(profile()) if s.kind != "doctor"
    )
    day, _, _ = walked(tmp_path, answers)
    assert day.good, day.markdown()


def test_numbers_are_judged(tmp_path):
    step = hardware_day.Step(id="a", kind="number", title="t", expect="e", unit="ms", most=1.0)
    ask = lambda text: hardware_day.ask(step, {}, io.StringIO(text), io.StringIO())  # noqa: E731
    assert (ask("0,5\n").outcome, ask("2\n").outcome, ask("s\n").outcome) == ("passed", "failed", "skipped")
    assert ask("nan\nx\n") is None


def test_a_red_doctor_fails_the_step(tmp_path):
    day, _, shown = walked(tmp_path, "y\nq\n", red("x", "broken", "mend it"))
    assert day.answers["doctor"].outcome == "failed"
    assert "RED    x: broken -> mend it" in shown


def test_the_record_of_another_robot_is_refused(tmp_path):
    (tmp_path / "day.json").write_text('{"robot": "other", "answers": []}')
    with pytest.raises(DoctorError, match="is the record of other, not of test_arm; give another --output"):
        walked(tmp_path, "")


def test_list_shows_commands_with_the_address(capsys):
    assert hardware_day.main(["--robot", "ur5e_2f85_realsense", "--robot-ip", "10.1.2.3", "--list"]) == 0
    out = capsys.readouterr().out
    assert "ros2 launch vla_bringup robot.launch.py robot:=ur5e_2f85_realsense robot_ip:=10.1.2.3" in out
    assert "'{max_duration: 5.0}'" in out


DOCS = Path(__file__).resolve().parents[4] / "docs" / "how-to"


def test_the_page_has_every_step_and_no_other():
    page = (DOCS / "hardware_day.md").read_text()
    steps = [entry["id"] for entry in yaml.safe_load(STEPS.read_text())]
    named = [word for row in re.findall(r"^\| (`.*?) \|", page, re.M) for word in re.findall(r"`(\w+)`", row)]
    assert named == steps


def test_commands_of_the_pages_parse():
    commands = {"doctor": main.parser(), "check_profile": check_profile.parser(), "hardware_day": hardware_day.parser()}
    seen = set()
    for page in ("doctor.md", "hardware_day.md"):
        for name, rest in re.findall(r"^ros2 run vla_bringup (\w+)(.*)$", (DOCS / page).read_text(), re.M):
            commands[name].parse_args(rest.partition("#")[0].split())
            seen.add(name)
    assert seen == set(commands)


def test_launch_arguments_of_the_steps_exist():
    table = yaml.safe_load((STEPS.parent / "arguments.yaml").read_text())
    known = {name for section in table.values() for name in section}
    used = set(re.findall(r"(\w+):=", STEPS.read_text()))
    assert used <= known, used - known
    assert "robot_ip" in used
