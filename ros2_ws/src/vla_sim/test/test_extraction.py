# SPDX-License-Identifier: Apache-2.0

"""Processor and memory card: skills in the physics, grasps that fail because the part is elsewhere, skill files."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from vla_core.kinematics import rotation_from_vector, rotation_vector
from vla_sim import constants as c
from vla_sim import kinematics, make_skills, skills, tasks
from vla_sim.cell import Cell
from vla_sim.errors import SceneError
from vla_sim.parts import PARTS
from vla_sim.rehearsal import Rehearsal, attempts

SKILLS = Path(__file__).parents[2] / "vla_teleop" / "config" / "skills"
SEEDS = 10 if os.environ.get("VLA_TEST_FULL") == "1" else 5
ELSEWHERE = {"cpu": tasks.upright(0.01, 0.075, 0.0, 0.2), "ram": tasks.upright(0.0, -0.042, 0.0)}


@pytest.fixture(params=skills.TASK_OF_SKILL)
def name(request):
    return request.param


def start(name, seed=0):
    cell = Cell({}, seed, skills.TASK_OF_SKILL[name])
    cell.step(50)
    return cell, Rehearsal(cell), skills.build(name)


def trigger(cell):
    return skills.trigger_pose(PARTS[cell.task], cell.seat)


def test_skill_extracts_and_places_over_seeds(name):
    outcomes = list(attempts(name, range(SEEDS), [("x", 0.0)]))
    assert [(outcome.held, outcome.placed) for outcome in outcomes] == [(True, True)] * SEEDS
    assert max(outcome.reading for outcome in outcomes) < skills.THRESHOLD[name] - 10


@pytest.mark.parametrize(("axis", "amount"), [("x", 0.005), ("z", -0.004), ("yaw", 0.10)])
def test_skill_forgives_a_person_who_is_not_exact(name, axis, amount):
    (outcome,) = attempts(name, [3], [(axis, amount)])
    assert outcome.placed


def test_displaced_part_is_not_held_and_a_corrected_grasp_is(name):
    cell, rehearsal, skill = start(name, 4)
    rehearsal.go(trigger(cell))
    cell.displace(ELSEWHERE[name])
    failed = rehearsal.run(skill, trigger(cell))
    assert not failed.held
    assert failed.reading >= skills.THRESHOLD[name]
    assert not cell.task_state().grasped
    rehearsal.grip(3)
    part, item = PARTS[cell.task], cell.task_state().object_pose
    rehearsal.go(skills.trigger_pose(part, item))
    rehearsal.go(skills.grasp_pose(part, item))
    rehearsal.grip(skills.CLOSE[name])
    rehearsal.go(skills.raised(rehearsal.tcp(), 0.08))
    assert rehearsal.reading() < skills.THRESHOLD[name]
    assert rehearsal.run(skill, trigger(cell), resume=True).placed


def test_gripper_reads_three_when_open_and_230_when_closed_on_nothing(name):
    _cell, rehearsal, _ = start(name)
    assert rehearsal.reading() == pytest.approx(3.0, abs=0.5)
    rehearsal.grip(230)
    assert rehearsal.reading() == pytest.approx(230.0, abs=1.0)
    rehearsal.grip(skills.CLOSE[name])
    assert skills.THRESHOLD[name] < rehearsal.reading() == pytest.approx(skills.CLOSE[name], abs=1.0)


def test_part_rests_in_its_socket_and_a_place_is_not_a_socket(name):
    cell, _, _ = start(name, 7)
    cell.step(500)
    state = cell.task_state()
    np.testing.assert_allclose(state.object_pose.xyz, cell.seat.xyz, atol=1e-3)
    assert not state.success
    seated = tasks.Facts(
        time_ns=0, block=state.target_pose, bin=tasks.upright(*c.PLACE_CENTRE, 0.0), block_speed=0.0, tool_distance=0.1,
        grasped=False, knuckle=0.0,
    )  # fmt: skip
    part = PARTS[cell.task]
    assert tasks.placed(part, seated)
    for axis, limit in enumerate(part.tolerance):
        offset = [0.0, 0.0, 0.0]
        offset[axis] = 1.1 * limit
        moved = tasks.compose(state.target_pose, tasks.upright(*offset))
        assert not tasks.placed(part, replace_block(seated, moved))
    lying = tasks.Pose(xyz=state.target_pose.xyz, xyzw=(np.sin(0.4), 0.0, 0.0, np.cos(0.4)))
    assert not tasks.placed(part, replace_block(seated, lying))


def replace_block(facts, pose):
    return tasks.Facts(**{key: getattr(facts, key) for key in facts.__slots__} | {"block": pose})


def test_sockets_cover_their_range_and_seeds_are_repeatable(name):
    task = skills.TASK_OF_SKILL[name]
    starts = [tasks.extraction_start(task, seed) for seed in range(64)]
    xy = np.array([s.socket.xyz[:2] for s in starts])
    low, high = np.array([c.SOCKET_X, c.SOCKET_Y]).T
    assert (xy >= low).all()
    assert (xy <= high).all()
    cells = np.floor((xy - low) / (high - low) * 4)
    assert len({tuple(cell) for cell in cells[:32]}) == 16
    yaws = np.array([s.socket.yaw for s in starts])
    assert np.ptp(yaws) > 1.8 * c.SOCKET_YAW
    assert np.abs(yaws).max() <= c.SOCKET_YAW
    assert tasks.extraction_start(task, 5).socket == starts[5].socket
    assert starts[5].block.xyz[:2] == starts[5].socket.xyz[:2]


def test_another_scene_needs_another_cell():
    cell = Cell({}, 0, "extract_cpu")
    with pytest.raises(
        SceneError, match="shows the scene of task 'extract_cpu'; for task 'lift' start it with scene:="
    ):
        cell.reset(1, "lift")
    assert cell.task == "extract_cpu"


def test_displacement_must_be_a_pose():
    cell = Cell({}, 0, "extract_cpu")
    before = cell.task_state().object_pose
    for offset in (
        tasks.Pose(xyz=(0, 0, float("nan")), xyzw=(0, 0, 0, 1)),
        tasks.Pose(xyz=(0, 0, 0), xyzw=(0, 0, 0, 0)),
    ):
        with pytest.raises(SceneError, match="must be finite, in metres, with a unit quaternion"):
            cell.displace(offset)
    assert cell.task_state().object_pose == before
    cell.displace(tasks.upright(0.02, -0.07, 0.01, 0.3))
    expected = tasks.compose(cell.seat, tasks.upright(0.02, -0.07, 0.01))
    np.testing.assert_allclose(cell.task_state().object_pose.xyz, expected.xyz, atol=1e-12)
    seen = tasks.relative(cell.seat, cell.task_state().object_pose)
    np.testing.assert_allclose(seen.xyz, (0.02, -0.07, 0.01), atol=1e-12)
    assert seen.yaw == pytest.approx(0.3)


def read(path):
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    return header, lines


def test_shipped_skill_files_are_those_of_the_scene(name, tmp_path):
    assert make_skills.main(["--output", str(tmp_path)]) == 0
    (header, made), (shipped_header, shipped) = read(tmp_path / f"{name}.csv"), read(SKILLS / f"{name}.csv")
    assert header == shipped_header == list(make_skills.COLUMNS)
    assert len(made) == len(shipped)
    for new, old in zip(made, shipped, strict=True):
        assert (new[0], new[13:]) == (old[0], old[13:]), "run: ros2 run vla_sim make_skills --output <config/skills>"
        a, b = np.array(new[1:13], dtype=float), np.array(old[1:13], dtype=float)
        np.testing.assert_allclose(a[:9], b[:9], atol=2e-5)
        R = rotation_from_vector(a[9:]).T @ rotation_from_vector(b[9:])
        assert np.linalg.norm(rotation_vector(R)) < 1e-6


def test_rows_agree_with_their_joints(name):
    for row in make_skills.rows(skills.build(name)):
        numbers = np.array(row[1:13], dtype=float)
        tcp = kinematics.T_BASE_LINK_BASE @ kinematics.forward(numbers[:6]) @ skills.T_TOOL_TCP
        np.testing.assert_allclose(tcp[:3, 3], numbers[6:9], atol=5e-6)
        assert np.linalg.norm(rotation_vector(tcp[:3, :3].T @ rotation_from_vector(numbers[9:]))) < 5e-5
    marks = [row[15] for row in make_skills.rows(skills.build(name))]
    assert marks.count(make_skills.VERIFICATION) == 1


def test_make_skills_says_where_it_cannot_write(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert make_skills.main(["--output", str(tmp_path / "file" / "sub")]) == 1
    assert "make_skills: " in capsys.readouterr().err
