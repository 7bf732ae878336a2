# SPDX-License-Identifier: Apache-2.0

"""The training process: `lerobot-train` with an eye on the loss, whole checkpoints and a cache of decoded frames.

    python -m vla_policy.training.trainer --dataset.repo_id=local/x --dataset.root=DIR --policy.type=act …

takes the options of `lerobot-train` and trains in the same way. What it adds hooks into names of LeRobot's own script; the
package pins the LeRobot versions in which they exist.
"""

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lerobot.processor import tokenizer_processor
from lerobot.scripts import lerobot_train

from vla_policy.training.frame_cache import FrameCache
from vla_policy.training.state_noise import noisy
from vla_policy.training.train_plan import PLAN_VARIABLE, STOPPED, WAIT_VARIABLE, TrainPlan, emit, load_plan
from vla_policy.training.trainer_checkpoints import WholeCheckpoints
from vla_policy.training.trainer_watch import LossWatch, TrainingStoppedError, floor_statistics

BACKBONE_TIMEOUT_S = 120.0
BACKEND_OPTION = "--dataset.video_backend="


def check_device(name: str) -> None:
    """Refuse a device that is not there; LeRobot would train on the CPU instead.

    Raises:
        TrainingStoppedError: it is not there.
    """
    kind = name.split(":", 1)[0]
    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "xpu": torch.xpu.is_available,
    }
    if kind in there and not there[kind]():
        raise TrainingStoppedError(
            f"--device {name}: torch {torch.__version__} sees no such device here. Check the driver (nvidia-smi or rocminfo) "
            "and that torch was installed for it (see docs/how-to/train_on_a_gpu.md), or train with --device cpu."
        )


def video_backend() -> str:
    """The fastest video decoder that loads here. A forked child tries it: a broken library may end its process."""
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module("torchcodec.decoders")
        except BaseException:  # noqa: BLE001  (whatever it is, the library is no use)
            os._exit(1)
        os._exit(0)
    return "torchcodec" if os.waitpid(child, 0)[1] == 0 else "pyav"


def use_tokenizer(folder: str) -> None:
    """Let a policy's preprocessor find its tokenizer in a folder, whatever a checkpoint or LeRobot's code says."""
    found = tokenizer_processor.AutoTokenizer

    class LocalTokenizer:
        @staticmethod
        def from_pretrained(name: str, **options: object) -> object:
            return found.from_pretrained(folder, **options)

    tokenizer_processor.AutoTokenizer = LocalTokenizer


def make_backbone(plan: TrainPlan) -> None:
    """Make SmolVLA's small backbone where the plan wants one."""
    if plan.make_vlm is None or Path(plan.vlm).exists():
        return
    if os.environ.get("RANK", "0") != "0":
        give_up_s = time.monotonic() + BACKBONE_TIMEOUT_S
        while not Path(plan.vlm).exists() and time.monotonic() < give_up_s:
            time.sleep(0.05)  # the first process makes it; it appears complete
        return
    from vla_policy.training.small_vlm import SmallVlmSize, make_small_vlm  # noqa: PLC0415  (transformers, for SmolVLA only)

    size = SmallVlmSize(image=int(plan.make_vlm["image"]))
    made = make_small_vlm(Path(plan.vlm), sentences=plan.make_vlm["sentences"], size=size)
    emit(event="note", text=f"backbone: {plan.vlm} ({made['vocabulary']} tokens, {made['tokens_per_image']} per image)")


def follow_launcher() -> None:
    """End when the launcher does, however it ends: its end of the standard input closes."""

    def watch() -> None:
        while os.read(0, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def cache_size(wanted_mb: int) -> int:
    """Memory for decoded frames [MB]: what is wanted, and no more than half of what is free."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    free_mb = next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:")), 2 * wanted_mb)
    if wanted_mb > free_mb // 2:
        emit(
            event="note", text=f"frame cache: {free_mb // 2} MB instead of {wanted_mb}; {free_mb} MB of memory are free"
        )
    return min(wanted_mb, free_mb // 2)


def install(plan: TrainPlan) -> LossWatch:
    """Put everything that the plan asks for around LeRobot's functions."""
    workers = next((int(a.split("=", 1)[1]) for a in plan.arguments if a.startswith("--num_workers=")), 0)
    share = max(1, workers) * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cache_mb = cache_size(plan.cache_mb) // share
    if cache_mb:
        FrameCache(cache_mb).install()
    if plan.tokenizer:
        use_tokenizer(plan.tokenizer)
    if plan.autocast:
        torch.set_autocast_dtype(plan.device.split(":", 1)[0], getattr(torch, plan.autocast))
    if plan.std_floor:
        make_datasets = lerobot_train.make_train_eval_datasets

        def floored(cfg: object) -> object:
            datasets = make_datasets(cfg)
            floor_statistics(datasets[0].meta, plan.std_floor)
            return datasets

        lerobot_train.make_train_eval_datasets = floored
    if plan.state_noise:
        lerobot_train.update_policy = noisy(lerobot_train.update_policy, plan.state_noise)
    watch = LossWatch(plan)
    lerobot_train.update_policy = watch.wrap(lerobot_train.update_policy)
    checkpoints = WholeCheckpoints(plan)
    lerobot_train.save_checkpoint = checkpoints.wrap(lerobot_train.save_checkpoint)
    lerobot_train.update_last_checkpoint = checkpoints.point_last
    return watch


def run(plan: TrainPlan) -> int:
    """Train; the exit code is `STOPPED` when the training ended itself with a reason."""
    arguments = list(plan.arguments)
    watch = None
    try:
        check_device(plan.device)
        make_backbone(plan)
        if not any(argument.startswith(BACKEND_OPTION) for argument in arguments):
            arguments.append(BACKEND_OPTION + (video_backend() if plan.has_video else "pyav"))
        sys.argv = ["lerobot-train", *arguments]
        watch = install(plan)
        lerobot_train.main()
    except TrainingStoppedError as stop:
        emit(event="stop", reason=str(stop))
        return STOPPED
    finally:
        if watch is not None:
            watch.close()
    return 0


def main() -> int:
    """Train by the launcher's plan, or by the options on the command line alone."""
    named = os.environ.get(PLAN_VARIABLE)
    if named is None:
        lerobot_train.main()
        return 0
    if os.environ.get(WAIT_VARIABLE) and not os.read(0, 1):
        return 0
    follow_launcher()
    return run(load_plan(Path(named)))


if __name__ == "__main__":
    sys.exit(main())
