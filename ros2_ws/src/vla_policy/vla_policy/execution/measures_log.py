# SPDX-License-Identifier: Apache-2.0

"""The log of runs: JSON lines, one object per control tick and per chunk, read by `ros2 run vla_policy report`.

Kinds of lines, told apart by `kind`; times ending in `_ns` are on the node clock:

* `run`: begin of a run: `joints` and `grippers` (names `part.joint`), `fps`, `rate_hz`, `clock`, `strategy`, `policy`, `task`, `t_ns`;
* `tick`: `t` [ns], `w` wall clock [s] (null in lockstep), `c` number of the chunk in force (0: none yet), `a` age of its
  observation [ms] (null before the first chunk), `h` 1 where the arm waits for a chunk, `q` joints in force [rad], `g` targets of
  the grippers [rad or m];
* `chunk`: a chunk was put into force: `c`, `t`, `observed_ns`, `joints` measured at the observation by part, `skipped`
  steps, `inference_ms`, `preprocess_ms`, `model_ms`, `postprocess_ms` (null where the policy does not tell),
  `overhead_ms` (null in lockstep), `age_ms` when its goals were sent;
* `refused`: the safety filter refused a chunk: `t`, `why` (texts);
* `end`: end of the run: `termination`, `message`, and all measures of the node itself.
"""

import json
import math
from pathlib import Path
from typing import Any, TextIO

BUFFER_BYTES = 1 << 18


class RunLog:
    """Appends lines to one file; what is left in the buffer is written at the end of each run."""

    def __init__(self, path: Path) -> None:
        """Open the file, making its folder.

        Raises:
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=BUFFER_BYTES)

    def write(self, kind: str, **values: Any) -> None:
        """Add one line; numbers that are not finite become null."""
        self._file.write(json.dumps({"kind": kind, **values}, default=float, allow_nan=False) + "\n")

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def number(value: float | None, digits: int = 3) -> float | None:
    """A number for a log line: rounded, None where there is none."""
    return None if value is None or not math.isfinite(value) else round(value, digits)
