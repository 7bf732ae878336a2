# SPDX-License-Identifier: Apache-2.0

"""Small conversions between numbers and messages."""

from typing import Any

from builtin_interfaces.msg import Time

_NS = 1_000_000_000


def to_time(t_ns: int) -> Time:
    """A builtin_interfaces/Time."""
    sec, nanosec = divmod(t_ns, _NS)
    return Time(sec=sec, nanosec=nanosec)


def set_stamp(stamp: Any, t_ns: int) -> None:
    """Write `t_ns` into an existing builtin_interfaces/Time or Duration, without making a new one."""
    stamp.sec, stamp.nanosec = divmod(t_ns, _NS)
