# SPDX-License-Identifier: Apache-2.0

"""Trials of a checkpoint in the simulated cell: `infer.launch.py` in lockstep, one launch per run of consecutive seeds.

Simulated time stands still while the model runs, and an inference takes exactly the stated latency, so that a seed gives the
same trial whatever the machine's load. The launch rewrites its result file after every trial; what is in it is kept.
"""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_policy.evaluation.run_folder import EvaluationError

Trial = dict[str, Any]
SHORT_NAMES = {"pick": "pick_place"}
STALL_S = 900.0  # wall time without a finished trial, after which something hangs
POLL_S = 0.5
GRACE_S = (20.0, 10.0, 5.0)  # until SIGTERM, until SIGKILL, until it is given up
TAIL_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings:
    """What decides a trial beside the checkpoint and the seed.

    Attributes:
        scene: What the scene asks for.
        strategy: How chunk follows chunk.
        latency_ms: Simulated time that an inference takes [ms].
        max_duration: Limit of a trial, simulated [s].
        task: Instruction; None: the profile's.
        device: Torch device.
        launch: Further arguments of the launch file, `key:=value`.
    """

    scene: str
    strategy: str
    latency_ms: float
    max_duration: float
    task: str | None
    device: str
    launch: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As the evaluation's JSON has it."""
        return {**asdict(self), "launch": list(self.launch)}


def consecutive(seeds: Iterable[int]) -> list[tuple[int, int]]:
    """First seed and count of each run of consecutive seeds."""
    groups: list[tuple[int, int]] = []
    for seed in sorted(set(seeds)):
        if groups and sum(groups[-1]) == seed:
            groups[-1] = (groups[-1][0], groups[-1][1] + 1)
        else:
            groups.append((seed, 1))
    return groups


def require_ros() -> None:
    """Look for what the launch needs.

    Raises:
        EvaluationError: ROS or the workspace is not sourced here.
    """
    if shutil.which("ros2") is None:
        raise EvaluationError(
            "--sim runs infer.launch.py, and there is no 'ros2' in this shell. Source ROS and the workspace (. ./activate), or "
            "evaluate on recorded episodes: --dataset DIR, which needs no ROS."
        )
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    for package in ("vla_bringup", "vla_sim"):
        if not any(prefix and (Path(prefix) / "share" / package).is_dir() for prefix in prefixes):
            raise EvaluationError(
                f"--sim needs the package {package}, which is not in AMENT_PREFIX_PATH. Build and source the workspace: "
                f". ./activate"
            )


def environment() -> dict[str, str]:
    """A DDS domain of its own unless one is set, loopback only, one thread, no network."""
    env = dict(os.environ)
    env.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
    env.update(ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST", OMP_NUM_THREADS="1", LP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    return env


def launch_command(
    checkpoint: Path, first: int, count: int, settings: SimSettings, *, result: Path, parameters: Path
) -> list[str]:
    """The `ros2 launch` of `count` trials from seed `first` on."""
    command = [
        "ros2", "launch", "vla_bringup", "infer.launch.py", f"checkpoint:={checkpoint}", "sim:=true", f"episodes:={count}",
        f"seed:={first}", f"scene:={settings.scene}", f"max_duration:={settings.max_duration}",
        f"strategy:={settings.strategy}", f"device:={settings.device}", f"params_file:={parameters}",
        f"result_file:={result}",
    ]  # fmt: skip
    if settings.task is not None:
        command.append(f"task:={settings.task}")
    return [*command, *settings.launch]


def run_trials(
    checkpoint: Path, seeds: Sequence[int], settings: SimSettings, on_trial: Callable[[Trial], None]
) -> None:
    """Run a checkpoint on seeds.

    Args:
        checkpoint: What `infer.launch.py` is given.
        seeds: In any order; they are run in order.
        settings: The rest.
        on_trial: Called with each trial as soon as it has ended.

    Raises:
        EvaluationError: a launch ended early or hangs; the message holds the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="evaluate-") as name:
        folder = Path(name)
        parameters = folder / "parameters.yaml"
        seconds = settings.latency_ms / 1e3
        parameters.write_text(
            f"/**/policy:\n  ros__parameters:\n    inference_latency_s: {seconds:.4f}\n", encoding="utf-8"
        )
        for first, count in consecutive(seeds):
            result = folder / f"from_{first}.json"
            command = launch_command(checkpoint, first, count, settings, result=result, parameters=parameters)
            _launch(command, result, count, on_trial)


def _launch(command: Sequence[str], result: Path, count: int, on_trial: Callable[[Trial], None]) -> None:
    log = result.with_suffix(".log")
    seen = 0
    with log.open("wb") as stream:
        child = subprocess.Popen(
            list(command),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(),
            process_group=0,
        )
        try:
            alive_s = time.monotonic()
            ended = False
            while not ended:
                ended = _has_ended(child)
                for trial in read_trials(result)[seen:]:
                    on_trial(trial)
                    seen, alive_s = seen + 1, time.monotonic()
                if not ended and time.monotonic() - alive_s > STALL_S:
                    raise EvaluationError(
                        f"no trial has ended for {STALL_S:g} s. The end of the launch's log:\n{_tail(log)}"
                    )
        finally:
            _end(child)
    if seen < count:
        raise EvaluationError(
            f"the launch ended with exit code {child.returncode} after {seen} of {count} trials. The end of its log:\n{_tail(log)}\n"
            f"To see all of it: {shown(command)}"
        )


def shown(command: Sequence[str]) -> str:
    """A launch as a person would type it, without the files that are gone by then."""
    return shlex.join(part for part in command if not part.startswith(("params_file:=", "result_file:=")))


def read_trials(result: Path) -> list[Trial]:
    """The trials in a result file; none while it is absent or just being written."""
    try:
        return list(json.loads(result.read_text(encoding="utf-8"))["trials"])
    except (FileNotFoundError, ValueError):
        return []


def _has_ended(child: "subprocess.Popen[bytes]") -> bool:
    try:
        child.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Leave nothing of the launch behind: it ends its nodes by itself when it is interrupted."""
    for number, grace_s in zip((signal.SIGINT, signal.SIGTERM, signal.SIGKILL), GRACE_S, strict=True):
        if child.poll() is not None:
            return
        os.killpg(child.pid, number)
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])
