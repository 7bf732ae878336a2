# SPDX-License-Identifier: Apache-2.0

"""Trainings of tiny policies inside the test process: the real trainer and LeRobot's real code, without a new interpreter each."""

import contextlib
import logging
import sys
from unittest import mock

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from lerobot.datasets.dataset_reader import DatasetReader
from lerobot.processor import tokenizer_processor
from lerobot.scripts import lerobot_train
from policy_fixtures import TINY_ACT, TINY_SMOLVLA
from tiny_policies import TINY
from vla_policy.testing.random_policies import small_paligemma
from vla_policy.training import trainer
from vla_policy.training.train_job import Work
from vla_policy.training.train_settings import flag

HOOKED = (
    (lerobot_train, ("update_policy", "save_checkpoint", "update_last_checkpoint", "make_train_eval_datasets")),
    (DatasetReader, ("get_item",)),
    (tokenizer_processor, ("AutoTokenizer",)),
)
CHUNK = 8
SIZES = {
    "act": {**TINY_ACT, "chunk_size": CHUNK, "n_action_steps": CHUNK},
    "diffusion": {**TINY["diffusion"], "n_action_steps": CHUNK, "drop_n_last_frames": 2},
    "smolvla": {**TINY_SMOLVLA, "chunk_size": CHUNK, "n_action_steps": CHUNK},
    "pi0": {**TINY["pi0"], "image_resolution": (56, 56), "chunk_size": CHUNK, "n_action_steps": CHUNK},
    "pi05": {
        **TINY["pi05"],
        "image_resolution": (56, 56),
        "chunk_size": CHUNK,
        "n_action_steps": CHUNK,
        "tokenizer_max_length": 160,
    },
}


def tiny_flags(policy: str) -> list[str]:
    """Options after `--` that make a policy tiny."""
    values = {f"policy.{name}": list(v) if isinstance(v, tuple) else v for name, v in SIZES[policy].items()}
    return ["--", *(flag(name, value) for name, value in values.items())]


@contextlib.contextmanager
def lerobot_as_it_was():
    """Undo every hook, log handler and piece of global state that a training leaves."""
    before = [(owner, name, getattr(owner, name)) for owner, names in HOOKED for name in names]
    handlers, level, argv = list(logging.getLogger().handlers), logging.getLogger().level, list(sys.argv)
    dtype = torch.get_autocast_dtype("cpu")
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
        sys.argv[:] = argv
        torch.set_autocast_dtype("cpu", dtype)
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()


def run_here(work: Work) -> int:
    """Train in this process; returns the trainer's exit code."""
    with lerobot_as_it_was(), contextlib.ExitStack() as stack:
        if work.record["policy"].startswith("pi"):
            stack.enter_context(small_paligemma(work.record["policy"]))
        stack.enter_context(mock.patch.dict("os.environ", {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}))
        return trainer.run(work.plan)
