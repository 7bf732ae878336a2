# SPDX-License-Identifier: Apache-2.0

"""The policy that a node holds, and its change without a restart.

`PolicyHolder(params)` loads what the parameters name. A run takes the policy for its whole length::

    with holder.use() as inference:      # PolicyBusyError while a policy is being loaded
        PolicyRun(..., inference, ...)

and between runs another checkpoint is put in its place::

    text = holder.load("outputs/other")  # CheckpointError or PolicyBusyError; then the old policy is still there

`load` blocks until the new policy is warm (seconds to minutes), so call it from a thread that may wait, for example
from the control thread before the run begins, never from the executor's.
"""

import dataclasses
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vla_core.errors import CheckpointError, VlaError
from vla_core.profile import Profile, mapping_differences

from vla_policy.execution.inference import Inference
from vla_policy.execution.strategies import Strategy, StrategyOptions, make_strategy, require_guidable
from vla_policy.node.policy_params import PolicyParams
from vla_policy.policies.checkpoint import PROFILE_FILE, find_checkpoint
from vla_policy.policies.registry import checked, find_policy, parse_pairs
from vla_policy.policies.runner import Loaded, LoadRequest, PolicyFactory, PolicyRunner

STAND_IN = "scripted"


class PolicyBusyError(VlaError):
    """The policy is in use by a run, or another one is being loaded."""


def load_request(params: PolicyParams) -> LoadRequest:
    """What the node's parameters ask for.

    Raises:
        CheckpointError: `rename` or `policy_options` cannot be read.
    """
    return LoadRequest(
        checkpoint=params.checkpoint,
        profile=Path(params.profile).expanduser() if params.profile else None,
        device=params.device,
        dtype=params.dtype,
        compile=params.compile,
        accelerate=params.accelerate,
        torch_threads=params.torch_threads,
        seed=params.seed,
        n_action_steps=params.n_action_steps,
        rename=parse_pairs(params.rename, ":", "rename"),
        host=params.host,
        port=params.port,
        protocol=params.protocol,
        token=params.token,
        timeout_s=params.remote_timeout_s,
        guided=chosen_strategy(params).guided,
        rtc_schedule=params.rtc_schedule,
        rtc_max_guidance=params.rtc_max_guidance,
        rtc_horizon=params.rtc_horizon,
        options=dict(parse_pairs(params.policy_options, "=", "policy_options")),
    )


def chosen_strategy(params: PolicyParams) -> Strategy:
    """A new strategy of joining chunks, as the node's parameters ask for."""
    options = StrategyOptions(
        blend_steps=params.blend_steps,
        aggregate_weight=params.aggregate_weight,
        ensemble_decay=params.ensemble_decay,
        rtc_horizon=params.rtc_horizon,
    )
    return make_strategy(params.strategy, options)


class PolicyHolder:
    """One loaded policy with its inference thread.

    Attributes:
        profile: Robot profile of the node; a policy that is loaded later must mean the same by its numbers.
        inference: The policy on its thread.
        source: Folder or address that it came from.
        notice: What people must know about it; empty: nothing.
    """

    def __init__(self, params: PolicyParams, *, factory: PolicyFactory | None = None) -> None:
        """Load the policy.

        Args:
            params: Parameters of the node.
            factory: Makes the policy; by default the one that the parameter `policy` names.

        Raises:
            CheckpointError: the policy is unknown or cannot be loaded.
            StrategyError: the strategy guides and the policy cannot be guided.
        """
        self._name = params.policy
        self._request = load_request(params)
        self._factory = factory or find_policy(params.policy)
        self._lock = threading.Lock()
        self._doing = ""
        self.notice = ""
        self._chosen = (self._name, self._factory)
        self.inference, loaded = self._load_or_stand_in(params.on_load_failure == STAND_IN)
        self.profile: Profile = loaded.profile
        self.source = loaded.source

    @property
    def description(self) -> str:
        """What is loaded, for people."""
        description = self.inference.runner.description
        return f"{description} ({self.notice})" if self.notice else description

    @contextmanager
    def use(self) -> Iterator[Inference]:
        """Hold the policy for a run; it is not changed meanwhile.

        Raises:
            PolicyBusyError: a policy is being loaded.
        """
        with self._doing_alone("a run is active"):
            yield self.inference

    def load(self, checkpoint: str, begun: Callable[[str], None] | None = None) -> str:
        """Put another checkpoint in the place of the loaded one.

        The new one is loaded beside the old one, which stays when that fails and is released afterwards. The memory of
        both is needed for a while.

        Args:
            checkpoint: As the parameter `checkpoint`; for a remote policy the id on the server.
            begun: Told what is being loaded, once nothing stands against it.

        Returns:
            A description of what is loaded now.

        Raises:
            PolicyBusyError: a run is active, or another load is.
            CheckpointError: it cannot be loaded, or its numbers mean something else than those of the loaded one.
        """
        with self._doing_alone(f"{checkpoint} is being loaded"):
            if begun is not None:
                begun(self._doing)
            if self._chosen[0] == STAND_IN:
                raise CheckpointError(
                    f"policy '{STAND_IN}' has no checkpoints, so {checkpoint} cannot be loaded; start the node with "
                    f"policy:=lerobot."
                )
            self._name, self._factory = self._chosen
            inference, loaded = self._load(dataclasses.replace(self._request, checkpoint=checkpoint))
            differences = mapping_differences(self.profile, loaded.profile)
            if differences:
                inference.close()
                raise CheckpointError(
                    f"{loaded.source}: maps observations or actions otherwise than the policy that is loaded:\n  "
                    + "\n  ".join(differences)
                    + "\nThe node's subscriptions and limits are made for the first one; start a node of its own for it."
                )
            old, self.inference, self.source = self.inference, inference, loaded.source
            self.notice = ""
            old.close()
            del old
            gc.collect()  # models hold reference cycles; two of them may not fit into the memory of a GPU
        return self.description

    def close(self) -> None:
        """Wait for a running inference and give the model back."""
        self.inference.close()

    def _load_or_stand_in(self, allowed: bool) -> tuple[Inference, Loaded]:
        """The policy; where it cannot be loaded and that is allowed, the scripted one, with a notice."""
        try:
            return self._load(self._request)
        except CheckpointError as error:
            if not allowed or self._name == STAND_IN:
                raise
            profile = self._request.profile or _profile_of(self._request.checkpoint)
            if profile is None:
                raise CheckpointError(
                    f"{error}\nThe scripted policy cannot stand in for it (on_load_failure:=scripted): it needs a robot "
                    f"profile, and none was given. Pass profile:=FILE or robot:=NAME."
                ) from error
            self.notice = f"STANDS IN for policy '{self._name}', which could not be loaded: {error}"
            self._factory, self._name = find_policy(STAND_IN), STAND_IN
            stand_in = dataclasses.replace(self._request, checkpoint="", profile=profile, options={}, rename={})
            return self._load(stand_in)

    def _load(self, request: LoadRequest) -> tuple[Inference, Loaded]:
        """Load on the thread that will run the model, so that all of its work shares its thread settings."""
        made: list[Loaded] = []

        def load() -> PolicyRunner:
            made.append(checked(self._make(request), self._name))
            if request.guided:
                require_guidable(made[0].runner)
            return made[0].runner

        inference = Inference(load)
        return inference, made[0]

    def _make(self, request: LoadRequest) -> Loaded:
        try:
            return self._factory(request)
        except VlaError:
            raise
        except Exception as error:  # border of the model's thread: third-party code and the memory of the device
            raise CheckpointError(
                f"policy '{self._name}': loading failed with {type(error).__name__}: {error}"
            ) from error

    @contextmanager
    def _doing_alone(self, what: str) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise PolicyBusyError(f"the policy is busy: {self._doing}; wait for its end or cancel it")
        self._doing = what
        try:
            yield
        finally:
            self._doing = ""
            self._lock.release()


def _profile_of(checkpoint: str) -> Path | None:
    """The profile file that travels with a checkpoint whose weights may be unusable."""
    try:
        file = find_checkpoint(Path(checkpoint).expanduser()).path / PROFILE_FILE
    except CheckpointError:
        return None
    return file if file.is_file() else None
