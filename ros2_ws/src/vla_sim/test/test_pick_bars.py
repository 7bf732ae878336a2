# SPDX-License-Identifier: Apache-2.0

"""What `benchmarks/pick_bars.py` starts and concludes; the nodes themselves are tried elsewhere."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[4] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import pick_bars  # noqa: E402


def trial(seed, *, success=False, taken="", error=""):
    return {
        "seed": seed, "success": success, "taken": taken, "duration_s": 5.0 + seed, "error_code": int(bool(error)),
        "error_msg": error,
    }  # fmt: skip


RESULT = {
    "n": 5,
    "ok": 1,
    "other_taken": 2,
    "trials": [
        trial(0, success=True, taken="named"),
        trial(1, taken="other"),
        trial(2, taken="other"),
        trial(3),
        trial(4, taken="named", error="front camera is silent"),
    ],
}


def options(tmp_path, *given):
    return pick_bars.parse(["--work", str(tmp_path), *given])


def test_failures_are_told_apart_and_rates_have_intervals():
    row = pick_bars.summarise(RESULT, "own")
    assert row["failures"] == {"took the other block": [1, 2], "never lifted": [3], "front camera is silent": [4]}
    assert row["ok"] == {"count": 1, "low": 0.036, "high": 0.624}  # Wilson, 1 of 5
    assert row["other_taken"]["count"] == 2
    assert row["duration_s"] == 5.0
    assert pick_bars.why(trial(0, taken="named")) == "lifted, not placed"


def test_sentences_are_those_that_the_scene_has(tmp_path, capsys):
    assert options(tmp_path, "--scene", "pick_which").sentences == ["own", "swapped", "empty"]
    assert options(tmp_path).sentences == ["own"]
    with pytest.raises(SystemExit):
        options(tmp_path, "--sentences", "swapped")
    assert "--sentences swapped is for --scene pick_which" in capsys.readouterr().err


def test_options_reach_the_commands(tmp_path):
    given = "--scene pick_rotated --policy smolvla --steps 7 --strategy sync --state-noise 0.3"
    args = options(tmp_path, *given.split())
    train = pick_bars.train_command(args, tmp_path / "d", tmp_path / "r")
    assert train[train.index("--steps") + 1] == "7"
    assert train[train.index("--state-noise") + 1] == "0.3"
    assert train[-2:] == ["--", "--policy.scheduler_decay_steps=7"]
    trials = pick_bars.trial_command(args, tmp_path / "r", "own", tmp_path / "x.json")
    assert {"scene:=pick_rotated", "sentence:=own", "episodes:=50", "seed:=0", "strategy:=sync"} <= set(trials)
    assert "seed:=10000" in pick_bars.record_command(args, tmp_path / "b", tmp_path / "y.json")


def test_a_second_run_makes_the_table_from_what_is_there(tmp_path, capsys):
    for made in ("bags", "dataset/meta", "vla_keypoints/checkpoints/last"):
        (tmp_path / made).mkdir(parents=True)
    (tmp_path / "record.json").write_text("{}")
    (tmp_path / "dataset/meta/info.json").write_text('{"total_episodes": 60, "total_frames": 3900}')
    (tmp_path / "vla_keypoints/run.json").write_text('{"steps": 800, "state_noise": 0.0, "seconds": 90.0}')
    (tmp_path / "vla_keypoints_own.json").write_text(json.dumps(RESULT))
    assert pick_bars.main(["--work", str(tmp_path), "--json", str(tmp_path / "out.json")]) == 0
    shown = capsys.readouterr().out
    assert "pick, vla_keypoints: 60 demonstrations, 3900 frames, 800 steps in 1.5 min on 2 threads" in shown
    assert "| own | 1/5 | 4 to 62 % | 2/5 | 12 to 77 % | 5.00 s | 2 took the other block, 1 never lifted" in shown
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["train_s"], report["seconds"], len(report["rows"])) == (90.0, {}, 1)


def test_a_stage_that_fails_ends_the_run_with_its_last_lines(tmp_path):
    work = pick_bars.Work(tmp_path)
    command = [sys.executable, "-c", "print('no disk'); raise SystemExit(3)"]
    with pytest.raises(SystemExit, match=r"(?s)record: ended with exit code 3 and without .*no disk"):
        work.run("record", command, tmp_path / "record.json")
