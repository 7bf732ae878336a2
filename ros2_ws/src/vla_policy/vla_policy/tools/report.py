# SPDX-License-Identifier: Apache-2.0

"""How did a run of the policy go? Reads logs of the policy node, prints the measures, draws the runs.

    ros2 launch vla_bringup infer.launch.py sim:=true policy:=scripted episodes:=1 log_file:=run.jsonl
    ros2 run vla_policy report run.jsonl --output run.html

Logs are written by the node's parameter `log_file`. docs/reference/measures.md defines every measure.
"""

import argparse
import base64
import html
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_policy.tools.report_log import LogError, Run, read_all, summarise
from vla_policy.tools.report_plots import draw

# name of the measure, what it is called, unit
TABLE = (
    ("strategy", "strategy", ""),
    ("termination", "how it ended", ""),
    ("duration_s", "duration", "s"),
    ("chunks_in_force", "chunks in force", ""),
    ("replan_rate_hz", "replan rate", "Hz"),
    ("control_rate_hz", "control rate", "Hz"),
    ("control_jitter_ms_p99", "control jitter p99", "ms"),
    ("held_percent", "held ticks", "%"),
    ("seam_jump", "seam jump", "x"),
    ("seam_jump_p95", "seam jump p95", "x"),
    ("acceleration_p99", "acceleration p99", "rad/s²"),
    ("observation_age_ms_p50", "observation age p50", "ms"),
    ("observation_age_ms_p95", "observation age p95", "ms"),
    ("inference_ms_p50", "inference p50", "ms"),
    ("inference_ms_p95", "inference p95", "ms"),
    ("inference_ms_max", "inference max", "ms"),
    ("preprocess_ms_p95", "  pre-processing p95", "ms"),
    ("model_ms_p95", "  model p95", "ms"),
    ("postprocess_ms_p95", "  post-processing p95", "ms"),
    ("overhead_ms_p95", "overhead p95", "ms"),
    ("skipped_steps", "skipped steps", ""),
    ("refused_chunks", "refused chunks", ""),
    ("stop_ms", "time to stop", "ms"),
)
PICTURES = (".png", ".svg")
PAGES = (".html",)


def text_table(summaries: Sequence[dict[str, Any]]) -> str:
    """One column per run, one line per measure; a dash where nothing was measured."""
    columns = [[f"run {number}" for number in range(1, len(summaries) + 1)]]
    columns += [[_cell(summary[key]) for summary in summaries] for key, _, _ in TABLE]
    names = ["", *(f"{name} [{unit}]" if unit else name for _, name, unit in TABLE)]
    widths = [max(len(row[i]) for row in columns) for i in range(len(summaries))]
    left = max(len(name) for name in names)
    return "\n".join(
        f"{name:{left}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for name, row in zip(names, columns, strict=True)
    )


def page(runs: Sequence[Run], summaries: Sequence[dict[str, Any]]) -> str:
    """An HTML page with the table and all pictures inside it."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs of the policy</title>',
        "<style>body{font-family:sans-serif;margin:2em}img{max-width:100%}td,th{padding:.15em .8em;text-align:right}"
        "td:first-child{text-align:left}tr:nth-child(even){background:#f2f2f2}</style><h1>Runs of the policy</h1><table>",
        "<tr><td></td>" + "".join(f"<th>run {i}</th>" for i in range(1, len(runs) + 1)) + "</tr>",
    ]
    for key, name, unit in TABLE:
        cells = "".join(f"<td>{html.escape(_cell(summary[key]))}</td>" for summary in summaries)
        parts.append(f"<tr><td>{html.escape(name.strip())}{f' [{unit}]' if unit else ''}</td>{cells}</tr>")
    parts.append("</table>")
    with tempfile.TemporaryDirectory() as folder:
        for number, (run, summary) in enumerate(zip(runs, summaries, strict=True), start=1):
            picture = Path(folder) / f"{number}.png"
            draw(run, picture, _title(number, summary))
            data = base64.b64encode(picture.read_bytes()).decode("ascii")
            parts.append(f'<p><img alt="run {number}" src="data:image/png;base64,{data}"></p>')
    return "\n".join([*parts, "</html>", ""])


def write_pictures(runs: Sequence[Run], summaries: Sequence[dict[str, Any]], output: Path) -> list[Path]:
    """One picture per run: the file itself for one run, numbered files for several."""
    paths = []
    for number, (run, summary) in enumerate(zip(runs, summaries, strict=True), start=1):
        path = output if len(runs) == 1 else output.with_stem(f"{output.stem}_{number}")
        draw(run, path, _title(number, summary))
        paths.append(path)
    return paths


def _title(number: int, summary: dict[str, Any]) -> str:
    return f"run {number}: {summary['strategy']}, {summary['policy']}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ros2 run vla_policy report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="file of the node's parameter log_file")
    parser.add_argument("--output", type=Path, help="also write a page (.html) or one picture per run (.png, .svg)")
    parser.add_argument("--json", action="store_true", help="print the measures as JSON, one list entry per run")
    options = parser.parse_args(argv)
    if options.output is not None and options.output.suffix not in (*PAGES, *PICTURES):
        parser.error(f"--output {options.output}: unknown kind of file; use {', '.join((*PAGES, *PICTURES))}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `report`; exit code 1 where a log cannot be read."""
    options = _parse(argv)
    try:
        runs = read_all(options.logs)
    except LogError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    summaries = [summarise(run) for run in runs]
    sys.stdout.write((json.dumps(summaries, indent=1) if options.json else text_table(summaries)) + "\n")
    if options.output is None:
        return 0
    options.output.parent.mkdir(parents=True, exist_ok=True)
    drawn = [(run, summary) for run, summary in zip(runs, summaries, strict=True) if run.ticks]
    kept, texts = [run for run, _ in drawn], [summary for _, summary in drawn]
    if options.output.suffix in PAGES:
        options.output.write_text(page(kept, texts), encoding="utf-8")
        paths = [options.output]
    else:
        paths = write_pictures(kept, texts, options.output)
    for path in paths:
        sys.stderr.write(f"written: {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
