# SPDX-License-Identifier: Apache-2.0

"""`evaluate --dataset` through LeRobot's reader: what windows hold, which episodes are taken, what is written, what is refused."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from evaluation_fixtures import OffsetRunner, run_record
from policy_fixtures import make_act_checkpoint, make_dataset, small_profile
from vla_core.actions import ActionMap
from vla_policy.evaluation.checks import check_fit, choose_episodes
from vla_policy.evaluation.dataset import RecordedWindows
from vla_policy.evaluation.evaluate import main, numbers, parse
from vla_policy.evaluation.offline import evaluate_offline
from vla_policy.evaluation.predictors import RunnerPredictor
from vla_policy.evaluation.run_folder import EvaluationError
from vla_policy.training.dataset_checks import dataset_sha256

LENGTH = 12


@pytest.fixture(scope="module")
def profile():
    return small_profile()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, profile):
    """Three episodes of 12 frames; the joints follow a sine, the action is the joint one step of 0.2 further on."""
    return make_dataset(tmp_path_factory.mktemp("data") / "lift", profile, episodes=3, length=LENGTH)


@pytest.fixture(scope="module")
def run(tmp_path_factory, profile, dataset):
    """A run folder with a tiny random ACT, whose training left out episode 1."""
    folder = tmp_path_factory.mktemp("runs") / "act"
    make_act_checkpoint(folder, profile)
    (folder / "run.json").write_text(json.dumps(run_record(dataset, dataset_sha256(dataset), held_out=[1])))
    return folder


def state_at(episode, step):
    phase = 0.2 * step + episode
    return [np.sin(phase), np.cos(phase), 0.5]


def test_windows_hold_what_the_dataset_holds(dataset, profile):
    windows = list(RecordedWindows(dataset, profile, episodes=[0, 2], steps=4, stride=5, history=2))
    assert [(one.episode, one.step) for one in windows] == [(0, 1), (0, 6), (0, 11), (2, 1), (2, 6), (2, 11)]
    window = windows[4]
    assert window.frame.state == pytest.approx(state_at(2, 6), abs=1e-6)
    assert window.frame.t_ns == pytest.approx(600_000_000, abs=100)
    assert window.truth == pytest.approx(np.array([state_at(2, 7 + k) for k in range(4)]), abs=1e-6)
    assert window.previous == pytest.approx(state_at(2, 6), abs=1e-6)
    assert window.task == "pick up the block"
    pixel = int(127 + 100 * np.sin(0.2 * 6 + 2))
    assert window.frame.images["front"].shape == (32, 32, 3)
    assert window.frame.images["front"].dtype == np.uint8
    assert (window.frame.images["front"] == pixel).all()
    assert [one.t_ns for one in window.history] == [window.frame.t_ns - 200_000_000, window.frame.t_ns - 100_000_000]
    assert window.history[0].state == pytest.approx(state_at(2, 4), abs=1e-6)
    assert int(window.history[0].images["front"][0, 0, 0]) == int(127 + 100 * np.sin(0.2 * 4 + 2))
    assert len(windows[0].history) == 1, "the second frame of an episode has one before it"
    assert windows[2].valid.tolist() == [True, False, False, False], "the episode ends with frame 11"


def test_a_policy_that_holds_the_state_has_the_error_of_the_motion(dataset, profile):
    """The action of step k is the state k + 1 steps on, so holding the state errs by a known difference of sines."""
    windows = RecordedWindows(dataset, profile, episodes=[0, 1, 2], steps=3, stride=1)
    runner = OffsetRunner()
    found = evaluate_offline(
        windows, RunnerPredictor(runner), profile, steps=3, statistics=windows.statistics()
    ).measures
    kept = [(e, i) for e in range(3) for i in range(1, LENGTH)]
    for k in range(3):
        errors = [np.subtract(state_at(e, i), state_at(e, i + k + 1)) ** 2 for e, i in kept if i + k < LENGTH]
        assert found["policy"]["mse_over_horizon"][k] == pytest.approx(np.mean(errors), rel=1e-4)
        # the action before the observation is its state, so holding either is the same here
        assert found["hold_last"]["mse_over_horizon"][k] == pytest.approx(np.mean(errors), rel=1e-4)
    assert len(runner.seen) == len(kept)
    assert runner.seen[0][2] == "pick up the block"
    means = np.mean([state_at(e, i + 1) for e in range(3) for i in range(LENGTH)], axis=0)
    assert windows.statistics()["mean"] == pytest.approx(means, rel=1e-4, abs=1e-5)


def test_differences_are_counted_from_the_observation(tmp_path):
    """Recorded deltas count from their own frames; a chunk counts all from the first, as the policy node executes it."""
    delta = small_profile(**{"task: pick": "action_space: delta_joint\ntask: pick"})
    folder = make_dataset(tmp_path / "delta", delta, episodes=1, length=LENGTH)
    windows = RecordedWindows(folder, delta, episodes=[0], steps=3, stride=4)
    assert windows.relative
    window = list(windows)[1]
    assert window.step == 5
    # action of frame j: sin(phase j + 0.2) and so on, counted from the state of frame j
    for k in range(3):
        target = np.array(state_at(0, 5 + k)[:2]) + np.array(state_at(0, 6 + k)[:2])
        assert window.truth[k, :2] == pytest.approx(target - np.array(state_at(0, 5)[:2]), abs=1e-5)
    before = np.array(state_at(0, 4)[:2]) + np.array(state_at(0, 5)[:2]) - np.array(state_at(0, 5)[:2])
    assert window.previous[:2] == pytest.approx(before, abs=1e-5)
    decoded = ActionMap(delta).to_joint_targets(window.truth, window.frame.state)
    assert decoded["arm"][0] == pytest.approx(np.array(state_at(0, 5)[:2]) + np.array(state_at(0, 6)[:2]), abs=1e-5)


def test_the_run_says_which_episodes_are_held_out(run, dataset, capsys):
    assert main(["--checkpoint", str(run), "--dataset", str(dataset), "--stride", "4", "--draw", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 episodes that the training left out" in said
    content = json.loads((run / "evaluations" / "offline-lift-1.json").read_text())
    assert content["kind"] == "offline"
    assert content["dataset"]["episodes"] == [1]
    assert content["dataset"]["trained_on"] == 0
    assert content["dataset"]["sha256"] == dataset_sha256(dataset)
    assert (content["windows"], content["steps"], content["n_action_steps"], content["step"]) == (3, 8, 8, 1)
    assert content["policy_type"] == "act"
    assert len(content["policy"]["mse_over_horizon"]) == 8
    assert content["latency_ms"]["p95"] >= content["latency_ms"]["p50"] > 0.0
    for name in ("policy", "hold_last", "dataset_mean"):
        per_value = content[name]["mse_per_dimension"]
        assert content[name]["mse"] == pytest.approx(np.mean(per_value))
    page = (run / "evaluations" / "offline-lift-1" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3, "horizon, values and one episode, inside the page"
    for text in ("shoulder.pos [rad]", "Clipping:", content["weights_sha256"], "hold last"):
        assert text in page
    shutil.rmtree(run / "evaluations")


def test_the_runner_of_the_policy_node_is_what_answers(run, dataset, profile, tmp_path):
    """The same chunk as from the runner itself, asked with the frame of the dataset."""
    from vla_policy.policies.lerobot_runner import load
    from vla_policy.policies.runner import LoadRequest

    file = tmp_path / "copy.json"
    arguments = [
        "--checkpoint",
        str(run),
        "--dataset",
        str(dataset),
        "--episodes",
        "0",
        "--stride",
        "99",
        "--horizon",
        "2",
    ]
    assert main([*arguments, "--output", str(tmp_path / "out"), "--json", str(file), "--name", "two"]) == 0
    content = json.loads(file.read_text())
    assert json.loads((tmp_path / "out" / "two.json").read_text()) == content
    assert content["dataset"]["trained_on"] == 1, "episode 0 was trained on"
    (window,) = RecordedWindows(dataset, profile, episodes=[0], steps=2, stride=99)
    runner = load(LoadRequest(checkpoint=str(run))).runner
    runner.reset()
    chunk = runner.infer(window.frame, window.task).values[:2]
    assert content["policy"]["mse"] == pytest.approx(float(np.mean((chunk - window.truth) ** 2)), rel=1e-5)


def test_a_mock_needs_no_checkpoint(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["--mock-model", "--mock-noise", "0.05", "--dataset", str(dataset), "--seed", "3", "--stride", "1"]) == 0
    )
    said = capsys.readouterr().out
    for metric in ("MSE, mean over the values", "shoulder.pos [rad]", "Delta magnitude", "Clipping"):
        assert metric in said
    content = json.loads((tmp_path / "outputs" / "evaluations" / "mock-noisy-lift.json").read_text())
    assert content["policy"]["mse"] == pytest.approx(0.0025, rel=0.15)
    assert content["checkpoint"] is None
    assert main(["--mock-model", "hold_last", "--dataset", str(dataset)]) == 0
    content = json.loads((tmp_path / "outputs" / "evaluations" / "mock-hold_last-lift.json").read_text())
    assert content["policy"]["mse"] == content["hold_last"]["mse"]


@pytest.mark.parametrize(
    ("record", "given", "why", "text"),
    [
        ({}, None, "all", "no run.json says which of them"),
        (run_record("/d", "aa", held_out=[2, 3]), None, "held_out", "2 episodes that the training left out"),
        (run_record("/d", "aa"), None, "all", "the errors are those of training"),
        (run_record("/d", "bb", held_out=[2]), None, "all", "the dataset has changed since the training"),
        (run_record("/e", "bb"), None, "unseen_dataset", "that the run was not trained on"),
        (run_record("/d", "aa", held_out=[2, 3]), [1, 2], "given", "the policy was trained on 1 of them"),
        (run_record("/e", "bb"), [1, 2], "given", "the policy was trained on 0 of them"),
        ({}, [1, 2], "given", "it is not known which of them"),
    ],
)
def test_why_these_episodes(tmp_path, record, given, why, text):
    from pathlib import Path

    found = choose_episodes(5, record, dataset=Path("/d"), sha256="aa", given=given)
    assert found.why == why
    assert text in found.text


def test_episodes_that_are_not_there():
    from pathlib import Path

    with pytest.raises(EvaluationError, match=r"there is no episode 7; the dataset has 5 \(0 to 4\)"):
        choose_episodes(5, {}, dataset=Path("/d"), sha256="aa", given=[1, 7])
    with pytest.raises(EvaluationError, match=r"left out episode 9, the dataset has 5 \(0 to 4\).*--episodes 0:5"):
        choose_episodes(5, run_record("/d", "aa", held_out=[9]), dataset=Path("/d"), sha256="aa", given=None)


def test_what_does_not_fit_is_refused(dataset, profile):
    info = json.loads((dataset / "meta" / "info.json").read_text())
    with pytest.raises(
        EvaluationError, match=r"has 10 frames per second, the profile of the policy 20.*--fps 20, or train"
    ):
        check_fit(dataset, info, small_profile(**{"fps: 10": "fps: 20"}), "the policy")
    large = small_profile(**{"size: [32, 32]": "size: [48, 48]"})
    with pytest.raises(
        EvaluationError, match=r"observation.images.front: dataset \(3, 32, 32\), profile \(3, 48, 48\)"
    ) as caught:
        check_fit(dataset, info, large, "the policy")
    assert "Evaluate on a dataset that was converted under the policy's profile" in str(caught.value)
    swapped = small_profile(**{"[shoulder, elbow]": "[elbow, shoulder]"})
    with pytest.raises(EvaluationError, match=r"the dataset has 'shoulder.pos' where the policy has 'elbow.pos'"):
        check_fit(dataset, info, swapped, "the policy")
    scaled = small_profile(**{"to: [0.0, 1.0]": "to: [0.0, 2.0]"})
    with pytest.raises(EvaluationError, match=r"scale.*trained with.*2.0.*the dataset .*1.0"):
        check_fit(dataset, info, scaled, "the policy")


def test_messages_of_the_command(run, dataset, tmp_path, capsys):
    assert main(["--checkpoint", str(run), "--dataset", str(tmp_path / "no")]) == 2
    assert "there is no such dataset folder" in capsys.readouterr().err
    old = shutil.copytree(dataset, tmp_path / "old")
    info = json.loads((old / "meta" / "info.json").read_text())
    (old / "meta" / "info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    assert main(["--checkpoint", str(run), "--dataset", str(old)]) == 2
    assert "version 'v2.1'" in capsys.readouterr().err
    assert main(["--checkpoint", str(tmp_path / "none"), "--dataset", str(dataset)]) == 2
    assert "checkpoint not found" in capsys.readouterr().err
    assert main(["--checkpoint", str(run), "--dataset", str(dataset), "--name", "a/b", "--draw", "0"]) == 2
    assert "--name a/b: becomes a file name" in capsys.readouterr().err
    bare = shutil.copytree(dataset, tmp_path / "bare")
    shutil.rmtree(bare / "meta" / "vla")
    assert main(["--mock-model", "--dataset", str(bare)]) == 2
    assert "no robot profile travels with the dataset" in capsys.readouterr().err
    assert main(["--checkpoint", str(run), "--dataset", str(dataset), "--device", "cuda:7"]) == 2
    assert "cuda:7" in capsys.readouterr().err


def test_an_episode_of_one_frame_cannot_be_evaluated(tmp_path, profile):
    folder = make_dataset(tmp_path / "short", profile, episodes=1, length=1)
    with pytest.raises(EvaluationError, match="no chosen episode has two frames or more"):
        RecordedWindows(folder, profile, episodes=[0], steps=2, stride=1)


def test_ranges():
    assert numbers("0:3,7, 5:6") == [0, 1, 2, 5, 7]
    for wrong in ("a", "3:", "-1", "1:x", ""):
        with pytest.raises(Exception, match="neither a number nor a range; write 0:5"):
            numbers(wrong)
    with pytest.raises(Exception, match="names nothing: the end of a range is not in it"):
        numbers("4:4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "d"], "one of the arguments --checkpoint --mock-model is required"),
        (["--checkpoint", "c", "--dataset", "d", "--seeds", "0:3"], "--seeds goes with --sim"),
        (["--checkpoint", "c", "--dataset", "d", "--fresh"], "--fresh goes with --sim"),
        (["--checkpoint", "c", "--sim", "--stride", "3"], "--stride goes with --dataset"),
        (["--mock-model", "--sim"], "--mock-model needs no robot"),
        (["--mock-model", "hold_last", "--dataset", "d", "--mock-noise", "1"], "goes with --mock-model noisy"),
        (["--mock-model", "--dataset", "d", "--mock-noise", "-1"], "must be at least 0"),
        (["--checkpoint", "c", "--dataset", "d", "--stride", "0"], "must be above 0, got 0"),
        (["--checkpoint", "c", "--sim", "--launch", "bin=moving"], "not of the form key:=value"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert message in capsys.readouterr().err


def test_neither_help_nor_an_evaluation_imports_ros(dataset, tmp_path):
    """`--help` loads no model library either."""
    code = (
        "import sys\nfrom vla_policy.evaluation import evaluate, compare\n"
        "try:\n    evaluate.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'rclpy', 'torch', 'lerobot', 'matplotlib'} & set(sys.modules), sys.modules.keys()\n"
        f"assert evaluate.main(['--mock-model', '--dataset', {str(dataset)!r}, '--episodes', '0']) == 0\n"
        "assert 'lerobot' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith(('rclpy', 'vla_msgs', 'vla_common'))]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert "evaluate --mock-model --dataset" in done.stdout, "the help shows a command to paste"
