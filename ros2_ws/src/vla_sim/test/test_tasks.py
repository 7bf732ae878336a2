# SPDX-License-Identifier: Apache-2.0

"""Success conditions, on facts without physics."""

from dataclasses import replace

import pytest
from vla_sim import constants as c
from vla_sim import tasks

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
