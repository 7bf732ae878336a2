# SPDX-License-Identifier: Apache-2.0

"""`evaluate --sim` around a stand-in for `ros2 launch`: seeds, resume, pairs, what is left behind when it is stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from evaluation_fixtures import trial
from policy_fixtures import small_profile
from vla_policy.evaluation import closed_loop
from vla_policy.evaluation.closed_loop import consecutive, environment, read_trials
from vla_policy.evaluation.evaluate import main
from vla_policy.evaluation.sim_page import ending
from vla_policy.policies.checkpoint import attach

# Stands for `ros2 launch … infer.launch.py`: one trial after the other. A checkpoint folder's `wins` file says on which seeds
# it succeeds; `stop_after` ends the launch early; `hang` makes it wait for a signal after its first trial.
LAUNCH = f"""#!{sys.executable}
import json, os, pathlib, signal, sys
arguments = dict(part.split(':=', 1) for part in sys.argv[1:] if ':=' in part)
folder = pathlib.Path(arguments['checkpoint'])
with (folder / 'calls').open('a') as calls:
    calls.write(json.dumps([sys.argv[1:4], arguments, os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'],
        pathlib.Path(arguments['params_file']).read_text()]) + '\\n')
wins = json.loads((folder / 'wins').read_text())
stop = int((folder / 'stop_after').read_text()) if (folder / 'stop_after').exists() else 99
trials = []
for seed in range(int(arguments['seed']), int(arguments['seed']) + int(arguments['episodes'])):
    if len(trials) == stop:
        print('the robot lost its head', flush=True)
        sys.exit(3)
    trials.append({{**json.loads(pathlib.Path({{trial!r}}).read_text()), 'seed': seed, 'success': seed in wins,
        'termination': 1 if seed in wins else 2}})
    pathlib.Path(arguments['result_file']).write_text(json.dumps({{'trials': trials}}))
    if (folder / 'hang').exists():
        signal.signal(signal.SIGINT, lambda *_: ((folder / 'ended').write_text('by SIGINT'), sys.exit(0)))
        (folder / 'hangs').write_text(str(os.getpid()))
        while True:
            signal.pause()
"""


@pytest.fixture
def ros(tmp_path, monkeypatch):
    """A `ros2` on PATH and packages in AMENT_PREFIX_PATH that are not there."""
    (tmp_path / "trial.json").write_text(json.dumps(trial(0, True)))
    program = tmp_path / "bin" / "ros2"
    program.parent.mkdir()
    program.write_text(LAUNCH.replace("{trial!r}", repr(str(tmp_path / "trial.json"))))
    program.chmod(0o755)
    for package in ("vla_bringup", "vla_sim"):
        (tmp_path / "prefix" / "share" / package).mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    return tmp_path


def make_run(folder, wins, weights=b"weights"):
    """A run folder with a checkpoint that nobody loads."""
    path = folder / "checkpoints" / "000200" / "pretrained_model"
    path.mkdir(parents=True)
    (path / "config.json").write_text('{"type": "act"}')
    (path / "model.safetensors").write_bytes(weights)
    attach(path, profile=small_profile(), vlm=None)
    (folder / "checkpoints" / "last").symlink_to("000200")
    (folder / "wins").write_text(json.dumps(wins))
    return folder


def calls(run):
    return [json.loads(line) for line in (run / "calls").read_text().splitlines()]


def test_seeds_are_run_and_counted(ros, capsys):
    run = make_run(ros / "a", wins=[0, 1, 5])
    options = [
        "--scene",
        "pick",
        "--seeds",
        "0:3,5",
        "--latency-ms",
        "150",
        "--task",
        "lift it",
        "--launch",
        "bin:=moving",
    ]
    assert main(["--checkpoint", str(run), "--sim", *options]) == 0
    made = calls(run)
    assert [(call[1]["seed"], call[1]["episodes"]) for call in made] == [("0", "3"), ("5", "1")], (
        "one launch per run of seeds"
    )
    head, arguments, discovery, parameters = made[0]
    assert head == ["launch", "vla_bringup", "infer.launch.py"]
    assert arguments["scene"] == "pick_place"
    assert (arguments["task"], arguments["bin"], arguments["strategy"]) == ("lift it", "moving", "crossfade")
    assert (arguments["sim"], arguments["max_duration"], arguments["device"]) == ("true", "10.0", "cpu")
    assert discovery == "LOCALHOST"
    assert "inference_latency_s: 0.1500" in parameters
    record = json.loads((run / "evaluations" / "sim-pick_place-200.json").read_text())
    assert (record["kind"], record["n"], record["ok"], record["rate"], record["complete"]) == ("sim", 4, 3, 0.75, True)
    # Wilson's interval of 3 in 4
    assert (record["low"], record["high"]) == (pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))
    assert record["endings"] == {"succeeded": 3, "time limit": 1}
    assert record["seeds"] == [0, 1, 2, 5]
    assert record["label"] == "a@200"
    said = capsys.readouterr().out
    for text in ("a@200", "3/4", "75 %", "30 to 95 %", "3 succeeded, 1 time limit"):
        assert text in said
    page = (run / "evaluations" / "sim-pick_place-200" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "<td>2</td><td>no</td>" in page


def test_an_interrupted_evaluation_goes_on_where_it_was(ros, capsys):
    run = make_run(ros / "a", wins=[0, 3])
    (run / "stop_after").write_text("2")
    asked = ["--checkpoint", str(run), "--sim", "--seeds", "0:4"]
    assert main(asked) == 2
    said = capsys.readouterr().err
    assert "the launch ended with exit code 3 after 2 of 4 trials" in said
    assert "the robot lost its head" in said
    assert "result_file" not in said, "the command to try it by hand names no file that is gone"
    record = json.loads((run / "evaluations" / "sim-lift-200.json").read_text())
    assert (record["n"], record["complete"]) == (2, False)
    (run / "stop_after").unlink()
    assert main(asked) == 0
    assert (calls(run)[1][1]["seed"], calls(run)[1][1]["episodes"]) == ("2", "2")
    assert "2 trials are kept" in capsys.readouterr().err
    record = json.loads((run / "evaluations" / "sim-lift-200.json").read_text())
    assert (record["n"], record["ok"], record["complete"]) == (4, 2, True)
    assert main(["--checkpoint", str(run), "--sim", "--seeds", "0:2"]) == 0
    assert len(calls(run)) == 2, "seeds that are done are not run again"
    record = json.loads((run / "evaluations" / "sim-lift-200.json").read_text())
    assert (record["n"], record["ok"], len(record["trials"])) == (2, 1, 4), (
        "what is not asked for stays and is not counted"
    )
    assert main([*asked, "--strategy", "latest"]) == 2
    assert "strategy: crossfade then, latest now" in capsys.readouterr().err
    assert main([*asked, "--strategy", "latest", "--fresh"]) == 0
    assert calls(run)[-1][1]["episodes"] == "4"
    (run / "checkpoints" / "000200" / "pretrained_model" / "model.safetensors").write_bytes(b"trained on")
    assert main([*asked, "--strategy", "latest"]) == 2
    assert "weights_sha256" in capsys.readouterr().err


def test_two_checkpoints_on_the_same_seeds(ros, capsys):
    first = make_run(ros / "good", wins=list(range(1, 10)))
    second = make_run(ros / "bad", wins=[0], weights=b"others")
    assert main(["--checkpoint", str(first), "--sim", "--seeds", "0:12", "--against", str(second)]) == 0
    record = json.loads((first / "evaluations" / "sim-lift-200-against-bad@200.json").read_text())
    assert record["kind"] == "paired"
    assert (record["both"], record["only_first"], record["only_second"]) == ([], list(range(1, 10)), [0])
    assert record["neither"] == [10, 11]
    assert record["p_value"] == 22 / 1024
    assert (second / "evaluations" / "sim-lift-200.json").is_file(), "each run keeps its own trials"
    said = capsys.readouterr().out
    assert "Exact McNemar test on 12 seeds: p = 0.0215. good@200 is better." in said
    assert "Only bad@200 succeeded on seeds: 0." in said
    page = (first / "evaluations" / "sim-lift-200-against-bad@200" / "report.html").read_text()
    for text in ("good@200", "bad@200", "p = 0.0215", "1, 2, 3, 4, 5, 6, 7, 8, 9"):
        assert text in page


def test_no_difference_is_said_to_be_none(ros, capsys):
    first, second = make_run(ros / "a", wins=[0, 1]), make_run(ros / "b", wins=[0, 2], weights=b"others")
    out = ros / "out"
    assert (
        main(["--checkpoint", str(first), "--sim", "--seeds", "0:3", "--against", str(second), "--output", str(out)])
        == 0
    )
    assert "p = 1. The difference may be chance; more seeds would tell." in capsys.readouterr().out
    assert sorted(path.name for path in out.glob("*.json")) == [
        "sim-lift-200-against-b@200.json", "sim-lift-200-b@200.json", "sim-lift-200.json"
    ]  # fmt: skip
    assert not (first / "evaluations").exists()


def test_the_same_weights_are_not_compared(ros, capsys):
    first, second = make_run(ros / "a", wins=[]), make_run(ros / "b", wins=[])
    assert main(["--checkpoint", str(first), "--sim", "--seeds", "0:3", "--against", str(second)]) == 2
    assert "has the same weights as --checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_evaluation_ends_the_launch_and_keeps_its_trials(ros, number):
    run = make_run(ros / "a", wins=[0])
    (run / "hang").touch()
    command = [
        sys.executable,
        "-m",
        "vla_policy.evaluation.evaluate",
        "--checkpoint",
        str(run),
        "--sim",
        "--seeds",
        "0:4",
    ]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background has SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    record = run / "evaluations" / "sim-lift-200.json"
    try:
        deadline = time.monotonic() + 120.0
        while not (record.is_file() and (run / "hangs").is_file()):
            assert time.monotonic() < deadline, "no trial was kept"
            assert child.poll() is None, child.communicate()
        child.send_signal(number)
        _, said = child.communicate(timeout=120.0)
    finally:
        child.kill()
    assert child.returncode == 2
    assert "stopped; 1 trials are kept in" in said
    assert "The same command goes on from there." in said
    assert (run / "ended").read_text() == "by SIGINT"
    with pytest.raises(ProcessLookupError):
        os.kill(int((run / "hangs").read_text()), 0)
    assert json.loads(record.read_text())["n"] == 1


def test_a_launch_that_hangs_is_ended(ros, capsys, monkeypatch):
    run = make_run(ros / "a", wins=[0])
    (run / "hang").touch()
    monkeypatch.setattr(closed_loop, "STALL_S", 1.0)
    monkeypatch.setattr(closed_loop, "POLL_S", 0.02)
    assert main(["--checkpoint", str(run), "--sim", "--seeds", "0:4"]) == 2
    assert "no trial has ended for 1 s" in capsys.readouterr().err
    assert not (run / "hangs").exists() or (run / "ended").exists()


def test_without_ros_it_says_what_to_do(ros, capsys, monkeypatch):
    run = make_run(ros / "a", wins=[])
    shutil.rmtree(ros / "prefix" / "share" / "vla_sim")
    assert main(["--checkpoint", str(run), "--sim"]) == 2
    assert "needs the package vla_sim, which is not in AMENT_PREFIX_PATH" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(ros))
    assert main(["--checkpoint", str(run), "--sim"]) == 2
    said = capsys.readouterr().err
    assert "there is no 'ros2' in this shell" in said
    assert "--dataset DIR, which needs no ROS" in said


def test_runs_of_seeds():
    assert consecutive([5, 3, 4, 9, 3, 11, 12]) == [(3, 3), (9, 1), (11, 2)]
    assert consecutive([]) == []


def test_the_domain_of_the_caller_is_kept(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "77")
    assert environment()["ROS_DOMAIN_ID"] == "77"
    monkeypatch.delenv("ROS_DOMAIN_ID")
    assert 1 <= int(environment()["ROS_DOMAIN_ID"]) <= 101


def test_a_half_written_result_is_read_later(tmp_path):
    file = tmp_path / "result.json"
    assert read_trials(file) == []
    file.write_text('{"trials": [{"se')
    assert read_trials(file) == []


def test_how_trials_end():
    assert ending(trial(0, True)) == "succeeded"
    assert ending(trial(0, False)) == "time limit"
    assert ending(trial(0, False, termination=5, error_code=203)) == "error (error 203)"
    assert ending(trial(0, False, termination=42)) == "termination 42"
