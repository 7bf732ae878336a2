# SPDX-License-Identifier: Apache-2.0

"""How well does a policy learn to pick and place through the ROS graph, and in how long? From demonstrations to trials.

    python benchmarks/pick_bars.py --scene pick --policy vla_keypoints --work outputs/pick --json pick.json
    python benchmarks/pick_bars.py --scene pick_which --policy smolvla --demos 120 --trials 100 --work outputs/which
    python benchmarks/pick_bars.py --scene pick --demos 2 --steps 5 --trials 1 --work outputs/try   # does it run?

Records demonstrations with the scripted operator (`record.launch.py`), converts them, trains (`vla_policy train`), and tries
the policy in closed loop on seeds that it has not seen (`infer.launch.py`), all in lockstep: the load of the machine changes
nothing but the wall time. A trial succeeds when the block rests within 2.5 cm of the middle of the bin.
Demonstrations begin at seed 10000, trials at seed 0. What is in the work folder already is not made again, so a second
policy on the same demonstrations needs the same --work and another --run.

The JSON holds ``scene``, ``policy``, ``demos``, ``frames``, ``steps``, ``state_noise``, ``threads``, ``train_s`` (wall time of
the training), ``seconds`` (of each stage that ran now) and ``rows``: ``sentence`` (own, swapped: names the other block, empty), ``n``, ``ok`` (the block of the scene's own sentence is in
place), ``other_taken`` (the other block was lifted first), each with ``low`` and ``high`` (95 % Wilson interval),
``duration_s`` (median of the successful trials) and ``failures`` (why, with the seeds).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from success import environment
from vla_core.statistics import wilson_interval

ROBOT = "sim_ur5e_tiny"
SCENES = ("pick", "pick_rotated", "pick_which")
POLICIES = ("act", "vla_keypoints", "smolvla")
SENTENCES = ("own", "swapped", "empty")
DEMONSTRATION_SEED = 10_000
STAGE_TIMEOUT_S = 4 * 3600.0


@dataclass
class Work:
    """The folder, and how long each stage took."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, name: str, command: list[str], done: Path) -> Path:
        """Run a stage unless `done` is there; its output goes to logs/.

        Raises:
            SystemExit: it failed, or has not made `done`.
        """
        if done.exists():
            print(f"{name}: {done} is there", file=sys.stderr)
            return done
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"{name}: {' '.join(command)}", file=sys.stderr)
        started = time.monotonic()
        with log.open("w", encoding="utf-8") as file:
            code = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, timeout=STAGE_TIMEOUT_S, check=False, env=environment()
            ).returncode
        self.seconds[name] = round(time.monotonic() - started, 1)
        if code != 0 or not done.exists():
            tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-8:])
            raise SystemExit(f"{name}: ended with exit code {code} and without {done}; {log}:\n{tail}")
        return done


def record_command(args: argparse.Namespace, bags: Path, result: Path) -> list[str]:
    """The launch that records the demonstrations."""
    return [
        "ros2", "launch", "vla_bringup", "record.launch.py", f"robot:={ROBOT}", "sim:=true", f"scene:={args.scene}",
        "operator:=scripted", f"episodes:={args.demos}", f"seed:={DEMONSTRATION_SEED}", f"output_dir:={bags}",
        f"result_file:={result}",
    ]  # fmt: skip


def train_command(args: argparse.Namespace, dataset: Path, run: Path) -> list[str]:
    """The training; options that are not given stay those of the policy's settings."""
    command = ["ros2", "run", "vla_policy", "train", "--policy", args.policy]
    command += ["--dataset", str(dataset), "--output", str(run), "--threads", str(args.threads)]
    command += ["--steps", str(args.steps)] if args.steps else []
    command += ["--settings", str(args.settings)] if args.settings else []
    command += ["--state-noise", str(args.state_noise)] if args.state_noise else []
    if args.steps and args.policy == "smolvla":  # its preset decays the learning rate over a number of steps of its own
        command += ["--", f"--policy.scheduler_decay_steps={args.steps}"]
    return command


def trial_command(args: argparse.Namespace, run: Path, sentence: str, result: Path) -> list[str]:
    """The launch that tries the policy."""
    command = [
        "ros2", "launch", "vla_bringup", "infer.launch.py", f"checkpoint:={run}", f"robot:={ROBOT}", "sim:=true",
        f"scene:={args.scene}", f"sentence:={sentence}", f"episodes:={args.trials}", f"seed:={args.first_seed}",
        f"max_duration:={args.max_duration}", f"result_file:={result}",
    ]  # fmt: skip
    return [*command, *([f"strategy:={args.strategy}"] if args.strategy else [])]


def why(trial: dict[str, Any]) -> str:
    """Why a trial failed."""
    if trial["error_code"]:
        return str(trial["error_msg"])
    if trial["taken"] == "":
        return "never lifted"
    return "took the other block" if trial["taken"] == "other" else "lifted, not placed"


def summarise(result: dict[str, Any], sentence: str) -> dict[str, Any]:
    """One row of the table."""
    trials, n = result["trials"], result["n"]
    failures: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        if not trial["success"]:
            failures[why(trial)].append(trial["seed"])
    times = [trial["duration_s"] for trial in trials if trial["success"]]
    row: dict[str, Any] = {"sentence": sentence, "n": n}
    for name, count in (("ok", result["ok"]), ("other_taken", result["other_taken"])):
        low, high = wilson_interval(count, n)
        row[name] = {"count": count, "low": round(low, 3), "high": round(high, 3)}
    return {**row, "duration_s": round(statistics.median(times), 2) if times else None, "failures": dict(failures)}


def table(report: dict[str, Any]) -> str:
    """The report as a markdown table."""
    head = f"{report['scene']}, {report['policy']}: {report['demos']} demonstrations, {report['frames']} frames, "
    lines = [
        f"{head}{report['steps']} steps in {report['train_s'] / 60:.1f} min on {report['threads']} thread{'s' * (report['threads'] > 1)}",
        "",
        "| sentence | named block in place | 95 % | other block taken | 95 % | median time | failures |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = [
            f"{row[name]['count']}/{row['n']} | {100 * row[name]['low']:.0f} to {100 * row[name]['high']:.0f} %"
            for name in ("ok", "other_taken")
        ]
        seconds = "-" if row["duration_s"] is None else f"{row['duration_s']:.2f} s"
        failed = ", ".join(f"{len(seeds)} {reason}" for reason, seeds in row["failures"].items()) or "none"
        lines.append(f"| {row['sentence']} | {cells[0]} | {cells[1]} | {seconds} | {failed} |")
    return "\n".join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python benchmarks/pick_bars.py"
    )
    parser.add_argument("--scene", default="pick", choices=SCENES, help="default pick")
    parser.add_argument("--policy", default="vla_keypoints", choices=POLICIES, help="default vla_keypoints")
    parser.add_argument("--demos", type=int, default=60, help="demonstrations, default 60")
    parser.add_argument("--steps", type=int, help="optimiser steps; default: those of the policy's settings")
    parser.add_argument("--settings", type=Path, help="training settings file; default: the policy's own")
    parser.add_argument("--state-noise", type=float, default=0.0, help="noise on the joints in training, default 0")
    parser.add_argument("--threads", type=int, default=2, help="compute threads of the training, default 2")
    parser.add_argument("--trials", type=int, default=50, help="trials per sentence, default 50")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first trial, default 0")
    parser.add_argument("--sentences", nargs="+", choices=SENTENCES, help="default own; of pick_which all three")
    parser.add_argument("--strategy", help="how chunks are joined; default: that of infer.launch.py")
    parser.add_argument("--max-duration", type=float, default=15.0, help="limit of a trial in simulated s, default 15")
    parser.add_argument("--work", type=Path, required=True, help="folder for bags, dataset, runs, logs")
    parser.add_argument("--run", help="name of the run in the work folder; default: the policy")
    parser.add_argument("--json", type=Path, help="file for the result")
    args = parser.parse_args(argv)
    args.sentences = args.sentences or (list(SENTENCES) if args.scene == "pick_which" else ["own"])
    if "swapped" in args.sentences and args.scene != "pick_which":
        parser.error("--sentences swapped is for --scene pick_which; the other scenes have one block")
    return args


def main(argv: list[str] | None = None) -> int:
    """Run all stages; the exit code is 0 whatever the success rates."""
    args = parse(argv)
    work = Work(args.work.resolve())
    name = args.run or args.policy
    bags, dataset, run = work.folder / "bags", work.folder / "dataset", work.folder / name
    work.run("record", record_command(args, bags, work.folder / "record.json"), work.folder / "record.json")
    convert = ["ros2", "run", "vla_recorder", "convert", "--bags", str(bags), "--output", str(dataset)]
    work.run("convert", convert, dataset)
    work.run("train", train_command(args, dataset, run), run / "checkpoints" / "last")
    info = json.loads((dataset / "meta" / "info.json").read_text(encoding="utf-8"))
    trained = json.loads((run / "run.json").read_text(encoding="utf-8"))
    report: dict[str, Any] = {
        "scene": args.scene, "policy": args.policy, "demos": info["total_episodes"], "frames": info["total_frames"],
        "steps": trained["steps"], "state_noise": trained["state_noise"], "threads": args.threads, "train_s": trained["seconds"], "seconds": work.seconds, "rows": [],
    }  # fmt: skip
    for sentence in args.sentences:
        result = work.folder / f"{name}_{sentence}.json"
        work.run(f"{name}_{sentence}", trial_command(args, run, sentence, result), result)
        report["rows"].append(summarise(json.loads(result.read_text(encoding="utf-8")), sentence))
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
