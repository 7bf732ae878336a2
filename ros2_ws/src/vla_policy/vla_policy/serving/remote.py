# SPDX-License-Identifier: Apache-2.0

"""Policies on another machine: `policy:=remote host:=… port:=… protocol:=positronic|openpi|openvla`.

A server of this project tells its robot profile, and is asked in the profile's own keys: the chunk is the same, bit for bit,
as with the model in the node. Any other server is asked in its protocol's keys, and the profile must be given. Requests run on
the node's inference thread, so a slow or dead server never holds up the control loop.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError, ProfileError, VlaError
from vla_core.frames import Frame
from vla_core.profile import Profile, load_profile, mapping_differences, parse_profile

from vla_policy.policies.registry import refuse_options
from vla_policy.policies.runner import InferenceError, Loaded, LoadRequest, Prefix, ServerLostError
from vla_policy.serving.errors import ObservationError
from vla_policy.serving.images import REFUSE
from vla_policy.serving.keys_exact import ExactKeys
from vla_policy.serving.keys_openpi import OpenpiKeys
from vla_policy.serving.keys_openvla import INSTRUCTION, PROMPT, OpenVlaKeys
from vla_policy.serving.keys_positronic import PositronicKeys
from vla_policy.serving.links import Link, OpenpiLink, OpenVlaLink, PositronicLink
from vla_policy.serving.rig import synthetic_frame

POSITRONIC, OPENPI, OPENVLA = "positronic", "openpi", "openvla"
PROTOCOLS = (POSITRONIC, OPENPI, OPENVLA)
OPTIONS = {
    "load_timeout_s": "limit for connecting, the server's loading and the first answer (120)",
    "reconnect_s": "how long a run's begin keeps trying to reach the server (5)",
    "image_side": "openpi, openvla: images are padded to this many pixels (224)",
    "actions": "openpi: absolute, or delta where the server's joint targets count from the state (absolute)",
    "inputs": "openpi: observation, or slots to ask in the names of the model's inputs (observation)",
    "model": "openpi, inputs=slots: pi0, pi05 or pi0_fast, which differ in the empty slot's mask (pi0)",
    "unnorm_key": "openvla: data set whose statistics the server uses",
    "send": f"openvla: {INSTRUCTION}, or {PROMPT} for a server that does not make the prompt itself ({INSTRUCTION})",
    "hold_s": "openvla: how long its one target stays in force (1)",
}
_CHOICES = {
    "actions": ("absolute", "delta"),
    "inputs": ("observation", "slots"),
    "model": ("pi0", "pi05", "pi0_fast"),
    "send": (INSTRUCTION, PROMPT),
}
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Speech:
    """How a server is asked and understood."""

    ask: Callable[..., dict[str, Any]]
    understand: Callable[[Any, Frame], ActionChunk]
    exact: bool


def load(request: LoadRequest) -> Loaded:
    """Connect to a policy server; the entry point of `policy:=remote`.

    The server's own device, seed and number type are its own business; see `ros2 run vla_policy serve --help`.

    Raises:
        CheckpointError: no server, no such checkpoint, wrong token, another profile, or an option that means nothing here.
    """
    options = _options(request)
    link = _link(request)
    timeout_s = float(options.get("load_timeout_s", 120.0))
    try:
        meta = link.open(timeout_s)
        told = _told(meta)
        profile = _profile(request, told, link.address)
        runner = RemoteRunner(link, _speech(request.protocol, options, profile, told), profile, request, told)
        runner.warm_up(timeout_s)
    except InferenceError as error:
        link.close()
        raise CheckpointError(f"policy 'remote': {error}") from error
    except ObservationError as error:
        link.close()
        raise CheckpointError(f"policy 'remote' with protocol {request.protocol}: {error}") from error
    except BaseException:
        link.close()
        raise
    return Loaded(runner=runner, profile=profile, source=link.address)


class RemoteRunner:
    """A policy on a server, as a `PolicyRunner`.

    Attributes:
        history: Earlier observations that the policy reads beside the present one.
        last_timing: Wall seconds of the last inference: preprocess (packing), model (round trip), postprocess.
    """

    def __init__(
        self, link: Link, speech: _Speech, profile: Profile, request: LoadRequest, told: Mapping[str, Any]
    ) -> None:
        """Take over an open connection.

        Args:
            link: The connection.
            speech: How the server is asked.
            profile: What the numbers mean.
            request: Time limits and steps.
            told: What a server of this project says of its policy; empty for others.

        Raises:
            CheckpointError: guidance is wanted and the server's policy has none.
        """
        self._link, self._speech, self._profile = link, speech, profile
        self._timeout_s = request.timeout_s
        self._reconnect_s = float(request.options.get("reconnect_s", 5.0))
        self._told = dict(told)
        self._lost: ServerLostError | None = None
        self._asked_steps = request.n_action_steps
        self.guidable = bool(told.get("guidable", False)) and speech.exact
        if request.guided and not self.guidable:
            raise CheckpointError(
                f"{link.address}: its policy cannot be given a prefix, which this strategy needs; serve one that can be guided "
                f"with --guided, or choose another strategy, such as strategy:=crossfade"
            )
        self.history = int(told.get("history", 0)) if speech.exact else 0
        self._past: deque[Frame] = deque(maxlen=max(1, self.history))
        self.chunk_size = int(told.get("chunk_size", 1))
        self.n_action_steps = 1
        self.last_timing: dict[str, float] = {}
        self.description = f"remote policy at {link.address}"

    def warm_up(self, timeout_s: float) -> None:
        """Ask once, so that wrong keys and sizes show before anything moves, and the length of a chunk is known.

        Raises:
            CheckpointError: more steps are to be executed than a chunk has.
        """
        chunk = self._infer(synthetic_frame(self._profile), self._profile.task, None, timeout_s)
        self.chunk_size = len(chunk)
        if self._asked_steps > self.chunk_size:
            raise CheckpointError(
                f"n_action_steps {self._asked_steps} is more than the {self.chunk_size} steps of a chunk of {self._link.address}"
            )
        self.n_action_steps = self._asked_steps or min(
            int(self._told.get("n_action_steps", self.chunk_size)), self.chunk_size
        )
        self.description = (
            f"remote policy at {self._link.address}, {self._told.get('checkpoint_id', 'unnamed')}, chunk {self.chunk_size}, "
            f"{self.n_action_steps} executed"
        )

    def reset(self) -> None:
        """Open a new session, which makes the server's policy forget the past; keeps trying for `reconnect_s`.

        A server that is not there, or serves another policy now, is the error of the next `infer`: what ends a run is known
        by the answer that does not come.
        """
        self._past.clear()
        self._lost = None
        try:
            self._reopen()
        except ServerLostError as error:
            self._lost = error

    def _reopen(self) -> None:
        end_s, pause_s = time.monotonic() + self._reconnect_s, _FIRST_PAUSE_S
        while True:
            try:
                meta = self._link.open(max(self._timeout_s, end_s - time.monotonic()))
                break
            except CheckpointError as error:
                raise ServerLostError(str(error)) from error
            except ServerLostError:
                if time.monotonic() + pause_s >= end_s:
                    raise
            time.sleep(pause_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)
        self._check_same(_told(meta))

    def observe(self, frame: Frame) -> None:
        """Take note of an earlier observation (`history`); it travels with the next request."""
        self._past.append(frame)

    def infer(self, frame: Frame, task: str, prefix: Prefix | None = None) -> ActionChunk:
        """See `PolicyRunner.infer`.

        Raises:
            ServerLostError: the server is gone, or did not answer in time.
            InferenceError: it says that it could not, or its answer is unusable.
        """
        return self._infer(frame, task, prefix, self._timeout_s)

    def close(self) -> None:
        """Leave the server."""
        self._link.close()

    def _infer(self, frame: Frame, task: str, prefix: Prefix | None, timeout_s: float) -> ActionChunk:
        if self._lost is not None:
            raise ServerLostError(str(self._lost)) from self._lost
        started_s = time.perf_counter()
        try:
            message = self._speech.ask(frame, task, **self._extras(frame, prefix))
        except ObservationError as error:
            raise InferenceError(f"the observation cannot be sent: {error}") from error
        packed_s = time.perf_counter()
        reply = self._link.ask(message, timeout_s)
        answered_s = time.perf_counter()
        try:
            chunk = self._speech.understand(reply, frame)
        except InferenceError:
            raise
        except VlaError as error:
            raise InferenceError(f"{self._link.address}: its actions cannot be followed: {error}") from error
        self.last_timing = {
            "preprocess": packed_s - started_s,
            "model": answered_s - packed_s,
            "postprocess": time.perf_counter() - answered_s,
        }
        return chunk

    def _extras(self, frame: Frame, prefix: Prefix | None) -> dict[str, Any]:
        """What only the profile's own keys can carry."""
        if not self._speech.exact:
            return {}
        earlier = [one for one in self._past if one.t_ns < frame.t_ns]
        # At the start of a run the first observation stands for those before it, as in training.
        return {"prefix": prefix, "history": (earlier or [frame]) if self.history else ()}

    def _check_same(self, told: Mapping[str, Any]) -> None:
        for name in ("profile_sha256", "chunk_size", "history"):
            if told.get(name) != self._told.get(name):
                self._link.close()
                raise ServerLostError(
                    f"{self._link.address} serves another policy than at the start ({name}: {self._told.get(name)} before, "
                    f"{told.get(name)} now); load the policy again"
                )


def _options(request: LoadRequest) -> dict[str, Any]:
    """The policy's own options, after refusing what means nothing for a remote policy."""
    refuse_options(request.options, OPTIONS, "remote")
    local = {
        "dtype": request.dtype,
        "compile": request.compile,
        "accelerate": request.accelerate,
        "rename": request.rename,
    }
    if given := [name for name, value in local.items() if value]:
        raise CheckpointError(
            f"policy 'remote': {', '.join(given)} must be given to the server, which runs the model "
            f"(ros2 run vla_policy serve --help)"
        )
    if request.protocol not in PROTOCOLS:
        raise CheckpointError(f"protocol '{request.protocol}': choose one of {', '.join(PROTOCOLS)}")
    for name, allowed in _CHOICES.items():
        if (value := request.options.get(name, allowed[0])) not in allowed:
            raise CheckpointError(f"policy_options {name}={value}: choose one of {', '.join(allowed)}")
    for name in ("load_timeout_s", "reconnect_s", "image_side", "hold_s"):
        if name in request.options and not _positive(request.options[name]):
            raise CheckpointError(f"policy_options {name}={request.options[name]}: give a positive number")
    return dict(request.options)


def _positive(value: Any) -> bool:
    try:
        return 0.0 < float(value) < float("inf")
    except ValueError:
        return False


def _link(request: LoadRequest) -> Link:
    if request.protocol == POSITRONIC:
        return PositronicLink(request.host, request.port, checkpoint=request.checkpoint, token=request.token)
    if request.checkpoint:
        raise CheckpointError(
            f"protocol {request.protocol} cannot ask for a checkpoint (got '{request.checkpoint}'); the server has one. Leave "
            f"it out, or use protocol:={POSITRONIC}"
        )
    made = OpenpiLink if request.protocol == OPENPI else OpenVlaLink
    return made(request.host, request.port, token=request.token)


def _speech(protocol: str, options: Mapping[str, Any], profile: Profile, told: Mapping[str, Any]) -> _Speech:
    if told:
        exact = ExactKeys(profile)
        understand = exact.chunk_of_result if protocol == POSITRONIC else exact.chunk_of_actions
        return _Speech(ask=exact.ask, understand=understand, exact=True)
    side = int(float(options.get("image_side", 224)))
    if protocol == POSITRONIC:
        positronic = PositronicKeys(profile, REFUSE)
        return _Speech(ask=positronic.ask, understand=positronic.chunk_of_result, exact=False)
    if protocol == OPENPI:
        openpi = OpenpiKeys(
            profile,
            image_fit=REFUSE,
            image_side=side,
            deltas=options.get("actions") == "delta",
            slots=options.get("inputs") == "slots",
            spare_mask=options.get("model") == "pi0_fast",
        )
        return _Speech(ask=openpi.ask, understand=openpi.chunk_of_actions, exact=False)
    openvla = OpenVlaKeys(
        profile,
        send=str(options.get("send", INSTRUCTION)),
        unnorm_key=str(options.get("unnorm_key", "")),
        image_side=side,
        hold_s=float(options.get("hold_s", 1.0)),
    )
    return _Speech(ask=openvla.ask, understand=openvla.chunk_of_action, exact=False)


def _told(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What a server of this project says of its policy; empty for others."""
    found = meta.get("vla")
    return found if isinstance(found, dict) and isinstance(found.get("profile"), str) else {}


def _profile(request: LoadRequest, told: Mapping[str, Any], address: str) -> Profile:
    given = load_profile(request.profile) if request.profile is not None else None
    if not told:
        if given is None:
            raise CheckpointError(
                f"{address} does not tell the robot profile of its policy, so the meaning of its numbers is unknown. Pass the "
                f"profile it was trained under: profile:=FILE or robot:=NAME"
            )
        return given
    served = _served_profile(told, address)
    if given is None:
        return served
    differences = mapping_differences(served, given)
    if differences:
        raise CheckpointError(
            f"{address}: its policy was trained under another mapping than {request.profile}:\n  "
            + "\n  ".join(differences)
            + "\nDrop the profile argument to use the server's, or serve a policy of this robot."
        )
    return given


def _served_profile(told: Mapping[str, Any], address: str) -> Profile:
    text = told["profile"]
    if hashlib.sha256(text.encode()).hexdigest() != told.get("profile_sha256"):
        raise CheckpointError(
            f"{address}: the profile it sends does not match the hash it sends; is the server damaged?"
        )
    try:
        return parse_profile(text, address)
    except ProfileError as error:
        raise CheckpointError(f"{address}: the profile it sends cannot be used: {error}") from error
