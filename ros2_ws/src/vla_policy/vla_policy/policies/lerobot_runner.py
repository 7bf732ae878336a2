# SPDX-License-Identifier: Apache-2.0

"""LeRobot policies as a `PolicyRunner`: strict loading of weights and processors, and inference.

Loading goes through LeRobot's own classes; everything that they would let pass (a cut file, left-over or missing
tensors, a camera of another name or size) is checked first, and a moved checkpoint finds its own backbone folder.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from numpy.typing import NDArray
from safetensors.torch import load_model
from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError
from vla_core.frames import IMAGE_PREFIX, STATE_KEY, Frame
from vla_core.profile import Profile

from vla_policy.policies.checkpoint import WEIGHTS_FILE, Checkpoint, choose_profile, find_checkpoint
from vla_policy.policies.contract import check_features
from vla_policy.policies.registry import refuse_options
from vla_policy.policies.runner import InferenceError, Loaded, LoadRequest, Prefix
from vla_policy.policies.weights import check_shapes, read_shapes

PROCESSOR_FILES = ("policy_preprocessor.json", "policy_postprocessor.json")
TOKENIZER_STEP = "tokenizer_processor"
DEVICE_STEP = "device_processor"
WARM_UP_RUNS = 2


def load(request: LoadRequest) -> Loaded:
    """Load a LeRobot checkpoint; the entry point of `policy:=lerobot`.

    Raises:
        CheckpointError: no checkpoint was named, or anything about it would make the policy another one than was trained.
    """
    refuse_options(request.options, {}, "lerobot")
    if not request.checkpoint:
        raise CheckpointError(
            "policy 'lerobot' needs a checkpoint: checkpoint:=DIR (a training output, a step or a pretrained_model folder)."
        )
    checkpoint = find_checkpoint(Path(request.checkpoint).expanduser())
    profile = choose_profile(checkpoint, request.profile)
    return Loaded(runner=LeRobotRunner(checkpoint, profile, request), profile=profile, source=str(checkpoint.path))


class LeRobotRunner:
    """A LeRobot checkpoint, loaded strictly and warmed up."""

    def __init__(self, checkpoint: Checkpoint, profile: Profile, options: LoadRequest) -> None:
        """Load the policy.

        Args:
            checkpoint: From `find_checkpoint`.
            profile: The profile to run under; the policy's features must be those of the profile.
            options: Device, threads, steps, seed; its `checkpoint` and `profile` are not looked at.

        Raises:
            CheckpointError: anything about the checkpoint that would make the policy another one than was trained.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        check_features(checkpoint.path, checkpoint.config, profile)
        stored = read_shapes(checkpoint.path / WEIGHTS_FILE)
        steps = _processor_steps(checkpoint.path)
        torch.set_num_threads(options.torch_threads)
        _check_device(options.device)
        self._profile = profile
        self._seed = options.seed
        self._config = _load_config(checkpoint, options.device)
        self._policy = _load_policy(checkpoint, self._config, stored)
        self._uses_task = TOKENIZER_STEP in steps
        self._before, self._after = _load_processors(checkpoint, self._config, options.device, steps)
        self.chunk_size = int(getattr(self._config, "chunk_size", 1))
        self.n_action_steps = _choose_steps(options.n_action_steps, self._config, self.chunk_size)
        self.guidable = False
        self.description = (
            f"{checkpoint.policy_type} from {checkpoint.path} on {options.device}, "
            f"{sum(p.numel() for p in self._policy.parameters()) / 1e6:.1f} M parameters, chunk {self.chunk_size}, "
            f"{self.n_action_steps} executed"
        )
        self._warm_up()

    def reset(self) -> None:
        """Forget the past and restart the noise sequence, so that an episode is reproducible."""
        self._policy.reset()
        torch.manual_seed(self._seed)

    def infer(self, frame: Frame, task: str, prefix: Prefix | None = None) -> ActionChunk:
        """See `PolicyRunner.infer`."""
        batch: dict[str, Any] = {STATE_KEY: torch.from_numpy(np.array(frame.state, dtype=np.float32))}
        for name, image in frame.images.items():
            batch[IMAGE_PREFIX + name] = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
        if self._uses_task:
            batch["task"] = task
        try:
            with torch.no_grad():
                # Not inference_mode: methods that guide the denoiser need autograd inside it.
                chunk = self._policy.predict_action_chunk(self._before(batch))
                actions = self._after(chunk)
        except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InferenceError(f"the policy raised {type(error).__name__} during inference: {error}") from error
        values = actions.squeeze(0).to(torch.float32).cpu().numpy()
        self._check(values)
        return ActionChunk(t0_ns=frame.t_ns, dt_s=1.0 / self._profile.fps, values=values)

    def close(self) -> None:
        """Drop the model."""
        del self._policy

    def _check(self, values: np.ndarray) -> None:
        width = len(self._profile.action_names)
        if values.ndim != 2 or values.shape[1] != width:
            raise InferenceError(f"the policy returned actions of shape {values.shape}, expected (steps, {width})")
        if not np.isfinite(values).all():
            step, column = np.argwhere(~np.isfinite(values))[0]
            raise InferenceError(
                f"the policy returned {values[step, column]} for '{self._profile.action_names[column]}' at step {step}; "
                f"nothing is sent. Look for NaN in the training log, or choose an earlier checkpoint."
            )

    def _warm_up(self) -> None:
        """The first calls allocate and compile; run them before anything is timed or moves."""
        images: dict[str, NDArray[np.uint8]] = {
            c.name: np.zeros((*c.frame_size, 3), dtype=np.uint8) for c in self._profile.cameras
        }
        state = np.zeros(len(self._profile.state_names), dtype=np.float32)
        frame = Frame(t_ns=0, state=state, state64=state.astype(np.float64), images=images, action=None, ages_s={})
        for _ in range(WARM_UP_RUNS):
            self.infer(frame, self._profile.task)
        self.reset()


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CheckpointError(f"device '{device}' was asked for, but torch sees no CUDA device. Use device:=cpu.")


def _processor_steps(path: Path) -> set[str]:
    """Names of the processor steps, after checking that all their files are complete."""
    names: set[str] = set()
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
            names.add(step.get("registry_name") or step.get("class", ""))
            if "state_file" in step:
                read_shapes(path / step["state_file"])
    return names


def _load_config(checkpoint: Checkpoint, device: str) -> PreTrainedConfig:
    """The policy's configuration, with everything that points outside the checkpoint replaced."""
    overrides = [f"--device={device}"]
    if "pretrained_backbone_weights" in checkpoint.config:
        overrides.append("--pretrained_backbone_weights=null")  # they come with the weights; this avoids a download
    if "load_vlm_weights" in checkpoint.config:
        overrides.append("--load_vlm_weights=false")
    if checkpoint.vlm is not None:
        overrides.append(f"--vlm_model_name={checkpoint.vlm}")
    else:
        _check_backbone(checkpoint)
    try:
        return PreTrainedConfig.from_pretrained(str(checkpoint.path), cli_overrides=overrides)
    except (ValueError, TypeError, SystemExit) as error:
        raise CheckpointError(f"{checkpoint.path}: config.json does not describe a known policy: {error}") from error


def _check_backbone(checkpoint: Checkpoint) -> None:
    """A backbone folder that was left behind on another machine is named before LeRobot looks for it on a hub."""
    name = checkpoint.config.get("vlm_model_name")
    if isinstance(name, str) and Path(name).is_absolute() and not Path(name).is_dir():
        raise CheckpointError(
            f"{checkpoint.path}: the backbone folder {name} is not on this machine and no copy travels with the "
            f"checkpoint. Copy it to {checkpoint.path / 'vlm'}."
        )


def _load_policy(checkpoint: Checkpoint, config: PreTrainedConfig, stored: Mapping[str, tuple[int, ...]]) -> Any:
    file = checkpoint.path / WEIGHTS_FILE
    try:
        policy = get_policy_class(checkpoint.policy_type)(config)
    except (OSError, ValueError, ImportError, TypeError) as error:
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


def _load_processors(checkpoint: Checkpoint, config: PreTrainedConfig, device: str, steps: set[str]) -> tuple[Any, Any]:
    overrides: dict[str, dict[str, Any]] = {}
    if DEVICE_STEP in steps:
        overrides[DEVICE_STEP] = {"device": device}
    if TOKENIZER_STEP in steps and checkpoint.vlm is not None:
        overrides[TOKENIZER_STEP] = {"tokenizer_name": str(checkpoint.vlm)}
    try:
        before, after = make_pre_post_processors(
            config, pretrained_path=str(checkpoint.path), preprocessor_overrides=overrides
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: cannot load the policy's processors ({', '.join(PROCESSOR_FILES)}): {error}"
        ) from error
    return before, after


def _choose_steps(asked: int, config: PreTrainedConfig, chunk_size: int) -> int:
    if asked > chunk_size:
        raise CheckpointError(f"n_action_steps {asked} is more than the policy's chunk of {chunk_size} steps.")
    return asked or int(getattr(config, "n_action_steps", chunk_size))
