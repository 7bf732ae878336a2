# SPDX-License-Identifier: Apache-2.0

"""A policy's stop signal: the seeds' three settings, every action space, and gripper scales."""

import numpy as np
import pytest
from policy_fixtures import PROFILE_TEXT
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.errors import ActionError, ProfileError
from vla_core.frames import Frame
from vla_core.profile import parse_profile
from vla_policy.execution.stop_detection import PRESETS, StopDetector, StopRule, stop_rule

HERE = np.array([0.3, -0.4])
CLOSED, OPEN = 0.8, 0.0  # joint positions of the finger


def profile_of(*replaced: tuple[str, str]):
    text = PROFILE_TEXT
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return parse_profile(text, "two_joint.yaml")


def frame_of(profile, joints=True) -> Frame:
    state = np.array([*HERE, 0.0])
    measured = {"arm": HERE, "gripper": np.array([OPEN])} if joints else {}
    return Frame(
        t_ns=0, state=state.astype(np.float32), state64=state, images={}, action=None, ages_s={}, joints=measured
    )


def chunk_of(profile, away: list[float], closing: list[float]) -> ActionChunk:
    """Actions that put the arm `away` [rad] from where it is and close the gripper by a share of its way."""
    arm = HERE + np.array(away)[:, None] * np.array([0.6, 0.8])
    targets = {"arm": arm, "gripper": CLOSED * np.array(closing)[:, None]}
    values = ActionMap(profile).encode(targets, frame_of(profile).state64)
    return ActionChunk(t0_ns=0, dt_s=0.1, values=values)


def signals(away, closing, *replaced, rule=PRESETS["default"]) -> bool:
    profile = profile_of(*replaced)
    return StopDetector(profile, rule).find(chunk_of(profile, away, closing), frame_of(profile)) is not None


def test_the_presets_are_the_tried_values():
    default, cpu, ram = PRESETS["default"], PRESETS["cpu"], PRESETS["ram"]
    assert (default.steps, default.distance, default.gripper) == (3, 5e-3, 0.95)
    assert (cpu.steps, cpu.distance, cpu.gripper) == (3, 4e-3, 0.97)
    assert (ram.steps, ram.distance, ram.gripper) == (5, 8e-3, 0.95)
    assert stop_rule("ram", steps=2) == StopRule(steps=2, distance=8e-3, gripper=0.95)
    assert stop_rule("cpu", distance=0.1, gripper=0.5) == StopRule(steps=3, distance=0.1, gripper=0.5)


@pytest.mark.parametrize(
    ("away", "closing", "expected"),
    [
        ([0.1, 0.004, 0.004, 0.004], [1, 1, 1, 1], True),
        ([0.1, 0.004, 0.004, 0.006], [1, 1, 1, 1], False),  # only two in a row stand still
        ([0.004, 0.004, 0.1, 0.004], [1, 1, 1, 1], False),  # three, but not in a row
        ([0.0, 0.0, 0.0, 0.0], [0.94, 0.96, 0.96, 0.94], False),  # open
        ([0.0, 0.0, 0.0, 0.0], [0.94, 0.96, 0.96, 0.96], True),
    ],
)
@pytest.mark.parametrize("space", ["absolute_joint", "delta_joint"])
def test_three_actions_in_a_row_stand_still_and_are_closed(away, closing, expected, space):
    replaced = (("base_frame: base_link", f"action_space: {space}\nbase_frame: base_link"),)
    assert signals(away, closing, *replaced) is expected


def test_delta_actions_are_compared_with_zero():
    profile = profile_of(("base_frame: base_link", "action_space: delta_joint\nbase_frame: base_link"))
    still = ActionChunk(t0_ns=0, dt_s=0.1, values=np.tile([0.0, 0.0, 1.0], (3, 1)).astype(np.float32))
    where = ActionChunk(t0_ns=0, dt_s=0.1, values=np.tile([*HERE, 1.0], (3, 1)).astype(np.float32))
    detector = StopDetector(profile, PRESETS["default"])
    assert detector.find(still, frame_of(profile)) == 0
    assert detector.find(where, frame_of(profile)) is None


def test_a_gripper_of_255_three_times_is_closed():
    scaled = ("scale: {from: [0.0, 0.8], to: [0.0, 1.0]}", "scale: {from: [0.0, 0.8], to: [0.0, 255.0]}")
    profile = profile_of(scaled)
    values = np.tile([*HERE, 255.0], (3, 1)).astype(np.float32)
    detector = StopDetector(profile, PRESETS["default"])
    assert detector.find(ActionChunk(t0_ns=0, dt_s=0.1, values=values), frame_of(profile)) == 0
    values[1, 2] = 240.0
    assert detector.find(ActionChunk(t0_ns=0, dt_s=0.1, values=values), frame_of(profile)) is None


def test_without_a_scale_the_gripper_s_limits_say_what_closed_is():
    replaced = (
        (
            "\n    scale: {from: [0.0, 0.8], to: [0.0, 1.0]}\n    limits: {lower: [-0.05], upper: [0.9]}",
            "\n    limits: {lower: [0.0], upper: [0.8]}",
        ),
    )
    assert signals([0.0] * 3, [0.96] * 3, *replaced)
    assert not signals([0.0] * 3, [0.94] * 3, *replaced)


def test_chunks_shorter_than_the_rule_are_counted_together():
    profile = profile_of()
    detector = StopDetector(profile, PRESETS["default"])
    single = chunk_of(profile, [0.0], [1.0])
    moving = chunk_of(profile, [0.1], [1.0])
    frame = frame_of(profile)
    assert [detector.find(c, frame) for c in (single, single, moving, single, single, single)] == [None] * 5 + [0]
    detector.reset()
    assert detector.find(single, frame) is None


def test_long_chunks_that_overlap_are_not_added_up():
    profile = profile_of()
    detector = StopDetector(profile, PRESETS["default"])
    tail = chunk_of(profile, [0.1, 0.1, 0.0, 0.0], [1.0] * 4)
    assert [detector.find(tail, frame_of(profile)) for _ in range(4)] == [None] * 4


def test_a_profile_without_a_gripper_is_refused():
    head, _ = PROFILE_TEXT.split("  - name: gripper")
    profile = parse_profile(head + "safety: {watchdog_s: 0.3}\n", "armless.yaml")
    with pytest.raises(ProfileError, match=r"the profile's action has no gripper; run the policy with mode:=e2e"):
        StopDetector(profile, PRESETS["default"])


def test_an_arm_that_is_not_measured_is_named():
    profile = profile_of()
    detector = StopDetector(profile, PRESETS["default"])
    with pytest.raises(ActionError, match="with the arm 'arm', but the profile's state does not hold its joints"):
        detector.find(chunk_of(profile, [0.0] * 3, [1.0] * 3), frame_of(profile, joints=False))


def test_the_signal_begins_at_its_first_action():
    profile = profile_of()
    chunk = chunk_of(profile, [0.1, 0.1, 0.0, 0.0, 0.0, 0.0], [1.0] * 6)
    assert StopDetector(profile, PRESETS["default"]).find(chunk, frame_of(profile)) == 2
