# SPDX-License-Identifier: Apache-2.0

"""Train a policy on a dataset: `ros2 run vla_policy train --policy act --dataset DIR --output DIR`.

The training itself is LeRobot's own `lerobot-train`. This launcher fills in what an offline run needs, shows the
command, and completes each checkpoint with the robot profile (and SmolVLA's backbone), so that a checkpoint folder
alone is enough to run the policy.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_core.errors import ProfileError, VlaError
from vla_core.profile import Profile, load_profile

from vla_policy.policies.checkpoint import attach, run_checkpoints
from vla_policy.policies.contract import feature_differences, profile_shapes
from vla_policy.training.train_run import Progress, run_trainer, say
from vla_policy.training.train_settings import (
    SETTINGS_BY_POLICY,
    TrainError,
    TrainJob,
    TrainSettings,
    build_command,
    environment,
    load_settings,
    shown,
)

DATASET_PROFILE = Path("meta") / "vla" / "profile.yaml"
REPORT_FILE = "train_report.json"
PROBE = "import torchcodec.decoders"
PROBE_TIMEOUT_S = 120.0


def check_dataset(dataset: Path) -> dict[str, Any]:
    """Content of the dataset's `meta/info.json`.

    Raises:
        TrainError: the folder is no LeRobot dataset, or holds no frames.
    """
    remedy = "Make one with: ros2 run vla_recorder convert --bags DIR --output DIR."
    if not dataset.is_dir():
        raise TrainError(f"{dataset}: there is no such dataset folder. {remedy}")
    if not any(dataset.iterdir()):
        raise TrainError(f"{dataset}: the dataset folder is empty. {remedy}")
    info_file = dataset / "meta" / "info.json"
    try:
        info = json.loads(info_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{dataset}: not a LeRobot dataset, meta/info.json is missing. {remedy}") from error
    except ValueError as error:
        raise TrainError(f"{info_file}: not valid JSON: {error}. {remedy}") from error
    if not isinstance(info, dict) or not info.get("total_frames"):
        raise TrainError(f"{dataset}: the dataset holds no frames. {remedy}")
    return info


def dataset_profile(dataset: Path, info: dict[str, Any], given: Path | None) -> Profile:
    """The profile that the dataset was made under, checked against the dataset's features.

    Raises:
        TrainError: the dataset carries no profile and none is given, or it does not describe the dataset.
    """
    file = given or dataset / DATASET_PROFILE
    if given is None and not file.is_file():
        raise TrainError(
            f"{dataset}: no robot profile travels with the dataset ({DATASET_PROFILE} is missing), and a checkpoint "
            f"without one cannot be run. Pass the profile it was made under: --profile FILE."
        )
    try:
        profile = load_profile(file)
    except ProfileError as error:
        raise TrainError(f"{file}: the dataset's robot profile is unusable: {error}") from error
    stored = {
        name: _channels_first(feature)
        for name, feature in info["features"].items()
        if name == "action" or name == "observation.state" or name.startswith("observation.images.")
    }
    differences = [
        line.replace("the policy", "the dataset").replace("policy", "dataset")
        for line in feature_differences(stored, profile_shapes(profile))
    ]
    if differences:
        raise TrainError(f"{dataset}: the dataset does not fit the profile {file}:\n  " + "\n  ".join(differences))
    return profile


def _channels_first(feature: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(feature["shape"])
    if feature.get("dtype") in ("video", "image") and shape[-1] in (1, 3):
        return (shape[-1], *shape[:-1])
    return shape


def video_backend() -> str:
    """The fastest video decoder that loads here. A child process tries it: a broken library may end the process."""
    try:
        probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return "pyav"
    return "torchcodec" if probe.returncode == 0 else "pyav"


def trainer_program() -> list[str]:
    """The `lerobot-train` that belongs to this interpreter."""
    beside = Path(sys.executable).parent / "lerobot-train"
    found = str(beside) if beside.is_file() else shutil.which("lerobot-train")
    if found is None:
        raise TrainError(
            "lerobot-train is not installed for this Python. Run: pip install 'lerobot[dataset,training]'."
        )
    return [found]


def _backbone(arguments: argparse.Namespace, job: TrainJob) -> Path | None:
    """SmolVLA's backbone folder: the given one, or a small new one beside the run folder."""
    if arguments.policy != "smolvla":
        if arguments.vlm is not None:
            raise TrainError(f"--vlm is for SmolVLA; policy '{arguments.policy}' has no language backbone.")
        return None
    if arguments.vlm is not None:
        if not (arguments.vlm / "config.json").is_file():
            raise TrainError(f"{arguments.vlm}: no backbone folder (config.json missing). Make one: make_small_vlm.")
        return Path(arguments.vlm)
    return job.output.parent / f"{job.output.name}_vlm"


def _make_backbone(folder: Path, settings: TrainSettings, sentences: Sequence[str]) -> None:
    # The module loads transformers, which takes seconds; only a run that makes a backbone pays for it.
    from vla_policy.training.small_vlm import SmallVlmSize, make_small_vlm  # noqa: PLC0415

    image = int(settings.flags.get("policy.resize_imgs_with_padding", [SmallVlmSize().image])[0])
    made = make_small_vlm(folder, sentences=sentences, size=SmallVlmSize(image=image))
    say(f"backbone: {folder} ({made['vocabulary']} tokens, {made['tokens_per_image']} per image)")


def train(arguments: argparse.Namespace, extra: Sequence[str]) -> int:
    """Check, run, complete the checkpoints, report. Returns the exit code.

    Raises:
        VlaError: anything the user can put right; nothing half-written is left.
    """
    settings_file = arguments.settings or SETTINGS_BY_POLICY[arguments.policy]
    settings = load_settings(settings_file, policy=arguments.policy)
    settings = replace(
        settings,
        steps=arguments.steps or settings.steps,
        batch_size=arguments.batch_size or settings.batch_size,
        workers=settings.workers if arguments.workers is None else arguments.workers,
    )
    info = check_dataset(arguments.dataset)
    profile = dataset_profile(arguments.dataset, info, arguments.profile)
    if arguments.output.exists():
        raise TrainError(f"{arguments.output}: the run folder exists already. Name a new one, or delete it.")
    job = TrainJob(
        dataset=arguments.dataset,
        output=arguments.output,
        device=arguments.device,
        seed=arguments.seed,
        video_backend=video_backend(),
        extra=tuple(extra),
    )
    job = replace(job, vlm=_backbone(arguments, job))
    command = build_command(settings, job, program=trainer_program())
    say(shown(command, threads=arguments.threads))
    if arguments.dry_run:
        return 0
    made_vlm = job.vlm is not None and not job.vlm.exists()
    if made_vlm and job.vlm is not None:
        _make_backbone(job.vlm, settings, [profile.task])
    started_s = time.monotonic()
    try:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        progress = run_trainer(
            command,
            environment=environment(os.environ, threads=arguments.threads),
            steps=settings.steps,
            output=arguments.output,
        )
    finally:
        finished = _complete(arguments.output, profile, job.vlm)
        if not finished:
            _remove(arguments.output, job.vlm if made_vlm else None)
    if not finished:
        raise TrainError(f"{arguments.output}: training ended without a checkpoint.")
    _report(arguments.output, settings, progress, time.monotonic() - started_s, finished[-1])
    return 0


def _complete(output: Path, profile: Profile, vlm: Path | None) -> list[Path]:
    """Complete every checkpoint of the run; also those of a run that was stopped."""
    finished = run_checkpoints(output)
    for path in finished:
        attach(path, profile=profile, vlm=vlm)
    return finished


def _remove(output: Path, vlm: Path | None) -> None:
    shutil.rmtree(output, ignore_errors=True)
    if vlm is not None:
        shutil.rmtree(vlm, ignore_errors=True)


def _report(output: Path, settings: TrainSettings, progress: Progress, seconds: float, last: Path) -> None:
    report = {
        "policy": settings.policy,
        "steps": progress.step,
        "batch_size": settings.batch_size,
        "seconds": round(seconds, 2),
        "steps_per_s": round(progress.rate, 3),
        "loss": progress.loss,
        "settings": settings.source,
        "checkpoint": str(last),
    }
    (output / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    say(f"checkpoint: {last}  ({progress.step} steps in {seconds:.0f} s, loss {progress.loss})")


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {value}")
    return value


def build_parser() -> argparse.ArgumentParser:
    """The command line; options after `--` go to lerobot-train unchanged."""
    parser = argparse.ArgumentParser(
        prog="ros2 run vla_policy train",
        description="Train a policy with lerobot-train, offline. Options after -- are passed on (--key=value).",
    )
    parser.add_argument("--policy", choices=sorted(SETTINGS_BY_POLICY), required=True, help="policy to train")
    parser.add_argument("--dataset", type=Path, required=True, help="LeRobot v3 dataset folder")
    parser.add_argument("--output", type=Path, required=True, help="run folder; must not exist")
    parser.add_argument("--settings", type=Path, help="settings file (default: the package's file for the policy)")
    parser.add_argument("--profile", type=Path, help="robot profile (default: the one that travels with the dataset)")
    parser.add_argument("--vlm", type=Path, help="SmolVLA backbone folder (default: a small new one beside the run)")
    parser.add_argument("--steps", type=positive, help="optimiser steps (default: from the settings)")
    parser.add_argument("--batch-size", type=positive, help="frames per step (default: from the settings)")
    parser.add_argument("--threads", type=positive, default=1, help="compute threads (default %(default)s)")
    parser.add_argument("--workers", type=int, help="video decoding processes (default: from the settings)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1000, help="weights and sample order (default %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print the command and stop")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 0, or 2 with a message."""
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    arguments = build_parser().parse_args(given[:split])
    try:
        return train(arguments, given[split + 1 :])
    except VlaError as error:
        say(f"error: {error}", sys.stderr)
        return 2
