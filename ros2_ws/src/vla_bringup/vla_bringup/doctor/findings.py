# SPDX-License-Identifier: Apache-2.0

"""Findings of the doctor: one line each, green, yellow or red, with the remedy on the same line."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from vla_core.errors import VlaError

GREEN, YELLOW, RED = "green", "yellow", "red"
LEVELS = (GREEN, YELLOW, RED)
EXIT_RED = 1
EXIT_USAGE = 2
SCHEMA = 1
_COLOURS = {GREEN: "\033[32m", YELLOW: "\033[33m", RED: "\033[31m"}
_RESET = "\033[0m"


class DoctorError(VlaError):
    """The doctor cannot do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``green``: as it should be; ``yellow``: works, but may disappoint; ``red``: does not work.
        what: What was found, with numbers.
        remedy: What to do; empty for green.
        where: What it is about: a topic, a key of the profile, a part of the machine.
    """

    level: str
    what: str
    remedy: str = ""
    where: str = ""

    @property
    def line(self) -> str:
        """The finding as one line of text."""
        where = f"{self.where}: " if self.where else ""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.level.upper():6} {where}{self.what}{remedy}".replace("\n", " ")


def green(where: str, what: str) -> Finding:
    """As it should be."""
    return Finding(GREEN, what, "", where)


def yellow(where: str, what: str, remedy: str) -> Finding:
    """Works, but may disappoint."""
    return Finding(YELLOW, what, remedy, where)


def red(where: str, what: str, remedy: str) -> Finding:
    """Does not work."""
    return Finding(RED, what, remedy, where)


@dataclass(frozen=True, slots=True)
class Group:
    """Findings about one subject."""

    title: str
    findings: tuple[Finding, ...]


def worst(findings: Iterable[Finding]) -> str:
    """Return the worst level; green where there is no finding."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=GREEN)


def exit_code(groups: Sequence[Group]) -> int:
    """Return 1 if anything is red, else 0."""
    return EXIT_RED if any(worst(group.findings) == RED for group in groups) else 0


def summary(groups: Sequence[Group]) -> str:
    """Return how many findings there are of each level, in one line."""
    counts = Counter(finding.level for group in groups for finding in group.findings)
    verdict = {0: "nothing stands in the way", EXIT_RED: "repair what is red first"}[exit_code(groups)]
    return f"{', '.join(f'{counts[level]} {level}' for level in LEVELS)}: {verdict}"


def show(groups: Sequence[Group], out: TextIO) -> None:
    """Print the findings by group; in colour on a terminal, unless the environment has NO_COLOR (no-color.org)."""
    colour = out.isatty() and not os.environ.get("NO_COLOR")
    for group in groups:
        print(group.title, file=out)
        for finding in group.findings:
            line = finding.line
            if colour:
                line = f"{_COLOURS[finding.level]}{line[:6]}{_RESET}{line[6:]}"
            print(f"  {line}", file=out)
    print(summary(groups), file=out, flush=True)


def write_json(path: Path, groups: Sequence[Group], about: dict[str, Any]) -> None:
    """Write the findings for a bug report.

    Args:
        path: File to write.
        groups: The findings.
        about: What else belongs to the report, such as the command; no secrets.

    Raises:
        DoctorError: the file cannot be written.
    """
    content = {
        "schema": SCHEMA,
        **about,
        "exit_code": exit_code(groups),
        "summary": summary(groups),
        "groups": [
            {"title": group.title, "findings": [asdict(finding) for finding in group.findings]} for group in groups
        ],
    }
    try:
        path.expanduser().write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DoctorError(
            f"--json {path}: cannot be written: {error.strerror}; name a file in a folder of yours"
        ) from error


def conclude(groups: Sequence[Group], json_file: str | None, about: dict[str, Any], out: TextIO | None = None) -> int:
    """Print the findings, write them where asked, and return the exit code.

    Raises:
        DoctorError: the file cannot be written.
    """
    show(groups, out or sys.stdout)
    if json_file:
        write_json(Path(json_file), groups, about)
    return exit_code(groups)
