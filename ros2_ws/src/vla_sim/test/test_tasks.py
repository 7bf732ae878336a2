# SPDX-License-Identifier: Apache-2.0

"""Success conditions, on facts without physics."""

from dataclasses import replace

import numpy as np
import pytest
from vla_sim import constants as c
from vla_sim import tasks
from vla_sim.errors import SceneError

LIFTED = tasks.Facts(
    time_ns=0, block=tasks.upright(0.5, 0.0, 0.16), bin=tasks.upright(*c.BIN_CENTRE, c.BIN_FLOOR), block_speed=0.0,
    tool_distance=0.001, grasped=True, knuckle=0.44,
)  # fmt: skip
PLACED = replace(
    LIFTED,
    block=tasks.upright(*c.BIN_CENTRE, c.BIN_FLOOR + c.BLOCK_HALF),
    grasped=False,
    knuckle=0.0,
    tool_distance=0.1,
)


def at(facts, ms):
    return replace(facts, time_ns=ms * 1_000_000)


def test_lift_needs_half_a_second_without_a_break():
    monitor = tasks.SuccessMonitor("lift")
    assert not monitor.update(at(LIFTED, 0))
    assert not monitor.update(at(LIFTED, 490))
    assert monitor.update(at(LIFTED, 500))
    assert not monitor.update(at(replace(LIFTED, grasped=False), 510))
    assert not monitor.update(at(LIFTED, 520))
    assert not monitor.update(at(LIFTED, 1010))
    assert monitor.update(at(LIFTED, 1020))


def test_lift_height_counts_from_the_underside_of_the_block():
    for z, done in ((c.BLOCK_HALF + 0.049, False), (c.BLOCK_HALF + 0.051, True)):
        monitor = tasks.SuccessMonitor("lift")
        facts = replace(LIFTED, block=tasks.upright(0.5, 0.0, z))
        monitor.update(at(facts, 0))
        assert monitor.update(at(facts, 600)) is done


def test_placed_block_counts():
    assert tasks.SuccessMonitor("pick_place").update(PLACED)


@pytest.mark.parametrize(
    "change",
    [
        {"knuckle": 0.44},
        {"tool_distance": 0.05},
        {"block_speed": 0.1},
        {"block": tasks.upright(*c.BIN_CENTRE, c.BIN_FLOOR + c.BLOCK_HALF + 0.02)},
        {"block": tasks.upright(c.BIN_CENTRE[0] + 0.08, c.BIN_CENTRE[1], c.BLOCK_HALF)},
        {"bin": tasks.upright(c.BIN_CENTRE[0] + 0.08, c.BIN_CENTRE[1], c.BIN_FLOOR)},
    ],
)
def test_placed_block_does_not_count_while(change):
    assert not tasks.SuccessMonitor("pick_place").update(replace(PLACED, **change))


@pytest.mark.parametrize("task", tasks.PICK_TASKS)
@pytest.mark.parametrize(("off", "done"), [(0.0245, True), (0.0255, False)])
def test_pick_tasks_ask_for_the_middle_of_the_bin(task, off, done):
    x, y, z = PLACED.block.xyz
    for dx, dy in ((off, 0.0), (0.0, -off), (0.6 * off, 0.8 * off)):
        facts = replace(PLACED, block=tasks.upright(x + dx, y + dy, z))
        assert tasks.SuccessMonitor(task).update(facts) is done
        assert tasks.SuccessMonitor("pick_place").update(facts)


def test_start_states_of_earlier_tasks_stay_what_they_were():
    start = tasks.start_state(7, bin_mode="moving", yaw_range=0.5)
    np.testing.assert_allclose(start.block.xyz, (0.52978, 0.00755, 0.02), atol=1e-5)
    assert (start.block.yaw, start.bin.xyz[0]) == pytest.approx((-0.49473, 0.50212), abs=1e-5)
    np.testing.assert_allclose(start.q - tasks.start_state(7).q, 0.0)
    plain = tasks.pick_start("pick", 7)
    assert (plain.block, plain.bin, plain.other) == (tasks.start_state(7).block, tasks.start_state(7).bin, None)


def test_pick_rotated_turns_the_block_and_moves_the_bin_within_their_ranges():
    starts = [tasks.pick_start("pick_rotated", seed) for seed in range(200)]
    yaw = np.array([start.block.yaw for start in starts])
    bins = np.array([start.bin.xyz[:2] for start in starts]) - c.BIN_CENTRE
    assert 28 < np.degrees(yaw.max()) <= 29
    assert -29 <= np.degrees(yaw.min()) < -28
    assert 0.038 < bins.max() <= 0.04
    assert -0.04 <= bins.min() < -0.038
    assert tasks.pick_start("pick_rotated", 3).block == starts[3].block


def test_pick_which_gives_away_neither_by_place_nor_by_colour_which_block_is_meant():
    starts = [tasks.pick_start("pick_which", seed) for seed in range(400)]
    named, other = (np.array([getattr(s, which).xyz[:2] for s in starts]) for which in ("block", "other"))
    assert np.linalg.norm(named - other, axis=1).min() >= c.BLOCK_GAP
    assert [start.colour for start in starts[:4]] == ["red", "blue", "red", "blue"]
    for low, high, axis in ((*c.BLOCK_X, 0), (*c.BLOCK_Y, 1)):
        both = np.concatenate([named, other])[:, axis]
        assert low <= both.min() < both.max() <= high
    span = np.array([c.BLOCK_X[1] - c.BLOCK_X[0], c.BLOCK_Y[1] - c.BLOCK_Y[0]])
    for (
        colour
    ) in tasks.COLOURS:  # on average both are in the same place, and each is as often left as right of the other
        chosen = [start.colour == colour for start in starts]
        assert np.abs((named[chosen] - other[chosen]).mean(axis=0) / span).max() < 0.12
        assert 0.4 < (named[chosen] > other[chosen]).mean() < 0.6


def test_sentences():
    assert tasks.instruction("pick_which", 4) == "put the red block into the green bin"
    assert (
        tasks.instruction("pick_which", 5) == tasks.swapped("pick_which", 4) == "put the blue block into the green bin"
    )
    assert {tasks.instruction("pick_rotated", seed) for seed in range(4)} == {tasks.INSTRUCTIONS["pick_place"]}
    with pytest.raises(SceneError, match="task 'pick' has one block, so its sentence cannot be swapped"):
        tasks.swapped("pick", 0)
    with pytest.raises(SceneError, match="seed -1 of the simulated cell must not be negative"):
        tasks.pick_start("pick", -1)
