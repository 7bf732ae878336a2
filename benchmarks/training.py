# SPDX-License-Identifier: Apache-2.0

"""What a training costs beside its arithmetic: the start, the reading of data, and the launcher against plain `lerobot-train`.

    python benchmarks/training.py --dataset outputs/demo/dataset --json training.json     # three rounds, half an hour
    python benchmarks/training.py --dataset outputs/demo/dataset --quick                  # one short round

Each round runs `vla_policy train` and `lerobot-train` with the very same options one after the other, for the small ACT and the
small SmolVLA of the demo phase, each in fresh processes; medians of the rounds count. Run it on an idle machine.

The JSON holds ``machine``, ``load_average``, ``bars`` (name, value, limit, ok) and ``rows`` with ``policy``, ``way``,
``first_step_s`` (from the command to the end of the first step, imports, validation and all), ``first_step_cpu_s``,
``steps_per_s`` (wall clock, from the first progress to the last), ``data_time_share``. The exit code is 1 when a run failed or,
with ``--strict``, when a bar is missed.
"""

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vla_policy.training.train_run import split_lines

PROGRESS = re.compile(rb"Training:\s+\d+%\|[^|]*\|\s*(\d+)/(\d+)")
MEANS = re.compile(rb"updt_s:([\d.]+) data_s:([\d.]+)")
POLICIES = ("act", "smolvla")
BARS = {
    "start to first step [s], act": (15.0, "first_step_s"),
    "start to first step [s], smolvla": (15.0, "first_step_s"),
    "data time share, act": (0.20, "data_time_share"),
    "data time share, smolvla": (0.50, "data_time_share"),
}
SPEED_BAR = 0.97
WARM_STEPS = 5


def launcher(policy: str, dataset: Path, output: Path, steps: int) -> list[str]:
    """The launcher's command line."""
    command = [sys.executable, "-m", "vla_policy.training.train", "--policy", policy, "--dataset", str(dataset)]
    return [*command, "--output", str(output), "--steps", str(steps)]


def run_ours(policy: str, dataset: Path, folder: Path, steps: int) -> dict[str, Any]:
    """Train by the launcher; the numbers are those of its `run.json`."""
    output = folder / "ours"
    done = subprocess.run(launcher(policy, dataset, output, steps), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{policy}: the launcher failed:\n{done.stderr[-2000:]}")
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    names = ("first_step_s", "first_step_cpu_s", "data_time_share", "loss")
    speed = {"steps_per_s": record["wall_steps_per_s"]}
    return {"policy": policy, "way": "launcher", **{name: record[name] for name in names}, **speed}


def run_plain(policy: str, dataset: Path, folder: Path, steps: int) -> dict[str, Any]:
    """Train by `lerobot-train` with the options that the launcher prints, and time its progress bar."""
    shown = subprocess.run(
        [*launcher(policy, dataset, folder / "plain", steps), "--dry-run"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    words = shlex.split(shown)
    options = [word for word in words if word.startswith("--") and "=" in word]
    if policy == "smolvla":
        # the backbone that the launcher made for its own run of this round
        options = [word for word in options if not word.startswith("--policy.vlm_model_name=")]
        options.append(f"--policy.vlm_model_name={folder / 'ours_vlm'}")
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    started_s = time.monotonic()
    program = str(Path(sys.executable).parent / "lerobot-train")
    child = subprocess.Popen(
        [program, *options], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    seen: list[tuple[int, float]] = []
    means: list[tuple[float, float]] = []
    assert child.stdout is not None
    for line in split_lines(child.stdout):
        if (match := PROGRESS.search(line)) and int(match.group(1)) > 0:
            seen.append((int(match.group(1)), time.monotonic()))
        if match := MEANS.search(line):
            means.append((float(match.group(1)), float(match.group(2))))
    if child.wait() != 0 or not seen:
        raise RuntimeError(f"{policy}: lerobot-train failed with exit code {child.returncode}")
    warm = [point for point in seen if point[0] >= WARM_STEPS]
    (first, first_s), (last, last_s) = warm[0], warm[-1]
    update, data = (statistics.mean(column) for column in zip(*means[1:] or means, strict=True))
    return {
        "policy": policy,
        "way": "lerobot-train",
        "first_step_s": round(seen[0][1] - started_s, 2),
        "steps_per_s": round((last - first) / (last_s - first_s), 3),
        "data_time_share": round(data / (update + data), 4),
    }


def medians(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per policy and way."""
    rows = []
    for policy in dict.fromkeys(row["policy"] for row in rounds):
        for way in ("launcher", "lerobot-train"):
            same = [row for row in rounds if (row["policy"], row["way"]) == (policy, way)]
            numbers = {key for row in same for key, value in row.items() if isinstance(value, float)}
            rows.append(
                {
                    "policy": policy,
                    "way": way,
                    **{key: statistics.median(row[key] for row in same) for key in sorted(numbers)},
                }
            )
    return rows


def bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is asked for, and what was measured."""
    found = {(row["policy"], row["way"]): row for row in rows}
    result = []
    for name, (limit, key) in BARS.items():
        row = found.get((name.rsplit(", ", 1)[1], "launcher"))
        if row is not None:
            result.append({"name": name, "value": row[key], "limit": limit, "ok": row[key] <= limit})
    for policy in POLICIES:
        if (policy, "launcher") in found:
            ratio = found[policy, "launcher"]["steps_per_s"] / found[policy, "lerobot-train"]["steps_per_s"]
            name = f"speed against lerobot-train, {policy}"
            result.append({"name": name, "value": round(ratio, 3), "limit": SPEED_BAR, "ok": ratio >= SPEED_BAR})
    return result


def main() -> int:
    """Run the rounds and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset with two small cameras, e.g. of ./demo")
    parser.add_argument(
        "--policies", nargs="+", choices=POLICIES, default=POLICIES, help="what is trained; default both"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that every way runs; medians count (default 3)")
    parser.add_argument("--steps", type=int, default=300, help="training steps of a run (default 300)")
    parser.add_argument("--quick", action="store_true", help="one round of 40 steps")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a bar is missed")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()
    rounds, steps = (1, 40) if arguments.quick else (arguments.rounds, arguments.steps)
    load = os.getloadavg()
    found: list[dict[str, Any]] = []
    for _ in range(rounds):
        for policy in arguments.policies:
            with tempfile.TemporaryDirectory(prefix="benchmark-training-") as name:
                for run in (run_ours, run_plain):
                    found.append(run(policy, arguments.dataset, Path(name), steps))
                    print(json.dumps(found[-1]), flush=True)
    rows = medians(found)
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_average": load,
        "steps": steps,
        "bars": bars(rows),
        "rows": rows,
        "rounds": found,
    }
    for bar in result["bars"]:
        print(f"{'ok    ' if bar['ok'] else 'MISSED'} {bar['name']}: {bar['value']} (limit {bar['limit']})")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 1 if arguments.strict and not all(bar["ok"] for bar in result["bars"]) else 0


if __name__ == "__main__":
    sys.exit(main())
