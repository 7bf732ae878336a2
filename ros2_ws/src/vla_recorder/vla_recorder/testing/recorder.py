# SPDX-License-Identifier: Apache-2.0

"""The real recorder node in a process of its own, for tests and benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_common.qos import LATCHED
from vla_msgs.msg import RecorderStatus
from vla_msgs.srv import StartEpisode, StopEpisode

from vla_recorder.testing import wait_for
from vla_recorder.testing.load import Stream

_JOINTS = "[" + ", ".join(f"joint_{number}" for number in range(6)) + "]"
_FIELDS = "[" + ", ".join(f"position.joint_{number}" for number in range(6)) + "]"


def load_profile_text(streams: Sequence[Stream]) -> str:
    """Return a profile that records some streams: images as cameras, joint_states as state, the rest as it is."""
    text = ["robot: load", "fps: 30", "base_frame: base_link", "tool_frame: tool0", "task: carry", "cameras:"]
    extra = ["record_topics:"]
    for stream in streams:
        rate = f"rate_hz: {stream.rate_hz:g}, max_age_s: 0.5"
        if "Image" in stream.type:
            name = stream.topic.partition("/")[0]
            size = f"[{stream.height}, {stream.width}]"
            text.append(f"  {name}: {{topic: {stream.topic}, type: {stream.type}, size: {size}, {rate}}}")
        elif stream.topic not in ("joint_states", "command/arm"):
            extra.append(f"  - {{topic: {stream.topic}, type: {stream.type}}}")
    rates = {stream.topic: stream.rate_hz for stream in streams}
    text += [
        f"state:\n  - {{topic: joint_states, fields: {_FIELDS}, rate_hz: {rates['joint_states']:g}, max_age_s: 0.5}}",
        f"action:\n  - name: arm\n    record: {{topic: command/arm, rate_hz: {rates['command/arm']:g}, max_age_s: 0.5}}",
        f"    command: {{interface: none}}\n    joints: {_JOINTS}",
        f"    limits: {{lower: {[-3.0] * 6}, upper: {[3.0] * 6}}}",
    ]
    return "\n".join([*text, *(extra if len(extra) > 1 else [])]) + "\n"


class RecorderProgram:
    """`recorder_node` in a process of its own; the caller has initialised rclpy."""

    def __init__(self, folder: Path, profile: Path, **parameters: object) -> None:
        """Start it.

        Args:
            folder: Gets ``bags`` and the program's output.
            profile: Robot profile.
            parameters: Of the node, beside the profile and the output folder.
        """
        self.bags = Path(str(parameters.pop("output_dir", folder / "bags")))
        values = {"profile": profile, "output_dir": self.bags, "min_free_gb": 0.0, "record_from": "start", **parameters}
        pairs = [word for key, value in values.items() for word in ("-p", f"{key}:={value}")]
        self._output = folder / f"recorder_{os.urandom(4).hex()}.txt"
        with self._output.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vla_recorder.capture.recorder_node", "--ros-args", *pairs],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._output.read_text()

    def end(self, timeout_s: float = 10.0) -> str:
        """Wait until it ends, kill it if it does not in time, and return what it printed."""
        try:
            self.process.wait(timeout_s)
        finally:
            self.kill()
        return self.said

    def interrupt(self) -> str:
        """Ask it to end, wait, and return what it printed."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


def process_cost(pid: int) -> tuple[float, float]:
    """Return CPU time [s], user and system, and peak resident memory [MB] of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), peak_kb / 1000


class Operator:
    """Starts and stops episodes over the recorder's services."""

    def __init__(self) -> None:
        """Make a node with an executor of its own."""
        self._node = Node("operator")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._clients: dict[str, Any] = {}
        self._status = RecorderStatus()
        self._node.create_subscription(RecorderStatus, "recorder/status", self._on_status, LATCHED)

    def _on_status(self, status: RecorderStatus) -> None:
        self._status = status

    def call(self, kind: Any, name: str, timeout_s: float = 10.0, **fields: Any) -> Any:
        """Call one service of the recorder; None without an answer in time."""
        client = self._clients.setdefault(name, self._node.create_client(kind, f"recorder/{name}"))
        if not client.wait_for_service(timeout_sec=timeout_s):
            return None
        future = client.call_async(kind.Request(**fields))
        self._executor.spin_until_future_complete(future, timeout_sec=timeout_s)
        return future.result()

    def start(self, timeout_s: float = 20.0) -> Path:
        """Start an episode as soon as the recorder has heard every observation; returns its open folder."""
        answers: list[Any] = []

        def started() -> bool:
            answers.append(self.call(StartEpisode, "start", 2.0))
            if answers[-1] is None:
                return False
            # A new recorder may hear a request before it knows where to send the answer; that episode is the one.
            if len(answers) > 1 and "is being recorded" in answers[-1].message and self._status.recording:
                answers[-1].bag_path = self._status.bag_path
                return self._status.episode_uuid in answers[-1].message
            return bool(answers[-1].success)

        try:
            wait_for(started, timeout_s, what="an episode")
        except AssertionError as error:
            raise AssertionError(f"{error}; the recorder said: {answers[-1]}") from error
        return Path(answers[-1].bag_path)

    def stop(self, timeout_s: float = 30.0) -> Any:
        """Stop the episode; returns the answer."""
        return self.call(StopEpisode, "stop", timeout_s)

    def ask_to_stop(self) -> None:
        """Send the request to stop the episode; nobody waits for the answer."""
        self._clients["stop"] = self._clients.get("stop") or self._node.create_client(StopEpisode, "recorder/stop")
        if not self._clients["stop"].wait_for_service(timeout_sec=10.0):
            raise AssertionError("the recorder offers no stop service")
        self._clients["stop"].call_async(StopEpisode.Request())

    def close(self) -> None:
        """Let go of the node."""
        self._executor.shutdown()
        self._node.destroy_node()
