# SPDX-License-Identifier: Apache-2.0

"""A table of training runs: what was trained on what, how it was evaluated, how fast it answers.

    compare outputs/runs
    compare outputs/runs/a outputs/runs/b --sort sim --html outputs/runs.html
    compare outputs/runs --csv runs.csv

Reads run.json, loss.csv and evaluations/*.json of each run folder. Runs with the same letter were trained on the same data.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError

from vla_policy.evaluation.compare_rows import COLUMNS, Comparison, collect, ordered
from vla_policy.evaluation.run_folder import EvaluationError
from vla_policy.evaluation.texts import html_table, markdown_table, page, paragraph, text_table


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN|FOLDER", help="run folders, or folders that hold some"
    )
    parser.add_argument("--sort", choices=COLUMNS, default="run", help="column to sort by (default %(default)s)")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    for kind in ("csv", "json", "html"):
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"also write the table as {kind.upper()}")
    parser.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="also write the losses and metrics for TensorBoard"
    )
    return parser


def as_csv(comparison: Comparison) -> str:
    """The table as CSV, numbers unrounded."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(comparison.columns)
    writer.writerows([[row.get(name, "") for name in comparison.columns] for row in comparison.records()])
    return stream.getvalue()


def as_page(comparison: Comparison) -> str:
    """The table as a page."""
    notes = [paragraph(note, note=True) for note in comparison.notes]
    return page("Training runs", [html_table(comparison.head, comparison.cells()), *notes])


def write(file: Path, content: str) -> None:
    """Write one of the outputs.

    Raises:
        EvaluationError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{file}: cannot be written: {error}. Name another file.") from error
    sys.stderr.write(f"written: {file}\n")


def compare(options: argparse.Namespace) -> None:
    """Read the runs, print the table, write what was asked for.

    Raises:
        VlaError: a folder holds no run, a file is damaged, or nothing can be written there.
    """
    comparison = ordered(collect(options.runs), options.sort, reverse=options.reverse)
    table = markdown_table if options.markdown else text_table
    sys.stdout.write(table(comparison.head, comparison.cells()) + "\n")
    if comparison.notes:
        sys.stdout.write("\n" + "\n".join(comparison.notes) + "\n")
    if options.csv:
        write(options.csv, as_csv(comparison))
    if options.json:
        write(options.json, json.dumps(comparison.records(), indent=1) + "\n")
    if options.html:
        write(options.html, as_page(comparison))
    if options.tensorboard:
        export(comparison, options.tensorboard)


def summary_writer() -> Any:
    """TensorBoard's writer.

    Raises:
        EvaluationError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (optional; loads torch)
    except ImportError as error:
        raise EvaluationError(
            f"--tensorboard needs TensorBoard: {error}. Install it: pip install tensorboard"
        ) from error
    return SummaryWriter


def export(comparison: Comparison, folder: Path) -> None:
    """Write each run's losses step by step, and its measures at its last step, as TensorBoard scalars.

    Raises:
        EvaluationError: TensorBoard is not installed.
    """
    make = summary_writer()
    for run in comparison.runs:
        writer = make(log_dir=str(folder / run.name))
        for name in ("loss", "grad_norm", "lr"):
            for step, value in zip(run.losses.step, getattr(run.losses, name), strict=True):
                writer.add_scalar(f"train/{name}", value, step)
        for name, value in run.values.items():
            if isinstance(value, float) and name not in ("loss", "lr"):
                writer.add_scalar(f"evaluation/{name}", value, run.values.get("steps") or 0)
        writer.close()
        sys.stderr.write(f"written: {folder / run.name}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `compare`; exit code 0, or 2 with a message."""
    options = build_parser().parse_args(argv)
    try:
        compare(options)
    except VlaError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
