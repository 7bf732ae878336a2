# SPDX-License-Identifier: Apache-2.0

"""The checkpoints below one folder, and what each of them says about itself."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field
from vla_core.errors import CheckpointError
from vla_core.profile import Profile

from vla_policy.policies.checkpoint import (
    CONFIG_FILE,
    PRETRAINED_DIR,
    Checkpoint,
    find_checkpoint,
    travelling_profile,
)

DEEPEST = 5  # folders between the root and a pretrained_model folder: run/checkpoints/<step>, grouped twice


class CheckpointInfo(BaseModel):
    """One checkpoint; everything but the path is unknown where `problem` is set."""

    checkpoint_path: str = Field(description="What vla_infer takes, relative to the server's checkpoints folder.")
    policy: str | None = Field(default=None, description="Kind of policy: act, smolvla, pi0, …")
    robot: str | None = Field(default=None, description="Robot of the profile that it was trained under.")
    task: str | None = Field(default=None, description="Default instruction.")
    fps: float | None = Field(default=None, description="Rate of its action steps [Hz].")
    cameras: list[str] | None = Field(default=None, description="Cameras that it sees.")
    problem: str | None = Field(default=None, description="Why it cannot be used.")


class CheckpointList(BaseModel):
    """All of them, by path."""

    checkpoints_dir: str
    checkpoints: list[CheckpointInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A checkpoint that was asked for.

    Attributes:
        checkpoint: The folder.
        profile: The profile that it runs under: the one that travels with it unless another is put in its place; or None.
    """

    checkpoint: Checkpoint
    profile: Profile | None


def list_checkpoints(root: Path) -> CheckpointList:
    """Look below `root`; links that lead out of it are not followed."""
    found = []
    for depth in range(DEEPEST + 1):
        found += [file.parent for file in root.glob("*/" * depth + f"{PRETRAINED_DIR}/{CONFIG_FILE}")]
    inside = {path for path in found if path.resolve().is_relative_to(root.resolve()) and not _by_link(path, root)}
    return CheckpointList(checkpoints_dir=str(root), checkpoints=[_info(path, root) for path in sorted(inside)])


def resolve(root: Path, checkpoint_path: str) -> Found:
    """Find the checkpoint that a client names.

    Args:
        root: Folder of the server's checkpoints.
        checkpoint_path: Relative to it, or absolute and inside it.

    Raises:
        CheckpointError: it is not there, lies elsewhere, or is unusable.
    """
    if not checkpoint_path.strip():
        raise CheckpointError("checkpoint_path is empty; the tool list_checkpoints shows what there is")
    path = (root / Path(checkpoint_path).expanduser()).resolve()
    if not path.is_relative_to(root.resolve()):
        raise CheckpointError(
            f"checkpoint_path {checkpoint_path}: lies outside {root}, the folder of checkpoints of this server "
            f"(--checkpoints_dir)"
        )
    checkpoint = find_checkpoint(path)
    return Found(checkpoint=checkpoint, profile=travelling_profile(checkpoint))


def _by_link(path: Path, root: Path) -> bool:
    """`checkpoints/last` names a step that is listed by its number already."""
    return any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(root) and part != root)


def _info(path: Path, root: Path) -> CheckpointInfo:
    name = str(path.parent.relative_to(root))
    try:
        checkpoint = find_checkpoint(path)
        profile = travelling_profile(checkpoint)
    except CheckpointError as error:
        return CheckpointInfo(checkpoint_path=name, problem=str(error))
    if profile is None:
        return CheckpointInfo(checkpoint_path=name, policy=checkpoint.policy_type)
    return CheckpointInfo(
        checkpoint_path=name,
        policy=checkpoint.policy_type,
        robot=profile.robot,
        task=profile.task,
        fps=profile.fps,
        cameras=[camera.name for camera in profile.cameras],
    )
