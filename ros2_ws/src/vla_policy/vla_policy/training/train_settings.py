# SPDX-License-Identifier: Apache-2.0

"""What a training run is made of: the settings file of a policy, and the `lerobot-train` command built from it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from vla_core.errors import VlaError, listing, nearest_name

CONFIG_DIR = Path(__file__).parent / "config"
POLICIES = ("act", "diffusion", "pi0", "pi05", "smolvla", "vla_keypoints")
PHASES = ("demo", "finetune", "sanity")
SETTINGS_BY_POLICY = {
    "act": CONFIG_DIR / "act_demo.yaml",
    "smolvla": CONFIG_DIR / "smolvla_demo.yaml",
    "vla_keypoints": CONFIG_DIR / "keypoints_small.yaml",
}
"""Settings of the phase `demo`: small policies that are trained from nothing on a CPU."""
TRAINING = (
    "optimizer_",
    "scheduler_",
    "use_amp",
    "dtype",
    "freeze_",
    "train_",
    "gradient_checkpointing",
    "compile_",
    "ema_",
)
"""How options of a policy's configuration begin that say how it is trained; all others say what it is."""
LORA_POLICIES = ("pi0", "pi05", "smolvla")
"""Policies for which LeRobot says which layers an adapter goes to."""
DTYPE_POLICIES = ("pi0", "pi05")
"""Policies whose configuration names the type they compute in; the others have mixed precision on or off."""
PRECISIONS = ("auto", "bfloat16", "float16", "float32")
TRACKERS = ("off", "offline", "online")
OWNED_FLAGS = (
    "dataset.root",
    "dataset.repo_id",
    "output_dir",
    "dataset.episodes",
    "policy.type",
    "policy.path",
    "policy.device",
    "policy.vlm_model_name",
    "steps",
    "batch_size",
    "resume",
    "config_path",
)
INTEGER_KEYS = ("steps", "batch_size", "log_every", "workers", "save_every")
KNOWN_KEYS = ("policy", *INTEGER_KEYS, "flags")
OPTIONAL_KEYS = ("save_every",)


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
        log_every: Steps between two loss values in LeRobot's log.
        save_every: Steps between two checkpoints; 0 saves only the last.
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
    save_every: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """Where a run reads, writes and computes.

    Attributes:
        dataset: LeRobot v3 dataset folder.
        output: Run folder, made by the training.
        device: Torch device.
        seed: Seed of weights and sample order.
        vlm: Backbone folder; only for SmolVLA.
        base: Checkpoint to go on from; None trains new weights.
        episodes: Episodes to train on; None for all.
        options: Further `lerobot-train` options that the launcher's own options stand for.
        extra: Options given after `--`, passed on unchanged.
    """

    dataset: Path
    output: Path
    device: str
    seed: int
    vlm: Path | None = None
    base: Path | None = None
    episodes: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


def settings_file(policy: str, phase: str | None) -> Path:
    """The package's settings of a policy for a phase; without a phase the demo, or where there is none the fine-tuning.

    Raises:
        TrainError: there are none.
    """
    if policy not in POLICIES:
        raise TrainError(
            f"policy '{policy}'{nearest_name(policy, POLICIES)} The package has settings for {listing(POLICIES)}; a policy of "
            "another LeRobot package needs its own: --settings FILE."
        )
    phase = phase or ("demo" if policy in SETTINGS_BY_POLICY else "finetune")
    file = SETTINGS_BY_POLICY.get(policy) if phase == "demo" else CONFIG_DIR / f"{policy}_{phase}.yaml"
    if file is None or not file.is_file():
        raise TrainError(
            f"--phase {phase}: there are no such settings for policy '{policy}'. Choose another phase, or write a file of your "
            "own: --settings FILE."
        )
    return file


def load_settings(path: Path, *, policy: str) -> TrainSettings:
    """Read a settings file.

    Args:
        path: YAML file with the keys `policy`, `steps`, `batch_size`, `log_every`, `save_every`, `workers` and `flags`.
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
        if key not in document and key not in OPTIONAL_KEYS:
            raise TrainError(f"{path}: key '{key}' is missing.")
    if document["policy"] != policy:
        raise TrainError(
            f"{path}: is for policy '{document['policy']}', not for '{policy}'. Choose another --settings."
        )
    _check_values(path, document)


def _check_values(path: Path, document: dict[str, Any]) -> None:
    for key in INTEGER_KEYS:
        smallest = 0 if key in ("workers", "save_every") else 1
        value = document.get(key, smallest)
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


def build_arguments(settings: TrainSettings, job: TrainJob) -> list[str]:
    """The options of `lerobot-train` that train offline: no hub, no tracker unless asked for, no simulator evaluation.

    Each key appears once: the launcher's own options replace the settings, `job.extra` replaces both. What a base checkpoint
    is (sizes, chunk length) comes from the base.
    """
    options: dict[str, Any] = {
        "dataset.repo_id": f"local/{job.dataset.resolve().name}",
        "dataset.root": str(job.dataset.resolve()),
        "policy.device": job.device,
        "policy.push_to_hub": False,
        "wandb.enable": False,
        "env_eval_freq": 0,
        "output_dir": str(job.output.resolve()),
        "seed": job.seed,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "log_freq": min(settings.log_every, settings.steps),
        "save_freq": settings.save_every,
        "num_workers": settings.workers,
        "persistent_workers": settings.workers > 0,
        **{key: value for key, value in settings.flags.items() if job.base is None or not is_shape(key)},
        **job.options,
    }
    if job.base is None:
        options["policy.type"] = settings.policy
    else:
        options["policy.path"] = str(job.base.resolve())
    if job.episodes is not None:
        options["dataset.episodes"] = list(job.episodes)
    if settings.workers:
        options["dataloader_multiprocessing_context"] = "fork"
    if job.vlm is not None:
        options["policy.vlm_model_name"] = str(job.vlm.resolve())
    for key in extra_keys(job.extra):
        options.pop(key, None)
    return [*(flag(key, value) for key, value in options.items()), *job.extra]


def is_shape(key: str) -> bool:
    """Whether a setting describes the network itself, which a base checkpoint has chosen already, and not its training."""
    return key.startswith("policy.") and not key.removeprefix("policy.").startswith(TRAINING)


def extra_keys(extra: Sequence[str]) -> list[str]:
    """The keys of the options after `--`.

    Raises:
        TrainError: one is not of the form `--key=value`, or belongs to the launcher.
    """
    keys = []
    for item in extra:
        if not item.startswith("--") or "=" not in item:
            raise TrainError(f"extra option '{item}' is not of the form --key=value that lerobot-train reads.")
        key = item[2:].split("=", 1)[0]
        if key in OWNED_FLAGS:
            raise TrainError(f"extra option '{item}': '{key}' is set by the launcher; use its own option for it.")
        keys.append(key)
    return keys


def precision_options(policy: str, precision: str, device: str) -> dict[str, Any]:
    """The `lerobot-train` options of a precision.

    Raises:
        TrainError: the policy or the device does not compute in it.
    """
    if precision == "auto":
        return {}
    if precision == "float16" and (policy in DTYPE_POLICIES or device == "cpu"):
        raise TrainError(f"--precision float16: {policy} on {device} trains in bfloat16 or float32.")
    if policy in DTYPE_POLICIES:
        return {"policy.dtype": precision}
    return {"policy.use_amp": precision != "float32"}


def tracker_options(mode: str, project: str, base: Mapping[str, str]) -> dict[str, Any]:
    """The `lerobot-train` options of Weights & Biases.

    Args:
        mode: One of `TRACKERS`.
        project: Its project name.
        base: The environment, for the key.

    Raises:
        TrainError: it is to go online and nobody is logged in.
    """
    if mode == "off":
        return {"wandb.enable": False}
    home = Path(base.get("NETRC", Path(base.get("HOME", "~")).expanduser() / ".netrc"))
    known = "WANDB_API_KEY" in base or (
        home.is_file() and "wandb" in home.read_text(encoding="utf-8", errors="replace")
    )
    if mode == "online" and not known:
        raise TrainError(
            "--tracker online: nobody is logged in to Weights & Biases. Run `wandb login`, set WANDB_API_KEY, or use "
            "--tracker offline and send the run later with `wandb sync`."
        )
    return {"wandb.enable": True, "wandb.mode": mode, "wandb.project": project, "wandb.disable_artifact": True}


def environment(base: Mapping[str, str], *, threads: int) -> dict[str, str]:
    """Environment of the training process: offline, with a fixed number of compute threads.

    Two threads that compete with other work are many times slower than one, so the count is always explicit.
    """
    return {
        **MALLOC_ENVIRONMENT,
        **base,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "WANDB_SILENT": base.get("WANDB_SILENT", "true"),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }


def shown(command: Sequence[str], *, threads: int) -> str:
    """The command as one line that can be pasted into a shell."""
    return f"HF_HUB_OFFLINE=1 OMP_NUM_THREADS={threads} " + shlex.join(command)
