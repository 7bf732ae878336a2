# SPDX-License-Identifier: Apache-2.0

"""A folder that a command makes, which appears complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vla_recorder.convert.staging import OutputError
from vla_recorder.convert.store import sync, sync_folder

_NEW_SUFFIX = ".new"
_OLD_SUFFIX = ".replaced"


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists, unless it may be replaced.

    Raises:
        OutputError: It exists, or is not a folder.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file; give the path of a folder with --output")
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise OutputError(f"{output}: exists already; give another --output, or --overwrite to replace it")


@contextmanager
def staged(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield ``<output>.new``; it becomes ``output`` if the block succeeds and is deleted if it fails.

    What a killed run left behind is deleted first.

    Raises:
        OutputError: The output exists and `overwrite` is not set, or cannot be written.
    """
    output = output.absolute()
    check_output(output, overwrite=overwrite)
    new, old = (output.with_name(output.name + suffix) for suffix in (_NEW_SUFFIX, _OLD_SUFFIX))
    try:
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{new}: cannot be written ({error.strerror or error}); choose another --output") from error
    try:
        yield new
        sync(new)
        if output.exists():
            shutil.rmtree(old, ignore_errors=True)
            output.rename(old)
        new.rename(output)
        sync_folder(output.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
