# SPDX-License-Identifier: Apache-2.0

"""The command `rollouts` on bags whose metadata are written by hand: counts that can be checked by eye."""

import csv

import pytest
import yaml
from vla_core.statistics import wilson_interval
from vla_policy.tools import rollouts

ROOT = "rosbag2_bagfile_information"


def bag(folder, name, **custom):
    """A recorded run; keyword arguments replace its metadata."""
    values = {
        "x_eval": "1",
        "x_policy": "act",
        "x_checkpoint": "outputs/train",
        "x_mode": "e2e",
        "task": "lift",
        "outcome": "unknown",
        "skill_outcome": "no_skill",
        "x_run_termination": "completed",
        "x_interventions": "0",
        "x_run_duration_s": "4.0",
        "notes": "",
        **custom,
    }
    (folder / name).mkdir(parents=True)
    content = {ROOT: {"version": 9, "custom_data": values}}
    (folder / name / "metadata.yaml").write_text(yaml.safe_dump(content))
    return folder / name


def metadata(path):
    return yaml.safe_load((path / "metadata.yaml").read_text())[ROOT]["custom_data"]


def test_the_summary_counts_by_model_checkpoint_mode_and_task(tmp_path, capsys):
    for i in range(8):
        bag(tmp_path / "a", f"ok{i}", outcome="success", x_run_duration_s="2.0")
    bag(tmp_path / "a", "slow", outcome="failure", x_run_termination="timeout", x_run_duration_s="10.0")
    bag(tmp_path / "a", "stop", outcome="failure", x_run_termination="estop", x_interventions="2")
    bag(tmp_path / "a", "ctrl_c", x_run_termination="interrupted", x_run_duration_s="")
    grasp = {"x_mode": "planner", "skill_outcome": "grasp_failed_no_correction", "outcome": "failure"}
    bag(tmp_path / "b", "grasp", **grasp)
    bag(tmp_path / "b", "demonstration", x_eval="")
    table = tmp_path / "out" / "table.csv"
    assert rollouts.main(["summary", str(tmp_path), "--csv", str(table)]) == 0
    out = capsys.readouterr().out
    assert "8 of 10 labelled runs succeeded: 80% (49% to 94%); 1 timeouts, 0 failed grasps, 2 stopped" in out
    assert "1 other bags were left out" in out
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["mode"], row["n"], row["labelled"]) for row in rows] == [("e2e", "11", "10"), ("planner", "1", "1")]
    low, high = wilson_interval(8, 10)
    first, second = rows
    assert (first["success_rate"], first["rate_low"], first["rate_high"]) == ("0.800", f"{low:.3f}", f"{high:.3f}")
    assert (first["timeouts"], first["estops"], first["interventions"]) == ("1", "2", "2")
    assert first["mean_duration_s"] == f"{(8 * 2 + 10 + 4 + 0) / 11:.2f}"
    assert (second["grasp_fails"], second["successes"]) == ("1", "0")


def test_runs_without_labels_have_no_rate(tmp_path, capsys):
    bag(tmp_path, "one")
    assert rollouts.main(["summary", str(tmp_path)]) == 0
    assert "1 runs\n  no run is labelled; 0 timeouts" in capsys.readouterr().out


def test_a_label_is_written_beside_everything_else(tmp_path):
    run = bag(tmp_path, "one", profile="robot: x\nfps: 10\n", notes="table two")
    assert rollouts.main(["label", str(run), "success", "--notes", "slipped once"]) == 0
    data = metadata(run)
    assert (data["outcome"], data["notes"], data["profile"]) == (
        "success",
        "table two; slipped once",
        "robot: x\nfps: 10\n",
    )
    assert data["labelled_at"].endswith("+00:00")
    assert [path.name for path in run.iterdir()] == ["metadata.yaml"]


def test_a_person_is_asked_for_each_run_without_a_label(tmp_path, monkeypatch, capsys):
    bag(tmp_path, "a", outcome="failure")
    runs = [bag(tmp_path, name) for name in "bcde"]
    answers = iter(["x", "s", "f", "", "q"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    assert rollouts.main(["label", str(tmp_path)]) == 0
    assert [metadata(run)["outcome"] for run in runs] == ["success", "failure", "unknown", "unknown"]
    assert capsys.readouterr().out.endswith("2 runs without a label\n")
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(EOFError))
    assert rollouts.main(["label", str(tmp_path)]) == 0


def test_the_list_shows_how_each_run_ended(tmp_path, capsys):
    bag(tmp_path, "one", x_run_message="the time limit was reached", x_run_termination="timeout")
    assert rollouts.main(["list", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [
        "one",
        "unknown",
        "timeout",
        "4.00",
        "s",
        "the",
        "time",
        "limit",
        "was",
        "reached",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["summary", "{}/nowhere"], "nowhere: no such folder; give the output_dir of infer.launch.py"),
        (["summary", "{}/plain"], "1 bags, but no recorded evaluation run among them"),
        (
            ["label", "{}/plain/demo", "success"],
            "no recorded evaluation run; other episodes are labelled by the recorder",
        ),
        (["label", "{}/empty", "success"], "metadata.yaml: cannot be read"),
        (["label", "{}/broken", "success"], "not the metadata of a bag"),
        (["label", "{}/plain", "--notes", "x"], "--notes belongs to one run: give its folder and an outcome"),
        (["list", "{}/odd"], "a value of the run cannot be read"),
    ],
)
def test_errors_say_what_to_do(tmp_path, capsys, arguments, text):
    bag(tmp_path / "plain", "demo", x_eval="")
    bag(tmp_path / "odd", "run", x_interventions="many")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metadata.yaml").write_text("a: 1\n")
    assert rollouts.main([argument.format(tmp_path) for argument in arguments]) == 1
    assert text in capsys.readouterr().err


def test_a_dataset_is_named_after_the_folder_and_holds_failed_runs_too(tmp_path, monkeypatch):
    bag(tmp_path / "vla-eval-lift-17", "one")
    asked = []

    class Done:
        returncode = 0

    monkeypatch.setattr("subprocess.run", lambda command, check: asked.append(command) or Done())
    folder = tmp_path / "vla-eval-lift-17"
    assert rollouts.main(["dataset", str(folder), "--output", str(tmp_path / "sets")]) == 0
    assert asked == [
        ["ros2", "run", "vla_recorder", "convert", "--bags", str(folder), "--output",
         str(tmp_path / "sets" / "vla-eval-lift-17"), "--include-failures"]
    ]  # fmt: skip
