# SPDX-License-Identifier: Apache-2.0

"""The slow move to the profile's `ready` pose, before and after a run.

A minimum-jerk path in joint space (Flash and Hogan 1985: 10 u^3 - 15 u^4 + 6 u^5), checked as a whole by the safety
filter before anything of it is sent. It is one trajectory goal, so a cancel stops it like any other.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vla_common.ticks import Ticker
from vla_core.errors import SafetyError
from vla_core.frames import Frame, FrameBuilder, Missing
from vla_core.profile import Profile
from vla_core.safety import SafetyFilter
from vla_core.specs import ActionSpec
from vla_core.stamps import to_ns, to_s
from vla_core.trajectory import Trajectory
from vla_msgs.action import RunPolicy

from vla_policy.execution.commands import Commands
from vla_policy.execution.hooks import Guard, Stop

Array = NDArray[np.float64]
Result = RunPolicy.Result
TICK_TIMEOUT_S = 0.2
PEAK_VELOCITY, PEAK_ACCELERATION = 1.875, 5.7735  # of a minimum-jerk path over unit distance in unit time
LIMIT_SHARE = 0.5  # of the profile's limits
ACCELERATION = 1.0  # [rad/s^2] where the profile limits none
REACHED = 0.005  # [rad or m] nearer than this, nothing is sent
LATE_S = 3.0
_STAYS = (
    Result.CONTROLLER,
    Result.ROBOT_FAULT,
    Result.CLIENT_LOST,
    Result.NOT_ENABLED,
    Result.ESTOP,
)
_STAYS_AFTER = (Result.TERMINATION_CANCELED, Result.TERMINATION_SHUTDOWN, Result.TERMINATION_ESTOP)


class ReadyCommands(Commands, Protocol):
    """Commands that also say when the arms rest."""

    def resting(self) -> bool:
        """Whether no trajectory goal is running."""


def returns_to_ready(stop: Stop) -> bool:
    """Whether the arm may move once more after this end of a run.

    It may not where a person wanted it to stand still or where it is not known to do what it is told.
    """
    return stop.termination not in _STAYS_AFTER and stop.error_code not in _STAYS


def plan_ready(profile: Profile, present: Frame, t_ns: int, *, speed: float) -> dict[str, Trajectory]:
    """The way of each arm to the ready pose, all of them arriving together.

    Args:
        profile: With a ready pose.
        present: Where the joints are.
        t_ns: When it begins [ns].
        speed: Fastest joint at the middle of the way [rad/s or m/s].

    Returns:
        By name of the action; the first waypoint is the present position at time 0. Empty where the arms are there.

    Raises:
        SafetyError: the way breaks a limit of the profile.
    """
    ready = profile.ready or {}
    arms = [spec for spec in profile.action if not spec.is_gripper and spec.name in ready]
    ways = {spec.name: np.array(ready[spec.name]) - present.joints[spec.name] for spec in arms}
    if all(np.abs(way).max() < REACHED for way in ways.values()):
        return {}
    seconds = max(_seconds(spec, ways[spec.name], speed) for spec in arms)
    count = max(2, math.ceil(seconds * profile.fps))
    times = np.arange(count + 1) / profile.fps
    u = np.arange(count + 1)[:, None] / count
    share = u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
    rate = 30.0 * u**2 * (1.0 - u) ** 2 * profile.fps / count
    planned = {
        spec.name: Trajectory(
            joint_names=spec.joints,
            start_ns=t_ns,
            time_from_start=times,
            positions=present.joints[spec.name] + share * ways[spec.name],
            velocities=rate * ways[spec.name],
            first_step=0,
        )
        for spec in arms
    }
    targets = {name: way.positions[1:] for name, way in planned.items()}
    measured = {spec.name: present.joints[spec.name] for spec in profile.action if spec.name in present.joints}
    report = SafetyFilter(profile).check(targets, 1.0 / profile.fps, measured)
    if not report.ok or report.clamped:
        raise SafetyError(
            "the way to the ready pose breaks limits of the profile, nothing of it was sent: "
            + "; ".join((*report.violations, *report.clamped))
            + ". Move the arm nearer to its ready pose by hand"
        )
    return planned


def _seconds(spec: ActionSpec, way: Array, speed: float) -> float:
    """How long the slowest joint needs [s]."""
    limits = spec.limits
    velocity = np.full(len(way), speed)
    if limits.max_velocity is not None:
        velocity = np.minimum(velocity, LIMIT_SHARE * np.array(limits.max_velocity))
    stated = limits.max_acceleration
    acceleration = ACCELERATION if stated is None else LIMIT_SHARE * np.array(stated)
    far = np.abs(way)
    return float(max((PEAK_VELOCITY * far / velocity).max(), np.sqrt(PEAK_ACCELERATION * far / acceleration).max()))


class ReadyMove:
    """Moves the robot to its ready pose, tick by tick; in the control thread."""

    def __init__(
        self,
        profile: Profile,
        builder: FrameBuilder,
        ticker: Ticker,
        commands: ReadyCommands,
        *,
        speed: float,
        wait_s: float,
        requested: Callable[[], Stop | None],
        guards: Sequence[Guard],
        held: Callable[[int], bool],
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            profile: Robot profile.
            builder: Knows where the joints are.
            ticker: Attached control ticks.
            commands: Where goals go; in a dry run they are only shown.
            speed: Fastest joint [rad/s or m/s].
            wait_s: Longest wait for the streams [s].
            requested: The stop that was asked for, if one was.
            guards: Further reasons to stop.
            held: Whether somebody else drives at a tick.
        """
        self._profile = profile
        self._builder = builder
        self._ticker = ticker
        self._commands = commands
        self._speed = speed
        self._wait_s = wait_s
        self._requested = requested
        self._guards = guards
        self._held = held
        self._begun = False
        self.moved = False

    def move(self) -> Stop | None:
        """Go there, first the arms and then the grippers; None when the robot is there, or when somebody else drives."""
        if self._profile.ready is None:
            return _error(
                Result.NOT_READY,
                f"ready_pose: {self._profile.source} has no `ready` pose; add one, or send the goal with ready_pose: false",
            )
        self._begun = False
        self._commands.failures()  # of goals before
        begun = self._present()
        if isinstance(begun, Stop):
            return begun
        if begun is None:
            return None
        t_ns, present = begun
        try:
            planned = plan_ready(self._profile, present, t_ns, speed=self._speed)
        except SafetyError as error:
            return _error(Result.UNSAFE_ACTION, str(error))
        stop = self._follow(planned, t_ns) if planned else None
        return stop or self._grip()

    def _tick(self) -> int | Stop | None:
        """The next tick; a reason to stop; or None when somebody else drives."""
        while True:
            t_ns = self._ticker.wait(timeout_s=TICK_TIMEOUT_S)
            stop = self._requested()
            if stop is None and t_ns is not None:
                stop = self._guarded(t_ns)
            if stop is not None:
                return stop
            if t_ns is not None:
                return None if self._held(t_ns) else t_ns

    def _guarded(self, t_ns: int) -> Stop | None:
        if not self._begun:
            for guard in self._guards:
                guard.begin(t_ns)
        self._begun = True
        return next((stop for guard in self._guards if (stop := guard.check(t_ns)) is not None), None)

    def _present(self) -> tuple[int, Frame] | Stop | None:
        begun_ns: int | None = None
        while True:
            t_ns = self._tick()
            if t_ns is None or isinstance(t_ns, Stop):
                return t_ns
            frame = self._builder.sample(t_ns)
            if not isinstance(frame, Missing):
                return t_ns, frame
            begun_ns = t_ns if begun_ns is None else begun_ns
            if frame.lasting or to_s(t_ns - begun_ns) >= self._wait_s:
                return _error(Result.NO_OBSERVATION, f"no way to the ready pose: {frame.detail}")

    def _follow(self, planned: dict[str, Trajectory], t_ns: int) -> Stop | None:
        self.moved = True
        for name, way in planned.items():
            self._commands.show(f"{name} to the ready pose in {way.time_from_start[-1]:.2f} s")
            self._commands.trajectory(name, _without_start(way))
        self._commands.settle()
        late_ns = t_ns + to_ns(max(float(way.time_from_start[-1]) for way in planned.values()) + LATE_S)
        while True:
            failed = self._commands.failures()
            if failed:
                return _error(Result.CONTROLLER, "on the way to the ready pose: " + "; ".join(failed))
            if self._commands.resting():
                return None
            if t_ns > late_ns:
                return _error(Result.CONTROLLER, f"the arm has not come to the ready pose {LATE_S:g} s after its time")
            if self._commands.sends:
                for name, way in planned.items():
                    self._commands.in_force(t_ns, name, way.position_at(t_ns))
            ticked = self._tick()
            if ticked is None or isinstance(ticked, Stop):
                return ticked
            t_ns = ticked

    def _grip(self) -> Stop | None:
        """Grippers move when the arms rest; their short motion goes on while the run begins."""
        ready = self._profile.ready or {}
        grippers = [spec for spec in self._profile.action if spec.is_gripper and spec.name in ready]
        for spec in grippers:
            self._commands.gripper(spec.name, ready[spec.name][0])
        if grippers:
            self._commands.settle()
        return None


def _without_start(way: Trajectory) -> Trajectory:
    """As controllers want it: the first waypoint lies ahead."""
    return Trajectory(
        joint_names=way.joint_names,
        start_ns=way.start_ns,
        time_from_start=way.time_from_start[1:],
        positions=way.positions[1:],
        velocities=way.velocities[1:],
        first_step=0,
    )


def _error(code: int, message: str) -> Stop:
    return Stop(termination=Result.TERMINATION_ERROR, error_code=code, message=message)
