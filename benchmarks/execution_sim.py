# SPDX-License-Identifier: Apache-2.0

"""The part of `benchmarks/execution.py` in simulated time: strategies in the simulated cell, in lockstep.

Each row is one `infer.launch.py`; the runs of a row follow each other in it, each after a reset of the scene. A run is
cancelled after its time, and what the arm's controller then still wants is watched until it stands still.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ament_index_python.packages import get_package_share_directory
from control_msgs.msg import JointTrajectoryControllerState
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_common.action_client import GoalClient
from vla_common.qos import SENSOR
from vla_common.services import CallError, GoalRun, call_checked, send_goal
from vla_core.profile import Profile, load_profile
from vla_core.stamps import stamp_ns, to_s
from vla_msgs.action import RunPolicy
from vla_msgs.srv import ResetCell
from vla_policy.execution.measures_series import percentile
from vla_policy.policies.scripted import ReferenceMotion, ScriptedOptions
from vla_policy.tools.report_log import Run, read_log, summarise

FPS = 30
CHUNK = 50
IMAGE = 64  # pixels; the scripted policy does not look, so small images only make the run faster
RESET_S = 10.0
START_S = 120.0  # wall time until the launch accepts goals
WALL_LIMIT_S = 600.0  # of one run
STANDSTILL_S = 0.4  # simulated time after the end of a run in which its stop is watched
STILL_RAD = 1e-5  # between two states of the controller at 100 Hz: 1 mrad/s
States = list[tuple[int, NDArray[np.float64]]]  # time [ns] and joints that the controller wants [rad]
STATE_TOPIC = "scaled_joint_trajectory_controller/controller_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What all rows share.

    Attributes:
        seeds: Runs per row.
        seconds: Simulated time of each run.
        noise: Of the scripted policy [rad].
        folder: For profiles, parameters and logs.
    """

    seeds: int
    seconds: float
    noise: float
    folder: Path

    def profile(self) -> Path:
        """The simulated cell with small images."""
        path = self.folder / "robot.yaml"
        shipped = Path(get_package_share_directory("vla_bringup")) / "robots" / "sim_ur5e.yaml"
        path.write_text(
            f"extends: {shipped}\nrobot: sim_ur5e_small_images\nfps: {FPS}\n"
            f"cameras:\n  front: {{size: [{IMAGE}, {IMAGE}]}}\n  wrist: {{size: [{IMAGE}, {IMAGE}]}}\n",
            encoding="utf-8",
        )
        return path


class Client(Node):
    """Starts and cancels runs and watches what the arm's controller wants."""

    def __init__(self) -> None:
        """Connect; nothing is sent."""
        super().__init__("execution_benchmark", enable_rosout=False)
        self.states: deque[tuple[int, NDArray[np.float64]]] = deque(maxlen=400)
        self._news = threading.Condition()
        self.create_subscription(JointTrajectoryControllerState, STATE_TOPIC, self._on_state, SENSOR)
        self._runs = GoalClient(self, RunPolicy, "policy/run")
        self._reset = self.create_client(ResetCell, "sim/reset")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def now_ns(self) -> int:
        """Simulated time of the newest state."""
        return self.states[-1][0] if self.states else 0

    def wait_until(self, t_ns: int, launch: subprocess.Popen[bytes]) -> None:
        """Wait for a state at or after `t_ns`.

        Raises:
            RuntimeError: the launch ended, or nothing comes.
        """
        deadline = time.monotonic() + WALL_LIMIT_S
        with self._news:
            while self.now_ns() < t_ns:
                self._news.wait(0.5)
                if launch.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"no state of the arm at {to_s(t_ns):.2f} s of simulated time")

    def run(self, seed: int, seconds: float, launch: subprocess.Popen[bytes]) -> States | str:
        """One run from reset to standstill; returns what the controller wanted at the end, or why the run ended before."""
        deadline = time.monotonic() + START_S
        while not self._reset.wait_for_service(0.5):
            if launch.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the simulated cell did not start")
        while True:  # a request that comes before both sides know of each other is lost
            try:
                call_checked(self._reset, ResetCell.Request(seed=seed), RESET_S)
                break
            except CallError:
                if launch.poll() is not None or time.monotonic() > deadline:
                    raise
        self.wait_until(self.now_ns() + round(0.2e9), launch)
        begun_ns, goal = self._accepted()
        self.wait_until(begun_ns + round(seconds * 1e9), launch)
        if goal.outcome is not None:
            return str(goal.outcome.result.error_msg)
        goal.cancel()
        goal.wait(60.0)
        self.wait_until(self.now_ns() + round(STANDSTILL_S * 1e9), launch)
        return list(self.states)

    def close(self) -> None:
        """End the executor."""
        self._closing.set()
        self._thread.join(5.0)
        self._executor.shutdown()
        self.destroy_node()

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(0.1)

    def _accepted(self) -> tuple[int, GoalRun]:
        goal = send_goal(self._runs, RunPolicy.Goal(max_duration=600.0), timeout_s=START_S)
        return self.now_ns(), goal

    def _on_state(self, msg: JointTrajectoryControllerState) -> None:
        t_ns, positions = stamp_ns(msg), np.array(msg.reference.positions)
        with self._news:
            if self.states and t_ns < self.states[-1][0]:
                self.states.clear()
            self.states.append((t_ns, positions))
            self._news.notify_all()


def lockstep_row(
    scenario: Scenario,
    strategy: str,
    latency_ms: float,
    *,
    arguments: list[str],
    parameters: dict[str, Any],
    reference: Path | None,
) -> dict[str, Any]:
    """Run one strategy at one latency over all seeds.

    Args:
        scenario: See there.
        strategy: Value of the node's parameter.
        latency_ms: Simulated time of an inference.
        arguments: Of the launch, which policy runs.
        parameters: Further parameters of the policy node.
        reference: Profile of the scripted policy, whose clean motion the tracking error counts from; None: another policy.

    Raises:
        RuntimeError: the launch ended early; the text has its last lines.
    """
    name = f"{strategy}_{latency_ms:g}_{len(list(scenario.folder.iterdir()))}"
    log, output = scenario.folder / f"{name}.jsonl", scenario.folder / f"{name}.txt"
    params = {"inference_latency_s": latency_ms / 1e3, **parameters}
    file = scenario.folder / f"{name}.yaml"
    lines = "".join(f"    {key}: {_yaml(value)}\n" for key, value in params.items())
    file.write_text(f"/**/policy:\n  ros__parameters:\n{lines}", encoding="utf-8")
    launch_file = ["ros2", "launch", "vla_bringup", "infer.launch.py", "sim:=true", f"strategy:={strategy}"]
    command = [*launch_file, f"params_file:={file}", f"log_file:={log}", *arguments]
    begun = time.monotonic()
    with output.open("wb") as stream:
        launch = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
        client = Client()
        try:
            ends = [client.run(seed, scenario.seconds, launch) for seed in range(scenario.seeds)]
        except Exception as error:
            tail = "\n".join(output.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
            raise RuntimeError(f"{strategy} at {latency_ms:g} ms: {error}. The launch said:\n{tail}") from error
        finally:
            client.close()
            end(launch)
    runs = read_log(log)
    profile = None if reference is None else load_profile(reference)
    row = {"strategy": strategy, "latency_ms": latency_ms, **figures(runs, ends, profile)}
    return {**row, "seeds": scenario.seeds, "wall_s": round(time.monotonic() - begun, 1)}


def figures(runs: list[Run], ends: list[States | str], profile: Profile | None) -> dict[str, Any]:
    """What a row says about its runs: means over the runs, percentiles over all boundaries, spread between runs."""
    stops = [standstill_ms(run, states) for run, states in zip(runs, ends, strict=True) if not isinstance(states, str)]
    found = [summarise(run) for run in runs]
    motions = [run.motion() for run in runs]
    boundaries = [seam / motion.steps.percentile(50) for motion in motions for seam in motion.seams.values]
    accelerations = [value for motion in motions for value in motion.accelerations.values]
    ages = [tick["a"] for run in runs for tick in run.ticks if tick["a"] is not None]
    errors = [tracking_error(run, profile) for run in runs] if profile is not None else []
    return {
        "held_pct": round(float(np.mean([one["held_percent"] for one in found])), 3),
        "held_pct_max": max(one["held_percent"] for one in found),
        "seam_jump": round(float(np.mean(boundaries)), 3) if boundaries else None,
        "seam_jump_p95": round(percentile(boundaries, 95), 3) if boundaries else None,
        "seam_jump_spread": round(float(np.std([motion.seam_jump for motion in motions])), 3) if boundaries else None,
        "acc_p99": round(percentile(accelerations, 99), 3),
        "obs_age_ms_p50": round(percentile(ages, 50), 1),
        "obs_age_ms_p95": round(percentile(ages, 95), 1),
        "tracking_rms": round(float(np.sqrt(np.mean(np.square(errors)))), 5) if errors else None,
        "tracking_rms_spread": round(float(np.std(errors)), 5) if errors else None,
        "stop_ms": round(max(stops), 1) if stops else None,
        "stop_ms_mean": round(float(np.mean(stops)), 1) if stops else None,
        "chunks": sum(one["chunks_in_force"] for one in found),
        "replan_rate_hz": round(float(np.mean([one["replan_rate_hz"] for one in found])), 3),
        "stopped": [end for end in ends if isinstance(end, str)],
        "refused_chunks": sum(one["refused_chunks"] for one in found),
        "jitter_ms_p99": None,
        "overhead_ms_p95": None,
    }


def standstill_ms(run: Run, states: States) -> float:
    """Simulated time from the request to stop, as the node noted it, until the controller wants no more motion [ms]."""
    asked_ns = run.end["stop_requested_ns"]
    moving = [
        after[0]
        for before, after in pairwise(states)
        if after[0] > asked_ns and np.abs(after[1] - before[1]).max() > STILL_RAD
    ]
    return 1e3 * to_s(max(moving, default=asked_ns) - asked_ns)


def tracking_error(run: Run, profile: Profile) -> float:
    """Root mean square over ticks and joints of what was commanded against the clean motion at the same time [rad]."""
    first = run.chunks[0]
    joints = {name: np.array(values) for name, values in first["joints"].items()}
    reference = ReferenceMotion(profile, ScriptedOptions(), first["observed_ns"], joints)
    ticks = [tick for tick in run.ticks if tick["c"]]
    clean = reference.at(np.array([tick["t"] for tick in ticks], dtype=np.int64))
    arms = [spec.name for spec in profile.action if not spec.is_gripper]
    wanted = np.concatenate([clean[name] for name in arms], axis=1)
    return float(np.sqrt(np.mean((np.array([tick["q"] for tick in ticks]) - wanted) ** 2)))


def end(launch: subprocess.Popen[bytes]) -> None:
    """End a launch and everything that it started."""
    for number, wait_s in ((signal.SIGINT, 20.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        if launch.poll() is not None:
            break
        os.killpg(launch.pid, number)
        try:
            launch.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue


def _yaml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
