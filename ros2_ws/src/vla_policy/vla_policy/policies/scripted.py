# SPDX-License-Identifier: Apache-2.0

"""A policy without weights (`policy:=scripted`): slow circles in joint space around the pose at which a run began.

It needs no checkpoint, so a robot can be brought up with it, and it is what measurements of the execution use: the
clean motion is known at every time, and `noise` gives each chunk a deviation of its own, as a stochastic policy does.
Neighbouring joints move in quadrature, so the speed of the whole arm is constant once it has started; the size of a
step then does not depend on where in the motion a chunk ends.
"""

import time
from dataclasses import dataclass, fields
from math import pi

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError, nearest_name
from vla_core.frames import Frame
from vla_core.profile import Profile, load_profile
from vla_core.specs import ActionSpec

from vla_policy.policies.runner import InferenceError, Loaded, LoadRequest, Prefix

Array = NDArray[np.float64]
START_SHARE = 0.25  # of a period, in which the motion comes up to its speed
SPEED_SHARE = 0.5  # of the profile's limits of speed and step that the clean motion may use


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedOptions:
    """Values of `policy_options`, e.g. `chunk=30,noise=0.02`.

    Attributes:
        chunk: Steps of each chunk.
        amplitude: Largest distance of a joint from its start, or half of it for every second joint [rad].
        period: Time of one circle [s].
        noise: Standard deviation of each chunk from the clean motion at its last step; zero at its first [rad].
        gripper_period: Grippers close half way and open again in this time; 0: they stay as they are [s].
        latency: Time that each inference takes [s of wall time].
    """

    chunk: int = 50
    amplitude: float = 0.1
    period: float = 6.0
    noise: float = 0.0
    gripper_period: float = 4.0
    latency: float = 0.0


class ReferenceMotion:
    """The clean motion: joint targets as a function of time. Pure; the same inputs give the same motion."""

    def __init__(self, profile: Profile, options: ScriptedOptions, t0_ns: int, joints: dict[str, Array]) -> None:
        """Begin at rest.

        Args:
            profile: Says what is an arm, what a gripper, and its limits.
            options: Size and pace.
            t0_ns: When the motion begins [ns].
            joints: Name of each part of the action to its joints (k,) at that time [rad or m].
        """
        self.t0_ns = t0_ns
        self._options = options
        self._start = joints
        self._specs = profile.action
        self._reach = {spec.name: _reach(spec, joints[spec.name], options.amplitude) for spec in profile.action}

    def at(self, times_ns: NDArray[np.int64]) -> dict[str, Array]:
        """Targets (T, k) of each part of the action at the times (T,) [ns]; before the start, the start."""
        seconds = np.maximum((np.asarray(times_ns, dtype=np.int64) - self.t0_ns) * 1e-9, 0.0)
        return {
            spec.name: self._gripper(spec, seconds) if spec.is_gripper else self._arm(spec, seconds)
            for spec in self._specs
        }

    def _arm(self, spec: ActionSpec, seconds: Array) -> Array:
        phase = _phase(seconds, self._options.period)[:, None]
        even = np.arange(len(spec.joints)) % 2 == 0
        circle: Array = np.where(even, np.sin(phase), 1.0 - np.cos(phase))
        return self._start[spec.name] + self._reach[spec.name] * circle

    def _gripper(self, spec: ActionSpec, seconds: Array) -> Array:
        start, period = self._start[spec.name], self._options.gripper_period
        lower, upper = np.array(spec.limits.lower), np.array(spec.limits.upper)
        away = np.where(upper - start >= start - lower, upper, lower)
        closed = (seconds % period >= period / 2.0) if period > 0.0 else np.zeros(len(seconds), dtype=bool)
        inside = np.clip(start, lower, upper)
        return np.where(closed[:, None], (inside + away) / 2.0, inside)


class ScriptedRunner:
    """See the module.

    Attributes:
        reference: The clean motion of the present run; None before its first observation.
        last_timing: Seconds of the last inference: preprocess, model, postprocess.
    """

    guidable = False

    def __init__(self, profile: Profile, options: ScriptedOptions, *, seed: int = 0, n_action_steps: int = 0) -> None:
        """Args: n_action_steps: steps executed of each chunk; 0: all.

        Raises:
            CheckpointError: the motion would be too fast for the profile's limits.
        """
        _check_pace(profile, options)
        self._profile = profile
        self._map = ActionMap(profile)
        self._options = options
        self._seed = seed
        self._runs = 0
        self._random = np.random.default_rng((seed, 0))
        self.chunk_size = options.chunk
        self.n_action_steps = n_action_steps or options.chunk
        self.reference: ReferenceMotion | None = None
        self.last_timing = {"preprocess": 0.0, "model": 0.0, "postprocess": 0.0}
        self.description = (
            f"scripted circles of {options.amplitude:g} rad in {options.period:g} s, noise {options.noise:g} rad, chunk "
            f"{self.chunk_size}, {self.n_action_steps} executed"
        )

    def reset(self) -> None:
        """The next observation begins a new motion; each run since loading has a noise of its own."""
        self.reference = None
        self._runs += 1
        self._random = np.random.default_rng((self._seed, self._runs))

    def infer(self, frame: Frame, task: str, prefix: Prefix | None = None) -> ActionChunk:
        """See `PolicyRunner.infer`; images and task are not looked at."""
        begin_s = time.perf_counter()
        if len(frame.state) != len(self._profile.state_names):
            raise InferenceError(
                f"the observation has a state of {len(frame.state)}, the profile one of {len(self._profile.state_names)}"
            )
        if self.reference is None:
            self.reference = ReferenceMotion(self._profile, self._options, frame.t_ns, self._joints(frame))
        dt_s = 1.0 / self._profile.fps
        times_ns = frame.t_ns + np.round(np.arange(self.chunk_size) * dt_s * 1e9).astype(np.int64)
        targets = self.reference.at(times_ns)
        for spec in self._profile.action:
            if not spec.is_gripper:
                targets[spec.name] += self._deviation(len(spec.joints))
        values = self._map.encode(targets, frame.state)
        if self._options.latency > 0.0:
            time.sleep(self._options.latency)
        self.last_timing = {"preprocess": 0.0, "model": time.perf_counter() - begin_s, "postprocess": 0.0}
        return ActionChunk(t0_ns=frame.t_ns, dt_s=dt_s, values=values)

    def close(self) -> None:
        """Nothing is held."""

    def _joints(self, frame: Frame) -> dict[str, Array]:
        missing = [spec.name for spec in self._profile.action if spec.name not in frame.joints]
        if missing:
            raise InferenceError(
                f"the scripted policy moves around where the robot is, but the state of profile '{self._profile.robot}' "
                f"does not hold the joints of {', '.join(missing)}; add their position fields under state:"
            )
        return {spec.name: np.array(frame.joints[spec.name]) for spec in self._profile.action}

    def _deviation(self, joints: int) -> Array:
        """(chunk, joints): smooth, zero with zero slope at the first step, of standard deviation `noise` at the last."""
        u = np.linspace(0.0, 1.0, self.chunk_size)[:, None]
        end, middle = self._random.normal(size=(2, joints)) * self._options.noise
        deviation: Array = end * u * u * (3.0 - 2.0 * u) + middle * 0.5 * np.sin(pi * u) ** 2
        return deviation


def load(request: LoadRequest) -> Loaded:
    """Factory of `policy:=scripted`; of the request it reads `profile`, `seed`, `n_action_steps` and `options`.

    Raises:
        CheckpointError: no profile, an option that is unknown or out of range, or a request for guidance.
    """
    if request.profile is None:
        raise CheckpointError(
            "policy:=scripted has no checkpoint that could bring a robot profile along; give one with profile:=FILE"
        )
    if request.guided:
        raise CheckpointError("policy:=scripted cannot be guided; choose another strategy than rtc, or another policy")
    options = parse_options(request.options)
    if not 0 <= request.n_action_steps <= options.chunk:
        raise CheckpointError(
            f"policy:=scripted: n_action_steps:={request.n_action_steps} is not between 1 and its chunk of "
            f"{options.chunk}; change it or policy_options:=chunk=N"
        )
    profile = load_profile(request.profile)
    runner = ScriptedRunner(profile, options, seed=request.seed, n_action_steps=request.n_action_steps)
    return Loaded(runner=runner, profile=profile, source="scripted")


def parse_options(given: dict[str, object]) -> ScriptedOptions:
    """The options of a request, which may be text.

    Raises:
        CheckpointError: an option is unknown, no number, or out of range; the text says what is allowed.
    """
    names = [field.name for field in fields(ScriptedOptions)]
    values: dict[str, float] = {}
    for name, value in given.items():
        if name not in names:
            raise CheckpointError(
                f"policy:=scripted: unknown option '{name}' in policy_options; known: {', '.join(names)}"
                f"{nearest_name(name, names)}"
            )
        values[name] = _number(name, value)
    chunk = values.pop("chunk", 50.0)
    options = ScriptedOptions(chunk=int(chunk), **values)
    wrong = [
        text
        for broken, text in (
            (chunk != int(chunk) or not 2 <= chunk <= 1000, f"chunk={chunk:g}: a whole number from 2 to 1000"),
            (options.period <= 0.0, f"period={options.period:g}: above 0 s"),
            *((getattr(options, name) < 0.0, f"{name}={getattr(options, name):g}: not below 0") for name in names[1:]),
        )
        if broken
    ]
    if wrong:
        raise CheckpointError(f"policy:=scripted: policy_options: {'; '.join(wrong)}")
    return options


def _number(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise CheckpointError(f"policy:=scripted: policy_options: {name}={value} is not a number")
    return number


def _phase(seconds: Array, period: float) -> Array:
    """The angle of the circles [rad]: its rate grows smoothly from zero to 2 pi / period."""
    start_s = START_SHARE * period
    u = np.minimum(seconds / start_s, 1.0)
    started = start_s * (u**3 - u**4 / 2.0)
    phase: Array = 2.0 * pi / period * (started + np.maximum(seconds - start_s, 0.0))
    return phase


def _reach(spec: ActionSpec, start: Array, amplitude: float) -> Array:
    """Signed amplitude of each joint; one that begins near a limit moves less, and never towards it."""
    below, above = start - np.array(spec.limits.lower), np.array(spec.limits.upper) - start
    both = np.minimum(below, above)
    side = np.where(above >= below, 1.0, -1.0) * np.maximum(below, above) / 2.0
    even = np.arange(len(start)) % 2 == 0
    room = np.where(even, both, np.abs(side))
    reach: Array = np.where(even, 1.0, np.sign(side)) * np.clip(room, 0.0, amplitude)
    return reach


def _check_pace(profile: Profile, options: ScriptedOptions) -> None:
    speed = 2.0 * pi * options.amplitude / options.period
    for spec in profile.action:
        if spec.is_gripper:
            continue
        most = min(
            *(spec.limits.max_velocity or (np.inf,)),
            *((step * profile.fps for step in spec.limits.max_step) if spec.limits.max_step else (np.inf,)),
        )
        if speed > SPEED_SHARE * most:
            raise CheckpointError(
                f"policy:=scripted: amplitude={options.amplitude:g} rad in period={options.period:g} s moves '{spec.name}' at "
                f"{speed:.3g} rad/s, more than half of what the profile allows ({most:.3g} rad/s); choose a longer period"
            )
