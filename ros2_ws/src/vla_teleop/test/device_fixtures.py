# SPDX-License-Identifier: Apache-2.0

"""A pair of sticks that is fed message by message, in its own time."""

from pathlib import Path

from vla_teleop.devices.gamepad import INPUTS as PAD
from vla_teleop.devices.joy_device import read_joy_spec
from vla_teleop.devices.joy_input import JoyCore
from vla_teleop.devices.joy_pair import INPUTS as PAIR
from vla_teleop.devices.settings import read_tree
from vla_teleop.devices.spacemouse import INPUTS as MOUSE

CONFIGS = Path(__file__).parent.parent / "config" / "devices"
NS = 1_000_000_000
PERIOD_NS = 20_000_000
INPUTS = {"sol_r2": PAIR, "gamepad": PAD, "spacemouse": MOUSE}


def joy_core(name: str) -> JoyCore:
    """The core of a shipped mapping."""
    spec = read_joy_spec(read_tree(CONFIGS / f"{name}.yaml"), INPUTS[name], calibrated=name != "spacemouse")
    return JoyCore(spec)


class Sticks:
    """What the drivers of the inputs would send, 50 times a second; values as in the messages."""

    def __init__(self, name: str = "sol_r2", rest: dict | None = None) -> None:
        self.core = joy_core(name)
        self.names = INPUTS[name]
        self.t_ns = NS
        count = {"sol_r2": 8, "gamepad": 6, "spacemouse": 6}[name]
        self.axes = {one: [0.0] * count for one in self.names}
        self.down: dict[str, set[int]] = {one: set() for one in self.names}
        for one, axes in (rest or {}).items():
            for axis, value in axes.items():
                self.axes[one][axis] = value

    def send(self, seconds: float = PERIOD_NS / NS, silent: tuple[str, ...] = ()) -> "Sticks":
        """All inputs that are not `silent` send their state for a while."""
        for _ in range(max(1, round(seconds * NS / PERIOD_NS))):
            self.t_ns += PERIOD_NS
            for one in self.names:
                if one not in silent:
                    buttons = [int(i in self.down[one]) for i in range(40)]
                    self.core.feed(one, self.t_ns, self.axes[one], buttons)
        return self

    def read(self):
        """The command now."""
        return self.core.read(self.t_ns)

    def calibrate(self) -> "Sticks":
        """Let the calibration of the shipped mappings pass."""
        self.send(1.6)
        assert self.core.lost(self.t_ns) is None
        self.read()
        return self

    def press(self, *buttons: tuple[str, int]) -> tuple[str, ...]:
        """Press buttons together, hold them for half a second, release; returns the events of all reads."""
        events: list[str] = []
        for one, index in buttons:
            self.down[one].add(index)
        for _ in range(25):
            self.send()
            events += self.read().pressed
        for one, index in buttons:
            self.down[one].discard(index)
        self.send()
        return (*events, *self.read().pressed)
