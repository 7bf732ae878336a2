# SPDX-License-Identifier: Apache-2.0

"""The logic of the controller manager: a command interface has one owner at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Strictness(IntEnum):
    """As in controller_manager_msgs/srv/SwitchController."""

    BEST_EFFORT = 1
    STRICT = 2


@dataclass(slots=True, kw_only=True)
class Controller:
    """One controller.

    Attributes:
        name: as on the real robot.
        type: plugin class.
        interfaces: command interfaces it needs; empty for broadcasters.
        start: called on activation.
        stop: called on deactivation.
        active: whether it runs.
        needs_program: whether it can only run while the robot's program runs.
    """

    name: str
    type: str
    interfaces: tuple[str, ...] = ()
    start: Callable[[], None] = lambda: None
    stop: Callable[[], None] = lambda: None
    active: bool = False
    needs_program: bool = False


class ControllerManager:
    """Lists and switches controllers. Not thread-safe: the caller holds one lock around all calls."""

    def __init__(self, controllers: Sequence[Controller]) -> None:
        self.controllers = {controller.name: controller for controller in controllers}
        self._program_running = True
        self._stopped: tuple[str, ...] = ()  # active motion controllers at the moment the program stopped

    def switch(self, activate: Sequence[str], deactivate: Sequence[str], strictness: int) -> tuple[bool, str]:
        """Deactivate and activate controllers in one cycle.

        Strict: any problem leaves everything as it is. Best effort: what cannot be done is left out.

        Returns:
            Whether the switch was done, and what was wrong.
        """
        strict = strictness == Strictness.STRICT
        problems: list[str] = []
        stopping = self._stoppable(deactivate, problems)
        starting = self._startable(activate, stopping, problems)
        if problems and strict:
            return False, "; ".join(problems)
        for name in stopping:
            self._stop(name)
        for name in starting:
            self._start(name)
        done = bool(stopping or starting) or not (activate or deactivate)
        return done, "; ".join(problems)

    def _stoppable(self, names: Sequence[str], problems: list[str]) -> list[str]:
        good = []
        for name in names:
            controller = self.controllers.get(name)
            if controller is None:
                problems.append(f"controller '{name}' is not loaded; loaded are {', '.join(sorted(self.controllers))}")
            elif not controller.active:
                problems.append(f"controller '{name}' is not active")
            else:
                good.append(name)
        return good

    def _startable(self, names: Sequence[str], stopping: Sequence[str], problems: list[str]) -> list[str]:
        owners = {
            interface: other.name
            for other in self.controllers.values()
            if other.active and other.name not in stopping
            for interface in other.interfaces
        }
        good = []
        for name in names:
            controller = self.controllers.get(name)
            problem = None
            if controller is None:
                problem = f"controller '{name}' is not loaded; loaded are {', '.join(sorted(self.controllers))}"
            elif controller.active and name not in stopping:
                problem = f"controller '{name}' is active already"
            elif controller.needs_program and not self._program_running:
                problem = f"controller '{name}' cannot start: the robot's program is not running"
            else:
                taken = next((i for i in controller.interfaces if i in owners), None)
                if taken is not None:
                    problem = f"controller '{name}' cannot start: '{taken}' is claimed by '{owners[taken]}'"
                else:
                    owners.update(dict.fromkeys(controller.interfaces, name))
                    good.append(name)
            if problem is not None:
                problems.append(problem)
        return good

    def program_stopped(self) -> None:
        """Deactivate the motion controllers, as the driver's controller stopper does; idempotent."""
        if not self._program_running:
            return
        self._program_running = False
        moving = [
            name for name, controller in self.controllers.items() if controller.active and controller.needs_program
        ]
        self._stopped = tuple(moving)
        for name in moving:
            self._stop(name)

    def program_started(self) -> None:
        """Activate again what `program_stopped` deactivated; idempotent."""
        if self._program_running:
            return
        self._program_running = True
        stopped, self._stopped = self._stopped, ()
        for name in stopped:
            self._start(name)

    def restore(self, active: Sequence[str]) -> None:
        """Bring the motion controllers into a known state: exactly those in `active` run."""
        self._program_running = True
        self._stopped = ()
        for name, controller in self.controllers.items():
            if controller.needs_program and controller.active:
                self._stop(name)
        for name in active:
            self._start(name)

    def _start(self, name: str) -> None:
        self.controllers[name].active = True
        self.controllers[name].start()

    def _stop(self, name: str) -> None:
        self.controllers[name].active = False
        self.controllers[name].stop()
