# SPDX-License-Identifier: Apache-2.0

"""One made-up observation to a policy: `ros2 run vla_policy smoke`. Nothing moves, and no ROS is needed."""

import argparse
import logging
import sys
import time
from pathlib import Path

from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_core.profile import Profile

from vla_policy.policies.registry import load_policy, parse_pairs
from vla_policy.policies.runner import Loaded, LoadRequest
from vla_policy.serving.remote import PROTOCOLS
from vla_policy.serving.rig import synthetic_frame

EXAMPLE = """examples:
  ros2 run vla_policy smoke --port 8000 --task "pick up the ball"
  ros2 run vla_policy smoke --host gpu-host --protocol openpi --profile my_robot.yaml --task "pick up the ball"
  ros2 run vla_policy smoke --checkpoint outputs/train --task "pick up the ball" """
SHOWN_STEPS = 3


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="smoke",
        description="Send one made-up observation (grey images, the arm near the middle of its limits) to a running policy "
        "server, or to a checkpoint on this machine, and show what comes back and how long it took. The exit code is 0 where "
        "actions came back.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--host", default="127.0.0.1", help="address of the server (%(default)s)")
    add("--port", type=int, default=8000, help="its port (%(default)s)")
    add("--protocol", default=PROTOCOLS[0], choices=PROTOCOLS, help="what it speaks (%(default)s)")
    add("--token", default="", help="its bearer token")
    add("--step", default="", metavar="STEP", help="checkpoint on the server; without it the server's default")
    add("--checkpoint", default="", metavar="DIR", help="ask this checkpoint on this machine instead of a server")
    add("--device", default="cpu", help="Torch device for --checkpoint (%(default)s)")
    add("--profile", type=Path, metavar="FILE", help="robot profile, where the server or checkpoint brings none")
    add("--task", default="", help="instruction; without it the profile's")
    add("--count", type=int, default=3, metavar="N", help="how often to ask (%(default)s)")
    add("--timeout", type=float, default=30.0, metavar="S", help="longest wait for an answer in seconds (%(default)s)")
    add(
        "--policy-options",
        default="",
        metavar="K=V,…",
        help="further options of the remote policy, as in infer.launch.py",
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Ask and show; returns the exit code: 0 where actions came back, else 1."""
    made = parser()
    given = made.parse_args(arguments)
    if given.count < 1 or given.timeout <= 0.0:
        made.error("--count and --timeout must be positive")
    logging.basicConfig(level=logging.WARNING)
    try:
        started_s = time.perf_counter()
        loaded = _load(given)
        print(f"{loaded.runner.description} ({time.perf_counter() - started_s:.1f} s to load)")  # noqa: T201
        _ask(loaded, given.task or loaded.profile.task, given.count)
    except VlaError as error:
        sys.stderr.write(f"smoke: {error}\n")
        return 1
    return 0


def _load(given: argparse.Namespace) -> Loaded:
    options = parse_pairs(given.policy_options, "=", "--policy-options")
    request = LoadRequest(
        checkpoint=given.checkpoint or given.step,
        profile=given.profile,
        device=given.device,
        host=given.host,
        port=given.port,
        protocol=given.protocol,
        token=given.token,
        timeout_s=given.timeout,
        options=dict(options),
    )
    return load_policy("lerobot" if given.checkpoint else "remote", request)


def _ask(loaded: Loaded, task: str, count: int) -> None:
    frame = synthetic_frame(loaded.profile)
    images = ", ".join(f"{name} {image.shape[0]}x{image.shape[1]}" for name, image in frame.images.items())
    lines = [
        f"profile: {loaded.profile.robot} ({loaded.profile.sha256[:12]})",
        f"observation: state of {len(frame.state)} numbers, images {images or 'none'}",
        f"task: {task}",
    ]
    runner = loaded.runner
    try:
        for i in range(count):
            started_s = time.perf_counter()
            chunk = runner.infer(frame, task)
            took_ms = (time.perf_counter() - started_s) * 1e3
            parts = ", ".join(f"{name} {s * 1e3:.1f}" for name, s in getattr(runner, "last_timing", {}).items())
            lines.append(f"answer {i + 1}: {took_ms:.1f} ms" + (f" ({parts})" if parts else ""))
    finally:
        runner.close()
    print("\n".join(lines + _shown(chunk, loaded.profile)))  # noqa: T201


def _shown(chunk: ActionChunk, profile: Profile) -> list[str]:
    steps, width = chunk.values.shape
    lines = [f"actions: {steps} steps of {width} actions, {chunk.dt_s * 1e3:.1f} ms apart"]
    longest = max(len(name) for name in profile.action_names)
    for column, name in enumerate(profile.action_names):
        values = " ".join(f"{value:9.4f}" for value in chunk.values[:SHOWN_STEPS, column])
        lines.append(f"  {name:<{longest}} {values}" + (" …" if steps > SHOWN_STEPS else ""))
    return lines


if __name__ == "__main__":
    sys.exit(main())
