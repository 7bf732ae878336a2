# SPDX-License-Identifier: Apache-2.0

"""A folder that appears complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vla_core.errors import VlaError

PARTIAL_SUFFIX = ".partial"
_REPLACED_SUFFIX = ".replaced"


class OutputError(VlaError):
    """The output folder cannot be used."""


def check_output(output: Path, force: bool) -> None:
    """Refuse an output that exists, unless it may be replaced.

    Raises:
        OutputError: It exists, or is not a folder.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file; give the path of a folder with --output")
    if output.exists() and any(output.iterdir()) and not force:
        raise OutputError(f"{output}: exists already; give another --output, or --overwrite to replace it")


@contextmanager
def staged(output: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield ``<output>.partial``; it becomes ``output`` if the block succeeds and is deleted if it fails.

    A partial folder that a killed run left behind is deleted first.

    Raises:
        OutputError: The output exists and `force` is not set, or cannot be written.
    """
    output = output.absolute()
    check_output(output, force)
    partial = output.with_name(output.name + PARTIAL_SUFFIX)
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    except OSError as error:
        raise OutputError(
            f"{partial}: cannot be written ({error.strerror or error}); choose another --output"
        ) from error
    try:
        yield partial
        _sync(partial)
        _replace(partial, output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _replace(partial: Path, output: Path) -> None:
    if not output.exists():
        partial.rename(output)
        return
    replaced = output.with_name(output.name + _REPLACED_SUFFIX)
    shutil.rmtree(replaced, ignore_errors=True)
    output.rename(replaced)
    partial.rename(output)
    shutil.rmtree(replaced)


def _sync(folder: Path) -> None:
    """Bring every file to the disk, so that a power cut cannot leave a complete-looking folder with empty files."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
