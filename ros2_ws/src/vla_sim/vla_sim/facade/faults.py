# SPDX-License-Identifier: Apache-2.0

"""Faults on demand: `sim/fault/<name>` (std_srvs/SetBool), true to cause one and false to clear it; a reset clears all.

The answer says when, in simulated time.

| service | what it does |
|---|---|
| `sim/fault/protective_stop` | the arm stops as after a collision; false unlocks it and starts the program |
| `sim/fault/program_stop` | the robot's program stops, as by the teach pendant; false starts it |
| `sim/fault/gripper_stuck` | the fingers stay where they are |
| `sim/fault/silent/<arm, gripper or camera>` | its driver sends no more joint states or images |
| `sim/fault/image_size/<camera>` | its images have half the size |

With several arms the names begin with the arm's, as in `left/sim/fault/…`; those of cameras do not.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from rclpy.node import Node
from std_srvs.srv import SetBool

from vla_sim.facade.cameras import CameraRig
from vla_sim.facade.streams import Stream
from vla_sim.plant import Plant
from vla_sim.robot import Station

SERVICE = "sim/fault"


class Driver(Protocol):
    """A part of the facade that publishes joint states."""

    joint_states: Stream


class FaultFacade:
    """Serves the faults; see the module."""

    def __init__(
        self,
        node: Node,
        station: Station,
        plant: Plant,
        drivers: Mapping[str, Driver],
        cameras: CameraRig | None,
        on_switched: Callable[[str, bool], None] = lambda name, on: None,
    ) -> None:
        """Args: drivers: by name. cameras: all that the cell has; None: another station serves them. on_switched: called with the plant locked."""
        self._node = node
        self._on_switched = on_switched
        self._plant = plant
        self._switches: dict[str, Callable[[bool], object]] = {
            "protective_stop": self._protective_stop,
            "program_stop": self._program_stop,
            "gripper_stuck": plant.stick_gripper,
        }
        for name, driver in drivers.items():
            self._switches[f"silent/{name}"] = partial(_silence, driver)
        for name in cameras.names if cameras is not None else ():
            assert cameras is not None
            self._switches[f"silent/{name}"] = partial(cameras.silence, name)
            self._switches[f"image_size/{name}"] = partial(cameras.halve, name)
        self._on: set[str] = set()
        shared = cameras.names if cameras is not None else ()
        for fault in self._switches:
            own = fault.rpartition("/")[2] not in shared
            self._serve(fault, station.topic(f"{SERVICE}/{fault}") if own else f"{SERVICE}/{fault}")

    def clear(self) -> None:
        """Clear what is on; the plant is locked, and its own faults were cleared by its reset."""
        for fault in self._on - {"protective_stop", "program_stop", "gripper_stuck"}:
            self._switches[fault](False)
        self._on.clear()

    def _serve(self, fault: str, service: str) -> None:
        def switch(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
            with self._plant.lock:
                self._switches[fault](request.data)
                self._on_switched(fault, request.data)
                t_s = self._plant.time_ns * 1e-9
            (self._on.add if request.data else self._on.discard)(fault)
            response.success, response.message = True, f"{fault}: {'on' if request.data else 'off'} at {t_s:.3f} s"
            self._node.get_logger().warning(f"fault {response.message}")
            return response

        self._node.create_service(SetBool, service, switch)

    def _protective_stop(self, on: bool) -> None:
        if on:
            self._plant.protective_stop()
        else:
            self._plant.robot.unlock()
            self._plant.start_program()

    def _program_stop(self, on: bool) -> None:
        if on:
            self._plant.stop_program()
        else:
            self._plant.start_program()


def _silence(driver: Driver, on: bool) -> None:
    driver.joint_states.silent = on
