# SPDX-License-Identifier: Apache-2.0

"""Label and sum up recorded evaluation runs: `ros2 run vla_policy rollouts --help`."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from vla_core.errors import VlaError

from vla_policy.tools import rollout_bags as bags

DESCRIPTION = """Label and sum up the runs that were recorded with record_eval:=true.

  ros2 run vla_policy rollouts list outputs/rollouts
  ros2 run vla_policy rollouts label outputs/rollouts                     (asks for each run without a label)
  ros2 run vla_policy rollouts label outputs/rollouts/…/episode_… success --notes "slipped once"
  ros2 run vla_policy rollouts summary outputs/rollouts --csv outputs/rollouts.csv
  ros2 run vla_policy rollouts dataset outputs/rollouts/vla-eval-lift-1795264039 --output outputs/datasets"""
KEYS = {"s": bags.SUCCESS, "f": bags.FAILURE, "u": bags.UNKNOWN, "": "", "q": "quit"}
QUESTION = "s success, f failure, u unknown, Enter later, q quit: "


def main(args: list[str] | None = None) -> int:
    """Entry point; 0, or 1 with a message on standard error."""
    options = _parser().parse_args(args)
    try:
        code: int = options.run(options)
    except VlaError as error:
        sys.stderr.write(f"rollouts: {error}\n")
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rollouts", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("folder", metavar="DIR", type=Path, help="a recorded run, or a folder of them")
        return sub

    command("list", _list, "show every run with its label and how it ended")
    label = command("label", _label, "say whether runs succeeded; asks for each where no outcome is given")
    label.add_argument(
        "outcome", nargs="?", choices=(bags.SUCCESS, bags.FAILURE, bags.UNKNOWN), help="label of the one run DIR"
    )
    label.add_argument("--notes", default="", help="added to the notes of the run; needs an outcome")
    summary = command("summary", _summary, "success rates by model, checkpoint, mode and task")
    summary.add_argument("--csv", type=Path, metavar="FILE", help="also write the table as CSV")
    dataset = command("dataset", _dataset, "convert all runs in DIR, also the failed ones, into a LeRobot dataset")
    dataset.add_argument(
        "--output", type=Path, metavar="ROOT", default=Path("outputs/datasets"),
        help="where the dataset goes, under the name of DIR (default: %(default)s)",
    )  # fmt: skip
    return parser


def _list(options: argparse.Namespace) -> int:
    for run in bags.find_rollouts(options.folder)[0]:
        _say(f"{_name(run, options.folder)}  {run.outcome:8}{run.termination:12}{run.duration_s:7.2f} s  {run.message}")
    return 0


def _label(options: argparse.Namespace) -> int:
    if options.outcome is not None:
        bags.label(options.folder, options.outcome, options.notes)
        _say(f"{options.folder.name}: {options.outcome}")
        return 0
    if options.notes:
        raise VlaError("--notes belongs to one run: give its folder and an outcome")
    open_runs = [run for run in bags.find_rollouts(options.folder)[0] if run.outcome == bags.UNKNOWN]
    for number, run in enumerate(open_runs, 1):
        _say(f"{number}/{len(open_runs)} {_name(run, options.folder)}: '{run.task}', {run.termination}, {run.message}")
        answer = _asked()
        if answer == "quit":
            break
        if answer:
            bags.label(run.folder, answer)
    left = [run for run in bags.find_rollouts(options.folder)[0] if run.outcome == bags.UNKNOWN]
    _say(f"{len(left)} runs without a label")
    return 0


def _asked() -> str:
    """What the person at the keyboard answers; the end of the input quits."""
    while True:
        try:
            answer = input(QUESTION).strip().lower()
        except EOFError:
            return "quit"
        if answer in KEYS:
            return KEYS[answer]


def _summary(options: argparse.Namespace) -> int:
    rollouts, others = bags.find_rollouts(options.folder)
    rows = bags.summarize(rollouts)
    if options.csv is not None:
        bags.write_csv(rows, options.csv)
    for row in rows:
        _say(f"{row['model']} ({row['checkpoint']}), mode {row['mode']}, '{row['task']}': {row['n']} runs")
        rate = "no run is labelled" if not row["labelled"] else (
            f"{row['successes']} of {row['labelled']} labelled runs succeeded: {float(row['success_rate']):.0%} "
            f"({float(row['rate_low']):.0%} to {float(row['rate_high']):.0%})"
        )  # fmt: skip
        _say(
            f"  {rate}; {row['timeouts']} timeouts, {row['grasp_fails']} failed grasps, {row['estops']} stopped by the "
            f"operator, {row['interventions']} interventions, {row['mean_duration_s']} s on average"
        )
    if others:
        _say(f"{others} other bags were left out")
    return 0


def _dataset(options: argparse.Namespace) -> int:
    bags.find_rollouts(options.folder)
    output = options.output / options.folder.resolve().name
    command = ["ros2", "run", "vla_recorder", "convert", "--bags", str(options.folder), "--output", str(output)]
    return subprocess.run([*command, "--include-failures"], check=False).returncode


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _name(run: bags.Rollout, folder: Path) -> str:
    return str(run.folder.relative_to(folder)) if run.folder != folder else run.folder.name


if __name__ == "__main__":
    sys.exit(main())
