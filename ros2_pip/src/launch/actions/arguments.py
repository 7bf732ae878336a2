# SPDX-License-Identifier: Apache-2.0

"""Arguments of actions that may be plain values or substitutions."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from launch.substitution import Substitution
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_boolean, perform_substitutions

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


def as_text(value: Any) -> Any:
    """Return numbers and truth values as text, anything else as it is."""
    return str(value) if isinstance(value, bool | int | float) else value


def boolean_or_substitution(what: str, value: Any) -> list[Substitution]:
    """Return a truth value or the substitutions that give one.

    Raises:
        TypeError: it is plain text, which the original refuses as well; ``what`` names the argument.
    """
    if isinstance(value, str):
        raise TypeError(f"{what} must be a bool or a substitution, got the text {value!r}")
    return normalize_to_list_of_substitutions(as_text(value))


def name_value_pairs(what: str, items: Iterable[Any] | None) -> list[tuple[list[Substitution], list[Substitution]]]:
    """Return pairs of substitutions.

    Raises:
        TypeError: an item is no pair; ``what`` names the argument.
    """
    made = []
    for item in items or ():
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TypeError(f"{what} must hold pairs, as in [('a', 'b')] or {{'a': 'b'}}.items(); got {item!r}")
        made.append((normalize_to_list_of_substitutions(item[0]), normalize_to_list_of_substitutions(item[1])))
    return made


def optional(value: Any) -> list[Substitution] | None:
    """Return the substitutions, None for None."""
    return None if value is None else normalize_to_list_of_substitutions(value)


def text(context: "LaunchContext", subs: list[Substitution] | None) -> str | None:
    """Return the value of the substitutions, None for None."""
    return None if subs is None else perform_substitutions(context, subs)


def boolean(context: "LaunchContext", subs: list[Substitution], what: str) -> bool:
    """Return the truth value.

    Raises:
        ValueError: the text is none; ``what`` names the argument.
    """
    value = perform_boolean(context, subs)
    if value is None:
        raise ValueError(f"{what} expected one of [true, 1, false, 0] but got '{perform_substitutions(context, subs)}'")
    return value


def pairs(mapping: Mapping[Any, Any] | None) -> list[tuple[list[Substitution], list[Substitution]]] | None:
    """Return keys and values as substitutions, None for None."""
    if mapping is None:
        return None
    return [
        (normalize_to_list_of_substitutions(key), normalize_to_list_of_substitutions(value))
        for key, value in mapping.items()
    ]


def perform_pairs(
    context: "LaunchContext", pairs: list[tuple[list[Substitution], list[Substitution]]]
) -> dict[str, str]:
    """Return the values of keys and values."""
    return {perform_substitutions(context, key): perform_substitutions(context, value) for key, value in pairs}
