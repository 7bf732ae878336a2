# SPDX-License-Identifier: Apache-2.0

"""What reader and writer refuse alike, by name."""

from __future__ import annotations

from rosbag2_py._storage import ConverterOptions


def check_storage_id(storage_id: str, where: str = "storage_id") -> None:
    """Accept `mcap` and the empty default.

    Raises:
        RuntimeError: another storage; the text says how to get to mcap.
    """
    if storage_id in ("", "mcap"):
        return
    remedy = "use 'mcap'"
    if storage_id == "sqlite3":
        remedy = (
            "use 'mcap'; an existing bag is turned into one with 'ros2 bag convert' where the real ROS 2 is installed, "
            "or with 'rosbags-convert' from PyPI"
        )
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
