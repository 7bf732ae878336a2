# SPDX-License-Identifier: Apache-2.0

"""Summaries of frames and streams: plain values for JSON, and text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vla_core.frames import FrameBuilder

_HEADERS = (
    "stream",
    "messages",
    "hit",
    "empty",
    "stale",
    "ignored",
    "unstamped",
    "late",
    "age mean",
    "p95",
    "max [ms]",
)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a text table: first column to the left, the others to the right, floats with four significant digits."""
    lines = [list(headers), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def stream_summary(builder: FrameBuilder) -> dict[str, dict[str, float]]:
    """Return, by stream, all counts and ages of a frame builder, ready for JSON."""
    skipped = builder.skipped()
    return {key: {**asdict(stats), **skipped[key]} for key, stats in builder.stats().items()}


def format_streams(summary: Mapping[str, Mapping[str, float]]) -> str:
    """Return the result of `stream_summary` as a table; ages in milliseconds."""
    rows = []
    for key, counts in summary.items():
        ages = [1e3 * float(counts[name]) for name in ("age_mean_s", "age_p95_s", "age_max_s")]
        names = ("pushed", "hit", "empty", "stale", "ignored", "unstamped", "late")
        rows.append((key, *(int(counts[name]) for name in names), *ages))
    return table(_HEADERS, rows)


def format_dropped(frames: int, dropped: Mapping[str, int]) -> str:
    """Return one line on how many frames were built and why others were not.

    Args:
        frames: Frames that were built.
        dropped: Reason to count, as in `vla_core.frames.FrameBuilder.dropped`.
    """
    lost = sum(dropped.values())
    if not lost:
        return f"{frames} frames, none dropped"
    reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(dropped.items(), key=lambda item: -item[1]))
    return f"{frames} frames, {lost} dropped of {frames + lost} ({100.0 * lost / (frames + lost):.1f} %): {reasons}"
