# SPDX-License-Identifier: Apache-2.0

"""`stop_signal`: which settings find a policy's sign that it is done."""

import json
from dataclasses import replace

import numpy as np
import pytest
from policy_fixtures import make_act_checkpoint, make_dataset, small_frame, small_profile
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_policy.evaluation.stop_signal import Said, as_text, best, build_parser, grid, main

END, LENGTH, FPS = 20, 24, 10.0


@pytest.fixture(scope="module")
def profile():
    return small_profile()


def said_by(profile, episode, says):
    """Chunks of 6 actions at every frame; `says(step, k)`: distance from where the arm stands, and closing of the gripper."""
    frame = small_frame(profile)
    frame = replace(frame, joints=ActionMap(profile).current_joints(frame.state64))
    found = []
    for step in range(1, LENGTH):
        rows = np.tile(np.asarray(frame.state, dtype=np.float32), (6, 1))
        for k in range(6):
            away, closing = says(step, k)
            rows[k, 0] += away
            rows[k, 2] = closing
        found.append(Said(episode=episode, step=step, chunk=ActionChunk(t0_ns=0, dt_s=0.1, values=rows), frame=frame))
    return found


def approach(step, k):
    """Moves 0.1 a step until 20, then stands with the gripper closed."""
    return 0.1 * max(0, min(step + k, END) - step), float(step + k >= END)


def grasp_and_lift(step, k):
    """As `approach`, and stands closed for four actions at 8 on the way: it takes hold of something."""
    if 8 <= step + k < 12:
        return 0.1 * max(0, 8 - step), 1.0
    if step + k >= 12 and step < 12:
        return 0.1 * (step + k - 11), 1.0
    return approach(step, k)


def test_every_end_is_found_at_its_time(profile):
    said = [*said_by(profile, 0, approach), *said_by(profile, 3, approach)]
    (row,) = grid(said, {0: END, 3: END}, profile, steps=[3], distances=[0.05], gripper=0.5)
    # from frame 20 on the arm stands and closes at once; before, the closed rows are too far from where it is
    assert row == {
        "steps": 3, "distance": 0.05, "gripper": 0.5, "episodes": 2, "found": 2, "early": 0, "first_s": 0.0,
    }  # fmt: skip


def test_three_actions_take_a_grasp_for_the_end_and_five_do_not(profile):
    said = said_by(profile, 0, grasp_and_lift)
    rows = grid(said, {0: END}, profile, steps=[3, 5], distances=[0.05], gripper=0.5)
    assert [(row["found"], row["early"]) for row in rows] == [(1, 1), (1, 0)]
    assert rows[0]["first_s"] == pytest.approx((8 - END) / FPS)
    assert best(rows)["steps"] == 5
    assert "stop_steps: 5\n  stop_distance: 0.05\n  stop_gripper: 0.5" in as_text(rows)


def test_a_policy_that_never_says_it_is_found_out(profile):
    said = said_by(profile, 0, lambda step, k: (0.0, 0.2))
    rows = grid(said, {0: END}, profile, steps=[3], distances=[0.05, 0.1], gripper=0.5)
    assert best(rows) is None
    assert "--stop-frames 40 --stop-state measured" in as_text(rows)


def test_a_dataset_without_stop_frames_is_refused(tmp_path, profile, capsys):
    dataset = make_dataset(tmp_path / "data", profile, episodes=2, length=6)
    make_act_checkpoint(tmp_path / "run", profile)
    asked = ["--checkpoint", str(tmp_path / "run"), "--dataset", str(dataset)]
    assert main([*asked, "--episodes", "0:2"]) == 2
    assert "episodes 0, 1 have no stop frames (column 'synthetic')" in capsys.readouterr().err
    assert main([*asked, "--episodes", "7"]) == 2
    assert "has 2 episodes (0 to 1), none of those asked for" in capsys.readouterr().err


def test_a_real_policy_is_asked_at_every_frame(tmp_path, profile, capsys, monkeypatch):
    dataset = make_dataset(tmp_path / "data", profile, episodes=2, length=6)
    make_act_checkpoint(tmp_path / "run", profile)
    monkeypatch.setattr("vla_policy.evaluation.dataset.RecordedWindows.stop_frames", lambda self: {0: 4, 1: 4})
    report = tmp_path / "rows.json"
    asked = ["--checkpoint", str(tmp_path / "run"), "--dataset", str(dataset), "--json", str(report)]
    assert main([*asked, "--stop-steps", "2", "--stop-distance", "1e-9"]) == 1, "random weights give no signal"
    assert json.loads(report.read_text())["rows"] == [
        {"steps": 2, "distance": 1e-9, "gripper": 0.5, "episodes": 2, "found": 0, "early": 0, "first_s": None}
    ]
    assert "No setting finds an end" in capsys.readouterr().out


def test_defaults_and_lists():
    given = ["--checkpoint", "a", "--dataset", "b"]
    assert build_parser().parse_args(given).episodes == list(range(10))
    assert build_parser().parse_args([*given, "--stop-distance", "0.01,0.02"]).stop_distance == [0.01, 0.02]
