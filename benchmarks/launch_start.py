# SPDX-License-Identifier: Apache-2.0

"""How long does a launch take until the robot can be seen, and until it has left? Every launch file with every simulated profile.

    python benchmarks/launch_start.py --json launch_start.json                               # all: some minutes
    python benchmarks/launch_start.py --files infer --robots sim_ur5e_tiny --rounds 1        # one of them

Each launch file is started as a user does, in real time, beside a node that subscribes to every stream of the profile that
frames are made of (cameras, joint states, commands where they are published). Then the launch gets SIGINT. Run it on an idle
machine.

The JSON holds ``machine``, ``load_average`` and ``rows`` with ``file``, ``robot``, ``rounds`` and, in seconds of the wall clock
from the command, median over the rounds: ``first_frame_s`` (every camera and every joint state has delivered), ``ten_s`` (each
ten times), ``end_s`` (from SIGINT until the launch has left). The exit code is 1 when a launch failed or, with ``--strict``, when
a first frame took more than 5 s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rosidl_runtime_py.utilities import get_message
from success import environment
from tqdm import tqdm
from vla_bringup.doctor.samples import observations
from vla_common.qos import SENSOR
from vla_core.profile import Profile, load_profile

ROBOTS = Path(__file__).resolve().parents[1] / "ros2_ws/src/vla_bringup/robots"
MORE = {
    "sim": [],
    "robot": ["sim:=true"],
    "record": ["sim:=true"],
    "infer": ["sim:=true", "policy:=scripted"],
    "teleop": ["sim:=true"],
}
BAR_S = 5.0
TEN = 10
PATIENCE_S = 60.0


class Watch:
    """Counts what the streams of a profile deliver."""

    def __init__(self, node: Node, profile: Profile) -> None:
        self.times: dict[str, list[float]] = {stream.topic: [] for stream in observations(profile)}
        kinds = {stream.topic: stream.type for stream in observations(profile)}
        for topic, kind in kinds.items():
            node.create_subscription(get_message(kind), topic, self._taker(topic), SENSOR, raw=True)

    def _taker(self, topic: str) -> Any:
        return lambda _: self.times[topic].append(time.monotonic())

    def have(self, count: int) -> bool:
        """Whether every stream has delivered so many messages."""
        return all(len(times) >= count for times in self.times.values())

    def reached(self, count: int) -> float:
        """When every stream had delivered so many, in seconds of the monotonic clock."""
        return max(times[count - 1] for times in self.times.values())


def measure(file: str, robot: str, folder: Path) -> dict[str, float]:
    """Start one launch, watch it, end it; returns its times.

    Raises:
        RuntimeError: a stream is missing, or the launch did not leave with status 0.
    """
    rclpy.init()
    node = rclpy.create_node("launch_start")
    profile = load_profile(ROBOTS / f"{robot}.yaml")
    watch = Watch(node, profile)
    more = [f"output_dir:={folder / 'bags'}"] if file == "record" else []
    more += ["device:=gello_left,gello_right"] if file == "teleop" and len(profile.teleops) > 1 else []
    command = ["ros2", "launch", "vla_bringup", f"{file}.launch.py", f"robot:={robot}", *MORE[file], *more]
    log = folder / f"{file}_{robot}.log"
    with log.open("w", encoding="utf-8") as out:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while not watch.have(TEN) and process.poll() is None and time.monotonic() - started < PATIENCE_S:
                rclpy.spin_once(node, timeout_sec=0.1)
            complete = watch.have(TEN)
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE_S)
            left = time.monotonic()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            node.destroy_node()
            rclpy.try_shutdown()
    if code != 0 or not complete:
        counts = {topic: len(times) for topic, times in watch.times.items()}
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-12:])
        raise RuntimeError(f"{' '.join(command)}: exit code {code}, messages {counts}; {log}:\n{tail}")
    return {"first_frame_s": watch.reached(1) - started, "ten_s": watch.reached(TEN) - started, "end_s": left - asked}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a markdown table."""
    lines = ["| launch file | profile | first frame [s] | ten of each [s] | end [s] |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['file']} | {row['robot']} | {row['first_frame_s']:.1f} | {row['ten_s']:.1f} | {row['end_s']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python benchmarks/launch_start.py",
    )
    every = sorted(path.stem for path in ROBOTS.glob("sim_*.yaml"))
    parser.add_argument("--files", nargs="+", choices=tuple(MORE), default=list(MORE), help="launch files; default all")
    parser.add_argument(
        "--robots", nargs="+", choices=every, default=every, help="profiles; default all simulated ones"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that each is started; medians count (default 3)")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a first frame took longer than 5 s")
    parser.add_argument("--json", type=Path, help="file for the result")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Start everything and print the table."""
    args = parse(argv)
    os.environ.update(environment())
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
    load = os.getloadavg()
    driven = {robot: bool(load_profile(ROBOTS / f"{robot}.yaml").teleops) for robot in args.robots}
    cases = [(file, robot) for file in args.files for robot in args.robots if file != "teleop" or driven[robot]]
    found: dict[tuple[str, str], list[dict[str, float]]] = {case: [] for case in cases}
    failed = []
    with tempfile.TemporaryDirectory(prefix="benchmark-launch-") as folder:
        for case in tqdm(cases * args.rounds, unit="launch"):
            try:
                found[case].append(measure(*case, Path(folder)))
            except RuntimeError as error:
                failed.append(str(error))
                print(error, file=sys.stderr)
    rows = [
        {"file": file, "robot": robot, "rounds": len(times)}
        | {key: round(statistics.median(each[key] for each in times), 2) for key in times[0]}
        for (file, robot), times in found.items()
        if times
    ]
    print(table(rows))
    slow = [f"{row['file']} {row['robot']}: {row['first_frame_s']} s" for row in rows if row["first_frame_s"] > BAR_S]
    print(f"{'MISSED' if slow else 'ok    '} first frame within {BAR_S:g} s{': ' if slow else ''}{', '.join(slow)}")
    if args.json:
        machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        result = {"machine": machine, "load_average": load, "rows": rows, "failed": failed}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if failed or (args.strict and slow) else 0


if __name__ == "__main__":
    sys.exit(main())
