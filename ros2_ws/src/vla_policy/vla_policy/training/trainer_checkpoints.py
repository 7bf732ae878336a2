# SPDX-License-Identifier: Apache-2.0

"""Checkpoints that appear whole or not at all, with everything that a robot needs to run them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from vla_core.profile import parse_profile

from vla_policy.policies.checkpoint import LAST, PRETRAINED_DIR, TOKENIZER_DIR, attach
from vla_policy.training.train_plan import TrainPlan
from vla_policy.training.trainer_adapters import store_whole
from vla_policy.training.trainer_watch import TrainingStoppedError, disk_full

CARD_FILE = "README.md"


class WholeCheckpoints:
    """Saves beside the place where a checkpoint belongs and moves it there when it is complete."""

    def __init__(self, plan: TrainPlan) -> None:
        self._plan = plan
        self._profile = parse_profile(plan.profile, "the training plan") if plan.profile else None

    def wrap(self, save: Callable[..., None]) -> Callable[..., None]:
        """LeRobot's `save_checkpoint`, whole or not at all."""

        def whole(*, checkpoint_dir: Path, step: int, **options: Any) -> None:
            partial = checkpoint_dir.with_name(f".{checkpoint_dir.name}.partial")
            for left in checkpoint_dir.parent.glob(".*.partial"):
                shutil.rmtree(left, ignore_errors=True)  # of a training that was killed while it saved
            try:
                save(checkpoint_dir=partial, step=step, **options)
                if getattr(options["cfg"], "peft", None) is not None:
                    store_whole(partial / PRETRAINED_DIR, options["policy"])
                self._complete(partial / PRETRAINED_DIR, step)
                shutil.rmtree(checkpoint_dir, ignore_errors=True)
                partial.rename(checkpoint_dir)
            except (OSError, SafetensorError) as error:
                shutil.rmtree(partial, ignore_errors=True)
                if not disk_full(error):
                    raise
                raise TrainingStoppedError(self._message(checkpoint_dir, step, error)) from error
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise

        return whole

    def _complete(self, path: Path, step: int) -> None:
        if self._profile is not None:
            attach(path, profile=self._profile, vlm=Path(self._plan.vlm) if self._plan.vlm else None)
        if self._plan.tokenizer and not self._plan.vlm:
            shutil.copytree(self._plan.tokenizer, path / TOKENIZER_DIR, dirs_exist_ok=True)
        (path / CARD_FILE).write_text(self._plan.card.replace("{step}", str(step)), encoding="utf-8")

    def _message(self, checkpoint_dir: Path, step: int, error: Exception) -> str:
        before = sorted(path.name for path in checkpoint_dir.parent.glob("[0-9]*"))
        kept = (
            f"The checkpoint of step {int(before[-1])} is whole and `last` points to it"
            if before
            else "There is none yet"
        )
        free_mb = shutil.disk_usage(checkpoint_dir.parent).free // (1 << 20)
        return (
            f"the disk is full: the checkpoint of step {step} could not be written to {checkpoint_dir} ({error}; {free_mb} MB "
            f"are free). {kept}; the unfinished one was removed. Free space (old folders under checkpoints/), then continue "
            f"with: ros2 run vla_policy train --resume --output {self._plan.run}"
        )

    @staticmethod
    def point_last(checkpoint_dir: Path) -> Path:
        """Let `last` point to a checkpoint, at once."""
        link = checkpoint_dir.parent / LAST
        made = checkpoint_dir.parent / f".{LAST}.new"
        made.unlink(missing_ok=True)
        made.symlink_to(checkpoint_dir.name)
        made.replace(link)
        return link
