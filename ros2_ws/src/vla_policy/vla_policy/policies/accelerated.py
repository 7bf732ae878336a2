# SPDX-License-Identifier: Apache-2.0

"""The same actions sooner: an optional runner around a loaded LeRobot flow-matching policy.

LeRobot's denoising loop computes in each of its steps what does not change between them. `accelerate` reorders the work of
SmolVLA, pi0 and pi0.5 so that this is done once per observation, lets the vision tower see all cameras at once, leaves
out what nothing reads, and can compile the rest, run it in bfloat16, and replay it from CUDA graphs. In float32 the actions
equal those of the stock policy up to rounding.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from lerobot.policies.common.flow_matching import sample_noise
from torch import Tensor
from vla_core.errors import CheckpointError

from vla_policy.policies.accelerated_graph import CudaGraphFunction
from vla_policy.policies.accelerated_pi import PiCore
from vla_policy.policies.accelerated_smolvla import SmolVLACore

DTYPES = {"": None, "float32": torch.float32, "bfloat16": torch.bfloat16}
# Autotuning finds nothing on a CPU; on a GPU the graphs are recorded here, once for each stage.
COMPILE_MODES = {"cpu": "default", "cuda": "max-autotune-no-cudagraphs"}
Static = tuple[Tensor, ...]


class Core(Protocol):
    """The stages of one inference as functions of tensors; see `SmolVLACore`, the first of them."""

    steps: int
    times: Tensor
    chunk_shape: tuple[int, int]

    def inputs(self, batch: Mapping[str, Tensor]) -> Static:
        """Prepared inputs: what `vision` takes, then what `prefix` takes beside its result."""
        ...

    def vision(self, pixels: Tensor) -> Tensor:
        """Image tokens."""
        ...

    @property
    def prefix(self) -> Callable[..., Static]:
        """Everything that the steps read, from the image tokens and the rest of the inputs."""
        ...

    def step(self, x: Tensor, time: Tensor, *static: Tensor) -> Tensor:
        """Velocity of the noisy chunk."""
        ...

    def finish(self, actions: Tensor) -> Tensor:
        """The policy's own action channels."""
        ...


CORES: dict[str, Callable[[Any, torch.dtype], Core]] = {"smolvla": SmolVLACore, "pi0": PiCore, "pi05": PiCore}


class AcceleratedPolicy:
    """A LeRobot policy's `predict_action_chunk`, accelerated; for inference, from one thread at a time.

    Attributes:
        policy: The stock policy, whose weights are used.
        description: One line for people.
        stages: `vision`, `prefix`, `denoise` (all steps) and `step` (one step, under guidance): functions from tensors to a
            tuple of tensors, which a benchmark may wrap.
    """

    def __init__(self, policy: Any, core: Core, *, compile_model: bool, cuda_graph: bool, description: str) -> None:
        """See `accelerate`, which chooses the arguments."""
        self.policy = policy
        self.description = description
        self._core = core
        vision, prefix, step = core.vision, core.prefix, core.step
        if compile_model:
            mode = COMPILE_MODES[core.times.device.type]
            compiled = functools.partial(torch.compile, mode=mode, dynamic=False)
            vision, prefix, step = compiled(vision), compiled(prefix), compiled(step)
        self._step = step
        self.stages: dict[str, Callable[..., Static]] = {
            "vision": lambda pixels: (vision(pixels),),
            "prefix": prefix,
            "denoise": lambda x, *static: (self._all_steps(x, static),),
            "step": lambda x, time, *static: (step(x, time, *static),),
        }
        if cuda_graph:
            copied = {"vision": None, "prefix": None, "denoise": 1, "step": 2}
            self.stages = {name: CudaGraphFunction(self.stages[name], copied[name]) for name in copied}

    def reset(self) -> None:
        """Forget the past, as the stock policy does."""
        self.policy.reset()

    @torch.no_grad()
    def predict_action_chunk(
        self,
        batch: Mapping[str, Tensor],
        noise: Tensor | None = None,
        *,
        inference_delay: int | None = None,
        prev_chunk_left_over: Tensor | None = None,
        execution_horizon: int | None = None,
    ) -> Tensor:
        """Actions for one observation, like LeRobot's method of the same name.

        Args:
            batch: Output of the policy's preprocessor: images (B, 3, H, W) in 0…1, state, tokens.
            noise: (B, chunk, max_action_dim) float32 to start from; None draws it from torch's generator.
            inference_delay: Guidance (arXiv:2506.07339), where `config.rtc_config` enables it: steps of the new chunk that
                are past when it arrives.
            prev_chunk_left_over: What the new chunk is to continue, (T, m) or (B, T, m), normalised.
            execution_horizon: Steps over which the guidance fades.

        Returns:
            (B, chunk, action channels), normalised.
        """
        self.policy.eval()
        with torch.autocast(
            self._core.times.device.type, enabled=False
        ):  # `dtype` decides, whatever surrounds the call
            return self._predict(batch, noise, inference_delay, prev_chunk_left_over, execution_horizon)

    def _predict(
        self,
        batch: Mapping[str, Tensor],
        noise: Tensor | None,
        inference_delay: int | None,
        prev_chunk_left_over: Tensor | None,
        execution_horizon: int | None,
    ) -> Tensor:
        pixels, *rest = self._core.inputs(batch)
        if noise is None:
            noise = sample_noise((rest[0].shape[0], *self._core.chunk_shape), pixels.device)
        static = self.stages["prefix"](*self.stages["vision"](pixels), *rest)
        config = self.policy.config.rtc_config
        processor = self.policy.rtc_processor
        guided = config is not None and config.enabled and prev_chunk_left_over is not None
        if guided or (processor is not None and processor.is_debug_enabled()):
            guide = functools.partial(
                processor.denoise_step,
                prev_chunk_left_over=prev_chunk_left_over if guided else None,
                inference_delay=inference_delay,
                execution_horizon=execution_horizon,
            )
            actions = self._guided_steps(noise, static, guide)
        else:
            # The result may lie in memory that the next call writes to.
            actions = self.stages["denoise"](noise, *static)[0].clone()
        return self._core.finish(actions)

    def _all_steps(self, x: Tensor, static: Static) -> Tensor:
        """Forward Euler from noise (time 1) to actions (time 0)."""
        for k in range(self._core.steps):
            x = x + (-1.0 / self._core.steps) * self._step(x, self._core.times[k], *static)
        return x

    def _guided_steps(self, x: Tensor, static: Static, guide: Callable[..., Tensor]) -> Tensor:
        """The same with LeRobot's guidance around each step."""
        dt = -1.0 / self._core.steps
        for k in range(self._core.steps):
            time = 1.0 + k * dt
            velocity = guide(x_t=x, time=time, original_denoise_step_partial=functools.partial(self._free, k, static))
            x = x + dt * velocity
            if self.policy.rtc_processor.is_debug_enabled():
                self.policy.rtc_processor.track(time=time, x_t=x, v_t=velocity)
        return x

    def _free(self, k: int, static: Static, x: Tensor) -> Tensor:
        """One unguided step, inside the guidance, which runs with gradients switched on.

        LeRobot's guidance takes the model's answer as a constant. One that differentiates through the model gets the
        uncompiled step with its gradient.
        """
        if x.requires_grad:
            with torch.enable_grad():
                return self._core.step(x, self._core.times[k], *static)
        with torch.no_grad():
            return self.stages["step"](x, self._core.times[k], *static)[0]


def accelerate(
    policy: Any, *, dtype: str = "", compile_model: bool = False, cuda_graph: bool | None = None
) -> AcceleratedPolicy:
    """Wrap a loaded LeRobot policy.

    Args:
        policy: `SmolVLAPolicy`, `PI0Policy` or `PI05Policy` of lerobot 0.6, on its device.
        dtype: `float32` or `bfloat16` for the transformers, converted in place; empty: as they are.
        compile_model: Compile the stages; the first inferences then take minutes.
        cuda_graph: Replay the stages from CUDA graphs; None: where the policy is on a GPU.

    Raises:
        CheckpointError: the policy's type or configuration, the dtype, or the device cannot be accelerated.
    """
    kind = str(getattr(policy, "name", type(policy).__name__))
    if kind not in CORES:
        raise CheckpointError(
            f"accelerate: a policy of type '{kind}' cannot be accelerated; supported are {', '.join(CORES)}. "
            f"Use accelerate:=false."
        )
    if dtype not in DTYPES:
        raise CheckpointError(f"accelerate: dtype '{dtype}' is not supported; use float32 or bfloat16.")
    if policy.config.compile_model:
        raise CheckpointError(
            "accelerate: this policy's config.json has compile_model true, which compiles the stock loop. Load it with "
            "compile_model false, and compile the accelerated one instead (compile:=true)."
        )
    device = next(policy.parameters()).device
    if device.type not in COMPILE_MODES:
        raise CheckpointError(f"accelerate: device '{device}' is not supported; use cpu or cuda.")
    graph = device.type == "cuda" if cuda_graph is None else cuda_graph
    with torch.autocast(device.type, enabled=False):
        core = CORES[kind](policy, DTYPES[dtype] or _stored_dtype(policy))
    how = [str(DTYPES[dtype] or _stored_dtype(policy)).removeprefix("torch.")]
    how += ["compiled"] * compile_model + ["CUDA graphs"] * graph
    return AcceleratedPolicy(
        policy, core, compile_model=compile_model, cuda_graph=graph, description=f"accelerated ({', '.join(how)})"
    )


def _stored_dtype(policy: Any) -> torch.dtype:
    """The dtype of the transformers' matrices; float32 where language model and expert differ, which loses nothing."""
    model = policy.model
    if policy.name == "smolvla":
        joint = model.vlm_with_expert
        stacks = (joint.get_vlm_model().text_model, joint.lm_expert)
    else:
        joint = model.paligemma_with_expert
        stacks = (joint.paligemma.model.language_model, joint.gemma_expert.model)
    found = {stack.layers[0].self_attn.q_proj.weight.dtype for stack in stacks}
    return torch.bfloat16 if found == {torch.bfloat16} else torch.float32
