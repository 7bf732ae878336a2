# SPDX-License-Identifier: Apache-2.0

"""The recipes of the training targets: which rows they keep, drop and add, and in which order."""

from dataclasses import replace

import numpy as np
import pytest
from vla_core.episode import ARMED, CORRECTION, IDLE, POLICY, SKILL, SKILL_RESUME, TELEOP
from vla_recorder.convert.targets import (
    ALL_TARGETS,
    NoOpRemoval,
    PhaseFilter,
    Pipeline,
    Row,
    StopFrames,
    TargetError,
    pipeline,
    segments,
    targets_of,
)

GRIPPER = 2  # two joints, then a gripper from 0 (open) to 1 (closed)


def row(index: int, state, phase: int = TELEOP) -> Row:
    return Row(
        t_ns=index,
        phase=phase,
        state=np.array(state, np.float64),
        joints={"arm": np.array(state[:GRIPPER], np.float64)},
        targets={},
        images={"front": index},
        ages_s={},
    )


def moving(phases, step: float = 0.1) -> list[Row]:
    return [row(i, [i * step, 0.0, 0.2], phase) for i, phase in enumerate(phases)]


def joints(one: Row):
    return one.state[:GRIPPER]


def everything(one: Row):
    return one.state


def close(one: Row) -> Row:
    state = one.state.copy()
    state[GRIPPER] = 1.0
    return replace(one, state=state)


def run(name: str, rows, position=joints) -> list[Row]:
    (target,) = targets_of(name)
    return list(pipeline(target, position=position, threshold=1e-4, close=close).run(rows))


PHASES = [IDLE, ARMED, TELEOP, TELEOP, SKILL, CORRECTION, CORRECTION, SKILL_RESUME, POLICY]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("recorded", [2, 3, 4, 5, 6, 7, 8]),
        ("e2e", [2, 3, 4, 5, 6, 7, 8]),
        ("planner", [2, 3, 3, 3, 3]),
        ("correction", [5, 6, 6, 6, 6]),
    ],
)
def test_every_target_takes_its_phases_and_only_planner_and_correction_end_with_stop_frames(name, kept) -> None:
    rows = run(name, moving(PHASES))
    assert [one.t_ns for one in rows] == kept
    stops = [one for one in rows if one.synthetic]
    assert len(stops) == (3 if name in ("planner", "correction") else 0)
    assert all(one.state[GRIPPER] == 1.0 for one in stops)
    assert all(one.state[GRIPPER] == 0.2 for one in rows if not one.synthetic)
    for stop in stops:
        np.testing.assert_array_equal(joints(stop), joints(rows[-4]))
        assert stop.images == rows[-4].images


def test_no_op_removal_compares_with_the_last_row_kept_and_drops_what_is_just_equal() -> None:
    values = [0.0, 0.00004, 0.00008, 0.0001, 0.00012, 0.00016, 0.0003]
    stage = NoOpRemoval(joints, 1e-4)
    kept = list(Pipeline([stage]).run([row(i, [value, 0.0, 0.0]) for i, value in enumerate(values)]))
    # 0.0001 differs from the first by just the threshold; slow drift is seen because it adds up
    assert [one.t_ns for one in kept] == [0, 4, 6]
    assert stage.removed == {"no-op": 4}


def test_a_row_in_which_only_the_gripper_moves_is_kept_by_the_rule_that_looks_at_it() -> None:
    rows = [row(0, [0, 0, 0]), row(1, [0, 0, 0.5]), row(2, [0, 0, 0.5]), row(3, [0.1, 0, 0.5])]
    assert [one.t_ns for one in run("e2e", rows)] == [0, 3]
    assert [one.t_ns for one in run("e2e", rows, position=everything)] == [0, 1, 3]


def test_no_op_removal_after_the_stop_frames_would_lose_them() -> None:
    rows = moving([TELEOP] * 4)
    right = list(Pipeline([PhaseFilter(frozenset({TELEOP})), NoOpRemoval(joints), StopFrames(3, close)]).run(rows))
    wrong = list(Pipeline([PhaseFilter(frozenset({TELEOP})), StopFrames(3, close), NoOpRemoval(joints)]).run(rows))
    assert [one.synthetic for one in right] == [False] * 4 + [True] * 3
    assert [one.synthetic for one in wrong] == [False] * 4


def test_keep_noops_leaves_the_other_steps_as_they_are() -> None:
    rows = [row(i, [0.0, 0.0, 0.2]) for i in range(5)]
    (target,) = targets_of("planner", keep_noops=True)
    kept = list(pipeline(target, position=joints, threshold=1e-4, close=close).run(rows))
    assert len(kept) == 5 + 3
    (recorded,) = targets_of("recorded")
    assert not recorded.remove_noops


def test_a_stage_holds_one_row_however_long_the_episode_is() -> None:
    (target,) = targets_of("planner")
    stages = pipeline(target, position=joints, threshold=1e-4, close=close)
    for index, one in enumerate(moving([TELEOP] * 1000)):
        assert [out.t_ns for out in stages.push(one)] == [index]
    assert [out.t_ns for out in stages.end()] == [999] * 3


def test_an_episode_without_rows_gets_no_stop_frames() -> None:
    assert run("planner", moving([SKILL] * 5)) == []


def test_all_means_the_three_recipes_and_other_names_are_refused() -> None:
    assert tuple(target.name for target in targets_of("all")) == ALL_TARGETS == ("e2e", "planner", "correction")
    with pytest.raises(TargetError, match="no target 'stop'; targets: recorded, e2e, planner, correction, all"):
        targets_of("stop")


def test_segments_follow_one_another_and_cover_all_rows() -> None:
    phases = [TELEOP, TELEOP, SKILL, CORRECTION, CORRECTION, SKILL_RESUME, TELEOP]
    found = segments(phases)
    assert [part["phase"] for part in found] == ["TELEOP", "SKILL", "CORRECTION", "SKILL_RESUME", "TELEOP"]
    assert found[0] == {"phase": "TELEOP", "start": 0, "end": 1}
    covered = [index for part in found for index in range(part["start"], part["end"] + 1)]
    assert covered == list(range(len(phases)))
    assert segments([]) == []
