# SPDX-License-Identifier: Apache-2.0

"""Finding a checkpoint on disk, and what travels with it: the robot profile, and folders that its files name elsewhere.

A training run folder of LeRobot looks like `<run>/checkpoints/<step>/pretrained_model/`, with the link
`checkpoints/last`. The launcher of this package adds `vla/profile.yaml` and `vla/profile.sha256` to each
`pretrained_model` folder, and for SmolVLA a copy of the backbone as `vlm/`, so that the folder can be moved. For pi0,
pi0.5 and pi0-FAST copies of the tokenizers may lie in `tokenizer/` and `action_tokenizer/`.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_core.errors import CheckpointError, ProfileError
from vla_core.profile import Profile, load_profile, mapping_differences, parse_profile

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
PRETRAINED_DIR = "pretrained_model"
CHECKPOINTS_DIR = "checkpoints"
LAST = "last"
PROFILE_FILE = Path("vla") / "profile.yaml"
HASH_FILE = Path("vla") / "profile.sha256"
VLM_DIR = "vlm"
TOKENIZER_DIR = "tokenizer"
ACTION_TOKENIZER_DIR = "action_tokenizer"
MAX_LISTED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint folder whose `config.json` could be read.

    Attributes:
        path: The `pretrained_model` folder.
        policy_type: LeRobot's policy type, e.g. `act`.
        config: Content of `config.json`.
        vlm: Backbone folder that travels with the checkpoint, if it has one.
    """

    path: Path
    policy_type: str
    config: Mapping[str, Any]
    vlm: Path | None


def find_checkpoint(path: Path) -> Checkpoint:
    """Resolve a run folder, a step folder, `last`, or a `pretrained_model` folder.

    Args:
        path: What the user named. A run folder means its newest checkpoint.

    Raises:
        CheckpointError: nothing usable is there; the message lists the checkpoints near it.
    """
    for candidate in _candidates(path):
        if (candidate / CONFIG_FILE).is_file():
            return _open(candidate)
    raise CheckpointError(_not_found(path))


def _candidates(path: Path) -> list[Path]:
    """Where a checkpoint may lie for a given name, best first."""
    steps_dir = path if path.name == CHECKPOINTS_DIR else path / CHECKPOINTS_DIR
    found = [path, path / PRETRAINED_DIR, steps_dir / LAST / PRETRAINED_DIR]
    if steps_dir.is_dir():
        steps = sorted((s for s in steps_dir.iterdir() if s.name.isdigit()), key=lambda s: int(s.name), reverse=True)
        found += [step / PRETRAINED_DIR for step in steps]
    if path.name == LAST or path.name.isdigit():
        found.append(path.parent / CHECKPOINTS_DIR / path.name / PRETRAINED_DIR)
    return found


def _not_found(path: Path) -> str:
    """The message for a name without a checkpoint, with what exists near it."""
    base = path
    while not base.is_dir() and base != base.parent:
        base = base.parent
    pattern = f"{PRETRAINED_DIR}/{CONFIG_FILE}"
    near: set[Path] = set()
    for prefix in ("", "*/", f"{CHECKPOINTS_DIR}/*/", f"*/{CHECKPOINTS_DIR}/*/"):
        near.update(hit.parent.parent for hit in base.glob(prefix + pattern))
    listed = sorted(str(hit) for hit in near)
    if listed:
        more = f" … and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
        advice = f"Checkpoints found near it: {', '.join(listed[:MAX_LISTED])}{more}."
    elif path.is_dir() and not any(path.iterdir()):
        advice = "The folder is empty. Train first: ros2 run vla_policy train --policy act --dataset DIR --output DIR."
    else:
        advice = f"No checkpoint lies under {base}. Train first: ros2 run vla_policy train --help."
    what = "holds no checkpoint" if path.is_dir() else "does not exist"
    return (
        f"checkpoint not found: {path} {what} (looked for {CONFIG_FILE} there, in {PRETRAINED_DIR}/ and in "
        f"{CHECKPOINTS_DIR}/*/{PRETRAINED_DIR}/). {advice}"
    )


def _open(path: Path) -> Checkpoint:
    file = path / CONFIG_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file}: cannot read the policy's configuration: {error}. Is the copy complete?"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("type"), str):
        raise CheckpointError(f"{file}: names no policy 'type', so this is not a LeRobot policy checkpoint.")
    vlm = path / VLM_DIR
    return Checkpoint(path=path, policy_type=config["type"], config=config, vlm=vlm if vlm.is_dir() else None)


def travelling_folder(checkpoint: Checkpoint, named: str, folder: str) -> str:
    """Where something that a checkpoint names lies on this machine.

    Args:
        checkpoint: The checkpoint.
        named: What its files say: a path, relative to the checkpoint or absolute, or an id on the Hugging Face hub.
        folder: Name of the copy that may travel with it; it is preferred.

    Returns:
        The copy, the path, or the id as it is.

    Raises:
        CheckpointError: an absolute path that is not on this machine, and there is no copy.
    """
    copy, relative = checkpoint.path / folder, checkpoint.path / named
    if copy.is_dir():
        return str(copy)
    if named and relative.is_dir():
        return str(relative)
    if Path(named).is_absolute():
        what = "backbone" if folder == VLM_DIR else folder.replace("_", " ")
        raise CheckpointError(
            f"{checkpoint.path}: the {what} folder {named} is not on this machine and no copy travels with the "
            f"checkpoint. Copy it to {copy}."
        )
    return named


def travelling_profile(checkpoint: Checkpoint) -> Profile | None:
    """The profile that the policy was trained under, or None when the checkpoint carries none.

    Raises:
        CheckpointError: the stored profile cannot be read, or differs from its stored hash.
    """
    file = checkpoint.path / PROFILE_FILE
    if not file.is_file():
        return None
    try:
        profile = parse_profile(file.read_text(encoding="utf-8"), str(file))
    except (OSError, ProfileError) as error:
        raise CheckpointError(f"{file}: the profile that travels with the checkpoint is unusable: {error}") from error
    hash_file = checkpoint.path / HASH_FILE
    stored = hash_file.read_text(encoding="utf-8").strip() if hash_file.is_file() else "(missing)"
    if stored != profile.sha256:
        raise CheckpointError(
            f"{file}: was changed after training: its hash is {profile.sha256[:12]}…, {hash_file.name} says "
            f"{stored[:12]}. Restore the file; to use another profile, pass it by the parameter 'profile'."
        )
    return profile


def choose_profile(checkpoint: Checkpoint, given: Path | None) -> Profile:
    """The profile to run with: the given one if it means the same to the policy, else the one that travels along.

    Topic names, drivers and limits may differ from training (another robot of the same build, a simulator); what
    the policy's numbers mean may not.

    Raises:
        CheckpointError: there is no profile at all, or the given one maps observations or actions otherwise than
            the one the policy was trained under; the message shows each difference.
    """
    trained = travelling_profile(checkpoint)
    if given is None:
        if trained is None:
            raise CheckpointError(
                f"{checkpoint.path}: no robot profile travels with this checkpoint ({PROFILE_FILE} is missing), so the "
                f"meaning of its inputs and outputs is unknown. Pass the profile it was trained under: profile:=FILE."
            )
        return trained
    profile = load_profile(given)
    if trained is not None:
        differences = mapping_differences(trained, profile)
        if differences:
            raise CheckpointError(
                f"{checkpoint.path}: was trained under another mapping than {given}:\n  "
                + "\n  ".join(differences)
                + "\nDrop the profile argument to use the one that travels with the checkpoint, or train again."
            )
    return profile


def attach(path: Path, *, profile: Profile, vlm: Path | None) -> None:
    """Put the profile, its hash and the backbone folder beside a checkpoint's weights.

    Args:
        path: A `pretrained_model` folder.
        profile: The profile that the dataset was made under.
        vlm: SmolVLA's backbone folder, or None.
    """
    (path / PROFILE_FILE).parent.mkdir(exist_ok=True)
    (path / PROFILE_FILE).write_text(profile.text, encoding="utf-8")
    (path / HASH_FILE).write_text(profile.sha256 + "\n", encoding="utf-8")
    if vlm is not None:
        shutil.copytree(vlm, path / VLM_DIR, dirs_exist_ok=True)


def run_checkpoints(run: Path) -> list[Path]:
    """The complete `pretrained_model` folders of a run, oldest first (the link `last` is left out)."""
    steps = (run / CHECKPOINTS_DIR).glob(f"[0-9]*/{PRETRAINED_DIR}")
    return sorted(path for path in steps if (path / CONFIG_FILE).is_file() and (path / WEIGHTS_FILE).is_file())
