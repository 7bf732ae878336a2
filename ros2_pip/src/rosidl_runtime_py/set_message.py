# SPDX-License-Identifier: Apache-2.0

"""Filling a message from plain Python values, as they come from YAML."""

import array
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from rosidl_parser.definition import AbstractNestedType, NamespacedType

from rosidl_runtime_py.utilities import get_message


def set_message_fields(
    msg: Any, values: dict[str, Any], expand_header_auto: bool = False, expand_time_now: bool = False
) -> list[Callable[[Any], None]]:
    """Set fields of ``msg`` from a dictionary; fields that are not named keep their value.

    Args:
        msg: a message, changed in place.
        values: field name to value; nested messages are dictionaries, arrays are lists.
        expand_header_auto: accept the text ``auto`` for a ``std_msgs/msg/Header``.
        expand_time_now: accept the text ``now`` for a ``builtin_interfaces/msg/Time``.

    Returns:
        For each ``auto`` and ``now`` a function that sets that stamp in ``msg``; the caller calls it with a ``Time``
        message when it sends.

    Raises:
        TypeError: ``values`` is not a dictionary, or a value has the wrong type.
        AttributeError: the message has no such field.
        ValueError: a value does not fit the field.
    """
    if not isinstance(values, dict):
        text = f"Value '{values}' is expected to be a dictionary but is a {type(values).__name__}"
        raise TypeError(text)
    stamps: list[Callable[[Any], None]] = []
    types = dict(zip(msg.get_fields_and_field_types(), msg.SLOT_TYPES, strict=True))
    for name, value in values.items():
        if name not in types:
            text = f"'{type(msg).__name__}' object has no attribute '{name}'; its fields are: {', '.join(types)}"
            raise AttributeError(text)
        field_type = types[name]
        if isinstance(field_type, NamespacedType):
            if expand_time_now and value == "now" and _full_name(field_type) == "builtin_interfaces/msg/Time":
                stamps.append(functools.partial(setattr, msg, name))
            else:
                stamps += _set_nested(getattr(msg, name), field_type, value, expand_header_auto, expand_time_now)
        elif isinstance(field_type, AbstractNestedType) and isinstance(field_type.value_type, NamespacedType):
            elements, element_stamps = _nested_list(field_type, name, value, expand_header_auto, expand_time_now)
            stamps += element_stamps
            setattr(msg, name, elements)
        else:
            setattr(msg, name, _plain(getattr(msg, name), value))
    return stamps


def _full_name(field_type: NamespacedType) -> str:
    return "/".join(field_type.namespaced_name())


def _set_nested(
    field: Any, field_type: NamespacedType, value: Any, header_auto: bool, time_now: bool
) -> list[Callable[[Any], None]]:
    if header_auto and value == "auto" and _full_name(field_type) == "std_msgs/msg/Header":
        return [functools.partial(setattr, field, "stamp")]
    return set_message_fields(field, value, header_auto, time_now)


def _nested_list(
    field_type: AbstractNestedType, name: str, value: Any, header_auto: bool, time_now: bool
) -> tuple[list[Any], list[Callable[[Any], None]]]:
    if not isinstance(value, list | tuple):
        text = f"Value '{value}' of field '{name}' is expected to be a list but is a {type(value).__name__}"
        raise TypeError(text)
    cls = get_message(_full_name(field_type.value_type))
    elements: list[Any] = []
    stamps: list[Callable[[Any], None]] = []
    for item in value:
        element = cls()
        stamps += _set_nested(element, field_type.value_type, item, header_auto, time_now)
        elements.append(element)
    return elements, stamps


def _plain(current: Any, value: Any) -> Any:
    """Convert a YAML value to what the field's setter takes, judged by the value that is there."""
    if isinstance(current, np.ndarray):
        return np.array(value, dtype=current.dtype)
    if isinstance(current, array.array):
        if isinstance(value, bytes | bytearray):
            return array.array(current.typecode, value)
        return array.array(current.typecode, [type(current[0])(v) if current else v for v in value])
    if isinstance(current, bool) or value is None:
        return value
    if isinstance(current, bytes):
        return value if isinstance(value, bytes) else bytes([int(value)])
    if isinstance(current, float) and isinstance(value, int | str) and not isinstance(value, bool):
        return float(value)
    if isinstance(current, str) and not isinstance(value, str | dict | list):
        return str(value)
    return value
