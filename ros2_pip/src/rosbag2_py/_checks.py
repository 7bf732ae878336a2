# SPDX-License-Identifier: Apache-2.0

"""What reader and writer refuse alike, by name."""

from __future__ import annotations

from rosbag2_py._storage import ConverterOptions

READABLE = ("", "mcap", "sqlite3")


def check_readable(storage_id: str, where: str = "storage_id") -> None:
    """Accept the storages that can be read, and the empty default.

    Raises:
        RuntimeError: another storage.
    """
    if storage_id not in READABLE:
        raise RuntimeError(f"{where}: storage '{storage_id}' is not available here; 'mcap' and 'sqlite3' are")


def check_storage_id(storage_id: str, where: str = "storage_id") -> None:
    """Accept `mcap` and the empty default, as a writer does.

    Raises:
        RuntimeError: another storage; the text says how to get to mcap.
    """
    if storage_id in ("", "mcap"):
        return
    remedy = "use 'mcap'; sqlite3 is read, but not written" if storage_id == "sqlite3" else "use 'mcap'"
    raise RuntimeError(f"{where}: storage '{storage_id}' is not available here; {remedy}")


def check_serialization(options: ConverterOptions) -> None:
    """Accept `cdr` and the empty default on both sides.

    Raises:
        RuntimeError: another format.
    """
    for name in ("input_serialization_format", "output_serialization_format"):
        value = getattr(options, name)
        if value not in ("", "cdr"):
            raise RuntimeError(f"{name}: '{value}' is not available here; leave it empty or use 'cdr'")
