# SPDX-License-Identifier: Apache-2.0

"""From the command line to one piece of work: what is trained on what, and what is written down about it."""

import argparse
import hashlib
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vla_core.errors import listing

from vla_policy.policies.checkpoint import TOKENIZER_DIR, Checkpoint, find_checkpoint
from vla_policy.training.augment import augment_flags
from vla_policy.training.dataset_checks import DatasetFacts, check_alike, inspect_dataset
from vla_policy.training.run_record import dataset_record, model_card, versions
from vla_policy.training.state_noise import STATE_IN_PROMPT, noise_of
from vla_policy.training.train_plan import TrainPlan
from vla_policy.training.train_settings import (
    DTYPE_POLICIES,
    LORA_POLICIES,
    TrainError,
    TrainJob,
    TrainSettings,
    build_arguments,
    load_settings,
    precision_options,
    settings_file,
    tracker_options,
)

MERGED_DIR = "merged"
SMALL_IMAGE = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One training.

    Attributes:
        output: Run folder.
        steps: Last step of the run.
        plan: What the training process is told.
        record: What `run.json` says before the training.
        datasets: What is trained on.
        merged: Folder of the merged dataset; None for a single one.
        validate: Whether the datasets are validated first.
        made_vlm: The backbone folder is made by this run.
        resumed: The run goes on from a checkpoint.
        earlier_s: Seconds that earlier parts of the run took.
    """

    output: Path
    steps: int
    plan: TrainPlan
    record: dict[str, Any]
    datasets: tuple[DatasetFacts, ...]
    merged: Path | None
    validate: bool
    made_vlm: bool = False
    resumed: bool = False
    earlier_s: float = 0.0


def new_work(arguments: argparse.Namespace, extra: Sequence[str], output: Path) -> Work:
    """What a new run does.

    Raises:
        VlaError: the options contradict each other, a dataset cannot be trained on, or the run folder exists.
    """
    policy, settings = _settings(arguments)
    _check_options(arguments, policy, output)
    base = find_checkpoint(arguments.base) if arguments.base is not None else None
    if base is not None and base.policy_type != policy:
        raise TrainError(
            f"--base {base.path}: is a '{base.policy_type}', not a '{policy}'. Name its policy, or another base."
        )
    facts = inspect_all(arguments, policy)
    merged = merged_folder(output, facts)
    vlm, made_vlm = _backbone(arguments, policy, base, output)
    job = TrainJob(
        dataset=merged or facts[0].path,
        output=output,
        device=arguments.device,
        seed=arguments.seed,
        vlm=vlm,
        base=base.path if base else None,
        episodes=_trained_episodes(facts),
        options=_options(arguments, policy) | augment_flags(arguments.augment, _colour_sizes(facts[0])),
        extra=tuple(extra),
    )
    record = _record(arguments, settings, job, facts)
    plan = _plan(arguments, job, record, facts, _tokenizer(arguments, policy, base, vlm))
    if made_vlm:
        image = int(settings.flags.get("policy.resize_imgs_with_padding", [SMALL_IMAGE])[0])
        sentences = list(dict.fromkeys([facts[0].profile.task, *(task for one in facts for task in one.tasks)]))
        plan = replace(plan, make_vlm={"sentences": sentences, "image": image})
    plan = replace(plan, arguments=tuple(build_arguments(settings, job)))
    return Work(
        output=output,
        steps=settings.steps,
        plan=plan,
        record=record,
        datasets=facts,
        merged=merged,
        validate=not arguments.skip_validate,
        made_vlm=made_vlm,
    )


def _settings(arguments: argparse.Namespace) -> tuple[str, TrainSettings]:
    if not arguments.policy or not arguments.dataset:
        raise TrainError("name the policy and the dataset: --policy NAME --dataset DIR; or go on with a run: --resume.")
    if arguments.settings is not None and arguments.phase is not None:
        raise TrainError("--settings and --phase both name the settings; give one of them.")
    file = arguments.settings or settings_file(arguments.policy, arguments.phase)
    settings = load_settings(file, policy=arguments.policy)
    settings = replace(
        settings,
        steps=arguments.steps or settings.steps,
        batch_size=arguments.batch_size or settings.batch_size,
        workers=settings.workers if arguments.workers is None else arguments.workers,
        save_every=settings.save_every if arguments.save_every is None else arguments.save_every,
    )
    return arguments.policy, settings


def _check_options(arguments: argparse.Namespace, policy: str, output: Path) -> None:
    if output.exists():
        raise TrainError(
            f"{output}: the run folder exists already. Name a new one, delete it, or go on with it: --resume."
        )
    if arguments.vlm is not None and policy != "smolvla":
        raise TrainError(f"--vlm is for SmolVLA; policy '{policy}' has no language backbone of its own folder.")
    if arguments.tokenizer is not None:
        if policy not in DTYPE_POLICIES:
            raise TrainError(f"--tokenizer is for {listing(DTYPE_POLICIES)}; policy '{policy}' takes none.")
        if not (arguments.tokenizer / "tokenizer_config.json").is_file():
            raise TrainError(f"{arguments.tokenizer}: no tokenizer folder (tokenizer_config.json missing).")
    if arguments.state_noise and policy in STATE_IN_PROMPT:
        raise TrainError(
            f"--state-noise: {policy} reads the state as words of its prompt, which noise would not reach."
        )
    _check_lora(arguments, policy)


def _check_lora(arguments: argparse.Namespace, policy: str) -> None:
    if arguments.lora is None:
        return
    if policy not in LORA_POLICIES:
        raise TrainError(f"--lora: LeRobot trains adapters of {listing(LORA_POLICIES)}, not of '{policy}'.")
    if arguments.base is None:
        raise TrainError("--lora: adapters need a checkpoint to adapt: --base DIR.")
    if find_spec("peft") is None:
        raise TrainError("--lora: the library peft is not installed. Run: pip install 'lerobot[peft]'.")


def inspect_all(arguments: argparse.Namespace, policy: str) -> tuple[DatasetFacts, ...]:
    """Check every dataset of the command line.

    Raises:
        TrainError: one cannot be trained on, or they cannot be trained on together.
    """
    facts = tuple(
        inspect_dataset(
            path, given=arguments.profile, policy=policy, part=arguments.held_out, spread=not arguments.std_floor
        )
        for path in arguments.dataset
    )
    check_alike(facts)
    return facts


def merged_folder(output: Path, facts: Sequence[DatasetFacts]) -> Path | None:
    """Where the merged dataset of a run lies: beside it, named by the hashes of what went into it."""
    if len(facts) == 1:
        return None
    key = hashlib.sha256("\n".join(one.sha256 for one in facts).encode()).hexdigest()[:16]
    return output.parent / MERGED_DIR / key


def _trained_episodes(facts: Sequence[DatasetFacts]) -> tuple[int, ...] | None:
    if not any(one.held_out for one in facts):
        return None
    trained: list[int] = []
    offset = 0
    for one in facts:
        trained += [offset + index for index in range(one.episodes) if index not in one.held_out]
        offset += one.episodes
    return tuple(trained)


def _backbone(
    arguments: argparse.Namespace, policy: str, base: Checkpoint | None, output: Path
) -> tuple[Path | None, bool]:
    """SmolVLA's backbone folder, and whether it is still to be made."""
    if policy != "smolvla":
        return None, False
    if arguments.vlm is not None:
        if not (arguments.vlm / "config.json").is_file():
            raise TrainError(f"{arguments.vlm}: no backbone folder (config.json missing). Make one: make_small_vlm.")
        return Path(arguments.vlm), False
    if base is not None:
        return base.vlm, False
    folder = output.parent / f"{output.name}_vlm"
    return folder, not folder.exists()


def _tokenizer(arguments: argparse.Namespace, policy: str, base: Checkpoint | None, vlm: Path | None) -> Path | None:
    if policy == "smolvla":
        return vlm if base is not None else None
    if arguments.tokenizer is not None:
        return Path(arguments.tokenizer)
    travelling = base.path / TOKENIZER_DIR if base is not None else None
    return travelling if travelling is not None and travelling.is_dir() else None


def _options(arguments: argparse.Namespace, policy: str) -> dict[str, Any]:
    options = precision_options(policy, arguments.precision, arguments.device)
    options |= tracker_options(arguments.tracker, arguments.project, os.environ)
    if arguments.tracker != "off":
        options["job_name"] = (arguments.output or Path(arguments.run)).name
    if arguments.lora is not None:
        options |= {"peft.method_type": "LORA", "peft.r": arguments.lora}
    return options


def _colour_sizes(facts: DatasetFacts) -> list[tuple[int, int]]:
    return [camera.frame_size for camera in facts.profile.cameras if not camera.depth]


def _record(
    arguments: argparse.Namespace, settings: TrainSettings, job: TrainJob, facts: Sequence[DatasetFacts]
) -> dict[str, Any]:
    phase = "settings" if arguments.settings else Path(settings.source).stem.removeprefix(f"{settings.policy}_")
    return {
        "policy": settings.policy,
        "base": str(job.base.resolve()) if job.base else None,
        "phase": phase,
        "settings": settings.source,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "processes": arguments.processes,
        "seed": job.seed,
        "device": job.device,
        "lora": arguments.lora,
        "augment": arguments.augment,
        "state_noise": arguments.state_noise or 0.0,
        "datasets": [dataset_record(one) for one in facts],
        "dataset": str(job.dataset.resolve()),
        "profile_sha256": facts[0].profile.sha256,
        "tasks": list(dict.fromkeys(task for one in facts for task in one.tasks)),
        "command": shlex.join(["ros2", "run", "vla_policy", "train", *command_line()]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }


def command_line() -> list[str]:
    """What this program was called with."""
    return sys.argv[1:]


def _plan(
    arguments: argparse.Namespace,
    job: TrainJob,
    record: dict[str, Any],
    facts: Sequence[DatasetFacts],
    tokenizer: Path | None,
) -> TrainPlan:
    profile = facts[0].profile
    features = facts[0].info["features"].values()
    return TrainPlan(
        arguments=(),
        run=str(job.output.resolve()),
        profile=profile.text,
        profile_sha256=profile.sha256,
        card=model_card(record, robot=profile.robot, fps=profile.fps, tasks=record["tasks"]),
        device=job.device,
        vlm=str(job.vlm.resolve()) if job.vlm else "",
        tokenizer=str(tokenizer.resolve()) if tokenizer else "",
        std_floor=arguments.std_floor,
        state_noise=noise_of(facts[0], arguments.state_noise),
        cache_mb=arguments.frame_cache,
        autocast=arguments.precision if arguments.precision in ("bfloat16", "float16") else "",
        has_video=any(feature.get("dtype") == "video" for feature in features),
    )
