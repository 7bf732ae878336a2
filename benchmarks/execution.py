# SPDX-License-Identifier: Apache-2.0

"""How smooth, fresh and punctual is the execution of action chunks? Every strategy, beside LeRobot's own loops.

    python benchmarks/execution.py --json execution.json        # 20 seeds, about 25 minutes on 2 idle cores
    python benchmarks/execution.py --quick                      # 2 seeds, crossfade, latest and sync: under 2 minutes
    python benchmarks/execution.py --only real-time             # jitter and overhead alone: under 4 minutes
    python benchmarks/execution.py --checkpoint outputs/smolvla # all strategies with a trained policy

The policy is the scripted one: its clean motion is known, and each chunk gets a smooth deviation of its own, as chunks of
a stochastic policy do. Strategies run in the simulated cell through infer.launch.py in lockstep, so simulated time does
not depend on the machine; `rtc` needs a policy that can be guided and runs a small SmolVLA with random weights, or the
one given. Jitter and overhead come from a second run in real time with 2 x 640x480 cameras from processes of their own.
docs/reference/measures.md defines every measure.

The JSON holds ``machine``, ``load_average`` (before, after), ``noise``, ``seconds``, ``left_out`` (what could not be run,
and why), ``bars`` (``name``, ``value``, ``limit``, ``ok``) and ``rows``, each with ``strategy``, ``latency_ms``, ``held_pct``,
``seam_jump``, ``acc_p99``, ``obs_age_ms_p95``, ``jitter_ms_p99``, ``overhead_ms_p95``, ``stop_ms``, ``tracking_rms``, their
spread between seeds, and more; null where something cannot be measured. Rows of LeRobot have ``reference: true``.
The exit code is 1 where a bar is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import rclpy
from execution_clock import clock_row
from execution_lerobot import LEFT_OUT, reference_rows
from execution_sim import CHUNK, Scenario, lockstep_row
from execution_smolvla import random_smolvla
from tqdm import tqdm

STRATEGIES = ("sync", "latest", "weighted_average", "temporal_ensemble", "crossfade", "rtc")
QUICK = ("sync", "latest", "crossfade")
SMOOTH = ("crossfade", "rtc")
SEAM_LIMITS = {150.0: 1.2, 400.0: 1.5}
STOP_LIMIT_MS, JITTER_LIMIT_MS, OVERHEAD_LIMIT_MS = 100.0, 5.0, 5.0
COLUMNS = (
    "held_pct",
    "seam_jump",
    "acc_p99",
    "obs_age_ms_p95",
    "tracking_rms",
    "jitter_ms_p99",
    "overhead_ms_p95",
    "stop_ms",
)
LOCKSTEP, REAL_TIME = "lockstep", "real-time"
Row = dict[str, Any]


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything and return the report."""
    load = [os.getloadavg()[0]]
    scenario = Scenario(seeds=options.seeds, seconds=options.seconds, noise=options.noise, folder=folder)
    profile = scenario.profile()
    rows: list[Row] = []
    left_out = dict(LEFT_OUT)
    jobs = [(latency, strategy) for latency in options.latency_ms for strategy in options.strategies]
    for latency, strategy in tqdm(jobs, unit="row", file=sys.stderr):
        row: Row = {"strategy": strategy, "latency_ms": latency}
        if options.only != REAL_TIME:
            row = lockstep_row(scenario, strategy, latency, **policy_of(strategy, options, profile, folder))
        if strategy == "rtc":
            left_out[f"rtc at {latency:g} ms in real time"] = "needs a model whose inference would be what is measured"
        elif options.only != LOCKSTEP:
            row |= clock_row(folder, strategy, latency, seconds=options.clock_seconds)
        if len(row) > 2:
            rows.append(row)
            show(row)
    if options.only:
        left_out[LOCKSTEP if options.only == REAL_TIME else REAL_TIME] = f"--only {options.only} was given"
    for latency in options.latency_ms if options.only != REAL_TIME else ():
        found = reference_rows(
            profile, latency, seeds=options.seeds, seconds=options.seconds, noise=options.noise, chunk=CHUNK
        )
        for row in found:
            show(row)
        rows += found
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    return {
        "machine": machine,
        "load_average": [*load, os.getloadavg()[0]],
        "noise": options.noise,
        "seconds": options.seconds,
        "left_out": left_out,
        "bars": bars(rows),
        "rows": rows,
    }


def policy_of(strategy: str, options: argparse.Namespace, profile: Path, folder: Path) -> dict[str, Any]:
    """Launch arguments and parameters that say which policy runs under a strategy."""
    if strategy != "rtc" and options.checkpoint is None:
        own = f"policy_options:=noise={options.noise},chunk={CHUNK}"
        return {"arguments": ["policy:=scripted", f"profile:={profile}", own], "parameters": {}, "reference": profile}
    checkpoint = options.checkpoint
    if checkpoint is None:
        checkpoint = folder / "smolvla" / "run" / "pretrained_model"
        if not checkpoint.is_dir():
            random_smolvla(folder / "smolvla", profile, chunk=CHUNK)
    return {"arguments": [f"checkpoint:={checkpoint}"], "parameters": {}, "reference": None}


def bars(rows: list[Row]) -> list[dict[str, Any]]:
    """What is required of the rows, with what was measured; a value that is missing is no bar."""
    found: list[dict[str, Any]] = []

    def add(name: str, row: Row, key: str, limit: float) -> None:
        if row.get(key) is not None:
            where = f"{name}, {row['strategy']} at {row['latency_ms']:g} ms"
            found.append({"name": where, "value": row[key], "limit": limit, "ok": row[key] <= limit})

    own = [row for row in rows if not row.get("reference")]
    latest = {row["latency_ms"]: row for row in own if row["strategy"] == "latest" and row.get("tracking_rms")}
    for row in own:
        if row["strategy"] != "sync":
            add("held ticks [%]", row, "held_pct_max", 0.0)
        if row["strategy"] in SMOOTH and row["latency_ms"] in SEAM_LIMITS:
            add("seam jump", row, "seam_jump", SEAM_LIMITS[row["latency_ms"]])
            if row["latency_ms"] in latest and "tracking_rms" in row:
                add("tracking error [rad]", row, "tracking_rms", not_above(latest[row["latency_ms"]], row))
        add("time to stop [ms]", row, "stop_ms", STOP_LIMIT_MS)
        add("time to stop in real time [ms]", row, "clock_stop_ms", STOP_LIMIT_MS)
        add("control jitter p99 [ms]", row, "jitter_ms_p99", JITTER_LIMIT_MS)
        add("overhead p95 [ms]", row, "overhead_ms_p95", OVERHEAD_LIMIT_MS)
        if "stopped" in row:
            add("runs that ended by themselves", {**row, "runs": len(row["stopped"])}, "runs", 0)
    return found


def not_above(latest: Row, row: Row) -> float:
    """The tracking error of `latest`, plus what the mean over so few seeds may be off: one standard error of both."""
    errors = [(one.get("tracking_rms_spread") or 0.0) / one.get("seeds", 1) ** 0.5 for one in (latest, row)]
    return round(float(latest["tracking_rms"]) + (errors[0] ** 2 + errors[1] ** 2) ** 0.5, 5)


def table(rows: list[Row]) -> str:
    """The rows as a markdown table."""
    lines = [f"| strategy | latency | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for row in rows:
        cells = ["-" if row.get(name) is None else f"{row[name]:.4g}" for name in COLUMNS]
        name = f"{row['strategy']} (reference)" if row.get("reference") else row["strategy"]
        lines.append(f"| {name} | {row['latency_ms']:g} ms | {' | '.join(cells)} |")
    return "\n".join(lines)


def show(row: Row) -> None:
    """Say that a row is done."""
    values = ", ".join(f"{name} {row[name]}" for name in COLUMNS if row.get(name) is not None)
    tqdm.write(f"{row['strategy']} at {row['latency_ms']:g} ms: {values}", file=sys.stderr)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python benchmarks/execution.py"
    )
    parser.add_argument("--quick", action="store_true", help=f"2 seeds, shorter runs, {', '.join(QUICK)} only")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--seeds", type=int, default=20, help="runs per row, default 20")
    parser.add_argument(
        "--seconds", type=float, default=6.75, help="simulated time of a run, default 6.75 (one circle)"
    )
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES, help="default: all")
    parser.add_argument("--latency-ms", nargs="+", type=float, default=[150.0, 400.0], help="default 150 400")
    parser.add_argument("--noise", type=float, default=0.01, help="of the scripted policy [rad], default 0.01")
    parser.add_argument(
        "--checkpoint", type=Path, help="policy of every row; default: scripted chunks, for rtc a small random SmolVLA"
    )
    parser.add_argument("--clock-seconds", type=float, default=20.0, help="length of a run in real time, default 20")
    parser.add_argument(
        "--only",
        choices=(LOCKSTEP, REAL_TIME),
        help=f"one part: {LOCKSTEP} (smoothness, age, beside LeRobot) or {REAL_TIME} (jitter, overhead); default: both",
    )
    options = parser.parse_args(argv)
    if options.quick:
        options.seeds, options.clock_seconds = 2, 8.0
        options.strategies, options.latency_ms = list(QUICK), options.latency_ms[:1]
    return options


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see the module's text."""
    options = parse(argv)
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    for name, value in (("OMP_NUM_THREADS", "1"), ("LP_NUM_THREADS", "1"), ("HF_HUB_OFFLINE", "1")):
        os.environ.setdefault(name, value)
    rclpy.init()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = run(options, Path(folder))
    finally:
        rclpy.try_shutdown()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report["rows"]))
    for name, why in report["left_out"].items():
        print(f"left out: {name}: {why}")
    broken = [bar for bar in report["bars"] if not bar["ok"]]
    for bar in broken:
        print(f"broken: {bar['name']}: {bar['value']} instead of at most {bar['limit']}")
    print(
        f"{len(report['bars']) - len(broken)} of {len(report['bars'])} bars hold; {report['machine']}, load {report['load_average']}"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
