# SPDX-License-Identifier: Apache-2.0

"""Which targets count as in force, so that whoever takes the arm neither makes it jump nor lets it sag."""

import numpy as np
import pytest
from vla_teleop.motion.in_force import NEAR, arm_in_force, gripper_in_force

MEASURED = np.array([0.3, -1.2, 1.5, -1.9, -1.57, 0.1])


def test_an_arm_at_its_last_target_is_held_there() -> None:
    published = MEASURED + np.array([0.0, 1.0, -1.0, 0.5, 0.0, 0.0]) * 0.9 * NEAR  # it sags a little under its weight
    np.testing.assert_array_equal(arm_in_force(MEASURED, published), published)


def test_an_arm_that_was_moved_unseen_begins_where_it_is() -> None:
    # a reset, freedrive or the pendant: the last target is old, and commanding it again would be a jump
    for joint in range(6):
        published = MEASURED.copy()
        published[joint] += 1.1 * NEAR
        np.testing.assert_array_equal(arm_in_force(MEASURED, published), MEASURED)
    np.testing.assert_array_equal(arm_in_force(MEASURED, None), MEASURED)
    np.testing.assert_array_equal(arm_in_force(MEASURED, np.full(6, np.nan)), MEASURED)


def test_the_largest_jump_at_a_takeover_is_below_what_a_ur_reaches_in_one_cycle() -> None:
    assert np.pi >= NEAR / 0.002  # 180 degrees per second, 500 cycles per second


@pytest.mark.parametrize(
    ("measured", "published", "held"),
    [
        (0.40, 0.80, 0.80),  # it holds an object
        (0.00, 0.80, 0.00),  # open: it holds nothing, somebody opened it unseen
        (0.79, 0.80, 0.80),  # there
        (0.50, 0.20, 0.50),  # more closed than its last target: somebody else closed it
        (0.40, None, 0.40),
    ],
)
def test_a_gripper_counts_as_held_at_its_last_target_while_it_holds_something(measured, published, held) -> None:
    assert gripper_in_force((0.0, 0.8), measured, published) == held
