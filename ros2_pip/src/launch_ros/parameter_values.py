# SPDX-License-Identifier: Apache-2.0

"""Values of node parameters: what may be written in a launch file, and what a node is given."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from launch.substitution import Substitution
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_substitutions

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

#: A value as a node gets it.
Value = bool | int | float | str | list[bool] | list[int] | list[float] | list[str]

_SCALARS = (bool, int, float, str)
_HINT = (
    "If the parameter is meant to be a string, try wrapping it in "
    "launch_ros.parameter_descriptions.ParameterValue(value, value_type=str)"
)


class ParameterValue:
    """A value with the type it shall have.

    Args:
        value: number, truth value, text, substitutions, or a sequence of scalars.
        value_type: bool, int, float, str or a list of one of them, e.g. ``List[float]``; None finds the type from the text.
    """

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        if value_type is not None and not _is_supported_type(value_type):
            raise TypeError(f"ParameterValue: value_type {value_type} is not one of bool, int, float, str, List[...]")
        self._value = value
        self._value_type = value_type
        if not _holds_substitution(value) and value_type not in (None, str) and not _has_type(value, value_type):
            raise TypeError(f"value='{value}' is not an instance of {value_type}")

    @property
    def value(self) -> Any:
        """The value, unevaluated."""
        return self._value

    @property
    def value_type(self) -> Any:
        """The type it shall have, None for any."""
        return self._value_type

    def evaluate(self, context: "LaunchContext") -> Any:
        """Return the value for a node.

        Raises:
            ValueError: the text cannot be read as the type.
        """
        if not _holds_substitution(self._value):
            return str(self._value) if self._value_type is str else check_value("value", self._value)
        text = perform_substitutions(context, normalize_to_list_of_substitutions(self._value))
        return _convert(text, self._value_type)


def flatten(parameters: Mapping[Any, Any], context: "LaunchContext") -> dict[str, Value]:
    """Return evaluated parameters, names of nested dictionaries joined with dots.

    Raises:
        TypeError: a value that no parameter can have; the message names it.
    """
    flat: dict[str, Value] = {}
    for key, value in parameters.items():
        name = perform_substitutions(context, normalize_to_list_of_substitutions(key))
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": item for inner, item in flatten(value, context).items()})
        else:
            flat[name] = evaluate(name, value, context)
    return flat


def evaluate(name: str, value: Any, context: "LaunchContext") -> Value:
    """Return the value of one parameter: text stays text, substitutions are read as YAML.

    Raises:
        TypeError: a value that no parameter can have; the message names it.
    """
    if isinstance(value, ParameterValue):
        return check_value(name, value.evaluate(context))
    if isinstance(value, Sequence) and not isinstance(value, str) and any(_is_text_list(item) for item in value):
        items = [
            _from_yaml(name, perform_substitutions(context, normalize_to_list_of_substitutions(item))) for item in value
        ]
        return check_value(name, items)
    if _holds_substitution(value):
        return _from_yaml(name, perform_substitutions(context, normalize_to_list_of_substitutions(value)))
    return check_value(name, value)


def check_value(name: str, value: Any, *, from_text: bool = False) -> Value:
    """Return a value that a parameter can have; sequences become lists.

    Integers among floats become floats, unless the list was read from text.

    Raises:
        TypeError: another value; the message names the parameter.
    """
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        items = list(value)
        kinds = {type(item) for item in items}
        if kinds == {int, float} and not from_text:
            return [float(item) for item in items]
        if len(kinds) == 1 and kinds <= set(_SCALARS):
            return items
        raise TypeError(
            "Expected a non-empty sequence, with items of uniform type. Allowed sequence item types are "
            f'bool, int, float, str. Got inconsistent input for "{name}": {value!r}'
        )
    raise TypeError(
        "Allowed value types are bool, int, float, str, Sequence[bool], Sequence[int], Sequence[float], Sequence[str]. "
        f'Got {type(value)} for "{name}": {value!r}. {_HINT}'
    )


def _from_yaml(name: str, text: str) -> Value:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TypeError(f"Unable to parse the value of parameter {name} as yaml: {text!r}. {_HINT}") from error
    return check_value(name, "" if value is None and not text else value, from_text=True)


def _convert(text: str, value_type: Any) -> Any:
    if value_type is str:
        return text
    if value_type in (int, float):
        return value_type(text)
    try:
        value = "" if not text else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"Failed to convert '{text}' using yaml rules: {error}. {_HINT}") from error
    if value_type is bool and type(value) is int and value in (0, 1):
        return bool(value)
    allowed = [value_type] if value_type is not None else [*_SCALARS, *(list[scalar] for scalar in _SCALARS)]  # type: ignore[valid-type]
    if not any(_has_type(value, kind) for kind in allowed):
        raise ValueError(
            f"Cannot convert '{text}' to {value_type or 'a parameter value'}: it is {value!r} of {type(value)}"
        )
    return value


def _is_supported_type(value_type: Any) -> bool:
    item_types = getattr(value_type, "__args__", (value_type,))
    return len(item_types) == 1 and item_types[0] in _SCALARS


def _has_type(value: Any, value_type: Any) -> bool:
    item_types = getattr(value_type, "__args__", None)
    if item_types is None:
        return type(value) is value_type
    return isinstance(value, list | tuple) and all(type(item) is item_types[0] for item in value)


def _holds_substitution(value: Any) -> bool:
    if isinstance(value, Substitution):
        return True
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Path | Mapping)
    return is_list and any(_holds_substitution(item) for item in value)


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and _holds_substitution(value)
