# SPDX-License-Identifier: Apache-2.0

"""How long the disk lasts: free space, data rate, and whether an episode fits."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from vla_core.errors import BagError

_NS = 1_000_000_000
_SMOOTHING = 0.3  # weight of the newest second


class DiskBudget:
    """Measures what arrives and compares it with what is free. Time is the node clock in nanoseconds."""

    def __init__(self, output_dir: Path, min_free_bytes: int) -> None:
        """Args: output_dir: need not exist yet. min_free_bytes: free space that recording must never use [B]."""
        self._folder = output_dir
        self._min_free = min_free_bytes
        self._last: tuple[int, int] | None = None
        self._shrinkage = 1.0
        self.bytes_per_s = 0.0

    @property
    def free(self) -> int:
        """Free space where the episodes go [B]."""
        folder = self._folder
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free

    @property
    def seconds_left(self) -> float | None:
        """How long the disk lasts at the present rate [s]; None while the rate is unknown."""
        rate = self.bytes_per_s * self._shrinkage
        return max(0.0, (self.free - self._min_free) / rate) if rate > 0 else None

    def sample(self, received_bytes: int, now_ns: int) -> None:
        """Measure the data rate; call it about once a second.

        Args:
            received_bytes: Payload of all topics since the start of the program.
            now_ns: Node clock.
        """
        if self._last is not None and now_ns > self._last[1] and received_bytes >= self._last[0]:
            rate = (received_bytes - self._last[0]) * _NS / (now_ns - self._last[1])
            weight = _SMOOTHING if self.bytes_per_s else 1.0
            self.bytes_per_s += weight * (rate - self.bytes_per_s)
        self._last = (received_bytes, now_ns)

    def learn(self, payload_bytes: int, folder: Path) -> None:
        """Learn from a closed episode how much compression saves."""
        if payload_bytes <= 0:
            return
        with suppress(FileNotFoundError):  # somebody took the episode away already; the next one tells
            stored = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
            self._shrinkage = min(1.0, stored / payload_bytes)

    def check_start(self, max_duration_s: float) -> None:
        """Refuse an episode that would not fit.

        Args:
            max_duration_s: Its time limit [s]; 0: none, then only the free space that must stay is asked for.

        Raises:
            BagError: Too little is free.
        """
        self.check()
        expected = self.bytes_per_s * self._shrinkage * max_duration_s
        if self.free < self._min_free + expected:
            raise BagError(
                f"{self._folder}: an episode of {max_duration_s:g} s at {self.bytes_per_s * self._shrinkage / 1e6:.1f} "
                f"MB/s needs {expected / 1e9:.1f} GB beside the {self._min_free / 1e9:.1f} GB that stay free "
                f"(min_free_gb), and only {self.free / 1e9:.1f} GB are free: free space, give a shorter max_duration, "
                "record compressed images, or choose another output_dir"
            )

    def check(self) -> None:
        """Refuse to write on where the disk is nearly full.

        Raises:
            BagError: Too little is free.
        """
        if self.free < self._min_free:
            raise BagError(
                f"{self._folder}: only {self.free / 1e9:.1f} GB are free, recording needs {self._min_free / 1e9:.1f} GB "
                "(parameter min_free_gb): free space or choose another output_dir"
            )

    def problem(self) -> str:
        """Return what `check` says, or nothing."""
        try:
            self.check()
        except BagError as error:
            return str(error)
        return ""
