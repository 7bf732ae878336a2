# SPDX-License-Identifier: Apache-2.0

"""`./demo`: record, convert, train and run a policy in simulation, and report how well it does."""

import argparse
import sys
import time
from pathlib import Path

from vla_core.errors import VlaError

from vla_demo.pipeline import Pipeline
from vla_demo.report import table, write
from vla_demo.settings import DemoSettings, demo_settings
from vla_demo.stages import Demo

EXAMPLES = """examples:
  ./demo                                 lift, ACT, about 10 minutes on 2 cores
  ./demo --quick                         the same with few episodes and steps, about 4 minutes
  ./demo --task pick_place --bin moving  into a bin that moves from episode to episode
  ./demo --policy smolvla --output outputs/smolvla
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line of the demo."""
    parser = argparse.ArgumentParser(
        prog="./demo", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--task", choices=["lift", "pick_place"], default="lift", help="what the arm learns (default %(default)s)"
    )
    parser.add_argument(
        "--bin",
        choices=["fixed", "moving"],
        default="fixed",
        help="pick_place: the bin stands still or moves by up to 4 cm",
    )
    parser.add_argument(
        "--policy", choices=["act", "smolvla"], default="act", help="policy to train (default %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few episodes and steps; compare with an untrained checkpoint"
    )
    parser.add_argument("--output", type=Path, help="report folder, must not exist (default outputs/demo-<UTC time>)")
    return parser


def output_folder(given: Path | None) -> Path:
    """Make the report folder.

    Raises:
        VlaError: the folder exists and holds something.
    """
    folder = given or Path("outputs") / time.strftime("demo-%Y%m%dT%H%M%SZ", time.gmtime())
    if folder.exists() and any(folder.iterdir()):
        raise VlaError(f"--output {folder}: the folder exists and is not empty; name a new one or remove it")
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    return folder


def run(settings: DemoSettings, output: Path) -> bool:
    """Run all stages and write the report; returns whether the bar, if there is one, was reached."""
    pipeline = Pipeline(output / "logs")
    demo = Demo(settings, output, pipeline)
    demo.record()
    demo.convert()
    demo.train()
    demo.evaluate()
    if settings.quick:
        demo.compare_with_untrained()
    demo.measure_in_real_time()
    report = demo.report()
    write(output / "report.json", report)
    print(
        f"\n{table(report)}\n\nreport: {output / 'report.json'}\nrollouts beside demonstrations: {output / 'rollouts.gif'}"
    )
    if settings.bar is None:
        return True
    reached: bool = report["success"]["rate"] >= settings.bar
    print(f"bar: {100 * settings.bar:.0f} % — {'reached' if reached else 'NOT reached'}")
    return reached


def main() -> int:
    """Entry point; 0 when all stages ran and the bar was reached, 1 when not, 130 after Ctrl-C."""
    arguments = build_parser().parse_args()
    settings = demo_settings(arguments.task, arguments.policy, quick=arguments.quick, bin_mode=arguments.bin)
    try:
        return 0 if run(settings, output_folder(arguments.output)) else 1
    except VlaError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; what was recorded so far stays in the output folder", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
