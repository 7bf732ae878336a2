# SPDX-License-Identifier: Apache-2.0

"""Going on with a run from its last checkpoint."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_policy.policies.checkpoint import TOKENIZER_DIR, Checkpoint, find_checkpoint
from vla_policy.training.dataset_checks import DatasetFacts, inspect_dataset
from vla_policy.training.run_record import model_card, read_record
from vla_policy.training.state_noise import noise_of
from vla_policy.training.train_job import Work, merged_folder
from vla_policy.training.train_options import RUNS
from vla_policy.training.train_plan import TrainPlan
from vla_policy.training.train_settings import TrainError, extra_keys, flag

FIXED = ("policy", "dataset", "base", "lora", "augment", "state_noise", "phase", "settings", "vlm", "tokenizer")
"""Options that a run keeps; saying them again could only contradict it."""


def resumed_work(arguments: argparse.Namespace, extra: Sequence[str], output: Path) -> Work:
    """What going on with a run does.

    Raises:
        VlaError: there is no such run or checkpoint, its data have changed, or it is finished already.
    """
    given = [f"--{name.replace('_', '-')}" for name in FIXED if getattr(arguments, name) is not None]
    if given:
        raise TrainError(f"--resume goes on with the run as it was started: leave out {', '.join(given)}.")
    try:
        record = read_record(output)
    except (OSError, ValueError) as error:
        raise TrainError(f"{output}: no run to go on with (run.json: {error}). Name the folder of a run.") from error
    checkpoint = find_checkpoint(output)
    step = int(checkpoint.path.resolve().parent.name)
    steps = arguments.steps or int(record["steps"])
    if step >= steps:
        raise TrainError(
            f"{output}: has reached step {step} already. To train on, say how far: --resume --steps {2 * step}."
        )
    facts = tuple(_same_dataset(arguments, record["policy"], entry) for entry in record["datasets"])
    tokenizer = checkpoint.vlm or checkpoint.path / TOKENIZER_DIR
    record |= {"steps": steps, "device": arguments.device, "batch_size": arguments.batch_size or record["batch_size"]}
    profile = facts[0].profile
    plan = TrainPlan(
        arguments=_lerobot_arguments(arguments, extra, record, checkpoint, steps),
        run=str(output.resolve()),
        profile=profile.text,
        profile_sha256=profile.sha256,
        card=model_card(record, robot=profile.robot, fps=profile.fps, tasks=record["tasks"]),
        device=arguments.device,
        vlm=str(checkpoint.vlm.resolve()) if checkpoint.vlm else "",
        tokenizer=str(tokenizer.resolve()) if tokenizer.is_dir() else "",
        std_floor=arguments.std_floor,
        state_noise=noise_of(facts[0], float(record.get("state_noise", 0.0))),
        cache_mb=arguments.frame_cache,
        has_video=any(feature.get("dtype") == "video" for feature in facts[0].info["features"].values()),
        last_step=step,
    )
    return Work(
        output=output,
        steps=steps,
        plan=plan,
        record=record | {"resumed_from": step},
        datasets=facts,
        merged=merged_folder(output, facts),
        validate=not arguments.skip_validate,
        resumed=True,
        earlier_s=float(record.get("seconds", 0.0)),
    )


def _lerobot_arguments(
    arguments: argparse.Namespace, extra: Sequence[str], record: dict[str, Any], checkpoint: Checkpoint, steps: int
) -> tuple[str, ...]:
    """What `lerobot-train` is told; everything else it takes from the checkpoint's `train_config.json`."""
    options: dict[str, Any] = {
        "resume": True,
        "config_path": str(checkpoint.path.resolve() / "train_config.json"),
        "output_dir": str((arguments.output or RUNS / arguments.run).resolve()),
        "dataset.root": record["dataset"],
        "policy.device": arguments.device,
        "steps": steps,
    }
    if arguments.batch_size is not None:
        options["batch_size"] = arguments.batch_size
    if arguments.workers is not None:
        options |= {"num_workers": arguments.workers, "persistent_workers": arguments.workers > 0}
        options["dataloader_multiprocessing_context"] = "fork" if arguments.workers else None
    if checkpoint.vlm is not None:
        options["policy.vlm_model_name"] = str(checkpoint.vlm.resolve())
    for key in extra_keys(extra):
        options.pop(key, None)
    return (*(flag(key, value) for key, value in options.items()), *extra)


def _same_dataset(arguments: argparse.Namespace, policy: str, entry: dict[str, object]) -> DatasetFacts:
    path = Path(str(entry["path"]))
    facts = inspect_dataset(path, given=arguments.profile, policy=policy, part=0.0, spread=False)
    if facts.sha256 != entry["sha256"]:
        raise TrainError(
            f"{path}: has changed since the run was started (sha256 {facts.sha256[:12]}…, then {str(entry['sha256'])[:12]}…), "
            "so the run cannot go on with it. Restore it, or start a new run from the checkpoint: --base."
        )
    held_out = entry["held_out"]
    assert isinstance(held_out, list)
    return replace(facts, held_out=tuple(int(index) for index in held_out))
