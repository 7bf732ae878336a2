# SPDX-License-Identifier: Apache-2.0

"""How does success grow with the number of demonstrations? Nested subsets of the same recordings, the same training for each.

    python benchmarks/data_scaling.py --work outputs/scaling --json scaling.json --plot scaling.png     # some hours
    python benchmarks/data_scaling.py --work outputs/scaling --policies act --demos 10 20 --trials 20
    python benchmarks/data_scaling.py --work outputs/try --policies act --demos 2 4 --act-steps 5 --trials 1   # does it run?

Records the largest number of demonstrations with the scripted operator, converts the first N of them for every N, trains each
policy with the same number of steps, seed and settings, and tries every checkpoint on the same held-out seeds in lockstep.
Demonstrations begin at seed 10000, trials at seed 0. What is in the work folder already is not made again.

The JSON holds ``scene``, ``seconds`` (of each stage that ran now) and ``rows``: ``policy``, ``demos``, ``frames``, ``steps``,
``state_noise``, ``train_s``, ``loss`` (last), ``n``, ``ok``, ``low`` and ``high`` (95 % Wilson interval), ``failures`` (why, with the seeds).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import ScalarFormatter
from pick_bars import Work, record_command, summarise, train_command, trial_command

POLICIES = ("act", "smolvla", "vla_keypoints")
STEPS = {"act": 1200, "smolvla": 2000, "vla_keypoints": 2000}
COLOURS = {"act": "#0072B2", "smolvla": "#D55E00", "vla_keypoints": "#009E73"}  # told apart by the colour-blind


def subset(work: Work, demos: int) -> Path:
    """Folder of links to the first recordings."""
    folder = work.folder / f"bags_{demos}"
    folder.mkdir(exist_ok=True)
    episodes = sorted(path for path in (work.folder / "bags").iterdir() if path.name.startswith("episode_"))
    for path in episodes[:demos]:
        link = folder / path.name
        if not link.is_symlink():
            link.symlink_to(path)
    return folder


def measure(work: Work, args: argparse.Namespace, policy: str, demos: int) -> dict[str, Any]:
    """Train a policy on a number of demonstrations and try it; returns its row."""
    dataset, run = work.folder / f"dataset_{demos}", work.folder / f"{policy}_{demos}"
    convert = ["ros2", "run", "vla_recorder", "convert", "--bags", str(subset(work, demos)), "--output", str(dataset)]
    work.run(f"convert_{demos}", convert, dataset)
    args.policy, args.steps = policy, getattr(args, f"{policy}_steps")
    work.run(f"train_{policy}_{demos}", train_command(args, dataset, run), run / "checkpoints" / "last")
    trained = json.loads((run / "run.json").read_text(encoding="utf-8"))
    result = work.folder / f"{policy}_{demos}.json"
    work.run(f"trials_{policy}_{demos}", trial_command(args, run, "own", result), result)
    row = summarise(json.loads(result.read_text(encoding="utf-8")), "own")
    return {
        "policy": policy,
        "demos": demos,
        "frames": trained["datasets"][0]["frames"],
        "steps": trained["steps"],
        "state_noise": trained["state_noise"],
        "train_s": trained["seconds"],
        "loss": trained["loss"],
        "n": row["n"],
        "ok": row["ok"]["count"],
        "low": row["ok"]["low"],
        "high": row["ok"]["high"],
        "failures": row["failures"],
    }


def draw(report: dict[str, Any], path: Path) -> None:
    """Success over demonstrations, a line per policy, with its intervals."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for policy in dict.fromkeys(row["policy"] for row in report["rows"]):
        rows = sorted((row for row in report["rows"] if row["policy"] == policy), key=lambda row: row["demos"])
        rate = [100.0 * row["ok"] / row["n"] for row in rows]
        low = [value - 100.0 * row["low"] for value, row in zip(rate, rows, strict=True)]
        high = [100.0 * row["high"] - value for value, row in zip(rate, rows, strict=True)]
        label = f"{policy}, {rows[0]['steps']} steps"
        demos = [row["demos"] for row in rows]
        axes.errorbar(demos, rate, yerr=[low, high], marker="o", capsize=4, color=COLOURS[policy], label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({row["demos"] for row in report["rows"]}))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("demonstrations")
    axes.set_ylabel(f"success of {report['rows'][0]['n']} held-out seeds [%]")
    axes.set_ylim(-3, 103)
    axes.set_title(f"Scene {report['scene']}; bars: 95 % Wilson intervals")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def table(report: dict[str, Any]) -> str:
    """The report as a markdown table."""
    lines = [
        "| policy | demonstrations | frames | steps | training | success | 95 % | failures |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        failed = ", ".join(f"{len(seeds)} {reason}" for reason, seeds in row["failures"].items()) or "none"
        lines.append(
            f"| {row['policy']} | {row['demos']} | {row['frames']} | {row['steps']} | {row['train_s'] / 60:.1f} min | "
            f"{row['ok']}/{row['n']} | {100 * row['low']:.0f} to {100 * row['high']:.0f} % | {failed} |"
        )
    return "\n".join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python benchmarks/data_scaling.py",
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for bags, datasets, runs, logs")
    parser.add_argument("--scene", default="lift", choices=("lift", "pick"), help="task of the cell, default lift")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=["act", "smolvla"], help="default: both")
    parser.add_argument("--demos", nargs="+", type=int, default=[10, 20, 40, 80], help="default 10 20 40 80")
    for policy, steps in STEPS.items():
        name = f"--{policy.replace('_', '-')}-steps"
        parser.add_argument(name, type=int, default=steps, help=f"optimiser steps of {policy} (default: {steps})")
    parser.add_argument("--state-noise", type=float, default=0.0, help="noise on the joints in training, default 0")
    parser.add_argument("--strategy", help="how chunks are joined; default: that of infer.launch.py")
    parser.add_argument("--threads", type=int, default=2, help="compute threads of each training, default 2")
    parser.add_argument("--trials", type=int, default=50, help="held-out seeds, default 50")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first trial, default 0")
    parser.add_argument("--max-duration", type=float, default=12.0, help="limit of a trial in simulated s, default 12")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--plot", type=Path, help="file for the picture (.png)")
    args = parser.parse_args(argv)
    args.settings = None  # as the policy has them
    return args


def main(argv: list[str] | None = None) -> int:
    """Run all stages; the exit code is 0 whatever the success rates."""
    args = parse(argv)
    work = Work(args.work.resolve())
    sizes, args.demos = sorted(args.demos), max(args.demos)
    result = work.folder / "record.json"
    work.run("record", record_command(args, work.folder / "bags", result), result)
    report: dict[str, Any] = {"scene": args.scene, "seconds": work.seconds, "rows": []}
    for policy in args.policies:
        for demos in sizes:
            report["rows"].append(measure(work, args, policy, demos))
            if args.json:
                args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        draw(report, args.plot)
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
