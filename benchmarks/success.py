# SPDX-License-Identifier: Apache-2.0

"""How often does a trained policy succeed under each strategy and latency? Closed loop in the simulated cell.

    python benchmarks/success.py --checkpoint outputs/train --json success.json
    python benchmarks/success.py --checkpoint outputs/train --strategies crossfade --latency-ms 150 --seeds 3

Every row is one `infer.launch.py` in lockstep: simulated time stands still while the model runs and an inference takes
exactly the stated latency, so the machine's load changes nothing. All rows run the same seeds. `rtc` needs a policy that
can be guided (SmolVLA, pi0, pi0.5) and is left out, with the reason, for others.

The JSON holds ``checkpoint``, ``task``, ``left_out`` and ``rows``, each with ``strategy``, ``latency_ms``, ``n``, ``ok``,
``rate``, ``low`` and ``high`` (95 % Wilson interval), ``duration_s`` (median over the successful trials), ``chunks``
(mean) and ``seconds`` of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm
from vla_core.statistics import wilson_interval
from vla_policy.policies.checkpoint import find_checkpoint

STRATEGIES = ("sync", "latest", "weighted_average", "temporal_ensemble", "crossfade", "rtc")
GUIDABLE = ("smolvla", "pi0", "pi05")
ROW_TIMEOUT_S = 3600.0


def run_row(args: argparse.Namespace, strategy: str, latency_ms: float, folder: Path) -> dict[str, Any]:
    """Run one launch and summarise its result file."""
    result = folder / f"{strategy}_{latency_ms:g}.json"
    parameters = folder / f"{strategy}_{latency_ms:g}.yaml"
    parameters.write_text(
        f"/**/policy:\n  ros__parameters:\n    inference_latency_s: {latency_ms / 1e3:.4f}\n", encoding="utf-8"
    )
    command = [
        "ros2", "launch", "vla_bringup", "infer.launch.py", f"checkpoint:={args.checkpoint}", "sim:=true",
        f"episodes:={args.seeds}", f"seed:={args.first_seed}", f"scene:={args.scene}",
        f"max_duration:={args.max_duration}", f"strategy:={strategy}", f"params_file:={parameters}",
        f"result_file:={result}",
    ]  # fmt: skip
    started = time.monotonic()
    log = folder / f"{strategy}_{latency_ms:g}.log"
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, timeout=ROW_TIMEOUT_S, check=False, env=environment()
        )
    if not result.is_file():
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-8:])
        raise SystemExit(
            f"{strategy} at {latency_ms:g} ms: the launch left no result (exit code {done.returncode}):\n{tail}"
        )
    return summarise(json.loads(result.read_text(encoding="utf-8")), strategy, latency_ms, time.monotonic() - started)


def environment() -> dict[str, str]:
    """A DDS domain of its own, loopback only, one thread."""
    env = dict(os.environ)
    env.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
    env.update(ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST", OMP_NUM_THREADS="1", LP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    return env


def summarise(result: dict[str, Any], strategy: str, latency_ms: float, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    trials = result["trials"]
    low, high = wilson_interval(result["ok"], result["n"])
    times = [trial["duration_s"] for trial in trials if trial["success"]]
    return {
        "strategy": strategy,
        "latency_ms": latency_ms,
        "n": result["n"],
        "ok": result["ok"],
        "rate": result["rate"],
        "low": round(low, 3),
        "high": round(high, 3),
        "duration_s": round(statistics.median(times), 2) if times else None,
        "chunks": round(statistics.mean(trial["chunks"] for trial in trials), 1),
        "stops": sorted({trial["error_msg"] for trial in trials if trial["error_code"]}),
        "seconds": round(seconds, 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a markdown table."""
    lines = ["| strategy | latency | success | 95 % interval | median time | chunks |", "|---|---|---|---|---|---|"]
    for row in rows:
        seconds = "-" if row["duration_s"] is None else f"{row['duration_s']:.2f} s"
        lines.append(
            f"| {row['strategy']} | {row['latency_ms']:g} ms | {row['ok']}/{row['n']} | "
            f"{100 * row['low']:.0f} to {100 * row['high']:.0f} % | {seconds} | {row['chunks']} |"
        )
    return "\n".join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python benchmarks/success.py"
    )
    parser.add_argument("--checkpoint", required=True, help="training output, step folder or pretrained_model folder")
    parser.add_argument("--scene", default="lift", choices=("lift", "pick_place"), help="default lift")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES, help="default: all")
    parser.add_argument("--latency-ms", nargs="+", type=float, default=[150.0, 400.0], help="default 150 400")
    parser.add_argument("--seeds", type=int, default=20, help="trials per row, default 20")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first trial, default 0")
    parser.add_argument("--max-duration", type=float, default=10.0, help="limit of a trial in simulated s, default 10")
    parser.add_argument("--json", type=Path, help="file for the result")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run all rows; the exit code is 0 whatever the success rates."""
    args = parse(argv)
    kind = find_checkpoint(Path(args.checkpoint)).policy_type
    left_out = {}
    chosen = list(args.strategies)
    if "rtc" in chosen and kind not in GUIDABLE:
        chosen.remove("rtc")
        left_out["rtc"] = f"{kind} cannot be guided"
    rows: list[dict[str, Any]] = []
    jobs = [(latency, strategy) for latency in args.latency_ms for strategy in chosen]
    with tempfile.TemporaryDirectory() as folder:
        for latency, strategy in tqdm(jobs, unit="row", file=sys.stderr):
            rows.append(run_row(args, strategy, latency, Path(folder)))
            if args.json:
                document = {"checkpoint": kind, "task": args.scene, "left_out": left_out, "rows": rows}
                args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
