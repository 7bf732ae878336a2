# SPDX-License-Identifier: Apache-2.0

"""The training launcher: checks before it starts, the command it builds, progress, and what it leaves behind."""

import io
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from policy_fixtures import make_act_checkpoint, make_dataset, small_profile
from vla_policy.policies.checkpoint import choose_profile, find_checkpoint
from vla_policy.training.train import build_parser, check_dataset, dataset_profile, main
from vla_policy.training.train_run import Progress, ProgressPrinter, run_trainer
from vla_policy.training.train_settings import (
    SETTINGS_BY_POLICY,
    TrainError,
    TrainJob,
    build_command,
    environment,
    flag,
    load_settings,
)


@pytest.fixture(scope="module")
def profile():
    return small_profile()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, profile):
    return make_dataset(tmp_path_factory.mktemp("data") / "ds", profile, episodes=1, length=4)


@pytest.fixture
def fake_trainer(tmp_path, monkeypatch, profile):
    """Replaces lerobot-train by a script that prints what it prints and copies a ready checkpoint."""
    ready = tmp_path / "ready"
    make_act_checkpoint(ready, profile, attach_profile=False)
    script = tmp_path / "trainer.py"
    script.write_text(
        "import os, shutil, sys, time\n"
        "out = next(a.split('=', 1)[1] for a in sys.argv if a.startswith('--output_dir='))\n"
        "for i in range(1, 5):\n"
        "    sys.stderr.write(f'Training: {25 * i:3d}%|###| {i}/4 [00:01<00:01,  1.0step/s]\\r'); sys.stderr.flush()\n"
        "print('INFO step:4 smpl:64 ep:2 epch:1.00 loss:0.125 grdn:1.0 lr:3.0e-04 updt_s:0.1 data_s:0.02', flush=True)\n"
        "if os.environ.get('FAIL') == 'early': sys.exit('RuntimeError: no more memory')\n"
        f"shutil.copytree({str(ready)!r}, out, symlinks=True)\n"
        "if os.environ.get('FAIL') == 'late': print('boom', flush=True); sys.exit(3)\n"
    )
    monkeypatch.setattr("vla_policy.training.train.trainer_program", lambda: [sys.executable, str(script)])
    monkeypatch.setattr("vla_policy.training.train.video_backend", lambda: "pyav")
    return script


def arguments(dataset, output, *more):
    return ["--policy", "act", "--dataset", str(dataset), "--output", str(output), *more]


@pytest.mark.parametrize("policy", sorted(SETTINGS_BY_POLICY))
def test_lerobot_understands_every_shipped_setting(policy, dataset, tmp_path):
    """The command is parsed by LeRobot's own parser, so a renamed option is found here and not in a user's run."""
    import draccus
    import lerobot.policies  # noqa: F401
    from lerobot.configs.train import TrainPipelineConfig

    settings = load_settings(SETTINGS_BY_POLICY[policy], policy=policy)
    vlm = tmp_path / "vlm" if policy == "smolvla" else None
    job = TrainJob(
        dataset=dataset,
        output=tmp_path / "run",
        device="cpu",
        seed=3,
        video_backend="pyav",
        vlm=vlm,
        extra=("--seed=4",),
    )
    command = build_command(settings, job, program=["lerobot-train"])
    config = draccus.parse(TrainPipelineConfig, args=command[1:])
    assert config.policy.type == policy
    assert (config.steps, config.batch_size, config.seed) == (settings.steps, settings.batch_size, 4)
    assert config.policy.push_to_hub is False
    assert config.policy.chunk_size == 16
    assert config.save_freq == 0
    if policy == "act":
        assert config.policy.pretrained_backbone_weights is None
        assert config.optimizer.lr == settings.flags["optimizer.lr"]
    else:
        assert config.policy.vlm_model_name == str(vlm)
        assert tuple(config.policy.resize_imgs_with_padding) == (96, 96)


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
        job = TrainJob(dataset=dataset, output=tmp_path, device="cpu", seed=0, video_backend="pyav", extra=(extra,))
        with pytest.raises(TrainError, match=message):
            build_command(settings, job, program=["lerobot-train"])


def test_folders_that_are_no_dataset(tmp_path, dataset):
    with pytest.raises(TrainError, match=r"there is no such dataset folder.*vla_recorder convert"):
        check_dataset(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainError, match="the dataset folder is empty"):
        check_dataset(tmp_path / "empty")
    (tmp_path / "empty" / "x").touch()
    with pytest.raises(TrainError, match=r"meta/info\.json is missing"):
        check_dataset(tmp_path / "empty")
    (tmp_path / "empty" / "meta").mkdir()
    (tmp_path / "empty" / "meta" / "info.json").write_text("{")
    with pytest.raises(TrainError, match="not valid JSON"):
        check_dataset(tmp_path / "empty")
    (tmp_path / "empty" / "meta" / "info.json").write_text('{"total_frames": 0}')
    with pytest.raises(TrainError, match="holds no frames"):
        check_dataset(tmp_path / "empty")


def test_the_profile_must_describe_the_dataset(tmp_path, dataset, profile):
    info = check_dataset(dataset)
    assert dataset_profile(dataset, info, None).sha256 == profile.sha256
    bare = tmp_path / "bare"
    shutil.copytree(dataset, bare)
    shutil.rmtree(bare / "meta" / "vla")
    with pytest.raises(TrainError, match=r"no robot profile travels with the dataset.*--profile FILE"):
        dataset_profile(bare, info, None)
    other = tmp_path / "other.yaml"
    other.write_text(profile.text.replace("- 32", "- 64"))
    with pytest.raises(TrainError, match=r"observation\.images\.front: dataset \(3, 32, 32\), profile \(3, 64, 64\)"):
        dataset_profile(dataset, info, other)
    other.write_text("robot: x\n")
    with pytest.raises(TrainError, match=r"robot profile is unusable: .*other\.yaml"):
        dataset_profile(dataset, info, other)


def test_a_run_ends_with_checkpoints_that_can_be_loaded(fake_trainer, dataset, tmp_path, profile, capsys):
    output = tmp_path / "out"
    assert main(arguments(dataset, output, "--steps", "4")) == 0
    printed = capsys.readouterr().out
    assert "HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1" in printed
    assert "4/4 steps  loss 0.1250" in printed
    assert choose_profile(find_checkpoint(output), None).sha256 == profile.sha256
    report = json.loads((output / "train_report.json").read_text())
    assert (report["steps"], report["loss"], report["policy"]) == (4, 0.125, "act")
    assert "loss:0.125" in (output / "train.log").read_text()
    assert main(arguments(dataset, output)) == 2
    assert "the run folder exists already" in capsys.readouterr().err


def test_a_dry_run_prints_the_command_and_does_nothing(fake_trainer, dataset, tmp_path, capsys):
    assert main(arguments(dataset, tmp_path / "out", "--dry-run", "--", "--policy.dim_model=32")) == 0
    printed = capsys.readouterr().out
    assert printed.count("--policy.dim_model=") == 1
    assert "--policy.dim_model=32" in printed
    assert not (tmp_path / "out").exists()


def test_a_failed_training_leaves_nothing_behind(fake_trainer, dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FAIL", "early")
    assert main(arguments(dataset, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "lerobot-train ended with exit code 1" in error
    assert "no more memory" in error
    assert not (tmp_path / "out").exists()


def test_checkpoints_of_a_run_that_failed_later_are_completed(fake_trainer, dataset, tmp_path, monkeypatch, profile):
    monkeypatch.setenv("FAIL", "late")
    assert main(arguments(dataset, tmp_path / "out")) == 2
    assert choose_profile(find_checkpoint(tmp_path / "out"), None).sha256 == profile.sha256


def test_a_backbone_is_for_smolvla_only(fake_trainer, dataset, tmp_path, capsys):
    assert main(arguments(dataset, tmp_path / "out", "--vlm", str(tmp_path))) == 2
    assert "--vlm is for SmolVLA" in capsys.readouterr().err
    given = arguments(dataset, tmp_path / "out", "--vlm", str(tmp_path / "no"))
    given[1] = "smolvla"
    assert main(given) == 2
    assert "no backbone folder" in capsys.readouterr().err


def test_a_signal_ends_the_trainer_and_is_reported(tmp_path):
    marker = tmp_path / "started"
    child = f"import pathlib, time; pathlib.Path({str(marker)!r}).touch(); time.sleep(60)"

    def interrupt():
        while not marker.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    with pytest.raises(TrainError, match="stopped by SIGTERM"):
        run_trainer(
            [sys.executable, "-c", child],
            environment=os.environ,
            steps=1,
            output=tmp_path / "out",
            stream=io.StringIO(),
        )
    thread.join()
    assert time.monotonic() - started < 20


def test_progress_is_read_from_the_trainers_output():
    progress = Progress(total=200)
    assert not progress.feed(b"INFO Creating dataset", 0.0)
    assert progress.feed(b"Training:   1%|#         | 1/200 [00:00<00:40,  4.0step/s]", 1.0)
    assert progress.feed(b"Training:  10%|#         | 21/200 [00:05<00:40,  4.0step/s]", 11.0)
    assert progress.feed(b"INFO step:1K smpl:2K loss:0.250 grdn:2.1 data_s:0.012", 11.0)
    assert (progress.step, progress.loss, progress.data_s) == (21, 0.25, 0.012)
    assert progress.line().startswith("[##......................] 21/200 steps  loss 0.2500  2.10 steps/s  85 s left")
    stream = io.StringIO()
    printer = ProgressPrinter(stream)
    printer.show(progress, 100.0)
    printer.show(progress, 100.1)
    assert stream.getvalue().count("\n") == 1, "a line now and then where there is no terminal"


def test_help_names_every_option():
    text = build_parser().format_help()
    for option in (
        "--policy",
        "--dataset",
        "--output",
        "--steps",
        "--batch-size",
        "--threads",
        "--device",
        "--dry-run",
    ):
        assert option in text
    assert Path(SETTINGS_BY_POLICY["act"]).is_file()
