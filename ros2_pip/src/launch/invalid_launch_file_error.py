# SPDX-License-Identifier: Apache-2.0

"""Error of a launch file that cannot be read."""

from collections.abc import Sequence
from pathlib import Path


class InvalidLaunchFileError(Exception):
    """A launch file cannot be loaded.

    Args:
        path: the file.
        likely_errors: what went wrong in it.
    """

    def __init__(self, path: str = "", *, likely_errors: Sequence[BaseException] = ()) -> None:
        self.path = path
        self.likely_errors = list(likely_errors)
        reasons = "; ".join(f"{type(error).__name__}: {error}" for error in likely_errors)
        if not reasons:
            reasons = f"the extension '{Path(path).suffix}' is not supported here, only Python launch files are"
        super().__init__(f"Cannot load launch file {path}: {reasons}")
