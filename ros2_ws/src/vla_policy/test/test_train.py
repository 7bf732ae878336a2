# SPDX-License-Identifier: Apache-2.0

"""The training launcher: the command it builds, what it writes down, progress, and what it leaves behind when it fails."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from policy_fixtures import small_profile
from train_work import work_of, write_checkpoint, write_dataset
from vla_policy.policies.checkpoint import choose_profile, find_checkpoint
from vla_policy.training.run_record import LossRows, read_loss, read_record
from vla_policy.training.train import main
from vla_policy.training.train_options import build_parser
from vla_policy.training.train_run import Progress, ProgressPrinter, Trainer
from vla_policy.training.train_settings import (
    PHASES,
    POLICIES,
    SETTINGS_BY_POLICY,
    TrainError,
    TrainJob,
    build_arguments,
    environment,
    flag,
    load_settings,
    precision_options,
    settings_file,
    tracker_options,
)

LEROBOT = tuple(policy for policy in POLICIES if policy != "vla_keypoints")
FAKE = """
import json, os, shutil, sys, time
from pathlib import Path
from vla_policy.training.train_plan import emit, load_plan
fail = os.environ.get("FAIL", "")
if not os.read(0, 1):
    sys.exit(0)
plan = load_plan(Path(os.environ["VLA_TRAIN_PLAN"]))
run = Path(plan.run)
sys.stderr.write("Training:  25%|###| 1/4 [00:01<00:01,  1.0step/s]\\r"); sys.stderr.flush()
if fail == "early":
    sys.exit("RuntimeError: no more memory")
run.mkdir(exist_ok=True)
with (run / "loss.csv").open("w") as out:
    out.write("step,loss,grad_norm,lr,update_s,data_s\\n")
    for step in range(1, 5):
        out.write(f"{step},{1 / step},1.0,0.001,0.3,0.1\\n")
        emit(event="step", step=step, loss=1 / step, parameters=7, trainable=5)
print("INFO step:4 loss:0.250", flush=True)
if fail == "reason":
    emit(event="stop", reason="the loss is nan at step 4. Lower it.")
    sys.exit(4)
if fail == "wait":
    (run / "waiting").touch()
    time.sleep(60)
shutil.copytree(READY, run, symlinks=True, dirs_exist_ok=True)
if fail == "late":
    sys.exit(3)
if fail == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def profile():
    return small_profile()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, profile):
    return write_dataset(tmp_path_factory.mktemp("data") / "ds", profile, episodes=3, length=10)


@pytest.fixture
def fake_trainer(tmp_path, monkeypatch, profile):
    """Replaces the training process by a script that tells what it tells and copies a ready checkpoint."""
    ready = tmp_path / "ready"
    write_checkpoint(ready, profile)
    script = tmp_path / "trainer.py"
    script.write_text(FAKE.replace("READY", repr(str(ready))))
    monkeypatch.setattr("vla_policy.training.train.trainer_command", lambda processes: [sys.executable, str(script)])
    return script


def arguments(dataset, output, *more):
    return ["--policy", "act", "--dataset", str(dataset), "--output", str(output), *more]


def test_phases_name_their_settings():
    for policy in LEROBOT:
        assert {"finetune", "sanity"} <= {phase for phase in PHASES if _there(policy, phase)}
        assert load_settings(settings_file(policy, "sanity"), policy=policy).steps <= 20
    assert settings_file("act", None).stem == "act_demo"
    assert settings_file("pi05", None).stem == "pi05_finetune"
    with pytest.raises(TrainError, match=r"--phase demo: there are no such settings for policy 'pi05'"):
        settings_file("pi05", "demo")
    with pytest.raises(TrainError, match=r"policy 'smolvl'; did you mean 'smolvla'.*--settings FILE"):
        settings_file("smolvl", None)


def _there(policy, phase):
    try:
        return settings_file(policy, phase).is_file()
    except TrainError:
        return False


def test_values_become_flags():
    assert flag("a.b", None) == "--a.b=null"
    assert flag("a", False) == "--a=false"
    assert flag("a", [96, 96]) == "--a=[96, 96]"
    assert flag("a", 0.5) == "--a=0.5"


def test_the_environment_is_offline_with_a_fixed_thread_count():
    env = environment({"PATH": "/bin", "MALLOC_TOP_PAD_": "1"}, threads=2)
    assert (env["HF_HUB_OFFLINE"], env["OMP_NUM_THREADS"], env["PATH"]) == ("1", "2", "/bin")
    assert env["MALLOC_TOP_PAD_"] == "1", "what the user set stays"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stepz: 3\n", r"unknown key 'stepz'; did you mean 'steps'\?"),
        ("workers: -1\n", "'workers' must be a whole number of at least 0"),
        ("flags: {output_dir: x}\n", "output_dir are set by the launcher"),
        ("policy: smolvla\n", "is for policy 'smolvla', not for 'act'"),
        ("flags: 3\n", "'flags' must map"),
    ],
)
def test_settings_files_are_strict(tmp_path, change, message):
    base = {"policy": "act", "steps": "1", "batch_size": "1", "log_every": "1", "workers": "0", "flags": "{}"}
    key, value = change.strip().split(": ", 1)
    file = tmp_path / "settings.yaml"
    file.write_text("".join(f"{k}: {v}\n" for k, v in {**base, key: value}.items()))
    with pytest.raises(TrainError, match=message):
        load_settings(file, policy="act")


def test_settings_that_cannot_be_read(tmp_path):
    with pytest.raises(TrainError, match="cannot read the training settings"):
        load_settings(tmp_path / "none.yaml", policy="act")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(TrainError, match="not valid YAML"):
        load_settings(tmp_path / "bad.yaml", policy="act")
    (tmp_path / "short.yaml").write_text("policy: act\n")
    with pytest.raises(TrainError, match="key 'steps' is missing"):
        load_settings(tmp_path / "short.yaml", policy="act")


def test_extra_options_must_fit(dataset, tmp_path):
    settings = load_settings(SETTINGS_BY_POLICY["act"], policy="act")
    for extra, message in (("--seed", "not of the form --key=value"), ("--output_dir=x", "is set by the launcher")):
        job = TrainJob(dataset=dataset, output=tmp_path, device="cpu", seed=0, extra=(extra,))
        with pytest.raises(TrainError, match=message):
            build_arguments(settings, job)


def test_precision_becomes_the_option_that_the_policy_has():
    assert precision_options("act", "auto", "cuda") == {}
    assert precision_options("act", "bfloat16", "cpu") == {"policy.use_amp": True}
    assert precision_options("smolvla", "float32", "cpu") == {"policy.use_amp": False}
    assert precision_options("pi05", "bfloat16", "cuda") == {"policy.dtype": "bfloat16"}
    for policy, device in (("pi0", "cuda"), ("act", "cpu")):
        with pytest.raises(TrainError, match="trains in bfloat16 or float32"):
            precision_options(policy, "float16", device)


def test_the_tracker_goes_online_only_when_somebody_is_logged_in(tmp_path):
    assert tracker_options("off", "p", {}) == {"wandb.enable": False}
    home = {"HOME": str(tmp_path)}
    options = tracker_options("offline", "p", home)
    assert (options["wandb.enable"], options["wandb.mode"], options["wandb.project"]) == (True, "offline", "p")
    with pytest.raises(TrainError, match=r"nobody is logged in.*wandb login.*--tracker offline"):
        tracker_options("online", "p", home)
    assert tracker_options("online", "p", {**home, "WANDB_API_KEY": "k"})["wandb.mode"] == "online"


def test_a_run_writes_down_what_was_trained_on_what(fake_trainer, dataset, tmp_path, profile, capsys):
    output = tmp_path / "out"
    assert main(arguments(dataset, output, "--steps", "4", "--held-out", "0.3")) == 0
    printed = capsys.readouterr().out
    assert (
        "HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 python -m vla_policy.training.trainer --dataset.repo_id=local/ds" in printed
    )
    assert "validated: " in printed
    assert "4/4 steps  loss 0.2500" in printed
    assert choose_profile(find_checkpoint(output), None).sha256 == profile.sha256
    record = read_record(output)
    assert (record["schema"], record["policy"], record["phase"], record["base"]) == (1, "act", "demo", None)
    assert (record["outcome"], record["loss"], record["last_step"]) == ("finished", 0.25, 4)
    assert (record["parameters"], record["trainable_parameters"]) == (7, 5)
    assert (record["data_time_share"], record["steps_per_s"]) == (0.25, 2.5)
    assert 0.0 < record["first_step_s"] <= record["seconds"] + 0.01
    (data,) = record["datasets"]
    assert (data["path"], data["episodes"], data["frames"]) == (str(dataset), 3, 30)
    assert len(data["sha256"]) == 64
    assert 1 <= len(data["held_out"]) < 3
    assert record["versions"]["lerobot"].startswith("0.6")
    assert "loss:0.250" in (output / "train.log").read_text()
    assert (output / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert main(arguments(dataset, output)) == 2
    assert (
        "the run folder exists already. Name a new one, delete it, or go on with it: --resume"
        in capsys.readouterr().err
    )


def test_a_dry_run_prints_the_command_and_starts_nothing(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    assert main(arguments(dataset, tmp_path / "out", "--dry-run", "--", "--policy.dim_model=32")) == 0
    printed = capsys.readouterr().out
    assert printed.count("--policy.dim_model=") == 1
    assert "--policy.dim_model=32" in printed
    assert not (tmp_path / "out").exists()


def test_help_and_a_dry_run_load_neither_ros_nor_lerobot(dataset, tmp_path):
    check = (
        "import sys; from vla_policy.training.train import main\n"
        f"code = main({arguments(dataset, tmp_path / 'out', '--dry-run')!r})\n"
        "heavy = {'rclpy', 'torch', 'lerobot', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_training_that_made_no_step_leaves_nothing_behind(fake_trainer, dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FAIL", "early")
    assert main(arguments(dataset, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "lerobot-train ended with exit code 1" in error
    assert "no more memory" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("late", "lerobot-train ended with exit code 3"),
        ("killed", "the training process was killed (SIGKILL), often because memory ran out"),
        ("reason", "the loss is nan at step 4. Lower it."),
    ],
)
def test_a_training_that_ends_early_keeps_its_record(
    fail, message, fake_trainer, dataset, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("FAIL", fail)
    assert main(arguments(dataset, tmp_path / "out", "--skip-validate")) == 2
    assert message in capsys.readouterr().err
    record = read_record(tmp_path / "out")
    assert record["outcome"].startswith("stopped: ")
    assert message[:30] in record["outcome"]
    assert record["last_step"] == 4
    assert (tmp_path / "out" / "loss.png").is_file()


def test_a_signal_ends_the_training_process_and_is_reported(fake_trainer, dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FAIL", "wait")

    def interrupt():
        while not (tmp_path / "out" / "waiting").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    assert main(arguments(dataset, tmp_path / "out", "--skip-validate")) == 2
    thread.join()
    assert "training was stopped by SIGTERM" in capsys.readouterr().err
    assert "SIGTERM" in read_record(tmp_path / "out")["outcome"]
    assert time.monotonic() - started < 30
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_training_process_ends_with_its_launcher(tmp_path):
    """It waits with its libraries loaded; when nobody tells it to begin, its input closes."""
    waiting = Trainer(
        [sys.executable, "-c", "import os; os._exit(7 if os.read(0, 1) else 0)"], environment=os.environ, wait=True
    )
    child = waiting._child
    waiting._child.stdin.close()
    assert child.wait(20) == 0
    waiting.__exit__()


def test_options_that_contradict_each_other(dataset, tmp_path, profile):
    base = write_checkpoint(tmp_path / "base", profile)
    cases = {
        "--vlm is for SmolVLA": ("--vlm", tmp_path),
        "--tokenizer is for pi0": ("--tokenizer", tmp_path),
        "adapters of pi0, pi05, smolvla, not of 'act'": ("--lora", "8"),
        "both name the settings": ("--phase", "sanity", "--settings", tmp_path / "x.yaml"),
    }
    for message, options in cases.items():
        with pytest.raises(TrainError, match=message):
            work_of(*arguments(dataset, tmp_path / "out", *options))
    smolvla = [str(one) if one != "act" else "smolvla" for one in arguments(dataset, tmp_path / "out")]
    for message, options in {
        "no backbone folder": ("--vlm", tmp_path / "no"),
        "adapters need a checkpoint to adapt": ("--lora", "8"),
        "is a 'act', not a 'smolvla'": ("--base", base),
    }.items():
        with pytest.raises(TrainError, match=message):
            work_of(*smolvla, *options)
    with pytest.raises(TrainError, match="name the policy and the dataset"):
        work_of("--output", tmp_path / "out")


def test_a_base_checkpoint_replaces_the_policy_type(dataset, tmp_path, profile):
    base = write_checkpoint(tmp_path / "base", profile)
    work = work_of(*arguments(dataset, tmp_path / "out", "--base", tmp_path / "base"))
    assert f"--policy.path={base}" in work.plan.arguments
    policy = [word.split("=")[0] for word in work.plan.arguments if word.startswith("--policy.")]
    assert "--policy.use_amp" in policy, "how it is trained comes from the settings"
    assert not {"--policy.dim_model", "--policy.chunk_size", "--policy.n_action_steps"} & set(policy), (
        "sizes from the base"
    )
    assert not [one for one in work.plan.arguments if one.startswith("--policy.type=")]
    assert work.record["base"] == str(base)
    assert f"from {base}" in work.plan.card


def test_resuming_needs_a_run(tmp_path, dataset):
    with pytest.raises(TrainError, match=r"no run to go on with \(run\.json"):
        work_of("--resume", "--output", tmp_path / "none")


def test_progress_is_told_by_the_training_process():
    progress = Progress(total=200)
    assert progress.feed(b"INFO Creating dataset", 0.0) is None
    assert progress.feed(b'@vla-train {"event": "step", "step": 1, "loss": 0.5}', 1.0)
    assert progress.feed(b'Training: 10%|@vla-train {"event": "step", "step": 21, "loss": 0.25}', 11.0)
    assert (progress.step, progress.loss) == (21, 0.25)
    assert progress.line().startswith("[##......................] 21/200 steps  loss 0.2500  2.00 steps/s  90 s left")
    assert progress.feed(b'@vla-train {"event": "stop", "reason": "full"}', 12.0)
    assert progress.reason == "full"
    stream = io.StringIO()
    printer = ProgressPrinter(stream)
    printer.show(progress, 100.0)
    printer.show(progress, 100.1)
    assert stream.getvalue().count("\n") == 1, "a line now and then where there is no terminal"


def test_a_run_without_a_step_has_no_loss(tmp_path):
    assert read_loss(tmp_path) == LossRows()
    assert LossRows().data_time_share is None
    assert LossRows(step=[1], loss=[1.0], update_s=[1.0], data_s=[1.0]).steps_per_s is None


def test_every_option_has_a_help_text_and_the_help_an_example():
    parser = build_parser()
    assert all(action.help for action in parser._actions)
    assert "ros2 run vla_policy train --policy act --dataset outputs/lift --run lift_act" in parser.format_help()
    assert all(Path(file).is_file() for file in SETTINGS_BY_POLICY.values())
