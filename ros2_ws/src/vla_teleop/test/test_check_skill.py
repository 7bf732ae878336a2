# SPDX-License-Identifier: Apache-2.0

"""check_skill: findings as text, as JSON and as a picture; exit code 1 where the arm cannot drive the skill."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from skill_examples import ARM, BASE, PROFILE, PROFILE_FILE, READY, RECORDED, SOURCE, TCP, needs_recorded, pick, spec
from vla_core.kinematics import forward, rotation_from_rpy, rotation_vector
from vla_teleop.node import check_skill as command
from vla_teleop.node.skill_node import SkillNode
from vla_teleop.skills.check import check_skill
from vla_teleop.skills.errors import SkillError
from vla_teleop.skills.ur_ik import follow
from vla_teleop.skills.waypoints import save_waypoints

TABLE = "skills: {pick: {file: pick.csv, relative_count: 4}}"
JOINTS = ARM.joints


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "skills.yaml"
    path.write_text(TABLE)
    save_waypoints(tmp_path / "pick.csv", measured())
    return path


def measured(offset=0.0):
    """The example skill with the joints that belong to its poses; `offset` turns a joint of row 2."""
    tool = np.linalg.inv(PROFILE.teleop.T_tool_tcp)
    rows = []
    q = READY
    for i, row in enumerate(pick(forward(ARM, READY) @ PROFILE.teleop.T_tool_tcp)):
        q = joints_for(BASE @ row.T @ tool, q)
        rows.append(
            replace(row, joints=q + (np.array([offset, 0, 0, 0, 0, 0]) if i == 2 else 0.0), timestamp=f"{i:02}")
        )
    return tuple(rows)


def joints_for(T, near):
    return follow(ARM, T[None], near)[0][0]


def check(waypoints=None, tmp_path=None, trigger=None, profile=PROFILE, **values):
    skill = spec(folders=(tmp_path,), **values)
    return check_skill(skill, waypoints or measured(), profile, trigger)


def run(capsys, *arguments):
    code = command.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_good_skill_is_reported_with_rows_segments_and_duration(table, tmp_path):
    result = check(tmp_path=tmp_path)
    assert result.ok
    assert result.warnings == ()
    assert [row.part for row in result.rows] == ["relative"] * 4 + ["absolute"] * 4
    assert [row.row for row in result.rows if row.verification] == [5]
    assert result.rows[1].distance == pytest.approx(0.02)
    assert result.rows[2].turn == pytest.approx(0.3)
    assert max(row.mismatch for row in result.rows) < 1e-9
    assert [(s.first, s.last, s.gripper, s.mode, s.verification) for s in result.segments] == [
        (0, 3, 3, "blend", False),
        (4, 5, 230, "points", True),
        (6, 6, None, "points", False),
        (7, 7, 3, "points", False),
    ]
    lift = result.segments[1]
    assert lift.length == pytest.approx(0.05, abs=1e-4)
    assert lift.speed == pytest.approx(np.sqrt(0.05 * 0.04), rel=0.03)
    assert lift.joint in JOINTS
    assert 0.0 < lift.joint_share < 1.0
    assert result.duration == pytest.approx(sum(s.duration for s in result.segments))


def test_rows_whose_joints_belong_to_another_pose_are_named(table, tmp_path):
    result = check(measured(offset=0.05), tmp_path)
    assert result.ok, "a warning is no obstacle"
    reach = np.linalg.norm((forward(ARM, READY) @ TCP)[:2, 3])
    assert result.rows[2].mismatch == pytest.approx(0.05 * reach, rel=0.1)
    assert "joints and pose disagree by more than 2 mm in row 2 (" in result.warnings[0]
    assert "The arm is driven by the pose" in result.warnings[0]
    assert check(measured(offset=0.003), tmp_path).warnings == (), "about 1.5 mm"
    assert len(check(measured(offset=0.006), tmp_path).warnings) == 1, "about 3 mm"


def test_what_is_odd_about_a_file_is_warned_of(table, tmp_path):
    rows = list(measured())
    rows[3] = replace(rows[3], timestamp="00")
    free = [replace(row, verification=False) for row in rows]
    assert check(rows, tmp_path).warnings == (
        "row 3 was taught before the row above it; is the order of the rows as wanted?",
    )
    texts = check(free, tmp_path, relative_count=8).warnings
    assert "no row is marked verification_wp, so the grasp is never verified" in texts
    assert "all rows are relative, so the skill cannot be resumed after a correction" in texts
    texts = check(tmp_path=tmp_path, relative_count=0).warnings
    assert texts == ("no row is relative: the skill goes to the same places wherever it is triggered",)


def test_every_row_out_of_reach_is_named(table, tmp_path):
    rows = list(measured())
    for i in (2, 7):
        T = rows[i].T.copy()
        T[0, 3] += 1.5
        rows[i] = replace(rows[i], T=T)
    result = check(rows, tmp_path)
    assert not result.ok
    assert result.problems == ("waypoint 2 is out of the arm's reach", "waypoint 7 is out of the arm's reach")
    assert (result.segments, result.plan, result.duration) == ((), None, 0.0)


def test_the_planner_s_refusal_is_the_problem(table, tmp_path):
    low = replace(PROFILE, safety=replace(PROFILE.safety, workspace_min=(-0.95, -0.95, 0.4)))
    result = check(tmp_path=tmp_path, profile=low)
    assert len(result.problems) == 1
    assert "the limit of the workspace is 0.4000 m" in result.problems[0]


def test_a_skill_that_cannot_be_resumed_from_its_grasp_is_a_problem(table, tmp_path):
    # Round the base in two relative steps; a resumed skill would go straight, through the arm's own column.
    first, *_, lifted, _, last = measured()
    around, beyond = np.eye(4), np.eye(4)
    around[:3, :3], beyond[:3, :3] = rotation_from_rpy([0, 0, 1.5]), rotation_from_rpy([0, 0, 2.9])
    rows = (first, replace(lifted, T=first.T), replace(last, T=around @ first.T), replace(last, T=beyond @ first.T))
    result = check(rows, tmp_path, relative_count=3)
    assert len(result.problems) == 1
    assert result.problems[0].startswith(
        "resumed from the verification waypoint: skill 'pick', on the way to waypoint 3: "
    )
    assert check(rows, tmp_path, relative_count=2).ok, "the step to the side is absolute too, so nothing is left out"


def test_a_profile_without_teleop_or_kinematics_says_what_to_add(tmp_path):
    for section in ("teleop", "kinematics"):
        with pytest.raises(SkillError, match=f"skills need the section '{section}', which this profile lacks; add it"):
            check(tmp_path=tmp_path, profile=replace(PROFILE, **{section: None}))
    other = replace(PROFILE, kinematics=replace(ARM, joints=("a", "b", "c", "d", "e", "f")))
    with pytest.raises(SkillError, match=r"the joints of the action 'arm' .* are not those of kinematics"):
        check(tmp_path=tmp_path, profile=other)


def test_the_command_prints_a_table_and_draws(table, tmp_path, capsys):
    picture = tmp_path / "pick.png"
    code, out, err = run(capsys, "--table", table, "--profile", PROFILE_FILE, "--skill", "pick", "--plot", picture)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"pick: 8 waypoints of {tmp_path / 'pick.csv'}"
    assert "  5  absolute      230      50.0   0.0000         0.00  verified here" in out
    assert "      1    4-5      230  points     50.0   2.24      0.04" in out
    assert out.splitlines()[-1].startswith("ok: ")
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_command_fails_where_the_arm_cannot_go(table, tmp_path, capsys):
    high = ["0.2", "0.0", "1.4", "3.1", "0", "0"]
    code, out, err = run(
        capsys, "--table", table, "--profile", PROFILE_FILE, "--trigger", *high, "--plot", tmp_path / "a.png"
    )
    assert code == 1
    assert "OUT OF REACH" in out
    assert "problem: waypoint 0 is out of the arm's reach" in out
    assert out.splitlines()[-1] == "the arm cannot drive this skill"
    assert "a.png is not drawn, because the skill cannot be driven" in err


def test_the_trigger_is_in_the_frame_of_the_file(table, tmp_path, capsys):
    T = measured()[0].T
    numbers = [f"{value:.12f}" for value in (*(T[:3, 3] + [0.0, 0.0, 0.05]), *rotation_vector(T[:3, :3]))]
    code, out, _ = run(capsys, "--table", table, "--profile", PROFILE_FILE, "--json", "--trigger", *numbers)
    assert code == 0
    (found,) = json.loads(out)
    assert found["ok"] is True
    assert found["problems"] == []
    lower = found["rows"][4]["distance"]
    assert lower == pytest.approx(0.05, abs=1e-9), "the relative part ends 50 mm higher, the absolute one stays"
    assert [segment["gripper"] for segment in found["segments"]] == [3, 230, None, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skill", "pik"], "there is no skill 'pik'; there are: pick; did you mean 'pick'?"),
        (
            ["--skill", "pick", "--skill", "pick", "--plot", "a.png"],
            "--plot draws one skill, but pick, pick are asked for",
        ),
        (["--plot", "/none/a.png"], "--plot /none/a.png cannot be written"),
    ],
)
def test_wrong_arguments_are_explained(table, capsys, arguments, message):
    code, _, err = run(capsys, "--table", table, "--profile", PROFILE_FILE, *arguments)
    assert code == 1
    assert message in err


def test_the_help_shows_an_example_and_the_kind_of_picture_is_checked(table, capsys):
    assert "ros2 run vla_teleop check_skill --profile" in command.parser().format_help()
    with pytest.raises(SystemExit) as stop:
        command.main(["--table", str(table), "--profile", str(PROFILE_FILE), "--plot", "a.pdf"])
    assert stop.value.code == 2
    assert "expected a file that ends in .png, .svg" in capsys.readouterr().err


CONFIG = SOURCE / "vla_teleop" / "config" / "skills"
ROBOT = SOURCE / "vla_bringup" / "robots" / "ur5e_2f85_realsense.yaml"


def test_shipped_skills_of_the_simulated_cell_can_be_driven(capsys):
    code, out, err = run(capsys, "--table", CONFIG / "sim.yaml", "--profile", PROFILE_FILE)
    assert (code, err) == (0, "")
    assert "warning" not in out


def test_the_table_of_the_ur5e_says_where_it_looks_for_the_files(tmp_path, capsys):
    code, _, err = run(capsys, "--table", CONFIG / "ur5e.yaml", "--profile", ROBOT, "--skills-dir", tmp_path)
    assert code == 1
    assert f"there is no file CPU_Skills.csv; looked in {tmp_path}, {CONFIG}" in err


@needs_recorded
def test_recorded_skills_can_be_driven_by_the_ur5e_and_edited_rows_are_named(capsys):
    arguments = ["--table", CONFIG / "ur5e.yaml", "--profile", ROBOT, "--skills-dir", RECORDED]
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    cpu, ram = json.loads(out)
    assert (len(cpu["rows"]), len(ram["rows"])) == (23, 8)
    edited = [[row["row"] for row in found["rows"] if row["mismatch"] > 0.002] for found in (cpu, ram)]
    assert edited == [[10, 11, 12, 13, 18], [0, 3]]
    assert [round(cpu["rows"][i]["mismatch"] * 1e3, 1) for i in edited[0]] == [9.4, 20.2, 21.8, 21.8, 27.9]
    assert max(segment["speed"] for found in (cpu, ram) for segment in found["segments"]) <= 0.101


def test_the_skill_node_warns_once_of_rows_that_were_edited(table, tmp_path):
    said = []
    logger = SimpleNamespace(warning=said.append)
    node = SimpleNamespace(
        _table=lambda: {"pick": spec(folders=(tmp_path,))},
        _robot=SimpleNamespace(kinematics=ARM, teleop=PROFILE.teleop),
        _warned=set(),
        get_logger=lambda: logger,
    )
    node._warn = lambda *skill: SkillNode._warn(node, *skill)
    SkillNode._skill(node, "pick")
    assert said == []
    save_waypoints(tmp_path / "pick.csv", measured(offset=0.05))
    for _ in range(2):
        assert len(SkillNode._skill(node, "pick")[1]) == 8
    assert len(said) == 1
    assert said[0].startswith("skill 'pick', pick.csv: joints and pose disagree by more than 2 mm in row 2 (")
