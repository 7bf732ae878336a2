# SPDX-License-Identifier: Apache-2.0

"""The reference rows of `benchmarks/execution.py`: LeRobot's own execution of the same scripted policy.

LeRobot's real classes are driven in simulated time: `RobotClient` and `PolicyServer` of `lerobot.async_inference` with
their serialisation and filter, `SyncInferenceEngine` of `lerobot.rollout`, and its `ActionQueue`. Only the clock, the
network between client and server, and the robot are replaced: the robot is wherever it was last sent to. Actions are
sent at 30 Hz, as LeRobot's loops do; what a robot makes of them between two of these is not part of the measures.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lerobot.async_inference import helpers
from lerobot.async_inference.configs import PolicyServerConfig, RobotClientConfig
from lerobot.policies.rtc.action_queue import ActionQueue
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.robots import Robot, RobotConfig
from lerobot.rollout.inference.sync import SyncInferenceEngine
from numpy.typing import NDArray
from vla_core.frames import Frame
from vla_core.profile import Profile, load_profile
from vla_policy.execution.measures_motion import Motion
from vla_policy.execution.measures_series import percentile
from vla_policy.policies.scripted import ScriptedOptions, ScriptedRunner
from vla_policy.tools.report_log import Exact

# The classes of server and client open log files in the working folder while they are imported.
helpers.get_logger = partial(helpers.get_logger, log_to_file=False)
from lerobot.async_inference import policy_server, robot_client  # noqa: E402

HOME = np.array([-0.302, -1.723, 1.942, -1.836, -1.558, -1.862, 0.0])
RTC_QUEUE_THRESHOLD = 30  # default of lerobot-rollout
LEFT_OUT = {
    "lerobot rollout, engine rtc": "refuses a policy without guidance (supports_rtc_inference), and the scripted policy "
    "has none; its ActionQueue is measured by itself"
}


@dataclass(slots=True)
class World:
    """Simulated time and the robot, and what was commanded at each tick.

    Attributes:
        seconds: Present time.
        joints: Where the robot is: six joints and the gripper, in the unit that LeRobot sees.
        unit: LeRobot's numbers per radian.
        chunk: Number of the newest chunk in the queue.
        observed_s: Time of its observation.
    """

    policy: ScriptedRunner
    unit: float = 1.0
    seconds: float = 1.0
    joints: NDArray[np.float64] = field(default_factory=lambda: HOME.copy())
    chunk: int = 0
    observed_s: float = 0.0
    sent: bool = False
    ticks: list[tuple[float, NDArray[np.float64], int, float, bool]] = field(default_factory=list)

    def time(self) -> float:
        """In the place of the module `time`."""
        return self.seconds

    perf_counter = time

    def sleep(self, seconds: float) -> None:
        """Nothing waits in simulated time."""

    def infer(self, observed_s: float) -> torch.Tensor:
        """(1, chunk, 7): the scripted policy's chunk for an observation at `observed_s`, in LeRobot's unit."""
        state = HOME.astype(np.float32)
        joints = {"arm": HOME[:6].copy(), "gripper": HOME[6:].copy()}
        frame = Frame(
            t_ns=round(observed_s * 1e9), state=state, state64=HOME, images={}, action=None, ages_s={}, joints=joints
        )
        values = self.policy.infer(frame, "").values.astype(np.float64)
        return torch.from_numpy(values * self.unit).to(torch.float32)[None]

    def send(self, action: NDArray[np.float64]) -> None:
        """The robot is where it was sent to."""
        self.joints, self.sent = action / self.unit, True

    def end_tick(self) -> None:
        """Note what is in force, once there was a first chunk."""
        if self.chunk:
            self.ticks.append((self.seconds, self.joints[:6].copy(), self.chunk, self.observed_s, not self.sent))
        self.sent = False


@RobotConfig.register_subclass("execution_benchmark")
@dataclass
class StandInConfig(RobotConfig):
    """Of the robot that is where it was sent to."""


class StandIn(Robot):
    """LeRobot's robot interface on a `World`."""

    config_class = StandInConfig
    name = "execution_benchmark"
    names = tuple(f"joint_{i}.pos" for i in range(7))

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def observation_features(self) -> dict[str, type]:
        """Joint positions only; the scripted policy looks at nothing."""
        return dict.fromkeys(self.names, float)

    action_features = observation_features
    is_connected = is_calibrated = property(lambda self: True)

    def connect(self, calibrate: bool = True) -> None:
        """Nothing to connect."""

    calibrate = configure = disconnect = lambda self: None

    def get_observation(self) -> dict[str, float]:
        """Where the robot is."""
        return dict(zip(self.names, (self.world.joints * self.world.unit).tolist(), strict=True))

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        """Move there at once."""
        self.world.send(np.array([action[name] for name in self.names]))
        return action


def client_and_server(world: World, fps: float, chunk: int) -> tuple[Any, Any]:
    """LeRobot's client and server; they talk through function calls instead of a network."""
    robot_client.time = policy_server.time = world
    robot_client.make_robot_from_config = lambda _: StandIn(world)
    config = RobotClientConfig(
        policy_type="act", pretrained_name_or_path="none", robot=StandInConfig(), actions_per_chunk=chunk, fps=int(fps)
    )
    server = policy_server.PolicyServer(PolicyServerConfig(fps=int(fps)))
    client = robot_client.RobotClient(config)
    client.stub.SendObservations = lambda parts: server.SendObservations(parts, SimpleNamespace(peer=lambda: "client"))
    server.lerobot_features, server.actions_per_chunk = client.policy_config.lerobot_features, chunk
    server.preprocessor = server.postprocessor = lambda values: values
    server.policy = SimpleNamespace(
        config=SimpleNamespace(image_features={}),
        predict_action_chunk=lambda _: world.infer(server.observed_s),
    )
    return client, server


def run_async(world: World, fps: float, latency_s: float, seconds: float, chunk: int) -> dict[str, int]:
    """The client's loop and the server's worker, event by event; returns counts of observations."""
    client, server = client_and_server(world, fps, chunk)
    free_s, answer, counts = 0.0, None, {"observations_sent": 0, "observations_filtered": 0}
    send = server._enqueue_observation

    def counted(observation: Any) -> bool:
        accepted: bool = send(observation)
        counts["observations_sent"] += 1
        counts["observations_filtered"] += not accepted
        return accepted

    server._enqueue_observation = counted
    for t_s in _ticks(fps, seconds):
        while True:  # what the server's and the receiving thread do up to this tick
            if answer is not None and free_s <= t_s:
                client.action_chunk_size = max(client.action_chunk_size, len(answer[0]))
                client._aggregate_action_queues(answer[0], client.config.aggregate_fn)
                client.must_go.set()
                world.chunk, world.observed_s, answer = world.chunk + 1, answer[1], None
            if answer is not None:
                break
            try:
                observation = server.observation_queue.get_nowait()
            except Empty:
                break
            started_s = max(free_s, observation.get_timestamp())
            server._predicted_timesteps.add(observation.get_timestep())
            server.observed_s = observation.get_timestamp()
            answer = (server._predict_action_chunk(observation), server.observed_s)
            free_s = started_s + latency_s
        world.seconds = t_s
        if client.actions_available():
            client.control_loop_action()
        if client._ready_to_send_observation():
            client.control_loop_observation("")
        world.end_tick()
    client.channel.close()
    return counts


def run_queue(world: World, fps: float, latency_s: float, seconds: float, *, replace: bool) -> dict[str, int]:
    """`ActionQueue` as the rtc engine of `lerobot-rollout` uses it, at its default threshold."""
    queue = ActionQueue(RTCConfig(enabled=replace))
    pending: tuple[float, int, torch.Tensor] | None = None
    asked = 0
    for t_s in _ticks(fps, seconds):
        world.seconds = t_s
        if pending is not None and pending[0] <= t_s:
            queue.merge(pending[2], pending[2], math.ceil(latency_s * fps), pending[1])
            pending = None
        action = queue.get()
        if action is not None:
            values = action.numpy().astype(np.float64)
            world.chunk, world.observed_s = int(values[-2]), float(values[-1])  # each action knows its chunk
            world.send(values[:-2])
        if pending is None and queue.qsize() <= RTC_QUEUE_THRESHOLD:
            asked += 1
            rows = world.infer(t_s)[0]
            marks = torch.tensor([[asked, t_s]], dtype=rows.dtype).expand(len(rows), 2)
            pending = (t_s + latency_s, queue.get_action_index(), torch.cat([rows, marks], dim=1))
        world.end_tick()
    return {}


def run_sync(world: World, fps: float, latency_s: float, seconds: float, chunk: int) -> dict[str, int]:
    """`SyncInferenceEngine`: the loop stands still while the policy thinks, once per chunk."""
    left: list[torch.Tensor] = []

    def select_action(_: Any) -> torch.Tensor:
        if not left:
            observed_s = world.seconds
            left.extend(world.infer(observed_s)[0][:chunk])
            _stand_still(world, fps, latency_s)
            world.chunk, world.observed_s = world.chunk + 1, observed_s
        return left.pop(0)[None]

    names = list(StandIn.names)
    engine = SyncInferenceEngine(
        policy=SimpleNamespace(select_action=select_action, config=SimpleNamespace(use_amp=False), reset=lambda: None),
        preprocessor=lambda values: values,
        postprocessor=lambda values: values,
        dataset_features={"action": {"dtype": "float32", "shape": (len(names),), "names": names}},
        ordered_action_keys=names,
        task="",
        device="cpu",
        robot_type="execution_benchmark",
    )
    end_s = world.seconds + seconds
    while world.seconds < end_s:
        action = engine.get_action({"observation.state": np.zeros(len(names), dtype=np.float32)})
        world.send(action.numpy().astype(np.float64))
        world.end_tick()
        world.seconds += 1.0 / fps
    return {}


def _stand_still(world: World, fps: float, seconds: float) -> None:
    """The control loop waits: ticks pass in which nothing is sent."""
    begin_s, end_s = world.seconds, world.seconds + seconds
    for i in range(math.ceil(seconds * fps)):
        world.seconds = begin_s + i / fps
        world.end_tick()
    world.seconds = end_s


def _ticks(fps: float, seconds: float) -> Iterator[float]:
    return (1.0 + i / fps for i in range(int(seconds * fps)))


Way = Callable[[World, float, float], dict[str, int]]


def reference_rows(
    profile_file: Path, latency_ms: float, *, seeds: int, seconds: float, noise: float, chunk: int
) -> list[dict[str, Any]]:
    """All reference rows at one latency.

    Args:
        profile_file: Robot profile of the scripted policy.
        latency_ms: Of each inference.
        seeds: Runs per row.
        seconds: Of each run.
        noise: Of the scripted policy [rad].
        chunk: Steps per chunk, all executed.
    """
    logging.disable(logging.WARNING)  # a line per observation
    profile = load_profile(profile_file)
    ways: dict[str, tuple[float, Way]] = {
        "lerobot_async": (1.0, lambda w, f, s: run_async(w, f, latency_ms / 1e3, s, chunk)),
        "lerobot_async_degrees": (180.0 / math.pi, lambda w, f, s: run_async(w, f, latency_ms / 1e3, s, chunk)),
        "lerobot_queue_replace": (1.0, lambda w, f, s: run_queue(w, f, latency_ms / 1e3, s, replace=True)),
        "lerobot_queue_append": (1.0, lambda w, f, s: run_queue(w, f, latency_ms / 1e3, s, replace=False)),
        "lerobot_sync": (1.0, lambda w, f, s: run_sync(w, f, latency_ms / 1e3, s, chunk)),
    }
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (unit, way) in ways.items():
            worlds, counts = [], []
            for seed in range(seeds):
                options = ScriptedOptions(noise=noise, chunk=chunk)
                worlds.append(World(policy=ScriptedRunner(profile, options, seed=seed), unit=unit))
                counts.append(way(worlds[-1], profile.fps, seconds))
            row = {"strategy": name, "latency_ms": latency_ms, "reference": True, **figures(worlds, profile)}
            rows.append({**row, "seeds": seeds, **{key: sum(one[key] for one in counts) for key in counts[0]}})
    logging.disable(logging.NOTSET)
    return rows


def figures(worlds: list[World], profile: Profile) -> dict[str, Any]:
    """The same measures as the rows of our strategies, where they can be taken."""
    motions, errors = [], []
    for world in worlds:
        motion = Motion(profile.fps, Exact)
        for t_s, joints, chunk, _, held in world.ticks:
            motion.add(round(t_s * 1e9), joints, chunk, resting=held)
        motion.gap()
        motions.append(motion)
        assert world.policy.reference is not None
        clean = world.policy.reference.at(np.array([round(tick[0] * 1e9) for tick in world.ticks], dtype=np.int64))[
            "arm"
        ]
        errors.append(float(np.sqrt(np.mean((np.array([tick[1] for tick in world.ticks]) - clean) ** 2))))
    boundaries = [seam / motion.steps.percentile(50) for motion in motions for seam in motion.seams.values]
    held = [100.0 * np.mean([tick[4] for tick in world.ticks]) for world in worlds]
    ages = [1e3 * (tick[0] - tick[3]) for world in worlds for tick in world.ticks]
    accelerations = [value for motion in motions for value in motion.accelerations.values]
    return {
        "held_pct": round(float(np.mean(held)), 3),
        "held_pct_max": round(float(np.max(held)), 3),
        "seam_jump": round(float(np.mean(boundaries)), 3) if boundaries else None,
        "seam_jump_p95": round(percentile(boundaries, 95), 3) if boundaries else None,
        "seam_jump_spread": round(float(np.std([motion.seam_jump for motion in motions])), 3) if boundaries else None,
        "acc_p99": round(percentile(accelerations, 99), 3),
        "obs_age_ms_p50": round(percentile(ages, 50), 1),
        "obs_age_ms_p95": round(percentile(ages, 95), 1),
        "tracking_rms": round(float(np.sqrt(np.mean(np.square(errors)))), 5),
        "tracking_rms_spread": round(float(np.std(errors)), 5),
        "stop_ms": None,
        "stop_ms_mean": None,
        "chunks": sum(world.chunk for world in worlds),
        "replan_rate_hz": round(float(np.mean([(w.chunk - 1) / (w.ticks[-1][0] - w.ticks[0][0]) for w in worlds])), 3),
        "refused_chunks": 0,
        "jitter_ms_p99": None,
        "overhead_ms_p95": None,
    }
