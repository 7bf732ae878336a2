# SPDX-License-Identifier: Apache-2.0

"""Conditions: IfCondition, UnlessCondition and comparisons of a launch configuration."""

from typing import TYPE_CHECKING, Any

from launch.condition import Condition
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_boolean,
    perform_substitutions,
)

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

__all__ = [
    "IfCondition",
    "InvalidConditionExpressionError",
    "LaunchConfigurationEquals",
    "LaunchConfigurationNotEquals",
    "UnlessCondition",
    "evaluate_condition_expression",
]


class InvalidConditionExpressionError(Exception):
    """The text of a condition is not a truth value."""


def evaluate_condition_expression(context: "LaunchContext", expression: Any) -> bool:
    """Return the truth value written in the substitutions.

    Raises:
        InvalidConditionExpressionError: it is not one of true, 1, false, 0 (any case).
    """
    subs = normalize_to_list_of_substitutions(expression)
    value = perform_boolean(context, subs)
    if value is None:
        raise InvalidConditionExpressionError(
            "invalid condition expression, expected one of [true, 1, false, 0] but got "
            f"'{perform_substitutions(context, subs)}', expanded from {describe_substitutions(subs)}"
        )
    return value


class IfCondition(Condition):
    """Holds if the text is true or 1."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        self._expression = normalize_to_list_of_substitutions(predicate_expression)
        super().__init__(predicate=self._evaluate)

    def describe(self) -> str:
        """Return a readable form."""
        return f"{type(self).__name__}({describe_substitutions(self._expression)})"

    def _evaluate(self, context: "LaunchContext") -> bool:
        return evaluate_condition_expression(context, self._expression)


class UnlessCondition(IfCondition):
    """Holds if the text is false or 0."""

    def _evaluate(self, context: "LaunchContext") -> bool:
        return not super()._evaluate(context)


class LaunchConfigurationEquals(Condition):
    """Holds if a launch configuration has this value; None asks for one that is not set."""

    def __init__(self, launch_configuration_name: str, expected_value: SomeSubstitutionsType | None) -> None:
        self._name = launch_configuration_name
        self._expected = None if expected_value is None else normalize_to_list_of_substitutions(expected_value)
        super().__init__(predicate=self._evaluate)

    def _evaluate(self, context: "LaunchContext") -> bool:
        expected = None if self._expected is None else perform_substitutions(context, self._expected)
        return bool(context.launch_configurations.get(self._name) == expected)


class LaunchConfigurationNotEquals(LaunchConfigurationEquals):
    """Holds if a launch configuration does not have this value."""

    def _evaluate(self, context: "LaunchContext") -> bool:
        return not super()._evaluate(context)
