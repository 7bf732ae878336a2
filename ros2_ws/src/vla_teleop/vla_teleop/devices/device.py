# SPDX-License-Identifier: Apache-2.0

"""What a teleoperation device is: one protocol for joysticks, keyboard, SpaceMouse and leader arms.

A device turns its input into a `Command` in SI units; it knows nothing of the robot. The node that drives asks it once per
control period. Time is that of the node clock and enters as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError

Array = NDArray[np.float64]

BASE, TOOL = "base", "tool"
FRAMES = (BASE, TOOL)
"""In which axes a twist is meant: those of the arm's own base (a UR's `base`, in which its controller takes speeds and
poses; `base_link` turned by `kinematics.base_rpy` of the profile) or those of the tool centre point."""

RECORD, HOME, REORIENT, INTERRUPT = "record", "home", "reorient", "interrupt"
ROTATE_CW, ROTATE_CCW = "rotate_cw", "rotate_ccw"
SUCCESS, FAILURE, DISCARD = "success", "failure", "discard"
ENABLE, FREEDRIVE = "enable", "freedrive"
WAYPOINT_ADD, WAYPOINT_UNDO = "waypoint_add", "waypoint_undo"
WAYPOINT_PAUSE, WAYPOINT_SAVE = "waypoint_pause", "waypoint_save"
SKILL_PREFIX = "skill/"
EVENTS = (
    RECORD,
    HOME,
    REORIENT,
    INTERRUPT,
    ROTATE_CW,
    ROTATE_CCW,
    SUCCESS,
    FAILURE,
    DISCARD,
    ENABLE,
    FREEDRIVE,
    WAYPOINT_ADD,
    WAYPOINT_UNDO,
    WAYPOINT_PAUSE,
    WAYPOINT_SAVE,
)
"""Names of events (`vla_msgs/TeleopEvent`); besides them ``skill/<name>`` for any skill."""

NEVER = float("inf")
"""Age of an input that was never received [s]."""


class DeviceError(VlaError):
    """A device that cannot be made or opened; says which, why and what to do."""


def skill_of(event: str) -> str | None:
    """Name of the skill that an event asks for, or None: ``skill/cpu`` -> ``cpu``."""
    return event.removeprefix(SKILL_PREFIX) if event.startswith(SKILL_PREFIX) else None


def _still() -> Array:
    return np.zeros(6)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Command:
    """What the person wants at one moment.

    Attributes:
        t_ns: Node-clock time of the newest input [ns].
        twist: (6,) linear [m/s] and angular [rad/s] velocity of the tool centre point, with the gain in it.
        frame: Axes of `twist`, one of `FRAMES`.
        gripper_rate: Speed of the gripper [1/s of its whole travel], closing positive; the gain is not in it.
        gain: Speed gain 0 to 1 that `twist` was multiplied by.
        joints: Leader arms: joint name of the robot to angle [rad]; None for other devices.
        gripper: Leader arms: position of the gripper, 0 open to 1 closed; None where it is commanded by rate.
        pressed: Events since the last read: a button that went down, once; highest priority first.
        deadman: Whether the enabling button is held; None when the device has none.
        moving: Whether a motion is commanded: speed of arm or gripper above the threshold, or a leader arm that moves.
    """

    t_ns: int
    twist: Array = field(default_factory=_still)
    frame: str = BASE
    gripper_rate: float = 0.0
    gain: float = 1.0
    joints: Mapping[str, float] | None = None
    gripper: float | None = None
    pressed: tuple[str, ...] = ()
    deadman: bool | None = None
    moving: bool = False


@runtime_checkable
class Device(Protocol):
    """A teleoperation device. `read` is called by one thread only; inputs may arrive on any other."""

    name: str
    """Of the mapping, as in the YAML, for example ``sol_r2``."""
    timeout_s: float
    """Age of the input above which the device is silent [s]."""

    def read(self, now_ns: int) -> Command | None:
        """The present command; takes the events since the last call.

        Returns:
            None while nothing was received yet and while the device calibrates. A silent or unplugged device gives a
            command without motion, `joints` and `gripper` None, and no events.
        """

    def age_s(self, now_ns: int) -> float:
        """Age of the oldest of the device's inputs [s]; `NEVER` before the first one."""

    def raw(self) -> Mapping[str, float]:
        """Inputs as they came, by name (``left.0``, ``left.button25``), for display."""

    @property
    def lost(self) -> str | None:
        """Why there is no command now and what to do, or None when all is well; also what calibration waits for."""

    def close(self) -> None:
        """Release what the device holds (subscriptions, terminal). Idempotent."""
