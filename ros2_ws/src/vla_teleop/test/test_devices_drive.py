# SPDX-License-Identifier: Apache-2.0

"""From `sensor_msgs/Joy` to the tool of the simulated arm: the shipped mapping of the two sticks, with nothing replaced."""

import numpy as np
import pytest
from device_fixtures import CONFIGS
from sensor_msgs.msg import Joy
from teleop_stage import TeleopStage
from test_devices_mapping import SIGNS
from vla_core.kinematics import rotation_vector
from vla_teleop.node.teleop_node import TeleopNode

# The mapping counts in the arm's `base`, which is `base_link` turned by half a turn about z; states are in base_link.
BASE_LINK = np.array([-1.0, -1.0, 1.0, -1.0, -1.0, 1.0])


class SticksStage(TeleopStage):
    """Two joy nodes that repeat their state 100 times per simulated second."""

    def __init__(self, folder):
        mapping = folder / "sticks.yaml"
        # Messages of the test take wall time to arrive, in which simulated time goes on.
        mapping.write_text((CONFIGS / "sol_r2.yaml").read_text().replace("timeout_s: 0.1", "timeout_s: 1.0"))
        self.mapping = str(mapping)
        self.drivers = {}
        self.axes = {"left": [0.0, 0.0, 1.0, 0.0, 0.0, 0.0], "right": [0.0] * 6}  # the slider up
        self.buttons = {"left": [0] * 40, "right": [0] * 40}
        super().__init__(folder)

    def _make(self, cls, values, **options):
        if cls is TeleopNode:
            return super()._make(cls, {**values, "device": self.mapping})
        return super()._make(cls, values, **options)

    def _on_joints(self, msg):
        super()._on_joints(msg)
        for name in ("left", "right"):
            if name not in self.drivers:
                self.drivers[name] = self.helper.create_publisher(Joy, f"{name}/joy", 10)
            self.drivers[name].publish(Joy(axes=self.axes[name], buttons=self.buttons[name]))

    def settle(self):
        """Hands off until the arm stands."""
        self.pass_s(0.2)
        self.until(lambda: np.abs(self.joints[-1][2]).max() < 1e-3, "the arm at rest")


@pytest.fixture(scope="module")
def sticks(tmp_path_factory):
    made = SticksStage(tmp_path_factory.mktemp("sticks"))
    yield made
    made.close()


def test_every_axis_moves_the_tool_as_the_table_says(sticks):
    sticks.until(lambda: not sticks.state.stale, "the calibration")
    assert sticks.enable().success
    for stick, axis, value, component, full in SIGNS:
        before = sticks.tcp()
        sticks.axes[stick][axis] = value
        sticks.pass_s(0.5)
        twist = np.array(sticks.state.twist) * BASE_LINK
        expected = np.zeros(6)
        expected[component] = full
        assert twist == pytest.approx(expected, abs=1e-6), (stick, axis)
        sticks.axes[stick][axis] = 0.0
        sticks.settle()
        after = sticks.tcp()
        turned = rotation_vector(after[:3, :3] @ before[:3, :3].T)
        moved = np.concatenate([after[:3, 3] - before[:3, 3], turned]) * BASE_LINK
        assert moved[component] / full > 0.3, (stick, axis, moved)  # seconds at full speed
        others = np.delete(moved, component)
        assert np.abs(others).max() < 0.002, (stick, axis, moved)


def test_the_slider_scales_the_speed(sticks):
    sticks.axes["left"][1] = 1.0
    for value, gain in ((0.0, 0.55), (-1.0, 0.1), (1.0, 1.0)):
        sticks.axes["left"][2] = value
        sticks.pass_s(0.3)
        assert sticks.state.gain == pytest.approx(gain)
        assert np.array(sticks.state.twist)[1] == pytest.approx(-0.05 * gain, abs=1e-6)
    sticks.axes["left"][1] = 0.0
    sticks.settle()


def test_a_held_button_is_one_event(sticks):
    sticks.events.clear()
    sticks.buttons["right"][34] = 1
    sticks.pass_s(0.6)
    sticks.buttons["right"][34] = 0
    sticks.pass_s(0.2)
    assert [(event.name, event.device) for event in sticks.events] == [("skill/cpu", "sticks")]
