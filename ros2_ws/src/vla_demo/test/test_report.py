# SPDX-License-Identifier: Apache-2.0

import json

import numpy as np
import pytest
from PIL import Image
from vla_demo import plots, report
from vla_demo.settings import DEMONSTRATION_SEED, HELD_OUT_SEED, demo_settings

REPORT = {
    "task": "lift",
    "policy": "act",
    "clock": "lockstep",
    "stages": {"record": 61.2, "train": 200.4},
    "episodes": 40,
    "frames": 1520,
    "dropped": {"stale": 3, "empty": 0},
    "success": report.success(19, 20),
    "success_real_time": report.success(1, 2),
    "control_jitter_ms_p99": 1.25,
    "obs_to_action_ms_p95": 41.0,
    "inference_ms_p50": None,
    "inference_ms_p95": None,
}


def test_success_carries_its_interval():
    assert report.success(19, 20) == {"n": 20, "ok": 19, "rate": 0.95, "ci95": (0.7639, 0.9911)}


def test_table_shows_what_was_measured_and_says_what_was_not():
    text = report.table(REPORT)
    text = " ".join(text.split())
    assert "stage record 61 s" in text
    assert "total 262 s" in text
    assert "1520 in 40 episodes; dropped stale: 3" in text
    assert "19/20 = 95 % (95 %: 76 to 99 %)" in text
    assert "inference p50 / p95 not measured / not measured" in text
    assert "1/2 = 50 % (95 %: 9 to 91 %)" in text
    assert "tool to block" not in text


def test_table_of_a_quick_run_compares_with_an_untrained_checkpoint():
    untrained = {"n": 5, "distance_trained": 0.0123, "distance_untrained": 0.1}
    assert "12 mm, untrained 100 mm (mean of 5 paired seeds)" in report.table({**REPORT, "untrained": untrained})


def test_report_is_written_in_one_piece(tmp_path):
    report.write(tmp_path / "report.json", REPORT)
    assert json.loads((tmp_path / "report.json").read_text())["success"]["ci95"] == [0.7639, 0.9911]
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_versions_name_what_the_result_depends_on():
    assert {"python", "lerobot", "torch", "mujoco"} <= set(report.versions())


@pytest.mark.parametrize("task", ["lift", "pick_place"])
@pytest.mark.parametrize("policy", ["act", "smolvla"])
@pytest.mark.parametrize("quick", [False, True])
def test_demonstration_and_held_out_seeds_never_overlap(task, policy, quick):
    settings = demo_settings(task, policy, quick=quick)
    assert settings.trials < DEMONSTRATION_SEED - HELD_OUT_SEED
    assert settings.trials >= (5 if quick else 20)
    assert settings.demonstrations >= (10 if quick else 40)
    assert (settings.bar is None) == (quick or policy == "smolvla")


def test_a_moving_bin_has_no_bar():
    assert demo_settings("pick_place", "act").bar == 0.90
    assert demo_settings("pick_place", "act", bin_mode="moving").bar is None


def test_plots_are_pictures(tmp_path):
    t = np.arange(30, dtype=np.float32) / 10
    state = np.sin(t)[:, None].repeat(7, axis=1)
    plots.action_against_state(tmp_path / "a.png", t, state, state + 0.1, [f"joint_{i}" for i in range(7)], "title")
    plots.latency_histogram(tmp_path / "l.png", [40.0, 42.0], [], 100.0)
    for name in ("a.png", "l.png"):
        picture = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert picture.std() > 5, f"{name} is blank"


def test_animation_holds_the_last_image_of_a_shorter_episode(tmp_path):
    red, blue = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    count = plots.side_by_side(tmp_path / "r.gif", {"demo": [[red, red, blue]], "policy": [[red]]}, fps=10, size=16)
    animation = Image.open(tmp_path / "r.gif")
    assert (count, animation.n_frames) == (3, 3) or animation.n_frames == 2  # equal neighbours may be merged
    animation.seek(animation.n_frames - 1)
    last = np.asarray(animation.convert("RGB"))
    assert last[30, 10, 2] > 200
    assert last[30, 10 + 20, 0] > 200
