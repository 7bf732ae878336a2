# SPDX-License-Identifier: Apache-2.0

"""Read npz episodes array by array and images in pieces, so that an episode of any length fits in memory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError

_DAMAGE = (zipfile.BadZipFile, ValueError, EOFError, KeyError, OSError, zlib.error)
_PIECE_BYTES = 16 << 20


class NpzError(VlaError):
    """An npz episode cannot be read."""


@dataclass(frozen=True, slots=True)
class NpzEpisode:
    """One file.

    Attributes:
        path: The file.
        arrays: Name -> (shape, type) of every array in it.
    """

    path: Path
    arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]

    @classmethod
    def open(cls, path: Path) -> NpzEpisode:
        """Read what a file holds.

        Raises:
            NpzError: It is no npz file, is damaged, or needs pickle.
        """
        arrays = {}
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    with archive.open(name) as stream:
                        arrays[name.removesuffix(".npy")] = _header(stream)[:2]
        except _DAMAGE as error:
            raise NpzError(f"{path}: cannot be read as npz ({error}); copy or convert it again") from error
        objects = [name for name, (_, dtype) in arrays.items() if dtype.hasobject]
        if objects:
            raise NpzError(
                f"{path}: {', '.join(objects)} hold Python objects; loading them would run code. Store numbers"
            )
        return cls(path, arrays)

    def array(self, name: str) -> NDArray[Any]:
        """Return a whole array.

        Raises:
            NpzError: It is absent or damaged.
        """
        pieces = list(self.pieces(name))
        shape, dtype = self.arrays[name]
        return np.concatenate(pieces) if shape else np.asarray(pieces[0], dtype).reshape(())

    def pieces(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield consecutive rows of an array, a few megabytes at a time; a single value as one row.

        Raises:
            NpzError: It is absent or damaged.
        """
        if name not in self.arrays:
            raise NpzError(f"{self.path}: has no array '{name}'; it has {', '.join(self.arrays)}")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as stream:
                yield from _pieces(stream)
        except _DAMAGE as error:
            raise NpzError(f"{self.path}: '{name}' is damaged ({error}); copy or convert it again") from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, dtype, fortran


def _pieces(stream: IO[bytes]) -> Iterator[NDArray[Any]]:
    shape, dtype, fortran = _header(stream)
    row_shape = shape[1:]
    row_bytes = int(np.prod(row_shape, dtype=np.int64)) * dtype.itemsize
    total = shape[0] if shape else 1
    if fortran and len(shape) > 1:
        data = stream.read(row_bytes * total)
        yield np.frombuffer(data, dtype).reshape(shape[::-1]).T
        return
    step = max(1, _PIECE_BYTES // max(row_bytes, 1))
    if total == 0:
        yield np.zeros(shape, dtype)
    for start in range(0, total, step):
        rows = min(step, total - start)
        data = stream.read(rows * row_bytes)
        if len(data) != rows * row_bytes:
            raise ValueError(f"the file ends at row {start + len(data) // max(row_bytes, 1)} of {total}")
        yield np.frombuffer(data, dtype).reshape(rows, *row_shape)
    stream.read()  # the end proves the checksum


def find_npz(root: Path) -> list[Path]:
    """Return the episodes of a dataset, in order.

    Raises:
        NpzError: There is none.
    """
    found = sorted((root / "episodes").glob("*.npz"))
    if not found:
        raise NpzError(f"{root}: no episodes/*.npz in it; give the folder that holds 'episodes' with --data-root")
    return found
