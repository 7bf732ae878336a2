# SPDX-License-Identifier: Apache-2.0

"""Messages as ordered dictionaries, YAML and comma separated values."""

import array
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import yaml
from rosidl_parser.definition import (
    AbstractNestedType,
    AbstractSequence,
    AbstractString,
    AbstractWString,
    Array,
    BasicType,
    NamespacedType,
)

_ELLIPSIS = "..."
_NO_WRAP = 2**31 - 1  # columns: the largest that both YAML writers take
_BASE_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the C one is optional in PyYAML


class _Dumper(_BASE_DUMPER):
    """YAML writer that keeps the order of an ordered dictionary."""


def _represent_fields(dumper: Any, fields: "OrderedDict[str, Any]") -> Any:
    # one field a line also in flow style, which then concerns arrays only
    return dumper.represent_mapping("tag:yaml.org,2002:map", fields.items(), flow_style=False)


_Dumper.add_representer(OrderedDict, _represent_fields)


def message_to_yaml(
    msg: Any,
    *,
    flow_style: bool = False,
    truncate_length: int | None = None,
    no_arr: bool = False,
    no_str: bool = False,
) -> str:
    """Return the message as YAML, in the order of its fields, ending in a line feed.

    Args:
        msg: a message.
        flow_style: each array in one line, in brackets.
        truncate_length: longer arrays and strings are cut there and end in ``...``; None keeps all.
        no_arr: arrays are replaced by their type and length.
        no_str: strings are replaced by their length.
    """
    values = message_to_ordereddict(msg, truncate_length=truncate_length, no_arr=no_arr, no_str=no_str)
    text: str = yaml.dump(
        values, Dumper=_Dumper, default_flow_style=flow_style, allow_unicode=True, sort_keys=False, width=_NO_WRAP
    )
    return text


def message_to_ordereddict(
    msg: Any, *, truncate_length: int | None = None, no_arr: bool = False, no_str: bool = False
) -> "OrderedDict[str, Any]":
    """Return ``{field: value}`` with nested messages as dictionaries and arrays as lists; options as for YAML."""
    converter = _Converter(truncate_length, no_arr, no_str)
    return converter.message(msg)


def message_to_csv(msg: Any, *, truncate_length: int | None = None, no_arr: bool = False, no_str: bool = False) -> str:
    """Return all leaf values of the message in one line, separated by commas; options as for YAML."""
    values = message_to_ordereddict(msg, truncate_length=truncate_length, no_arr=no_arr, no_str=no_str)
    return ",".join(str(leaf) for leaf in _leaves(values))


def type_name(field_type: Any) -> str:
    """Return the short text of a type: ``double``, ``string``, ``std_msgs/msg/Header``, ``double[3]``."""
    if isinstance(field_type, BasicType):
        return str(field_type.typename)
    if isinstance(field_type, NamespacedType):
        return "/".join(field_type.namespaced_name())
    if isinstance(field_type, AbstractWString):
        return "wstring"
    if isinstance(field_type, AbstractString):
        return "string"
    if isinstance(field_type, Array):
        return f"{type_name(field_type.value_type)}[{field_type.size}]"
    return f"sequence<{type_name(field_type.value_type)}>"


class _Converter:
    """Turns message values into plain ones under one set of options."""

    def __init__(self, truncate_length: int | None, no_arr: bool, no_str: bool) -> None:
        self._limit = truncate_length
        self._no_arr = no_arr
        self._no_str = no_str

    def message(self, msg: Any) -> "OrderedDict[str, Any]":
        """Return the fields of a message in their order."""
        names = msg.get_fields_and_field_types()
        return OrderedDict(
            (name, self._value(getattr(msg, name), field_type))
            for name, field_type in zip(names, msg.SLOT_TYPES, strict=True)
        )

    def _value(self, value: Any, field_type: Any) -> Any:
        if isinstance(field_type, AbstractNestedType):
            return self._array(value, field_type)
        if isinstance(value, bytes):
            return self._text("".join(chr(byte) for byte in value))
        if isinstance(value, str):
            return f"<string length: <{len(value)}>>" if self._no_str else self._text(value)
        if isinstance(value, np.generic):
            return value.item()
        if hasattr(value, "get_fields_and_field_types"):
            return self.message(value)
        return value

    def _text(self, value: str) -> str:
        if self._limit is not None and len(value) > self._limit:
            return value[: self._limit] + _ELLIPSIS
        return value

    def _array(self, value: Any, field_type: AbstractNestedType) -> Any:
        element_type = field_type.value_type
        if self._no_arr:
            if isinstance(field_type, AbstractSequence):
                return f"<sequence type: {type_name(element_type)}, length: {len(value)}>"
            return f"<array type: {type_name(element_type)}[{field_type.size}]>"
        cut = self._limit is not None and len(value) > self._limit
        shown = value[: self._limit] if cut else value
        if isinstance(shown, np.ndarray | array.array):
            items = shown.tolist()
        else:
            items = [self._value(item, element_type) for item in shown]
        return [*items, _ELLIPSIS] if cut else items


def _leaves(value: Any) -> Iterator[Any]:
    """Give the values below a dictionary or list in order; an empty list is one empty value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value or [""]:
            yield from _leaves(item)
    else:
        yield value
