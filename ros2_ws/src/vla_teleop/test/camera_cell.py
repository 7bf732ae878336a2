# SPDX-License-Identifier: Apache-2.0

"""A simulated cell in this process, on a domain of its own, for tests of the camera commands."""

import contextlib
import os
import random
import threading
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from vla_common.params import overrides
from vla_sim.sim_node import CellNode

ROBOTS = Path(__file__).parents[2] / "vla_bringup" / "robots"


def write_profile(folder, size, rate_hz, **camera):
    """A profile that extends the simulated cell's by another image size and rate."""
    more = "".join(f", {key}: {value}" for key, value in camera.items())
    path = folder / "robot.yaml"
    stream = f"size: [{size[0]}, {size[1]}], rate_hz: {rate_hz:.1f}, max_age_s: 1.0{more}"
    lines = [f"extends: {ROBOTS / 'sim_ur5e.yaml'}", "cameras:", *(f"  {n}: {{{stream}}}" for n in ("front", "wrist"))]
    path.write_text("\n".join(lines) + "\n")
    return path


class CameraCell:
    """A paced cell; `domain` is its ROS domain."""

    def __init__(self, profile, **params):
        self.domain = random.randint(1, 100)
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        values = {"profile": str(profile), "clock_mode": "paced", **params}
        self.node = CellNode(context=self.context, parameter_overrides=overrides(values))
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self):
        with contextlib.suppress(Exception):
            self.executor.spin()

    def set_light(self, brightness):
        """Change the lights as a person would."""
        (result,) = self.node.set_parameters([Parameter("light", value=brightness)])
        assert result.successful, result.reason

    def place(self, q):
        """Put the arm at joint positions, at rest, as a person would have moved it there before."""
        plant = self.node.plant
        with plant.lock:
            simulated = self.node.cell
            simulated._data.qpos[simulated._arm_q] = q
            simulated._data.qvel[:] = 0.0
            plant._read()
            plant.trajectory.activate(plant.q)

    @property
    def sensors(self):
        """The simulated sensors by camera."""
        return self.node.cameras._settings.sensors

    def close(self):
        """End all threads."""
        self.node.close()
        self.executor.shutdown()
        self.thread.join(timeout=5.0)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
