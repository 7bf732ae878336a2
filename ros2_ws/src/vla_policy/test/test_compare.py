# SPDX-License-Identifier: Apache-2.0

"""`compare`: what it reads from run folders, how it sorts, what it warns of."""

import csv
import json
import subprocess
import sys

import pytest
from evaluation_fixtures import make_run
from vla_policy.evaluation import compare as command
from vla_policy.evaluation.compare import main
from vla_policy.evaluation.compare_rows import collect, ordered
from vla_policy.evaluation.run_folder import EvaluationError

A, B = "aa" * 32, "bb" * 32


def offline(folder, mse, *, held=0.04, created="2026-01-01", name="offline", **dataset):
    """An offline evaluation as `evaluate` writes it, as far as `compare` reads it."""
    data = {"sha256": A, "episodes": [1, 2], "trained_on": 0, **dataset}
    record = {
        "kind": "offline", "created": created, "policy": {"mse": mse, "nmse": mse / 0.1}, "hold_last": {"mse": held},
        "latency_ms": {"p50": 12.5}, "dataset": data, "steps": 8, "stride": 5,
    }  # fmt: skip
    (folder / "evaluations").mkdir(exist_ok=True)
    (folder / "evaluations" / f"{name}.json").write_text(json.dumps(record))


def sim(folder, ok, n=20, *, scene="lift", seeds=20, complete=True):
    record = {
        "kind": "sim", "created": "2026-01-02", "settings": {"scene": scene, "latency_ms": 100.0}, "ok": ok, "n": n,
        "rate": ok / n, "low": 0.1, "high": 0.9, "seeds": list(range(seeds)), "complete": complete, "inference_ms_p50": 30.0,
    }  # fmt: skip
    (folder / "evaluations").mkdir(exist_ok=True)
    (folder / "evaluations" / f"sim-{scene}.json").write_text(json.dumps(record))


@pytest.fixture
def runs(tmp_path):
    """Three runs: a and b on the same data, c on other data and not evaluated."""
    folder = tmp_path / "runs"
    a, b, c = (
        make_run(folder / name, sha256=digest, loss=loss)
        for name, digest, loss in zip("abc", (A, A, B), (0.3, 0.1, 0.2), strict=True)
    )
    offline(a, 0.01)
    offline(b, 0.02)
    sim(a, 18)
    sim(b, 12)
    assert c.is_dir()
    return folder


def test_the_table(runs, capsys):
    assert main([str(runs)]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].split() == [
        "run", "policy", "data", "frames", "steps", "batch", "training", "[s]", "loss", "MSE", "MSE/variance", "MSE/hold",
        "last", "success", "lift", "latency", "[ms]", "outcome",
    ]  # fmt: skip
    assert lines[1].split() == [
        "a", "act", "A", "aaaaaaaa", "40", "100", "8", "60", "0.3", "0.01", "0.1", "0.25", "18/20", "90", "%", "(10", "to",
        "90", "%)", "12.5", "finished",
    ]  # fmt: skip
    assert "A aaaaaaaa" in lines[2], "b was trained on the same data"
    assert "B bbbbbbbb" in lines[3]
    assert "Not evaluated yet: c. Run: ros2 run vla_policy evaluate" in said


def test_sorting_puts_what_is_not_known_last(runs):
    found = collect([runs])
    assert [run.name for run in ordered(found, "loss", reverse=False).runs] == ["b", "c", "a"]
    assert [run.name for run in ordered(found, "mse", reverse=True).runs] == ["b", "a", "c"]
    assert [run.name for run in ordered(found, "sim", reverse=True).runs] == ["a", "b", "c"]
    assert [run.name for run in ordered(found, "run", reverse=True).runs] == ["c", "b", "a"]


def test_files(runs, tmp_path, capsys):
    files = {kind: tmp_path / "out" / f"table.{kind}" for kind in ("csv", "json", "html")}
    arguments = [part for kind, file in files.items() for part in (f"--{kind}", str(file))]
    assert main([str(runs / "a"), str(runs / "b"), "--markdown", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("| run | policy |")
    assert "| a | act | A aaaaaaaa |" in printed
    with files["csv"].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["run"], row["sim_lift"], row["sim_lift_n"], row["data_sha256"]) for row in rows] == [
        ("a", "0.9", "20", A), ("b", "0.6", "20", A)
    ]  # fmt: skip
    content = json.loads(files["json"].read_text())
    assert content[0]["mse"] == 0.01
    assert content[0]["against_hold"] == 0.25
    page = files["html"].read_text()
    assert "<td>18/20 90 % (10 to 90 %)</td>" in page
    taken = tmp_path / "taken"
    taken.write_text("")
    assert main([str(runs), "--csv", str(taken / "x.csv")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_newest_evaluation_counts(runs):
    offline(runs / "a", 0.5, created="2025-01-01", name="zz-older")
    offline(runs / "a", 0.7, created="2026-02-01", name="aa-newer")
    (found,) = collect([runs / "a"]).runs
    assert found.values["mse"] == 0.7


def test_what_cannot_be_compared_is_said(runs):
    offline(runs / "b", 0.02, episodes=[3], trained_on=None)
    sim(runs / "b", 12, seeds=10, complete=False)
    notes = "\n".join(collect([runs]).notes)
    assert "do not compare them across runs" in notes
    assert "Offline errors on episodes that the training may have seen: b." in notes
    assert "Success in lift was measured on different seeds or settings" in notes
    row = collect([runs]).cells()[1]
    assert "12/20 60 % (10 to 90 %) (unfinished)" in row


def test_a_run_without_a_record_says_so(tmp_path):
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    (found,) = collect([tmp_path]).runs
    assert found.values["outcome"] == "no run.json"
    assert found.values["loss"] is None


def test_latency_comes_from_the_trials_where_nothing_else_is_known(tmp_path):
    sim(make_run(tmp_path / "a"), 3)
    (found,) = collect([tmp_path]).runs
    assert found.values["latency_ms"] == 30.0


def test_runs_of_one_name_in_two_folders(tmp_path):
    for folder in ("x", "y"):
        make_run(tmp_path / folder / "lift")
    assert [run.name for run in collect([tmp_path, tmp_path / "x"]).runs] == ["x/lift", "y/lift"]


def test_messages(runs, tmp_path, capsys):
    assert main([str(tmp_path / "no")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    assert "holds no training run" in capsys.readouterr().err
    (runs / "a" / "run.json").write_text('{"schema": 9}')
    with pytest.raises(EvaluationError, match=r"run.json: has schema 9, this program reads 1"):
        collect([runs])
    (runs / "a" / "run.json").write_text('{"schema": ')
    with pytest.raises(EvaluationError, match=r"run.json: cannot be read: .* Delete it, or restore it"):
        collect([runs])
    (runs / "a" / "run.json").unlink()
    (runs / "a" / "evaluations" / "offline.json").write_text('{"kind": "dinner"}')
    with pytest.raises(EvaluationError, match=r"'kind' is 'dinner', not one of offline, sim, paired"):
        collect([runs])
    (runs / "a" / "evaluations" / "offline.json").write_text("[]")
    with pytest.raises(EvaluationError, match="holds no JSON object"):
        collect([runs])


class Scalars(list):
    """Stands for TensorBoard's SummaryWriter."""

    def __call__(self, log_dir):
        self.log_dir = log_dir
        return self

    def add_scalar(self, name, value, step):
        self.append((name, value, step))

    def close(self):
        self.append("closed")


def test_scalars_for_tensorboard(runs, tmp_path, monkeypatch):
    written = Scalars()
    monkeypatch.setattr(command, "summary_writer", lambda: written)
    assert main([str(runs / "a"), "--tensorboard", str(tmp_path / "tb")]) == 0
    assert written.log_dir == str(tmp_path / "tb" / "a")
    assert ("train/loss", 0.25, 2) in written
    assert ("evaluation/mse", 0.01, 100) in written
    assert ("evaluation/sim_lift", 0.9, 100) in written
    assert written[-1] == "closed"


def test_tensorboard_that_is_not_installed(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    assert main([str(runs / "a"), "--tensorboard", str(tmp_path)]) == 2
    assert "Install it: pip install tensorboard" in capsys.readouterr().err


def test_comparing_loads_neither_ros_nor_a_model_library(runs):
    code = (
        f"import sys\nfrom vla_policy.evaluation import compare\nassert compare.main([{str(runs)!r}]) == 0\n"
        "assert not {'rclpy', 'torch', 'lerobot', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
