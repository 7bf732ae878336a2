# SPDX-License-Identifier: Apache-2.0

"""How long from a joystick message to the robot's command, and how even are the commands?

    python benchmarks/teleop.py --json teleop.json       # 400 deflections, about 3 minutes on 2 idle cores
    python benchmarks/teleop.py --deflections 40         # under half a minute

The teleop node drives the simulated cell in real time, 200 times a second, on the system's clock, as on a robot. This process is
the joystick's driver and the controller's listener: it publishes `sensor_msgs/Joy` 100 times a second at a random phase, deflects
the stick from rest, and takes the time from publishing the first deflected message to receiving the first position that differs
from the one before. So the transport of both messages is in the latency. Evenness is the distance of successive commands.

The JSON holds ``machine``, ``load_average`` (before, after), ``bars`` (``name``, ``value``, ``limit``, ``ok``) and ``rows``, each with
``measure``, ``unit``, ``count``, ``p50``, ``p95``, ``p99``, ``max``. The exit code is 1 where a bar is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
import yaml
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from vla_common.priority import prefer_this_thread
from vla_common.qos import COMMAND
from vla_core.profile import load_profile
from vla_teleop.devices.registry import find_config

if TYPE_CHECKING:
    from collections.abc import Iterator

ROBOT = Path(__file__).resolve().parent.parent / "ros2_ws" / "src" / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"
RATE_HZ, JOY_HZ = 200.0, 100.0
LATENCY_LIMIT_MS = 10.0
CALIBRATION_S = 3.0
PRESSED, RELEASED = 0.4, 0.0
CHANGED = 1e-9  # [rad]
PRIORITY = 30
Row = dict[str, Any]


class Peer(Node):
    """Driver of the stick and listener to the commands."""

    def __init__(self) -> None:
        super().__init__("stick")
        self.times: list[float] = []
        self.changed = threading.Event()
        self._last: np.ndarray | None = None
        self._moved_s = 0.0
        self.axis = RELEASED
        self._joy = self.create_publisher(Joy, "joy", 10)
        self.create_subscription(Float64MultiArray, "forward_position_controller/commands", self._on_command, COMMAND)
        self.enable = self.create_client(SetBool, "teleop/enable")

    def _on_command(self, msg: Float64MultiArray) -> None:
        now = time.monotonic()
        values = np.array(msg.data)
        self.times.append(now)
        if self._last is not None and np.abs(values - self._last).max() > CHANGED:
            self._moved_s = now
            self.changed.set()
        self._last = values

    @property
    def moved_s(self) -> float:
        """When a command differed from the one before for the last time [monotonic s]."""
        return self._moved_s

    def publish(self) -> float:
        """Publish the stick as it is; returns the time before."""
        msg = Joy(axes=[0.0, self.axis, 0.0, 0.0, 0.0, 0.0], buttons=[0] * 15)
        msg.header.stamp = self.get_clock().now().to_msg()
        before = time.monotonic()
        self._joy.publish(msg)
        return before


@contextmanager
def program(
    executable: str, package: str, parameters: dict[str, Any], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A node of its own process group; its log goes to a file in `folder`."""
    file = folder / f"{executable}.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    log = folder / f"{executable}.log"
    command = ["ros2", "run", package, executable, "--ros-args", "--params-file", str(file)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def files(folder: Path) -> tuple[Path, Path]:
    """A robot without cameras, and a gamepad without an enabling button."""
    content = yaml.safe_load(load_profile(ROBOT).text)
    content.pop("cameras")
    robot = folder / "robot.yaml"
    robot.write_text(yaml.safe_dump(content, sort_keys=False))
    device = yaml.safe_load(find_config("gamepad").read_text())
    device.pop("deadman", None)
    pad = folder / "pad.yaml"
    pad.write_text(yaml.safe_dump(device, sort_keys=False))
    return robot, pad


def keep(peer: Peer, seconds: float) -> None:
    """Publish the stick as a driver that repeats its state, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        peer.publish()
        time.sleep(1.0 / JOY_HZ)


def deflect(peer: Peer) -> float | None:
    """One deflection from rest: the latency [s], or None when no command followed within a second."""
    keep(peer, random.uniform(0.25, 0.27))
    if time.monotonic() - peer.moved_s < 0.1:
        return None  # the arm was not at rest yet
    peer.changed.clear()
    peer.axis = random.choice((-PRESSED, PRESSED))
    begun = peer.publish()
    end = begun + 1.0
    found = peer.changed.wait(0.005)
    while not found and time.monotonic() < end:
        peer.publish()
        found = peer.changed.wait(0.005)
    latency = peer.moved_s - begun if found else None
    peer.axis = RELEASED
    peer.publish()
    return latency


def row(measure: str, unit: str, values: list[float]) -> Row:
    """Percentiles of a measure."""
    p50, p95, p99 = (float(np.percentile(values, q)) for q in (50, 95, 99))
    return {
        "measure": measure,
        "unit": unit,
        "count": len(values),
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "max": max(values),
    }


def take(peer: Peer) -> None:
    """Ask for the arm until the node gives it.

    Raises:
        SystemExit: it does not within a minute; shows its last answer.
    """
    end, text = time.monotonic() + 60.0, "the teleop node does not answer"
    while time.monotonic() < end:
        future = peer.enable.call_async(SetBool.Request(data=True))
        asked = time.monotonic()
        while not future.done() and time.monotonic() < asked + 10.0:
            keep(peer, 0.1)
        if future.done():
            if future.result().success:
                return
            text = future.result().message
    raise SystemExit(f"the arm could not be taken: {text}")


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Run the node and return the rows."""
    robot, pad = files(folder)
    cell = {"profile": str(robot), "clock_mode": "paced"}
    teleop = {"profile": str(robot), "device": str(pad), "rate_hz": RATE_HZ, "home_speed": 0.5}
    rclpy.init()
    peer = Peer()
    executor = SingleThreadedExecutor()
    executor.add_node(peer)

    def spin() -> None:
        prefer_this_thread(PRIORITY)
        executor.spin()

    threading.Thread(target=spin, daemon=True).start()
    latencies: list[float] = []
    with ExitStack() as stack:
        stack.enter_context(program("cell_node", "vla_sim", cell, folder))
        stack.enter_context(program("teleop_node", "vla_teleop", teleop, folder))
        peer.enable.wait_for_service(60.0)
        keep(peer, CALIBRATION_S)
        take(peer)
        keep(peer, 1.0)
        peer.times.clear()
        tried = 0
        while len(latencies) < options.deflections and tried < 3 * options.deflections:
            tried += 1
            latency = deflect(peer)
            if latency is not None:
                latencies.append(latency)
        gaps = np.diff(peer.times)
    executor.shutdown()
    rclpy.try_shutdown()
    if not latencies:
        raise SystemExit(f"no command followed any deflection; see {folder}")
    return [
        row("joy to command", "ms", [1e3 * value for value in latencies]),
        row("distance of commands", "ms", [1e3 * float(gap) for gap in gaps]),
        row("jitter: |distance - period|", "ms", [1e3 * abs(float(gap) - 1.0 / RATE_HZ) for gap in gaps]),
    ]


def main(args: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deflections", type=int, default=400, help="how often the stick is deflected (default 400)")
    parser.add_argument("--json", type=Path, help="write the report there")
    options = parser.parse_args(args)
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="teleop_") as folder:
        rows = measure(options, Path(folder))
    load.append(os.getloadavg()[0])
    p95 = rows[0]["p95"]
    bars = [
        {"name": "joy to command, p95 [ms]", "value": p95, "limit": LATENCY_LIMIT_MS, "ok": p95 <= LATENCY_LIMIT_MS}
    ]
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "load_average": load,
        "rate_hz": RATE_HZ,
        "bars": bars,
        "rows": rows,
    }
    for entry in rows:
        numbers = "  ".join(f"{name} {entry[name]:7.3f}" for name in ("p50", "p95", "p99", "max"))
        print(f"{entry['measure']:28s} [{entry['unit']}]  n {entry['count']:6d}  {numbers}")
    for bar in bars:
        print(f"{'ok  ' if bar['ok'] else 'FAIL'} {bar['name']}: {bar['value']:.2f} (limit {bar['limit']:g})")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if all(bar["ok"] for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
