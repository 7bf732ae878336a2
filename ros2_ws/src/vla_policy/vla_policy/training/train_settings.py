# SPDX-License-Identifier: Apache-2.0

"""What a training run is made of: the settings file of a policy, and the `lerobot-train` command built from it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from vla_core.errors import VlaError, listing, nearest_name

CONFIG_DIR = Path(__file__).parent / "config"
SETTINGS_BY_POLICY = {"act": CONFIG_DIR / "act_demo.yaml", "smolvla": CONFIG_DIR / "smolvla_small.yaml"}
OWNED_FLAGS = (
    "dataset.root",
    "dataset.repo_id",
    "output_dir",
    "policy.type",
    "policy.device",
    "policy.vlm_model_name",
    "steps",
    "batch_size",
)
INTEGER_KEYS = ("steps", "batch_size", "log_every", "workers")
KNOWN_KEYS = ("policy", *INTEGER_KEYS, "flags")


# glibc hands large blocks back to the system after each step and takes them again; keeping them makes a step on a CPU
# 15 % faster. Values are bytes, see `man mallopt`.
MALLOC_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "MALLOC_TOP_PAD_": "67108864",
}


class TrainError(VlaError):
    """Training cannot start or ended without a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """One policy's settings file.

    Attributes:
        policy: LeRobot's policy type.
        steps: Optimiser steps.
        batch_size: Frames per step.
        log_every: Steps between two loss values.
        workers: Processes that decode video beside the training process; 0 decodes in it.
        flags: Further `lerobot-train` options, key without dashes.
        source: The file, for messages.
    """

    policy: str
    steps: int
    batch_size: int
    log_every: int
    workers: int
    flags: Mapping[str, Any]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """Where a run reads, writes and computes.

    Attributes:
        dataset: LeRobot v3 dataset folder.
        output: Run folder, made by `lerobot-train`.
        device: Torch device.
        seed: Seed of weights and sample order.
        video_backend: Video decoder that works on this machine (`torchcodec` or `pyav`).
        vlm: Backbone folder; only for SmolVLA.
        extra: Options given after `--`, passed on unchanged.
    """

    dataset: Path
    output: Path
    device: str
    seed: int
    video_backend: str
    vlm: Path | None = None
    extra: tuple[str, ...] = ()


def load_settings(path: Path, *, policy: str) -> TrainSettings:
    """Read a settings file.

    Args:
        path: YAML file with the keys `policy`, `steps`, `batch_size`, `log_every`, `workers` and `flags`.
        policy: The policy that is to be trained; the file must be for it.

    Raises:
        TrainError: the file is missing, is not such a file, or is for another policy.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{path}: cannot read the training settings ({error.strerror}). Check --settings.") from error
    except yaml.YAMLError as error:
        raise TrainError(f"{path}: not valid YAML: {error}") from error
    _check_document(path, document, policy)
    return TrainSettings(**document, source=str(path))


def _check_document(path: Path, document: Any, policy: str) -> None:
    if not isinstance(document, dict):
        raise TrainError(f"{path}: expected a mapping with the keys {listing(KNOWN_KEYS)}")
    for key in document:
        if key not in KNOWN_KEYS:
            hint = nearest_name(str(key), KNOWN_KEYS)
            raise TrainError(f"{path}: unknown key '{key}'{hint} Allowed: {listing(KNOWN_KEYS)}.")
    for key in KNOWN_KEYS:
        if key not in document:
            raise TrainError(f"{path}: key '{key}' is missing.")
    if document["policy"] != policy:
        raise TrainError(
            f"{path}: is for policy '{document['policy']}', not for '{policy}'. Choose another --settings."
        )
    _check_values(path, document)


def _check_values(path: Path, document: dict[str, Any]) -> None:
    for key in INTEGER_KEYS:
        smallest = 0 if key == "workers" else 1
        value = document[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
            raise TrainError(f"{path}: '{key}' must be a whole number of at least {smallest}, got {value!r}.")
    if not isinstance(document["flags"], dict):
        raise TrainError(f"{path}: 'flags' must map lerobot-train options to values.")
    owned = sorted(set(document["flags"]) & set(OWNED_FLAGS))
    if owned:
        raise TrainError(f"{path}: flags {listing(owned)} are set by the launcher; use its own options.")


def flag(key: str, value: Any) -> str:
    """One `lerobot-train` option, e.g. `--policy.use_vae=false`."""
    if value is None or isinstance(value, bool | list | dict):
        return f"--{key}={json.dumps(value)}"
    return f"--{key}={value}"


def build_command(settings: TrainSettings, job: TrainJob, *, program: Sequence[str]) -> list[str]:
    """The `lerobot-train` call that trains offline: no hub, no tracker, no simulator evaluation.

    Later options win in no case: each key appears once, and `job.extra` may replace an earlier one.
    """
    options: dict[str, Any] = {
        "dataset.repo_id": f"local/{job.dataset.resolve().name}",
        "dataset.root": str(job.dataset.resolve()),
        "dataset.video_backend": job.video_backend,
        "policy.type": settings.policy,
        "policy.device": job.device,
        "policy.push_to_hub": False,
        "wandb.enable": False,
        "env_eval_freq": 0,
        "output_dir": str(job.output.resolve()),
        "seed": job.seed,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "log_freq": min(settings.log_every, settings.steps),
        "save_freq": 0,
        "num_workers": settings.workers,
        "persistent_workers": settings.workers > 0,
        **settings.flags,
    }
    if settings.workers:
        options["dataloader_multiprocessing_context"] = "fork"
    if job.vlm is not None:
        options["policy.vlm_model_name"] = str(job.vlm.resolve())
    for item in job.extra:
        if not item.startswith("--") or "=" not in item:
            raise TrainError(f"extra option '{item}' is not of the form --key=value that lerobot-train reads.")
        key = item[2:].split("=", 1)[0]
        if key in OWNED_FLAGS:
            raise TrainError(f"extra option '{item}': '{key}' is set by the launcher; use its own option for it.")
        options.pop(key, None)
    return [*program, *(flag(key, value) for key, value in options.items()), *job.extra]


def environment(base: Mapping[str, str], *, threads: int) -> dict[str, str]:
    """Environment of the training process: offline, with a fixed number of compute threads.

    Two threads that compete with other work are many times slower than one, so the count is always explicit.
    """
    return {
        **MALLOC_ENVIRONMENT,
        **base,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }


def shown(command: Sequence[str], *, threads: int) -> str:
    """The command as one line that can be pasted into a shell."""
    return f"HF_HUB_OFFLINE=1 OMP_NUM_THREADS={threads} " + shlex.join(command)
