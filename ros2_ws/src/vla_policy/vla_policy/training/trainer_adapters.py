# SPDX-License-Identifier: Apache-2.0

"""Whole weights of a policy that is trained by low-rank adapters, so that its checkpoint runs like any other.

LeRobot stores the adapter alone, beside which the base must lie wherever the policy runs. The sum of both is stored too; the
adapter stays for going on with the training.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from vla_policy.policies.checkpoint import CONFIG_FILE

ADAPTER = "default"
LEFT_OUT = (
    ".lora_A.",
    ".lora_B.",
    ".lora_embedding_A.",
    ".lora_embedding_B.",
    ".lora_magnitude_vector.",
    ".original_module.",
)


def whole_weights(model: Any) -> dict[str, Tensor]:
    """The weights of the policy inside a PEFT model, by their own names, with the adapters added.

    Args:
        model: A `peft.PeftModel`; it is not changed.
    """
    policy = model.base_model.model
    added = {
        f"{name}.weight": layer.get_delta_weight(ADAPTER)
        for name, layer in policy.named_modules()
        if hasattr(layer, "get_delta_weight") and hasattr(layer, "base_layer")
    }
    weights = {}
    for name, value in policy.state_dict().items():
        if any(part in name for part in LEFT_OUT):
            continue
        own = name.replace(".base_layer.", ".").replace(f".modules_to_save.{ADAPTER}.", ".")
        weights[own] = value + added[own].to(value.dtype) if own in added else value
    return weights


def store_whole(path: Path, model: Any) -> None:
    """Write the whole weights and a configuration that names no adapter into a `pretrained_model` folder."""
    model.base_model.model._save_pretrained(
        path, state_dict={k: v.contiguous() for k, v in whole_weights(model).items()}
    )
    file = path / CONFIG_FILE
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, "use_peft": False}, indent=4), encoding="utf-8")
