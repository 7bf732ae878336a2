# SPDX-License-Identifier: Apache-2.0

"""The role of a policy: one observation in, one chunk of actions out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_core.frames import Frame
from vla_core.profile import Profile


class InferenceError(VlaError):
    """The model raised, or returned something that is not a chunk of finite numbers."""


class ServerLostError(InferenceError):
    """The server of a remote policy is gone, did not answer in time, or serves another policy now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """What the arm will do while the model thinks; a guided policy continues it instead of deciding anew.

    Attributes:
        values: (T, m) float32, 1 <= T <= chunk size: what is in force at `frame.t_ns + k / fps`, in the profile's action
            space and counted from the same frame, so it may be compared with the new chunk row by row. Never padded.
        frozen: Leading rows that will have been executed before the new chunk can be.
    """

    values: NDArray[np.float32]
    frozen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What a policy is to be made from; each kind of policy reads what it needs.

    Attributes:
        checkpoint: Folder, or for a remote policy the id on the server; empty: the default.
        profile: Robot profile file; None: the one that travels with the checkpoint.
        device: Torch device.
        dtype: float32, bfloat16 or float16; empty: as stored.
        compile: Compile the model.
        accelerate: Use the accelerated runner where there is one.
        torch_threads: Compute threads of the process.
        seed: Seed of the policy's noise.
        n_action_steps: Steps executed of each chunk; 0: the policy's own value.
        rename: Camera or state names of the profile to those of the policy.
        guided: The policy will be given prefixes; refuse one that cannot be guided.
        rtc_schedule: How guidance fades from the frozen steps to the horizon: linear, exp, ones or zeros.
        rtc_max_guidance: Largest weight of the guidance.
        rtc_horizon: Steps after the frozen ones over which it fades; 0: as far as the prefix goes.
        host: Address of a policy server.
        port: Its port.
        protocol: positronic, openpi or openvla.
        token: Its bearer token; empty: none.
        timeout_s: Longest wait for an answer of the server [s].
        options: Further options of a policy's own.
    """

    checkpoint: str = ""
    profile: Path | None = None
    device: str = "cpu"
    dtype: str = ""
    compile: bool = False
    accelerate: bool = False
    torch_threads: int = 1
    seed: int = 0
    n_action_steps: int = 0
    rename: dict[str, str] = field(default_factory=dict)
    guided: bool = False
    rtc_schedule: str = "linear"
    rtc_max_guidance: float = 10.0
    rtc_horizon: int = 0
    host: str = "127.0.0.1"
    port: int = 8000
    protocol: str = "positronic"
    token: str = ""
    timeout_s: float = 5.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A policy that is ready, warmed up, and the profile that says what its numbers mean.

    Attributes:
        runner: The policy.
        profile: Robot profile to run under.
        source: Where it came from: a folder or an address.
    """

    runner: "PolicyRunner"
    profile: Profile
    source: str


class PolicyFactory(Protocol):
    """Entry points of the group `vla_policy.policies` are callables of this form."""

    def __call__(self, request: LoadRequest) -> Loaded:
        """Make the policy.

        Raises:
            CheckpointError: it cannot be made, or would be another one than was asked for.
        """


@runtime_checkable
class PolicyRunner(Protocol):
    """What the policy node needs of a policy; called from one thread at a time.

    Two further members are looked for and may be absent. `history` (int) with `observe(frame)`: so many earlier
    observations are shown before `infer`, one step of the profile apart, oldest first. `last_timing`: a mapping of
    `preprocess`, `model` and `postprocess` to the wall seconds that they took in the last `infer`.

    Attributes:
        n_action_steps: Steps of each chunk that are meant to be executed before the next one.
        chunk_size: Steps of each chunk.
        guidable: Whether `infer` can be given a prefix.
        description: One line for people.
    """

    n_action_steps: int
    chunk_size: int
    guidable: bool
    description: str

    def reset(self) -> None:
        """Forget the past; called before each episode."""

    def infer(self, frame: Frame, task: str, prefix: Prefix | None = None) -> ActionChunk:
        """Compute the actions from one observation.

        Args:
            frame: State (n,) float32 and images (H, W, 3) uint8 RGB at `frame.t_ns`.
            task: Instruction; ignored by policies without a language input.
            prefix: What the new chunk is to continue; only where `guidable`.

        Returns:
            A chunk with `t0_ns == frame.t_ns`; `values[k]` (m,) is the target in force at `t0 + k * dt`, in the
            profile's action space.

        Raises:
            InferenceError: the model raised or its output is unusable.
        """
        ...

    def close(self) -> None:
        """Give back memory and devices."""
