# SPDX-License-Identifier: Apache-2.0

"""Generated lines with the file that they belong to, printed or written into a checkout."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_core.errors import VlaError

BEGIN, END = "# vla: begin of generated lines", "# vla: end of generated lines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Some lines and where they go.

    Attributes:
        path: File below the root of the training program's checkout; empty for commands, which go to a shell.
        text: The lines; valid Python if they go to a file.
        new_file: The file is made of these lines alone; else they are appended to it.
    """

    path: str
    text: str
    new_file: bool = False

    def heading(self) -> str:
        """Return the comment that says where the lines go."""
        if not self.path:
            return "# === run"
        return f"# === {'new file' if self.new_file else 'append to'} {self.path}"


def printed(sections: Sequence[Section]) -> str:
    """Return the sections as one text."""
    return "\n".join(f"{section.heading()}\n{section.text}" for section in sections)


def write_into(checkout: Path, sections: Sequence[Section]) -> list[Path]:
    """Write the sections that go to files into a checkout; lines of an earlier call are replaced.

    Nothing is changed unless every file can be.

    Args:
        checkout: Root folder of the training program.
        sections: From `openvla` or `openpi`.

    Returns:
        The files written.

    Raises:
        VlaError: A file is missing, is somebody else's, or its earlier lines have no end.
    """
    changes = [(checkout / section.path, _changed(checkout, section)) for section in sections if section.path]
    for path, text in changes:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = path.with_name(f".{path.name}.part")
        work.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, work)
        work.replace(path)
    return [path for path, _ in changes]


def _changed(checkout: Path, section: Section) -> str:
    """Return what the file of a section holds afterwards."""
    path = checkout / section.path
    block = f"{BEGIN}\n{section.text}{END}\n"
    if not path.exists():
        if section.new_file and path.parent.is_dir():
            return block
        raise VlaError(f"{path}: is not there; give the root folder of the training program's checkout")
    before = path.read_text(encoding="utf-8")
    if BEGIN not in before:
        if section.new_file:
            raise VlaError(f"{path}: exists and was not made by this command; move it away")
        return f"{before.rstrip()}\n\n\n{block}"
    start = before.index(BEGIN)
    stop = before.find(END, start)
    if stop < 0:
        raise VlaError(f"{path}: line '{BEGIN}' has no '{END}' after it; remove those lines by hand")
    return before[:start] + block + before[stop + len(END) :].lstrip("\n")
