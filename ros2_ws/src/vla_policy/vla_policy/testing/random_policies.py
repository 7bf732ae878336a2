# SPDX-License-Identifier: Apache-2.0

"""LeRobot policies with random weights, of their published size or a small one, made without a download.

What an inference costs does not depend on what the weights are, so speed and equality can be measured without a checkpoint.
"""

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config
from lerobot.utils.constants import OBS_LANGUAGE_ATTENTION_MASK, OBS_LANGUAGE_TOKENS
from torch import Tensor, nn

from vla_policy.training.small_vlm import SmallVlmSize, make_small_vlm

CAMERAS = ("observation.images.front", "observation.images.wrist")
STATE, ACTION = "observation.state", "action"
JOINTS = 7
SPREAD = 0.05
SMALL_VOCABULARY = 300
PROMPT_TOKENS = 12

# HuggingFaceTB/SmolVLM2-500M-Video-Instruct, the backbone of smolvla_base: the sizes that SmallVlmSize derives otherwise, and
# the vocabulary, which decides nothing but memory. SmolVLA takes the first 16 of its 32 text layers.
FULL_VLM = SmallVlmSize(
    image=512,
    patch=16,
    scale_factor=4,
    vision_width=768,
    vision_layers=12,
    vision_heads=12,
    text_width=960,
    text_layers=16,
    text_heads=15,
    text_kv_heads=5,
)
FULL_VLM_DETAILS: dict[str, dict[str, object]] = {
    "vision_config": {"intermediate_size": 3072, "hidden_act": "gelu_pytorch_tanh"},
    "text_config": {"intermediate_size": 2560, "vocab_size": 49280, "rope_theta": 100000.0},
}
SMALL_VLM = SmallVlmSize(image=48)
SMALL_SMOLVLA = {"resize_imgs_with_padding": (48, 48), "num_vlm_layers": 4, "max_state_dim": 8, "max_action_dim": 8}
SMALL_PI = {"image_resolution": (56, 56), "max_state_dim": 8, "max_action_dim": 8, "dtype": "float32"}


def make_policy(
    kind: str, folder: Path, *, full: bool, image: int = 0, chunk: int = 0, device: str = "cpu", **options: Any
) -> Any:
    """A policy in evaluation mode; the same arguments give the same weights.

    Args:
        kind: `smolvla`, `pi0` or `pi05`.
        folder: Where SmolVLA's backbone folder is made, or found when it is there already.
        full: The published size (450 M, 3.5 G and 3.6 G parameters) instead of one of under a million.
        image: Side of the square camera images [px]; 0: as the policy sees them.
        chunk: Steps of the action chunk; 0: 50 for the full size, 10 for the small one.
        device: Torch device.
        options: Further fields of the policy's configuration.
    """
    shape = (3, image or _image(kind, full), image or _image(kind, full))
    features = {STATE: PolicyFeature(FeatureType.STATE, (JOINTS,))}
    features |= {camera: PolicyFeature(FeatureType.VISUAL, shape) for camera in CAMERAS}
    steps = chunk or (50 if full else 10)
    if kind == "smolvla":
        options = {"load_vlm_weights": False, "vlm_model_name": str(_backbone(folder, full)), **options}
        options = options if full else {**SMALL_SMOLVLA, **options}
    elif not full:
        options = {**SMALL_PI, **options}
    config = make_policy_config(
        kind,
        input_features=features,
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (JOINTS,))},
        chunk_size=steps,
        n_action_steps=steps,
        device=device,
        push_to_hub=False,
        **options,
    )
    torch.manual_seed(0)
    if kind == "smolvla" or full:
        policy: Any = get_policy_class(kind)(config)  # type: ignore[call-arg]
    else:
        with small_paligemma(kind):
            policy = get_policy_class(kind)(config)  # type: ignore[call-arg]
    _spread(policy)
    return policy.to(device).eval()


def make_observation(policy: Any, seed: int, *, batch: int = 1, tokens: int = PROMPT_TOKENS) -> dict[str, Tensor]:
    """A random observation as the policy's preprocessor would give it.

    Args:
        policy: From `make_policy`.
        seed: Different numbers give different images, states and prompts.
        batch: Observations in it.
        tokens: Valid tokens of the prompt; pi0's and pi0.5's are padded to `tokenizer_max_length`.
    """
    config = policy.config
    device = next(policy.parameters()).device
    random = torch.Generator().manual_seed(seed)
    length = tokens if config.type == "smolvla" else config.tokenizer_max_length
    valid = (torch.arange(length) < tokens).expand(batch, -1)
    observation = {
        STATE: torch.randn(batch, JOINTS, generator=random),
        OBS_LANGUAGE_TOKENS: torch.randint(10, 200, (batch, length), generator=random) * valid,
        OBS_LANGUAGE_ATTENTION_MASK: valid,
    }
    for camera in CAMERAS:
        observation[camera] = torch.rand(batch, *config.image_features[camera].shape, generator=random)
    return {name: value.to(device) for name, value in observation.items()}


def make_noise(policy: Any, seed: int, *, batch: int = 1) -> Tensor:
    """Noise (batch, chunk, max_action_dim) for a policy's first denoising step."""
    config = policy.config
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, config.chunk_size, config.max_action_dim, generator=random)
    return noise.to(next(policy.parameters()).device)


def _image(kind: str, full: bool) -> int:
    if kind == "smolvla":
        return FULL_VLM.image if full else SMALL_VLM.image
    return 224 if full else int(SMALL_PI["image_resolution"][0])  # type: ignore[index]


def _backbone(folder: Path, full: bool) -> Path:
    """SmolVLA's backbone folder: configuration and tokenizer, no weights."""
    path = folder / ("vlm_full" if full else "vlm_small")
    if path.exists():
        return path
    make_small_vlm(path, size=FULL_VLM if full else SMALL_VLM)
    if full:
        file = path / "config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        for part, details in FULL_VLM_DETAILS.items():
            config[part] |= details
        file.write_text(json.dumps(config, indent=2), encoding="utf-8")
    return path


def _spread(policy: nn.Module) -> None:
    """Random numbers in what starts as zeros or ones, so that no input and no layer goes without effect."""
    with torch.no_grad():
        for parameter in policy.parameters():
            if bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(torch.randn_like(parameter) * SPREAD)


@contextmanager
def small_paligemma(kind: str) -> Iterator[None]:
    """Let LeRobot's pi0 or pi0.5, whose sizes are fixed in its code, be built small."""
    module: Any = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    replaced = ("PaliGemmaForConditionalGenerationWithPiGemma", "PiGemmaForCausalLM", "get_gemma_config")
    before = {name: getattr(module, name) for name in replaced}

    def vlm(config: Any) -> nn.Module:
        vision, text = config.vision_config, config.text_config
        vision.projection_dim, vision.hidden_size, vision.intermediate_size = text.hidden_size, 32, 64
        vision.num_hidden_layers, vision.num_attention_heads = 2, 2
        text.vocab_size = SMALL_VOCABULARY
        model: nn.Module = before[replaced[0]](config=config)
        return model

    def expert(config: Any) -> nn.Module:
        config.vocab_size = SMALL_VOCABULARY
        model: nn.Module = before[replaced[1]](config=config)
        return model

    def sizes(variant: str) -> Any:
        width = 96 if variant == "gemma_2b" else 64
        return module.GemmaConfig(width=width, depth=3, mlp_dim=128, num_heads=8, num_kv_heads=1, head_dim=16)

    try:
        for name, function in zip(replaced, (vlm, expert, sizes), strict=True):
            setattr(module, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(module, name, function)
