# SPDX-License-Identifier: Apache-2.0

"""Turning arguments into lists of substitutions, and those into text."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from launch.substitution import Substitution, TextSubstitution

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

_TRUE = ("true", "1")
_FALSE = ("false", "0")


def normalize_to_list_of_substitutions(subs: Any) -> list[Substitution]:
    """Return the pieces as substitutions, text wrapped.

    Raises:
        TypeError: a piece is neither text nor substitution; paths have to be given as text.
    """
    if isinstance(subs, str | Substitution) or not isinstance(subs, Iterable):
        subs = [subs]
    pieces: list[Substitution] = []
    for piece in subs:
        if not isinstance(piece, str | Substitution):
            raise TypeError(
                f"expected text, a substitution or a flat iterable of them, got {type(piece).__name__}: {piece!r}"
            )
        pieces.append(TextSubstitution(text=piece) if isinstance(piece, str) else piece)
    return pieces


def perform_substitutions(context: "LaunchContext", subs: Iterable[Substitution]) -> str:
    """Return the joined values of the substitutions."""
    return "".join(context.perform_substitution(sub) for sub in subs)


def perform_boolean(context: "LaunchContext", subs: Sequence[Substitution]) -> bool | None:
    """Return the truth value written in the substitutions, None if it is not one of true, 1, false, 0."""
    text = perform_substitutions(context, subs).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def describe_substitutions(subs: Iterable[Substitution]) -> str:
    """Return the readable form of a list of substitutions."""
    return " + ".join(sub.describe() for sub in subs)
