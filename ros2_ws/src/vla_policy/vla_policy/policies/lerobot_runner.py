# SPDX-License-Identifier: Apache-2.0

"""LeRobot policies as a `PolicyRunner`: ACT, Diffusion, SmolVLA, pi0, pi0.5, pi0-FAST and others of its factory."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, Frame
from vla_core.profile import Profile

from vla_policy.policies.accelerated import accelerate
from vla_policy.policies.checkpoint import Checkpoint, choose_profile, find_checkpoint
from vla_policy.policies.contract import check_features, renamed_features
from vla_policy.policies.guidance import GUIDABLE, check_guidable, enable_guidance, guidance_arguments
from vla_policy.policies.history import History
from vla_policy.policies.lerobot_loading import DTYPES, RENAME_STEP, load_parts, processor_steps
from vla_policy.policies.registry import refuse_options
from vla_policy.policies.runner import InferenceError, Loaded, LoadRequest, Prefix

DIFFUSION = "diffusion"
WARM_UP_RUNS = 2
UINT8_MAX = 255.0


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


class UndecodedError(InferenceError):
    """A policy that writes its actions as tokens wrote some that mean no action."""


class LeRobotRunner:
    """A LeRobot checkpoint, loaded strictly and warmed up.

    Attributes:
        history: Earlier observations that the policy reads beside the present one, each one step of the profile apart.
        last_timing: Wall seconds of the last inference: preprocess, model, postprocess.
    """

    def __init__(self, checkpoint: Checkpoint, profile: Profile, request: LoadRequest) -> None:
        """Load the policy.

        Args:
            checkpoint: From `find_checkpoint`.
            profile: The profile to run under; the policy's features must be those of the profile.
            request: Everything else; its `checkpoint` and `profile` are not looked at.

        Raises:
            CheckpointError: anything about the checkpoint that would make the policy another one than was trained, or
                that this machine or kind of policy cannot do.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if request.guided:
            check_guidable(checkpoint.policy_type, str(checkpoint.path))
        steps = processor_steps(checkpoint.path)
        stored_names = steps.get(RENAME_STEP, {}).get("rename_map") or {}
        self._names = renamed_features(profile, request.rename)
        check_features(
            checkpoint.path, checkpoint.config, profile, {k: stored_names.get(v, v) for k, v in self._names.items()}
        )
        self.chunk_size = _chunk_size(checkpoint)
        self.n_action_steps = _choose_steps(request.n_action_steps, checkpoint, self.chunk_size)
        self.history = _history(checkpoint)
        self.guidable = checkpoint.policy_type in GUIDABLE
        self.last_timing = {"preprocess": 0.0, "model": 0.0, "postprocess": 0.0}
        self._profile = profile
        self._request = request
        self._kind = checkpoint.policy_type
        self._past = History(self.history, 1.0 / profile.fps)
        parts = load_parts(checkpoint, request, steps)
        self._policy, self._before, self._after = parts.policy, parts.before, parts.after
        self._uses_task = parts.uses_task
        if self.guidable:
            enable_guidance(self._policy, request)
        self._autocast = _autocast(request, parts.config)
        self.description = (
            f"{checkpoint.policy_type} from {checkpoint.path} on {request.device}, "
            f"{sum(p.numel() for p in self._policy.parameters()) / 1e6:.1f} M parameters, chunk {self.chunk_size}, "
            f"{self.n_action_steps} executed"
        )
        if request.accelerate:
            self._policy = accelerate(self._policy, dtype=request.dtype, compile_model=request.compile)
            self.description += f", {self._policy.description}"
        self._warm_up(checkpoint)

    def reset(self) -> None:
        """Forget the past and restart the noise sequence, so that an episode is reproducible."""
        self._policy.reset()
        self._past.clear()
        torch.manual_seed(self._request.seed)

    def observe(self, frame: Frame) -> None:
        """Take note of an earlier observation (`history`); the next inference looks back at it."""
        self._past.add(frame)

    def infer(self, frame: Frame, task: str, prefix: Prefix | None = None) -> ActionChunk:
        """See `PolicyRunner.infer`."""
        if prefix is not None and not self.guidable:
            raise InferenceError(f"a policy of type '{self._kind}' cannot continue a prefix; ask `guidable` first")
        self._check_frame(frame)
        begun_s = time.perf_counter()
        try:
            with torch.no_grad():
                # Not inference_mode: methods that guide the denoiser need autograd inside it.
                batch, guidance = self._inputs(frame, task, prefix)
                prepared_s = time.perf_counter()
                with self._autocast():
                    chunk = self._policy.predict_action_chunk(batch, **guidance)
                if chunk.is_cuda:
                    torch.cuda.synchronize(chunk.device)
                computed_s = time.perf_counter()
                actions = self._after(chunk.to(torch.float32))
        except AssertionError as error:
            raise UndecodedError(f"the policy's action tokens mean no action: {error}; nothing is sent") from error
        except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InferenceError(f"the policy raised {type(error).__name__} during inference: {error}") from error
        values = actions.squeeze(0).to(torch.float32).cpu().numpy()
        self.last_timing = {
            "preprocess": prepared_s - begun_s,
            "model": computed_s - prepared_s,
            "postprocess": time.perf_counter() - computed_s,
        }
        self._check(values, undecoded=self._kind == "pi0_fast" and not bool(chunk.any()))
        return ActionChunk(t0_ns=frame.t_ns, dt_s=1.0 / self._profile.fps, values=values)

    def close(self) -> None:
        """Drop the model."""
        self._policy = self._before = self._after = None
        if self._request.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _inputs(self, frame: Frame, task: str, prefix: Prefix | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The policy's input and its guidance; both through the pre-processor that training used."""
        if self._kind == DIFFUSION:
            seen = [self._before(self._batch(one, task)) for one in self._past.before(frame)]
            names = [name for name in seen[0] if name.startswith("observation.")]
            return {name: torch.stack([one[name] for one in seen], dim=1) for name in names}, {}
        batch = self._batch(frame, task)
        if prefix is None:
            return self._before(batch), {}
        batch[ACTION_KEY] = torch.from_numpy(np.array(prefix.values, dtype=np.float32)[None])
        batch = self._before(batch)
        normalised = batch.pop(ACTION_KEY)
        return batch, guidance_arguments(
            prefix, normalised, chunk_size=self.chunk_size, horizon=self._request.rtc_horizon
        )

    def _batch(self, frame: Frame, task: str) -> dict[str, Any]:
        """One observation as LeRobot's pre-processors take it; no text for policies that were trained without."""
        batch: dict[str, Any] = {}
        if len(frame.state):
            batch[self._names[STATE_KEY]] = torch.from_numpy(np.array(frame.state, dtype=np.float32))
        for name, image in frame.images.items():
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32) / UINT8_MAX
            batch[self._names[IMAGE_PREFIX + name]] = pixels
        if self._uses_task:
            batch["task"] = task
        return batch

    def _check_frame(self, frame: Frame) -> None:
        """LeRobot would stand in for a camera that is missing, and stretch one of another size."""
        if self._policy is None:
            raise InferenceError("the policy was closed")
        given = {name: image.shape for name, image in frame.images.items()}
        wanted = {camera.name: camera.frame_shape for camera in self._profile.cameras}
        if given != wanted or len(frame.state) != len(self._profile.state_names):
            raise InferenceError(
                f"the observation has images {given} and a state of {len(frame.state)}, the policy's profile images "
                f"{wanted} and a state of {len(self._profile.state_names)}"
            )

    def _check(self, values: NDArray[np.float32], *, undecoded: bool) -> None:
        names = self._profile.action_names
        if values.shape != (self.chunk_size, len(names)):
            raise InferenceError(
                f"the policy returned actions of shape {values.shape}, expected ({self.chunk_size}, {len(names)})"
            )
        if undecoded:
            # LeRobot stands in zeros, the mean of the training data, for tokens that it cannot decode.
            raise UndecodedError(
                "the policy's action tokens could not be decoded, so there is no action; nothing is sent. Was it trained "
                "long enough, and with the action tokenizer that is loaded?"
            )
        if not np.isfinite(values).all():
            step, column = np.argwhere(~np.isfinite(values))[0]
            raise InferenceError(
                f"the policy returned {values[step, column]} for '{names[column]}' at step {step}; nothing is sent. Look "
                f"for NaN in the training log, or choose an earlier checkpoint."
            )

    def _warm_up(self, checkpoint: Checkpoint) -> None:
        """The first calls allocate and compile; run them before anything is timed or moves."""
        images: dict[str, NDArray[np.uint8]] = {
            c.name: np.zeros((*c.frame_size, 3), dtype=np.uint8) for c in self._profile.cameras
        }
        state = np.zeros(len(self._profile.state_names), dtype=np.float32)
        frame = Frame(t_ns=0, state=state, state64=state.astype(np.float64), images=images, action=None, ages_s={})
        try:
            self.reset()
            for _ in range(WARM_UP_RUNS):
                with contextlib.suppress(UndecodedError):  # black images may mean nothing to the policy
                    chunk = self.infer(frame, self._profile.task)
            if self._request.guided:
                self.infer(frame, self._profile.task, Prefix(values=chunk.values, frozen=1))
        except InferenceError as error:
            raise CheckpointError(f"{checkpoint.path}: loaded, but cannot compute: {error}") from error
        self.reset()


def _autocast(request: LoadRequest, config: Any) -> Any:
    """The context that the model computes in: policies without a dtype of their own get torch's autocast."""
    kind = torch.device(request.device).type
    own = hasattr(config, "dtype") or request.accelerate
    dtype = DTYPES.get(request.dtype)
    if dtype in (torch.bfloat16, torch.float16) and not own:
        return lambda: torch.autocast(kind, dtype=dtype)
    if not request.dtype and config.use_amp:
        return lambda: torch.autocast(kind)
    return contextlib.nullcontext


def _chunk_size(checkpoint: Checkpoint) -> int:
    """Steps of one chunk; Diffusion returns from the present step on what is meant to be executed."""
    key = "n_action_steps" if checkpoint.policy_type == DIFFUSION else "chunk_size"
    size = checkpoint.config.get(key)
    if not isinstance(size, int) or size < 1:
        raise CheckpointError(
            f"{checkpoint.path}: config.json states no '{key}', so policies of type '{checkpoint.policy_type}' cannot be "
            f"run: they must return chunks of actions."
        )
    return size


def _history(checkpoint: Checkpoint) -> int:
    observations = int(checkpoint.config.get("n_obs_steps") or 1)
    if observations > 1 and checkpoint.policy_type != DIFFUSION:
        raise CheckpointError(
            f"{checkpoint.path}: reads {observations} observations at once, which is supported for policies of type "
            f"'{DIFFUSION}' only, not for '{checkpoint.policy_type}'."
        )
    return observations - 1


def _choose_steps(asked: int, checkpoint: Checkpoint, chunk_size: int) -> int:
    if asked > chunk_size:
        raise CheckpointError(f"n_action_steps {asked} is more than the policy's chunk of {chunk_size} steps.")
    return asked or int(checkpoint.config.get("n_action_steps") or chunk_size)
