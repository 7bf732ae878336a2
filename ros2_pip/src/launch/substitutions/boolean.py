# SPDX-License-Identifier: Apache-2.0

"""Substitutions for truth values; their value is ``true`` or ``false``."""

import math
from typing import TYPE_CHECKING, Any

from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_boolean,
    perform_substitutions,
)

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


def _normalize(value: Any) -> list[Substitution]:
    return normalize_to_list_of_substitutions(str(value) if isinstance(value, bool | int | float) else value)


def _text(value: bool) -> str:
    return "true" if value else "false"


class _Several(Substitution):
    """Base of substitutions of several values."""

    def __init__(self, *values: Any) -> None:
        self._values = [_normalize(value) for value in values]

    def describe(self) -> str:
        """Return a readable form."""
        return f"{type(self).__name__}({', '.join(describe_substitutions(value) for value in self._values)})"

    def _booleans(self, context: "LaunchContext") -> list[bool]:
        return [self._boolean(context, value) for value in self._values]

    def _boolean(self, context: "LaunchContext", value: list[Substitution]) -> bool:
        truth = perform_boolean(context, value)
        if truth is None:
            got = perform_substitutions(context, value)
            raise SubstitutionFailure(f"{self.describe()}: expected one of [true, 1, false, 0] but got '{got}'")
        return truth


class NotSubstitution(_Several):
    """Truth value, inverted."""

    def __init__(self, value: SomeSubstitutionsType | bool) -> None:
        super().__init__(value)

    def perform(self, context: "LaunchContext") -> str:
        """Return the value."""
        return _text(not self._booleans(context)[0])


class AllSubstitution(_Several):
    """Whether all of the values are true."""

    def perform(self, context: "LaunchContext") -> str:
        """Return the value."""
        return _text(all(self._booleans(context)))


class AnySubstitution(_Several):
    """Whether one of the values is true."""

    def perform(self, context: "LaunchContext") -> str:
        """Return the value."""
        return _text(any(self._booleans(context)))


class AndSubstitution(AllSubstitution):
    """Whether both values are true."""

    def __init__(self, left: SomeSubstitutionsType | bool, right: SomeSubstitutionsType | bool) -> None:
        super().__init__(left, right)


class OrSubstitution(AnySubstitution):
    """Whether one of two values is true."""

    def __init__(self, left: SomeSubstitutionsType | bool, right: SomeSubstitutionsType | bool) -> None:
        super().__init__(left, right)


class EqualsSubstitution(_Several):
    """Whether two values are equal: as truth values, as numbers, or as text."""

    def __init__(
        self,
        left: SomeSubstitutionsType | bool | int | float | None,
        right: SomeSubstitutionsType | bool | int | float | None,
    ) -> None:
        super().__init__("" if left is None else left, "" if right is None else right)

    def perform(self, context: "LaunchContext") -> str:
        """Return the value."""
        return _text(self._equal(context))

    def _equal(self, context: "LaunchContext") -> bool:
        left, right = (perform_substitutions(context, value) for value in self._values)
        truths = [perform_boolean(context, value) for value in self._values]
        if None not in truths:
            return truths[0] == truths[1]
        try:
            return math.isclose(float(left), float(right))
        except ValueError:
            return left == right


class NotEqualsSubstitution(EqualsSubstitution):
    """Whether two values differ."""

    def perform(self, context: "LaunchContext") -> str:
        """Return the value."""
        return _text(not self._equal(context))


class IfElseSubstitution(_Several):
    """One of two values, chosen by a truth value."""

    def __init__(
        self,
        condition: SomeSubstitutionsType,
        if_value: SomeSubstitutionsType = "",
        else_value: SomeSubstitutionsType = "",
    ) -> None:
        super().__init__(*(normalize_to_list_of_substitutions(item) for item in (condition, if_value, else_value)))

    def perform(self, context: "LaunchContext") -> str:
        """Return the chosen value."""
        condition, if_value, else_value = self._values
        return perform_substitutions(context, if_value if self._boolean(context, condition) else else_value)
