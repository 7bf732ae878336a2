# SPDX-License-Identifier: Apache-2.0

"""Marks of launch tests: which classes run after the shutdown, and with which parameters the launch is repeated."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)
_Function = TypeVar("_Function", bound=Callable[..., Any])

_POST_SHUTDOWN = "__post_shutdown_test__"
_PARAMETERS = "__parametrized_arguments__"


def post_shutdown_test() -> Callable[[_Class], _Class]:
    """Mark a test class that runs after all processes have ended."""

    def mark(test_class: _Class) -> _Class:
        setattr(test_class, _POST_SHUTDOWN, True)
        return test_class

    return mark


def is_post_shutdown_test(test_class: type) -> bool:
    """Return whether the class is marked so."""
    return bool(getattr(test_class, _POST_SHUTDOWN, False))


def parametrize(argnames: str | Sequence[str], argvalues: Iterable[Any]) -> Callable[[_Function], _Function]:
    """Repeat the launch and its tests for each of the values.

    Args:
        argnames: names of arguments of ``generate_test_description``, separated by commas if text.
        argvalues: one value each, or one tuple of values each if there are several names.

    Raises:
        ValueError: a tuple has another length than there are names.
    """
    names = [name.strip() for name in argnames.split(",")] if isinstance(argnames, str) else list(argnames)
    runs: list[dict[str, Any]] = []
    for value in argvalues:
        values = (value,) if len(names) == 1 else tuple(value)
        if len(values) != len(names):
            raise ValueError(f"parametrize: {len(names)} names {names} but {len(values)} values {values!r}")
        runs.append(dict(zip(names, values, strict=True)))

    def mark(function: _Function) -> _Function:
        setattr(function, _PARAMETERS, runs)
        return function

    return mark


def parameters_of(function: Callable[..., Any]) -> list[dict[str, Any]]:
    """Return the arguments of each run, one empty dictionary if there are no parameters."""
    return list(getattr(function, _PARAMETERS, [{}]))
