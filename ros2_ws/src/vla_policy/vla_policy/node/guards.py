# SPDX-License-Identifier: Apache-2.0

"""Reasons to stop that do not come from the policy: the robot's own state, a missing permission, a lost client.

Pure: what subscriptions and services hear is told by `note`, `set` and `beat`, from any thread. Permissions and signs of life are people's and programs' outside the simulation, so their silence counts on
a steady clock of wall time.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from vla_common.monitors import MonitorBoard
from vla_msgs.action import RunPolicy

from vla_policy.execution.hooks import Guard, Stop

Result = RunPolicy.Result
Clock = Callable[[], float]


class StateGuard(MonitorBoard):
    """The robot's state as the profile's `monitors` want it."""

    def begin(self, t_ns: int) -> None:
        """What was heard before counts."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        text = self.fault()
        return None if text is None else _error(Result.ROBOT_FAULT, text)


class EnableGuard:
    """Motion is allowed by the service `~/enable`."""

    def __init__(self, service: str, *, required: bool) -> None:
        """Args: service: name, for messages. required: whether motion has to be enabled first."""
        self._service = service
        self._allowed = not required
        self._was_set = False

    @property
    def enabled(self) -> bool:
        """Whether motion is allowed."""
        return self._allowed

    def set(self, allowed: bool) -> None:
        """Allow motion, or withdraw that."""
        self._was_set, self._allowed = True, allowed

    def begin(self, t_ns: int) -> None:
        """What was set before counts."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        if self._allowed:
            return None
        why = "was withdrawn" if self._was_set else "was not given (parameter require_enable)"
        call = f"ros2 service call {self._service} std_srvs/srv/SetBool '{{data: true}}'"
        return _error(Result.NOT_ENABLED, f"the permission to move {why}; give it with: {call}")


class DeadmanGuard:
    """A button that is held down as long as the arm may move."""

    def __init__(self, topic: str, button: int, timeout_s: float, clock: Clock = time.monotonic) -> None:
        """Args: topic: sensor_msgs/Joy. button: index. timeout_s: longest silence of the joystick. clock: steady s."""
        self._topic, self._button, self._timeout_s = topic, button, timeout_s
        self._clock = clock
        self._pressed: bool | None = None
        self._heard_s = 0.0

    def note(self, buttons: Sequence[int]) -> None:
        """The joystick has said which of its buttons are down."""
        self._heard_s = self._clock()
        self._pressed = self._button < len(buttons) and bool(buttons[self._button])

    @property
    def enabled(self) -> bool:
        """Whether the button is held."""
        return self._wrong() is None

    def begin(self, t_ns: int) -> None:
        """What was heard before counts."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        wrong = self._wrong()
        if wrong is None:
            return None
        return _error(
            Result.NOT_ENABLED,
            f"deadman switch: {wrong}; hold button {self._button} of the joystick on {self._topic} while the arm moves",
        )

    def _wrong(self) -> str | None:
        if self._pressed is None:
            return "the joystick has not been heard"
        silent_s = self._clock() - self._heard_s
        if silent_s > self._timeout_s:
            return f"the joystick was silent for {silent_s:.2f} s (limit {self._timeout_s:g} s)"
        return None if self._pressed else "the button is not held"


class HeartbeatGuard:
    """The client of a goal is alive."""

    def __init__(self, topic: str, clock: Clock = time.monotonic) -> None:
        """Args: topic: name, for messages. clock: steady seconds."""
        self._topic = topic
        self._clock = clock
        self._client, self._timeout_s = "", 0.0
        self._heard_s = 0.0

    def expect(self, client: str, timeout_s: float) -> None:
        """A goal of `client` begins; 0 s: no heartbeat is expected."""
        self._client, self._timeout_s = client, timeout_s
        self._heard_s = self._clock()

    def beat(self, client: str) -> None:
        """A heartbeat of `client` came."""
        if client == self._client:
            self._heard_s = self._clock()

    def begin(self, t_ns: int) -> None:
        """Counting began with `expect`."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        silent_s = self._clock() - self._heard_s
        if self._timeout_s <= 0.0 or silent_s <= self._timeout_s:
            return None
        return _error(
            Result.CLIENT_LOST,
            f"client '{self._client}': no heartbeat for {silent_s:.2f} s on {self._topic} (limit {self._timeout_s:g} "
            "s), so the arm was stopped. Is the client still running?",
        )


class WhenMoving:
    """A guard that is asked only where goals leave the node; a dry run needs no permission and no robot.

    Attributes:
        moves: Whether the present goal may move the robot.
    """

    def __init__(self, guard: Guard) -> None:
        """Args: guard: the one to ask."""
        self._guard = guard
        self.moves = True

    def begin(self, t_ns: int) -> None:
        """See `Guard.begin`."""
        self._guard.begin(t_ns)

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        return self._guard.check(t_ns) if self.moves else None


class EstopGuard:
    """Nothing runs from the emergency stop until it is reset."""

    def __init__(self, reset: str) -> None:
        """Args: reset: name of the service that resets it, for messages."""
        self._reset = reset
        self.tripped = False

    @property
    def stop(self) -> Stop:
        """What a run ends with."""
        return Stop(
            termination=Result.TERMINATION_ESTOP,
            error_code=Result.ESTOP,
            message="the emergency stop was called; when the cause is cleared, allow motion again with: ros2 service "
            f"call {self._reset} std_srvs/srv/Trigger",
        )

    def begin(self, t_ns: int) -> None:
        """It stays as it is."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        return self.stop if self.tripped else None


def explained(stop: Stop, guards: Sequence[Guard], t_ns: int) -> Stop:
    """The stop with what the guards know by now: parts of the robot's report arrive one after the other.

    Its controller may abort a goal before the robot has said why.
    """
    if stop.error_code not in (Result.CONTROLLER, Result.ROBOT_FAULT):
        return stop
    found = next((cause for guard in guards if (cause := guard.check(t_ns)) is not None), None)
    if found is None:
        return stop
    if stop.error_code == Result.CONTROLLER:
        return replace(found, message=f"{found.message} ({stop.message})")
    return found if found.error_code == Result.ROBOT_FAULT else stop


def _error(code: int, message: str) -> Stop:
    return Stop(termination=Result.TERMINATION_ERROR, error_code=code, message=message)
