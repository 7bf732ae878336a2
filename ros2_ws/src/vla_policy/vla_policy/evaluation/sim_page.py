# SPDX-License-Identifier: Apache-2.0

"""Trials in the simulated cell for people: tables for the terminal and a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_policy.evaluation.plots import draw_rates
from vla_policy.evaluation.run_folder import PAIRED, SIM
from vla_policy.evaluation.texts import Rows, html_table, interval, page, paragraph, percent, picture, text_table

REPORT_FILE = "report.html"
ALPHA = 0.05
# `termination` of vla_msgs/action/RunPolicy; a trial that succeeds is ended by the judge, which cancels the run.
TERMINATIONS = (
    "the policy ended by itself", "cancelled", "time limit", "stale input", "limit", "error", "shutdown", "emergency stop",
    "starved",
)  # fmt: skip
TRIAL_HEAD = ("seed", "success", "duration [s]", "smallest distance [mm]", "in the gripper at the end", "how it ended")
Table = tuple[Sequence[str], Rows]


def ending(trial: dict[str, Any]) -> str:
    """How a trial ended, in a few words."""
    if trial["success"]:
        return "succeeded"
    number = int(trial["termination"])
    text = TERMINATIONS[number] if number < len(TERMINATIONS) else f"termination {number}"
    return f"{text} (error {trial['error_code']})" if trial["error_code"] else text


def rates_table(records: Sequence[dict[str, Any]]) -> Table:
    """One row per checkpoint."""
    head = ["checkpoint", "success", "rate", "95 % interval", "median duration [s]", "inference [ms]"]
    rows = [
        [
            record["label"],
            f"{record['ok']}/{record['n']}",
            percent(record["rate"]),
            interval(record),
            record["duration_s"] and record["duration_s"]["median"],
            record["inference_ms_p50"],
        ]
        for record in records
    ]
    return head, rows


def pair_table(paired: dict[str, Any]) -> Table:
    """The four cells of McNemar's table."""
    first, second = paired["first"]["label"], paired["second"]["label"]
    return ["", f"{second} succeeded", f"{second} failed"], [
        [f"{first} succeeded", len(paired["both"]), len(paired["only_first"])],
        [f"{first} failed", len(paired["only_second"]), len(paired["neither"])],
    ]


def verdict(paired: dict[str, Any]) -> list[str]:
    """What the paired comparison says."""
    first, second = paired["first"], paired["second"]
    better = first if len(paired["only_first"]) > len(paired["only_second"]) else second
    p_value = paired["p_value"]
    said = f"Exact McNemar test on {paired['n']} seeds: p = {p_value:.3g}. "
    if p_value < ALPHA:
        said += f"{better['label']} is better."
    else:
        said += "The difference may be chance; more seeds would tell."
    return [
        said,
        f"Only {first['label']} succeeded on seeds: {_listed(paired['only_first'])}.",
        f"Only {second['label']} succeeded on seeds: {_listed(paired['only_second'])}.",
    ]


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"


def endings(record: dict[str, Any]) -> str:
    """How the trials of a record ended, most frequent first."""
    return ", ".join(f"{count} {text}" for text, count in record["endings"].items())


def as_text(records: Sequence[dict[str, Any]]) -> str:
    """The evaluation for a terminal."""
    tried = [record for record in records if record["kind"] == SIM]
    lines = [text_table(*rates_table(tried)), ""]
    lines += [f"{record['label']}: {endings(record)}" for record in tried]
    for paired in (record for record in records if record["kind"] == PAIRED):
        lines += ["", text_table(*pair_table(paired)), "", *verdict(paired)]
    return "\n".join(lines)


def write_page(records: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Write the page; returns it.

    Args:
        records: Of one or two checkpoints, and of the pair.
        folder: Where to; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tried = [record for record in records if record["kind"] == SIM]
    settings = tried[0]["settings"]
    draw_rates(tried, folder / "success.png")
    parts = [
        paragraph(
            f"Scene {settings['scene']}, {len(tried[0]['seeds'])} seeds, inference {settings['latency_ms']:g} ms of simulated "
            f"time, strategy {settings['strategy']}, at most {settings['max_duration']:g} s per trial."
        ),
        html_table(*rates_table(tried)),
        picture(folder / "success.png", "success with 95 % Wilson intervals"),
    ]
    for paired in (record for record in records if record["kind"] == PAIRED):
        parts += ["<h2>On the same seeds</h2>", html_table(*pair_table(paired)), *map(paragraph, verdict(paired))]
    for record in tried:
        parts += [
            f"<h2>{record['label']}</h2>",
            paragraph(f"{endings(record)}."),
            html_table(TRIAL_HEAD, _trials(record)),
        ]
    facts = [[key, record[key]] for record in tried for key in ("checkpoint", "weights_sha256", "created")]
    parts += ["<h2>How it was made</h2>", html_table(["", ""], [*facts, ["command", tried[0]["command"]]])]
    report = folder / REPORT_FILE
    report.write_text(page(f"In the simulated cell: {records[-1]['name']}", parts), encoding="utf-8")
    return report


def _trials(record: dict[str, Any]) -> Rows:
    asked = set(record["seeds"])
    return [
        [
            trial["seed"],
            bool(trial["success"]),
            round(trial["duration_s"], 2),
            round(1e3 * trial["min_distance"], 1),
            bool(trial["grasped"]),
            ending(trial) + (f": {trial['error_msg']}" if trial["error_code"] else ""),
        ]
        for trial in record["trials"]
        if trial["seed"] in asked
    ]
