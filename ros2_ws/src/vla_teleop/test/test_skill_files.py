# SPDX-License-Identifier: Apache-2.0

"""Skill table and waypoint files: read as written, or refused with file, key, row and column."""

from pathlib import Path

import numpy as np
import pytest
from skill_examples import pick, spec
from vla_core.kinematics import rotation_from_vector, rotation_vector
from vla_teleop.skills.errors import SkillFileError
from vla_teleop.skills.table import SkillSpec, load_skill_table
from vla_teleop.skills.waypoints import COLUMNS, load_skill, load_waypoints, save_waypoints

HEADER = ",".join(COLUMNS)
ROW = "20260101_120000_000000,0.1,-1.2,1.3,-1.4,-1.5,0.2,0.4,0.1,0.2,-3.13,0.02,0.01,230,0,images/a.png"


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "skills.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def csv_file(tmp_path: Path, *lines: str, end: str = "\n") -> Path:
    path = tmp_path / "pick.csv"
    path.write_bytes((end.join(lines) + end).encode())
    return path


def test_a_table_reads_every_key_and_its_defaults(tmp_path):
    path = table(
        tmp_path,
        """
defaults: {linear_speed: 0.05, gripper_speed: 64}
skills:
  cpu: {file: cpu.csv, relative_count: 20, grasp_close: 168, grasp_threshold: 155}
  ram:
    file: ram.csv
    relative_count: 5
    frame: base_link
    linear_speed: 0.2
    linear_acceleration: 0.1
    angular_speed: 0.3
    angular_acceleration: 0.4
    blend_radius: 0.0
    sensitive_count: 0
    sensitive_radius: 0.0
    path_mode: points
    gripper_speed_after: 200
    gripper_settle_s: 0.1
    arrival_m: 0.001
    arrival_rad: 0.01
    timeout_s: 5.0
    drop_check: true
    tcp: {xyz: [0.0, 0.0, 0.2], rpy: [0.0, 0.0, 1.0]}
""",
    )
    skills = load_skill_table(path)
    assert list(skills) == ["cpu", "ram"]
    assert skills["cpu"] == SkillSpec(
        name="cpu",
        file=Path("cpu.csv"),
        folders=(tmp_path.resolve(),),
        relative_count=20,
        grasp_close=168,
        grasp_threshold=155.0,
        linear_speed=0.05,
        gripper_speed=64,
    )
    ram = skills["ram"]
    assert (ram.linear_speed, ram.gripper_speed, ram.frame, ram.path_mode) == (0.2, 64, "base_link", "points")
    assert (ram.blend_radius, ram.sensitive_count, ram.drop_check) == (0.0, 0, True)
    assert ram.tool_tcp(np.eye(4))[2, 3] == 0.2
    assert skills["cpu"].tool_tcp(np.eye(4) * 2)[2, 2] == 2.0


def test_defaults_are_those_that_are_documented():
    reference = (Path(__file__).parents[4] / "docs" / "reference" / "skills.md").read_text(encoding="utf-8")
    for name, field in SkillSpec.__dataclass_fields__.items():
        key = {"tcp_xyz": "tcp", "tcp_rpy": "tcp", "name": "skills", "folders": "file"}.get(name, name)
        row = next((line for line in reference.splitlines() if line.startswith(f"| `{key}`")), "")
        assert row, f"docs/reference/skills.md has no row for {key}"
        if isinstance(field.default, bool):
            assert str(field.default).lower() in row, f"docs/reference/skills.md: another default for {key}"
        elif isinstance(field.default, int | float | str):
            assert f"{field.default:g}" in row if not isinstance(field.default, str) else field.default in row, key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "skills.yaml: the skill table is empty; it starts with 'skills:'"),
        ("skill: {}", "skill: unknown key 'skill'; allowed: defaults, skills; did you mean 'skills'?"),
        ("skills: {}", "skills: the map is empty; a skill needs a name, 'file' and 'relative_count'"),
        ("skills: {cpu: {relative_count: 1}}", "skills.cpu.file: missing key; it has no default"),
        ("skills: {cpu: {file: a.csv}}", "skills.cpu.relative_count: missing key; it has no default"),
        ("skills: {cpu: {file: a.csv, relative_count: 1, linear_sped: 1}}", "did you mean 'linear_speed'?"),
        (
            "skills: {cpu: {file: a.csv, relative_count: 1, linear_speed: 0}}",
            "linear_speed: must be larger than 0, got 0",
        ),
        (
            "skills: {cpu: {file: a.csv, relative_count: 1.5}}",
            "relative_count: expected a whole number, 0 or more, got 1.5",
        ),
        (
            "skills: {cpu: {file: a.csv, relative_count: 1, blend_radius: -1}}",
            "blend_radius: must not be negative, got -1",
        ),
        ("skills: {cpu: {file: a.csv, relative_count: 1, grasp_threshold: 256}}", "must be 0 (open) to 255 (closed)"),
        (
            "skills: {cpu: {file: a.csv, relative_count: 1, grasp_close: 256}}",
            "expected a whole number, 0 to 255, got 256",
        ),
        (
            "skills: {cpu: {file: a.csv, relative_count: 1, gripper_speed: 0}}",
            "expected a whole number, 1 to 255, got 0",
        ),
        ("skills: {cpu: {file: a.csv, relative_count: 1, path_mode: arc}}", "'arc' is not one of blend, points"),
        ("skills: {cpu: {file: a.csv, relative_count: 1, frame: tool0}}", "'tool0' is not one of base, base_link"),
        ("skills: {cpu: {file: a.csv, relative_count: 1, tcp: {xyz: [0, 0]}}}", "tcp.xyz: expected 3 numbers, got 2"),
        ("defaults: {file: a.csv}\nskills: {cpu: {relative_count: 1}}", "defaults.file: unknown key 'file'"),
        ("skills: {cpu: {file: a.csv, file: b.csv, relative_count: 1}}", "duplicate key 'file', first on line 1"),
        ("skills: [", "not valid YAML"),
    ],
)
def test_a_table_with_a_mistake_is_refused_with_file_and_key(tmp_path, text, message):
    with pytest.raises(SkillFileError) as error:
        load_skill_table(table(tmp_path, text))
    assert message in str(error.value)
    assert "skills.yaml" in str(error.value)


def test_a_table_that_is_not_there_says_so(tmp_path):
    with pytest.raises(SkillFileError, match=r"none\.yaml: the skill table cannot be read: .*No such file"):
        load_skill_table(tmp_path / "none.yaml")


def test_a_file_is_looked_for_in_skills_dir_and_then_beside_the_table(tmp_path):
    path = table(tmp_path, "skills: {pick: {file: pick.csv, relative_count: 1}}")
    other = tmp_path / "lab"
    other.mkdir()
    skill = load_skill_table(path, other)["pick"]
    with pytest.raises(SkillFileError) as error:
        skill.path()
    assert str(error.value) == (
        f"skill 'pick': there is no file pick.csv; looked in {other}, {tmp_path}. "
        "Put it there, or name its folder with skills_dir"
    )
    save_waypoints(tmp_path / "pick.csv", pick())
    assert skill.path() == tmp_path / "pick.csv"
    save_waypoints(other / "pick.csv", pick())
    assert skill.path() == other / "pick.csv"
    assert len(load_skill(skill)) == 8


def test_more_relative_waypoints_than_rows_are_refused(tmp_path):
    save_waypoints(tmp_path / "pick.csv", pick())
    with pytest.raises(SkillFileError, match=r"relative_count is 9, but .*pick\.csv has 8 rows"):
        load_skill(spec(relative_count=9, folders=(tmp_path,)))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_becomes_a_pose_joints_and_a_closing(tmp_path, end):
    verify = ROW.replace("images/a.png", "verification_wp")
    first, second = load_waypoints(csv_file(tmp_path, HEADER, ROW, verify, end=end))
    assert first.T[:3, 3].tolist() == [0.4, 0.1, 0.2]
    assert np.abs(first.T[:3, :3] - rotation_from_vector([-3.13, 0.02, 0.01])).max() < 1e-15
    assert first.joints.tolist() == [0.1, -1.2, 1.3, -1.4, -1.5, 0.2]
    assert (first.gripper, first.image, first.verification) == (230, "images/a.png", False)
    assert (first.timestamp, first.skill_id) == ("20260101_120000_000000", "0")
    assert (second.image, second.verification) == ("", True)


def test_columns_are_found_by_name(tmp_path):
    names, cells = list(COLUMNS), ROW.split(",")
    path = csv_file(tmp_path, "\ufeff" + ",".join(["note", *names[::-1]]), ",".join(["x", *cells[::-1]]))
    assert load_waypoints(path)[0].joints[1] == -1.2


def test_a_file_comes_back_as_it_was_saved(tmp_path):
    waypoints = pick()
    save_waypoints(tmp_path / "a.csv", waypoints)
    again = load_waypoints(tmp_path / "a.csv")
    for a, b in zip(waypoints, again, strict=True):
        assert np.abs(a.T - b.T).max() < 1e-11
        assert (a.gripper, a.verification, a.image) == (b.gripper, b.verification, b.image)
    assert np.linalg.norm(rotation_vector(again[0].T[:3, :3])) > 3.0, "near half a turn, as tools usually are"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(SkillFileError, match=r"a\.csv: the waypoint file cannot be written"):
        save_waypoints(tmp_path / "a.csv", pick())
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    with pytest.raises(SkillFileError, match=r"cannot be written: .*No such file"):
        save_waypoints(tmp_path / "none" / "a.csv", pick())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the waypoint file is empty; its first line names the columns: timestamp,j0"),
        ([HEADER], "has a header but no rows; teach at least one waypoint"),
        (
            [HEADER.replace("tcp_rz", "tcp_r"), ROW],
            "column 'tcp_rz' is missing; did you mean 'tcp_r'?; columns: timestamp",
        ),
        ([HEADER.replace("j5", "j4"), ROW], "column 'j4' is there twice; remove one"),
        ([HEADER, ROW, ROW.rsplit(",", 2)[0]], "row 1 (line 3): 14 fields, but the header names 16; correct the row"),
        ([HEADER, ROW, ROW.replace("-1.4", "nan")], "row 1 (line 3), column j3: expected a finite number, got 'nan'"),
        ([HEADER, ROW.replace("0.02", "none")], "row 0 (line 2), column tcp_ry: expected a number, got 'none'"),
        ([HEADER, ROW.replace("230", "")], "row 0 (line 2), column gripper_pos: expected a number, got ''"),
        ([HEADER, ROW.replace("230", "256")], "column gripper_pos: expected a whole number, 0 (open) to 255"),
        ([HEADER, ROW.replace("230", "1.5")], "column gripper_pos: expected a whole number, 0 (open) to 255"),
        ([HEADER, ROW, "", ROW], "row 1 (line 3): 0 fields, but the header names 16"),
    ],
)
def test_a_damaged_file_is_refused_with_row_and_column(tmp_path, lines, message):
    path = csv_file(tmp_path, *lines) if lines else tmp_path / "pick.csv"
    path.touch()
    with pytest.raises(SkillFileError) as error:
        load_waypoints(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SkillFileError, match=r"none\.csv: the waypoint file cannot be read: .*No such file"):
        load_waypoints(tmp_path / "none.csv")
