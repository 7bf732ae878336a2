# SPDX-License-Identifier: Apache-2.0

"""Tables of numbers, as text and as HTML; pages that hold their pictures."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STYLE = (
    "body{font-family:sans-serif;margin:2em;max-width:62em}img{max-width:100%}table{border-collapse:collapse;margin:.6em 0}"
    "td,th{padding:.2em .8em;text-align:right}td:first-child,th:first-child{text-align:left}"
    "tr:nth-child(even){background:#f2f2f2}th{border-bottom:1px solid #888}p.note{color:#555}"
)
Rows = Sequence[Sequence[Any]]


def cell(value: Any) -> str:
    """A value as it is shown: four digits, a dash for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(share: float | None, digits: int = 0) -> str:
    """A share in percent."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def interval(record: dict[str, Any]) -> str:
    """The 95 % interval of a success rate, from a mapping with `low` and `high`."""
    return f"{100 * record['low']:.0f} to {100 * record['high']:.0f} %"


def text_table(head: Sequence[str], rows: Rows) -> str:
    """Columns aligned, the first to the left and the others to the right."""
    lines = [list(head), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip


def markdown_table(head: Sequence[str], rows: Rows) -> str:
    """A Markdown table; bars within cells are escaped."""
    lines = [list(head), ["---"] * len(head), *([cell(value).replace("|", "\\|") for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def html_table(head: Sequence[str], rows: Rows) -> str:
    """An HTML table."""
    top = "<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in head) + "</tr>"
    body = ("<tr>" + "".join(f"<td>{html.escape(cell(value))}</td>" for value in row) + "</tr>" for row in rows)
    return "<table>" + "\n".join([top, *body]) + "</table>"


def paragraph(text: str, *, note: bool = False) -> str:
    """A paragraph of text."""
    return f"<p{' class=note' if note else ''}>{html.escape(text)}</p>"


def picture(path: Path, text: str) -> str:
    """A picture inside the page itself."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{html.escape(text)}" src="data:image/png;base64,{data}"></p>'


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page that needs no other file."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return "\n".join([head, f"<h1>{html.escape(title)}</h1>", *parts, "</html>", ""])
