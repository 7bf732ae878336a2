# SPDX-License-Identifier: Apache-2.0

"""Strict loading of a LeRobot checkpoint: configuration, processors, weights.

Loading goes through LeRobot's own classes. What they would let pass (a cut file, left-over or missing tensors, statistics
that are absent) is checked around them, and what points outside of the checkpoint (backbone, tokenizers, device) is
pointed to the copy that travels with it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins
from safetensors.torch import load_model
from vla_core.errors import CheckpointError

from vla_policy.policies.checkpoint import (
    ACTION_TOKENIZER_DIR,
    TOKENIZER_DIR,
    VLM_DIR,
    WEIGHTS_FILE,
    Checkpoint,
    travelling_folder,
)
from vla_policy.policies.runner import LoadRequest
from vla_policy.policies.weights import check_shapes, read_shapes

PROCESSOR_FILES = ("policy_preprocessor.json", "policy_postprocessor.json")
TOKENIZER_STEP = "tokenizer_processor"
ACTION_TOKENIZER_STEP = "action_tokenizer_processor"
DEVICE_STEP = "device_processor"
RENAME_STEP = "rename_observations_processor"
NORMALIZERS = ("normalizer_processor", "unnormalizer_processor")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Steps = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedParts:
    """A LeRobot policy, ready to compute.

    Attributes:
        policy: The model, on its device, in evaluation mode.
        config: Its configuration.
        before: Pre-processor.
        after: Post-processor.
        uses_task: Whether the policy reads the instruction.
    """

    policy: Any
    config: Any
    before: Any
    after: Any
    uses_task: bool


def load_parts(checkpoint: Checkpoint, request: LoadRequest, steps: Steps) -> LoadedParts:
    """Load what a checkpoint holds.

    Args:
        checkpoint: From `find_checkpoint`.
        request: Device, dtype, compilation and threads.
        steps: From `processor_steps`.

    Raises:
        CheckpointError: something is missing, damaged or does not fit, or the machine cannot do what is asked for.
    """
    check_device(request.device)
    torch.set_num_threads(request.torch_threads)
    stored = read_shapes(checkpoint.path / WEIGHTS_FILE)
    config = _load_config(checkpoint, request)
    before, after = _load_processors(checkpoint, config, request.device, steps)  # cheap, and fails for a tokenizer
    policy = _load_policy(checkpoint, config, stored)
    if request.compile and not request.accelerate and not hasattr(config, "compile_model"):
        if not hasattr(policy, "model"):
            raise CheckpointError(
                f"{checkpoint.path}: compile:=true is not supported for policies of type '{checkpoint.policy_type}'."
            )
        policy.model.compile()  # in place; the names of its tensors stay
    return LoadedParts(policy=policy, config=config, before=before, after=after, uses_task=TOKENIZER_STEP in steps)


def check_device(device: str) -> None:
    """Raise `CheckpointError` when torch has no such device."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise CheckpointError(f"device '{device}' is not a torch device: {error}. Use device:=cpu or cuda.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise CheckpointError(f"device '{device}' was asked for, but torch sees no CUDA device. Use device:=cpu.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise CheckpointError(f"device '{device}' was asked for, but torch sees no MPS device. Use device:=cpu.")


def processor_steps(path: Path) -> Steps:
    """Name to configuration of the processor steps, after checking that all their files are complete.

    Raises:
        CheckpointError: a processor file is missing or damaged.
    """
    steps: Steps = {}
    for file in (path / name for name in PROCESSOR_FILES):
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"{file}: the checkpoint has no such processor ({error.strerror}), so its normalisation is unknown. "
                f"Copy the whole {path.name} folder."
            ) from error
        except ValueError as error:
            raise CheckpointError(f"{file}: not valid JSON: {error}. Copy the checkpoint again.") from error
        for step in document["steps"]:
            steps.setdefault(step.get("registry_name") or step.get("class", ""), step.get("config", {}))
            if "state_file" in step:
                read_shapes(path / step["state_file"])
    return steps


def _load_config(checkpoint: Checkpoint, request: LoadRequest) -> PreTrainedConfig:
    """The policy's configuration, with everything that points outside the checkpoint replaced."""
    stored = checkpoint.config
    if checkpoint.policy_type not in PreTrainedConfig.get_known_choices():
        register_third_party_plugins()  # packages named lerobot_policy_*
    overrides = [f"--device={request.device}", *_within(checkpoint)]
    if request.dtype and "dtype" in stored:
        if request.dtype == "float16":
            raise CheckpointError(
                f"{checkpoint.path}: a policy of type '{checkpoint.policy_type}' computes in float32 or bfloat16, not "
                f"in float16. Use dtype:=bfloat16."
            )
        overrides.append(f"--dtype={request.dtype}")
    if "compile_model" in stored:
        overrides.append(f"--compile_model={str(request.compile and not request.accelerate).lower()}")
    if checkpoint.policy_type == "pi0_fast":
        # LeRobot decodes as many steps as are executed; the tokens stand for a whole chunk.
        overrides.append(f"--n_action_steps={stored['chunk_size']}")
    try:
        return PreTrainedConfig.from_pretrained(str(checkpoint.path), cli_overrides=overrides)
    except (ValueError, TypeError, SystemExit) as error:
        raise CheckpointError(f"{checkpoint.path}: config.json does not describe a known policy: {error}") from error


def _within(checkpoint: Checkpoint) -> list[str]:
    """Overrides by which nothing is fetched: weights come with the checkpoint, and so do backbone and tokenizers."""
    stored, found = checkpoint.config, []
    if "pretrained_backbone_weights" in stored:
        found.append("--pretrained_backbone_weights=null")
    if "load_vlm_weights" in stored:
        found.append("--load_vlm_weights=false")
    for key, folder in (
        ("vlm_model_name", VLM_DIR),
        ("text_tokenizer_name", TOKENIZER_DIR),
        ("action_tokenizer_name", ACTION_TOKENIZER_DIR),
    ):
        if isinstance(stored.get(key), str):
            found.append(f"--{key}={travelling_folder(checkpoint, stored[key], folder)}")
    return found


def _load_processors(checkpoint: Checkpoint, config: Any, device: str, steps: Steps) -> tuple[Any, Any]:
    overrides: Steps = {DEVICE_STEP: {"device": device}} if DEVICE_STEP in steps else {}
    folder = VLM_DIR if "vlm_model_name" in checkpoint.config else TOKENIZER_DIR
    named = str(steps.get(TOKENIZER_STEP, {}).get("tokenizer_name") or "")
    if TOKENIZER_STEP in steps:
        overrides[TOKENIZER_STEP] = {"tokenizer_name": travelling_folder(checkpoint, named, folder)}
    if ACTION_TOKENIZER_STEP in steps:
        overrides[ACTION_TOKENIZER_STEP] = {
            "action_tokenizer_name": config.action_tokenizer_name,
            "paligemma_tokenizer_name": config.text_tokenizer_name,
        }
    try:
        before, after = make_pre_post_processors(
            config, pretrained_path=str(checkpoint.path), preprocessor_overrides=overrides
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        advice = ""
        if TOKENIZER_STEP in steps and not (checkpoint.path / folder).is_dir():
            advice = (
                f"\nThe tokenizer '{named}' is not on this machine, or is one whose licence must be accepted first, and no "
                f"copy travels with the checkpoint. Fetch it once where there is network and put its files into "
                f"{checkpoint.path / folder}: hf download {named} --local-dir {checkpoint.path / folder}"
            )
        raise CheckpointError(
            f"{checkpoint.path}: cannot load the policy's processors ({', '.join(PROCESSOR_FILES)}): {error}{advice}"
        ) from error
    _check_statistics(checkpoint, (before, after))
    return before, after


def _check_statistics(checkpoint: Checkpoint, pipelines: tuple[Any, Any]) -> None:
    """LeRobot passes a feature without statistics through as it is; the policy would then see other numbers."""
    for pipeline in pipelines:
        for step in pipeline.steps:
            if getattr(step, "_registry_name", "") not in NORMALIZERS:
                continue
            known = {name.rpartition(".")[0] for name in step.state_dict()}
            without = [
                name
                for name, feature in step.features.items()
                if step.norm_map.get(feature.type, NormalizationMode.IDENTITY) is not NormalizationMode.IDENTITY
                and name not in known
                and ".empty_camera_" not in name
            ]
            if without:
                raise CheckpointError(
                    f"{checkpoint.path}: no statistics to normalise {', '.join(sorted(without))} with; the policy would "
                    f"compute with other numbers than in training. Copy the checkpoint again, or save it with the "
                    f"statistics of its dataset."
                )


def _load_policy(checkpoint: Checkpoint, config: Any, stored: Mapping[str, tuple[int, ...]]) -> Any:
    file = checkpoint.path / WEIGHTS_FILE
    try:
        policy = get_policy_class(checkpoint.policy_type)(config)
    except (OSError, ValueError, ImportError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint.path}: cannot build the policy from its config.json: {error}") from error
    check_shapes(file, stored, _model_shapes(policy, stored))
    load_model(policy, str(file), strict=True, device=str(config.device))
    policy.to(config.device)
    policy.eval()
    bad = [name for name, tensor in policy.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise CheckpointError(
            f"{file}: {len(bad)} tensors hold NaN or infinite numbers, first '{bad[0]}'. The training diverged; choose "
            f"an earlier checkpoint or a lower learning rate."
        )
    return policy


def _model_shapes(policy: Any, stored: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes of the model's tensors; of tensors that share memory only those that the file holds, or the first."""
    groups: dict[tuple[int, tuple[int, ...]], list[str]] = {}
    state = policy.state_dict()
    for name, tensor in state.items():
        # Empty tensors share address 0 without being tied.
        key = (tensor.data_ptr() or id(tensor), tuple(tensor.shape))
        groups.setdefault(key, []).append(name)
    names = []
    for tied in groups.values():
        present = [name for name in tied if name in stored]
        names += present or tied[:1]
    return {name: tuple(state[name].shape) for name in names}
