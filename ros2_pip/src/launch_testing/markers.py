# SPDX-License-Identifier: Apache-2.0

"""Marks for whole descriptions and for single tests."""

import functools
import time
from collections.abc import Callable
from typing import Any

from launch import LaunchDescription

from launch_testing.util import KeepAliveProc


def keep_alive(test_description: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the launch alive although its processes have ended, by one more process."""

    @functools.wraps(test_description)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = test_description(*args, **kwargs)
        description: LaunchDescription = result[0] if isinstance(result, tuple) else result
        description.add_action(KeepAliveProc())
        return result

    return wrapper


def retry_on_failure(*, times: int, delay: float | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Repeat a test up to ``times`` times with ``delay`` seconds between, until it does not fail."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            for _ in range(times - 1):
                try:
                    return function(*args, **kwargs)
                except AssertionError:
                    time.sleep(delay or 0.0)
            return function(*args, **kwargs)

        return wrapper

    return mark
