# SPDX-License-Identifier: Apache-2.0

"""Which controller has the arm: asked of, and switched through, ros2_control's controller manager.

Called from worker threads; a callback of the executor that serves the node would wait for itself.
"""

from collections.abc import Iterable, Sequence

from controller_manager_msgs.msg import ControllerState
from controller_manager_msgs.srv import ListControllers, SwitchController
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from vla_core.errors import listing, nearest_name
from vla_core.stamps import split_ns, to_ns

from vla_common.action_channel import ControllerError
from vla_common.controller_state import ACTIVE, why_not_active, why_wrong_order
from vla_common.services import CallError, call_service

__all__ = ["ControllerError", "ControllerSwitch"]


class ControllerSwitch:
    """A client of one controller manager."""

    def __init__(self, node: Node, *, manager: str = "controller_manager", group: CallbackGroup | None = None) -> None:
        """Make the clients; nothing is asked.

        Args:
            node: Whose executor receives the answers.
            manager: Name of the controller manager's node.
            group: Callback group of the clients; None takes the node's default.
        """
        self._manager = manager
        self._list = node.create_client(ListControllers, f"{manager}/list_controllers", callback_group=group)
        self._switch = node.create_client(SwitchController, f"{manager}/switch_controller", callback_group=group)

    def loaded(self, timeout_s: float) -> dict[str, ControllerState]:
        """Return what the manager says of each loaded controller, by its name.

        Raises:
            ControllerError: the manager is absent or does not answer within `timeout_s` wall seconds.
        """
        try:
            response = call_service(self._list, ListControllers.Request(), timeout_s)
        except CallError as error:
            raise ControllerError(
                f"which controller has the arm cannot be found out: {error} The manager's name comes from teleop.manager "
                "of the profile"
            ) from error
        return {controller.name: controller for controller in response.controller}

    def states(self, timeout_s: float) -> dict[str, str]:
        """Return the state (active, inactive, …) of each loaded controller by its name; raises as `loaded` does."""
        return {name: controller.state for name, controller in self.loaded(timeout_s).items()}

    def active(self, timeout_s: float) -> frozenset[str]:
        """Return the names of the active controllers; raises as `states` does."""
        return frozenset(name for name, state in self.states(timeout_s).items() if state == ACTIVE)

    def offered(self) -> bool:
        """Whether a manager of this name is known; a driver may do without one."""
        return self._list.service_is_ready()

    def why_not(self, name: str, timeout_s: float) -> str | None:
        """Return why a controller takes no commands and what to do; None: it does, or the manager does not know it.

        Raises:
            ControllerError: as `loaded`.
        """
        loaded = self.loaded(timeout_s)
        own = loaded.get(name)
        return None if own is None else why_not_active(own, tuple(loaded.values()), self._switch.service_name)

    def switch(self, start: Sequence[str], stop: Sequence[str], timeout_s: float = 0.3) -> None:
        """Activate and deactivate controllers in one control period, all or none (strict).

        Args:
            start: Controllers to activate.
            stop: Controllers to deactivate.
            timeout_s: How long the manager may take, and the longest wait for its answer [wall s].

        Raises:
            ControllerError: the manager refused, or did not answer in time: it may then still do it.
        """
        request = SwitchController.Request(
            activate_controllers=list(start),
            deactivate_controllers=list(stop),
            strictness=SwitchController.Request.STRICT,
            activate_asap=True,
        )
        request.timeout.sec, request.timeout.nanosec = split_ns(to_ns(timeout_s))
        what = f"controllers were not switched (start {listing(start)}; stop {listing(stop)})"
        try:
            response = call_service(self._switch, request, timeout_s)
        except CallError as error:
            raise ControllerError(f"{what}: {error} Look with: ros2 control list_controllers") from error
        if not response.ok:
            why = response.message or "the controller manager's log says why"
            raise ControllerError(f"{what}: {why}. Look with: ros2 control list_controllers")

    def give(
        self,
        wanted: str,
        rivals: Iterable[str],
        *,
        answer_s: float,
        timeout_s: float = 0.3,
        order: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Let one controller have the arm and deactivate those rivals that are active; nothing to do is no error.

        Args:
            wanted: Controller that is to be active.
            rivals: Controllers that claim the same joints.
            answer_s: Longest wait for the list of controllers [wall s].
            timeout_s: As in `switch`.
            order: Joints in the order in which `wanted` gets numbers without names; empty: it gets none.

        Returns:
            The rivals that were active before.

        Raises:
            ControllerError: `wanted` is not loaded or takes the joints in another order, or as `loaded` and `switch`.
        """
        loaded = self.loaded(answer_s)
        states = {name: controller.state for name, controller in loaded.items()}
        if wanted not in states:
            raise ControllerError(
                f"{self._manager} knows no controller '{wanted}'{nearest_name(wanted, states)}; loaded are "
                f"{listing(sorted(states))}. Correct the section teleop of the profile, or load it: ros2 control "
                f"load_controller --set-state inactive {wanted}"
            )
        wrong = why_wrong_order(loaded[wanted], order) if order else None
        if wrong is not None:
            raise ControllerError(f"{self._manager}: {wrong}")
        stop = tuple(name for name in rivals if name != wanted and states.get(name) == ACTIVE)
        start = () if states[wanted] == ACTIVE else (wanted,)
        if start or stop:
            self.switch(start, stop, timeout_s)
        return stop
