# SPDX-License-Identifier: Apache-2.0

"""Checkpoints of every kind of LeRobot policy with few, random weights, made and loaded without a download.

pi0, pi0.5 and pi0-FAST have their sizes in LeRobot's code: `small_pi` makes them small for as long as it is entered, and it
must be entered to load their checkpoints too.
"""

import contextlib
import importlib
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from policy_fixtures import TINY_ACT, TINY_SMOLVLA
from vla_policy.policies.checkpoint import attach
from vla_policy.policies.contract import profile_shapes
from vla_policy.training.small_vlm import SmallVlmSize, make_small_vlm

KINDS = ("act", "diffusion", "smolvla", "pi0", "pi05", "pi0_fast")
PI = ("pi0", "pi05", "pi0_fast")
VOCABULARY = 290
GATED = "google/paligemma-3b-pt-224"
TINY_PI = {
    "image_resolution": (28, 28),
    "max_state_dim": 8,
    "max_action_dim": 8,
    "tokenizer_max_length": 48,
    "dtype": "float32",
}
TINY = {
    "act": TINY_ACT,
    "smolvla": TINY_SMOLVLA,
    "diffusion": {
        "pretrained_backbone_weights": None,
        "down_dims": (8, 16),
        "diffusion_step_embed_dim": 8,
        "n_groups": 4,
        "spatial_softmax_num_keypoints": 4,
        "use_group_norm": True,
        "num_inference_steps": 3,
        "horizon": 16,
        "n_obs_steps": 2,
    },
    "pi0": {**TINY_PI, "num_inference_steps": 10},
    "pi05": {**TINY_PI, "num_inference_steps": 10},
    "pi0_fast": {**TINY_PI, "max_decoding_steps": 12, "max_action_tokens": 12, "validate_action_token_prefix": False},
}


class TinyActionTokenizer:
    """Stands for the FAST tokenizer: every token means one coefficient."""

    scale, min_token = 4.0, -3
    bpe_tokenizer = mock.Mock()
    bpe_tokenizer.decode = staticmethod(lambda tokens: "".join(chr(abs(int(t)) % 7) for t in tokens))


def _tokenizers(folder: Path):
    """AutoTokenizer that finds the gated tokenizer in `folder`, and AutoProcessor that finds the action tokenizer."""
    from transformers import AutoTokenizer

    text = mock.Mock()
    text.from_pretrained = lambda name, **options: AutoTokenizer.from_pretrained(
        str(folder) if name == GATED else name, **options
    )
    action = mock.Mock()
    action.from_pretrained = lambda name, **options: TinyActionTokenizer()
    return text, action


@contextlib.contextmanager
def small_pi():
    """LeRobot's pi0, pi0.5 and pi0-FAST become small, and an action tokenizer is found whatever its name."""
    with contextlib.ExitStack() as stack:
        for kind in PI:
            module = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
            vlm, expert = (
                getattr(module, name, None)
                for name in ("PaliGemmaForConditionalGenerationWithPiGemma", "PiGemmaForCausalLM")
            )

            def small_vlm(config, make=vlm):
                vision, text = config.vision_config, config.text_config
                vision.projection_dim, vision.hidden_size, vision.intermediate_size = text.hidden_size, 16, 16
                vision.num_hidden_layers, vision.num_attention_heads, vision.image_size = 1, 2, 28
                text.vocab_size = VOCABULARY
                return make(config=config)

            def small_expert(config, make=expert):
                config.vocab_size = VOCABULARY
                return make(config=config)

            def sizes(variant, make=module.GemmaConfig):
                return make(width=32, depth=1, mlp_dim=32, num_heads=2, num_kv_heads=1, head_dim=16)

            patch = stack.enter_context
            patch(mock.patch.object(module, "PaliGemmaForConditionalGenerationWithPiGemma", small_vlm))
            patch(mock.patch.object(module, "get_gemma_config", sizes))
            if expert is not None:
                patch(mock.patch.object(module, "PiGemmaForCausalLM", small_expert))
        action = _tokenizers(Path())[1]
        for name in ("policies.pi0_fast.modeling_pi0_fast", "processor.tokenizer_processor"):
            stack.enter_context(mock.patch.object(importlib.import_module(f"lerobot.{name}"), "AutoProcessor", action))
        yield


def make_backbone(folder: Path) -> Path:
    """A backbone folder for SmolVLA; its tokenizer serves pi0 and its like too."""
    size = SmallVlmSize(
        image=32, patch=8, text_layers=2, vision_layers=1, vision_width=16, text_width=32, vocabulary=VOCABULARY
    )
    make_small_vlm(folder, sentences=["stack the cups"], size=size)
    return folder


def make_checkpoint(kind: str, folder: Path, profile, backbone: Path, *, chunk: int = 8, **options) -> Path:
    """Save a checkpoint as training saves it, within `small_pi`; returns its `pretrained_model` folder."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

    torch.manual_seed(0)
    shapes = profile_shapes(profile)
    kinds = {"observation.state": FeatureType.STATE, "action": FeatureType.ACTION}
    all_features = {name: PolicyFeature(kinds.get(name, FeatureType.VISUAL), shape) for name, shape in shapes.items()}
    values = {"n_action_steps": chunk, **TINY[kind], **options}
    if kind != "diffusion":
        values.setdefault("chunk_size", chunk)
    if kind == "smolvla":
        values["vlm_model_name"] = str(backbone)
    text, _ = _tokenizers(backbone)
    with contextlib.ExitStack() as stack:
        for name in ("policies.pi0_fast.modeling_pi0_fast", "processor.tokenizer_processor"):
            stack.enter_context(mock.patch.object(importlib.import_module(f"lerobot.{name}"), "AutoTokenizer", text))
        config = make_policy_config(
            kind,
            input_features={k: v for k, v in all_features.items() if k != "action"},
            output_features={"action": all_features["action"]},
            device="cpu",
            push_to_hub=False,
            **values,
        )
        policy = get_policy_class(kind)(config)
        with torch.no_grad():
            for parameter in policy.parameters():
                if bool((parameter == parameter.flatten()[0]).all()):
                    parameter.add_(0.05 * torch.randn_like(parameter))  # no layer goes without effect
        before, after = make_pre_post_processors(config, dataset_stats=statistics(shapes))
    path = folder / "checkpoints" / "000001" / "pretrained_model"
    policy.save_pretrained(path)
    before.save_pretrained(path)
    after.save_pretrained(path)
    (folder / "checkpoints" / "last").symlink_to("000001")
    attach(path, profile=profile, vlm=backbone if kind == "smolvla" else None)
    if kind in PI:
        shutil.copytree(backbone, path / "tokenizer")
    if kind == "pi0_fast":
        (path / "action_tokenizer").mkdir()
    return path


def statistics(shapes):
    """Statistics that change every number."""
    wide = {name: shape if len(shape) == 1 else (3, 1, 1) for name, shape in shapes.items()}
    return {
        name: {
            "mean": torch.full(shape, 0.1),
            "std": torch.full(shape, 0.5),
            "min": torch.full(shape, -1.0),
            "max": torch.full(shape, 1.2),
            "q01": torch.full(shape, -0.9),
            "q99": torch.full(shape, 1.1),
        }
        for name, shape in wide.items()
    }


def lerobot_batch(frame, task=None):
    """What a plain LeRobot script would give to the pre-processor."""
    batch = {"observation.state": torch.from_numpy(frame.state.copy())}
    for name, image in frame.images.items():
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        batch[f"observation.images.{name}"] = pixels
    return batch if task is None else {**batch, "task": task}


def lerobot_load(kind: str, path: Path):
    """Policy and processors, by LeRobot's own calls."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    tokenizer = path / "tokenizer"
    overrides, arguments = {}, []
    if tokenizer.is_dir():
        overrides["tokenizer_processor"] = {"tokenizer_name": str(tokenizer)}
    if kind == "pi0_fast":
        overrides["action_tokenizer_processor"] = {
            "action_tokenizer_name": "any",
            "paligemma_tokenizer_name": str(tokenizer),
        }
        arguments = [f"--text_tokenizer_name={tokenizer}"]
    config = PreTrainedConfig.from_pretrained(str(path), cli_overrides=arguments)
    policy = get_policy_class(kind).from_pretrained(str(path), config=config)
    before, after = make_pre_post_processors(config, pretrained_path=str(path), preprocessor_overrides=overrides)
    return policy.eval(), before, after
