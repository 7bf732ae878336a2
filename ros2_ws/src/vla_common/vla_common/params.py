# SPDX-License-Identifier: Apache-2.0

"""Node parameters as a frozen dataclass.

The fields' metadata hold what ROS wants to know (description, range, read-only); `declare` turns them into
`declare_parameter` calls and returns the values::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class RecorderParams:
        output_dir: str = param(description="Folder of the episodes.")              # no default: must be given
        rate_hz: float = param(50.0, "Control rate [Hz].", minimum=1.0, maximum=1000.0)
        topics: tuple[str, ...] = param((), "Extra topics.")

    params = declare(node, RecorderParams)

What plain rclpy gets wrong and this helper does not: a misspelt parameter is refused with the nearest name instead of
being ignored; an integer is accepted for a double (`rate_hz:=50`); an empty list keeps its type in defaults and in
overrides.
"""

import argparse
import copy
import dataclasses
import difflib
import importlib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from vla_core.errors import VlaError

_TYPES: dict[Any, Parameter.Type] = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
    tuple[bool, ...]: Parameter.Type.BOOL_ARRAY,
    tuple[int, ...]: Parameter.Type.INTEGER_ARRAY,
    tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY,
    tuple[str, ...]: Parameter.Type.STRING_ARRAY,
}
_FOREIGN = ("use_sim_time", "start_type_description_service", "qos_overrides.")  # declared by rclpy itself


class ParameterError(VlaError):
    """A node parameter is missing, misspelt, of the wrong type or out of range."""


@dataclass(frozen=True, slots=True)
class _Meta:
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[Any, ...]
    read_only: bool


def param(
    default: Any = MISSING,
    description: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] = (),
    read_only: bool = True,
) -> Any:
    """A dataclass field that becomes a ROS parameter.

    Args:
        default: left out, the parameter must be given.
        description: what it means, with the unit; shown by `ros2 param describe`.
        minimum: smallest allowed number (of each element, for lists).
        maximum: largest allowed number.
        choices: the allowed values.
        read_only: whether it is fixed after the start. A changeable one is changed in ROS only; the dataclass keeps
            what was declared, so the node must read it with `get_parameter` or an `add_on_set_parameters_callback`.
    """
    if not description:
        raise TypeError("param(): a parameter needs a description")
    meta = {"param": _Meta(description, minimum, maximum, choices, read_only)}
    if default is MISSING:
        return dataclasses.field(metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def declare[T](node: Node, cls: type[T]) -> T:
    """Declare every field of the dataclass `cls` on `node` and return its values.

    Raises:
        ParameterError: a value is missing, of the wrong type, out of range, or no parameter has the given name.
    """
    values = {}
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    _refuse_unknown(node, [field.name for field in fields])
    for field in fields:
        values[field.name] = _declare_one(node, field, hints[field.name])
    return cls(**values)


def _overrides(node: Node) -> dict[str, Parameter]:
    # rclpy offers no public access to what the command line, files and the constructor gave before declaration.
    return node._parameter_overrides


def _declare_one(node: Node, field: "dataclasses.Field[Any]", hint: Any) -> Any:
    name, meta = field.name, field.metadata["param"]
    kind = _TYPES.get(_plain(hint))
    if kind is None:
        raise TypeError(
            f"parameter {name!r}: {hint} is no type of ROS parameters; use one of {', '.join(map(str, _TYPES))}"
        )
    override = _overrides(node).get(name)
    if override is None and field.default is MISSING:
        raise ParameterError(
            f"{node.get_fully_qualified_name()}: parameter '{name}' must be given ({meta.description}) "
            f"For example: --ros-args -p {name}:=…"
        )
    value: Any = field.default if override is None else _converted(node, name, override, kind)
    value = tuple(value) if isinstance(value, list | tuple) or hasattr(value, "typecode") else value
    _check(node, name, value, meta)
    descriptor = _descriptor(meta, kind)
    if value == ():
        _declare_empty(node, name, kind, descriptor)
        return value
    if override is not None:
        given = list(value) if isinstance(value, tuple) else value
        _overrides(node)[name] = Parameter(name, kind, given)
    try:
        node.declare_parameter(name, list(value) if isinstance(value, tuple) else value, descriptor)
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ParameterError(f"{node.get_fully_qualified_name()}: parameter '{name}': {error}") from error
    return value


def _plain(hint: Any) -> Any:
    """`str | None` and the like have no counterpart in ROS; the annotation itself otherwise."""
    return None if isinstance(hint, types.UnionType) else hint


def _converted(node: Node, name: str, override: Parameter, kind: Parameter.Type) -> Any:
    """The override's value; integers become doubles where one is declared, an empty list has any type."""
    value, given = override.value, override.type_
    is_array = kind.name.endswith("_ARRAY")
    if is_array and (value is None or (given == Parameter.Type.BYTE_ARRAY and len(value) == 0)):
        return ()
    if kind == Parameter.Type.DOUBLE and given == Parameter.Type.INTEGER:
        return float(value)
    if kind == Parameter.Type.DOUBLE_ARRAY and given == Parameter.Type.INTEGER_ARRAY:
        return tuple(float(element) for element in value)
    if given != kind:
        raise ParameterError(
            f"{node.get_fully_qualified_name()}: parameter '{name}': expected {_type_name(kind)}, got {value!r} "
            f"({_type_name(given)})"
        )
    return value


def _check(node: Node, name: str, value: Any, meta: _Meta) -> None:
    elements = value if isinstance(value, tuple) else (value,)
    for element in elements:
        if meta.choices and element not in meta.choices:
            near = difflib.get_close_matches(str(element), map(str, meta.choices), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ParameterError(
                f"{node.get_fully_qualified_name()}: parameter '{name}': {element!r} is not one of "
                f"{', '.join(map(str, meta.choices))}{hint}"
            )
        low = meta.minimum is not None and not element >= meta.minimum
        high = meta.maximum is not None and not element <= meta.maximum
        if low or high:
            raise ParameterError(
                f"{node.get_fully_qualified_name()}: parameter '{name}': {element!r} is outside {_range(meta)}"
            )


def _descriptor(meta: _Meta, kind: Parameter.Type) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=meta.description, read_only=meta.read_only, type=kind.value)
    if meta.choices:
        descriptor.additional_constraints = f"one of {', '.join(map(str, meta.choices))}"
    if meta.minimum is None and meta.maximum is None:
        return descriptor
    if kind == Parameter.Type.INTEGER:
        low = -(2**63) if meta.minimum is None else int(meta.minimum)
        high = 2**63 - 1 if meta.maximum is None else int(meta.maximum)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif kind == Parameter.Type.DOUBLE:
        low_f = float("-inf") if meta.minimum is None else float(meta.minimum)
        high_f = float("inf") if meta.maximum is None else float(meta.maximum)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low_f, to_value=high_f, step=0.0)]
    else:
        descriptor.additional_constraints = f"each element in {_range(meta)}"
    return descriptor


def _declare_empty(node: Node, name: str, kind: Parameter.Type, descriptor: ParameterDescriptor) -> None:
    """Rclpy takes an empty list for a byte array, so it is declared without a value and set with its type."""
    _overrides(node).pop(name, None)
    open_descriptor = copy.deepcopy(descriptor)
    open_descriptor.read_only = False
    node.declare_parameter(name, kind, open_descriptor)
    result = node.set_parameters([Parameter(name, kind, [])])[0]
    if not result.successful:
        raise ParameterError(f"{node.get_fully_qualified_name()}: parameter '{name}': {result.reason}")
    node.set_descriptor(name, descriptor)


def _refuse_unknown(node: Node, known: list[str]) -> None:
    unknown = [
        name
        for name in _overrides(node)
        if name not in known and not node.has_parameter(name) and not name.startswith(_FOREIGN)
    ]
    if not unknown:
        return
    lines = []
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1)
        lines.append(f"unknown parameter '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    raise ParameterError(
        f"{node.get_fully_qualified_name()}: {', '.join(lines)} The parameters are: {', '.join(sorted(known))}"
    )


def _type_name(kind: Parameter.Type) -> str:
    return kind.name.lower().replace("_array", " list")


def _range(meta: _Meta) -> str:
    low = "-inf" if meta.minimum is None else f"{meta.minimum:g}"
    high = "inf" if meta.maximum is None else f"{meta.maximum:g}"
    return f"[{low}, {high}]"


def table(cls: type[Any]) -> str:
    """The reference table of a parameter class in Markdown: name, type, default, allowed values, meaning."""
    hints = typing.get_type_hints(cls)
    rows = ["| parameter | type | default | allowed | meaning |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(cls):
        meta: _Meta = field.metadata["param"]
        default = "*required*" if field.default is MISSING else f"`{_shown(field.default)}`"
        if meta.choices:
            allowed = ", ".join(f"`{choice}`" for choice in meta.choices)
        else:
            allowed = "" if meta.minimum is None and meta.maximum is None else _range(meta)
        meaning = meta.description.replace("|", "\\|")
        rows.append(f"| `{field.name}` | {_type_name(_TYPES[hints[field.name]])} | {default} | {allowed} | {meaning} |")
    return "\n".join(rows)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)


def overrides(values: Mapping[str, Any]) -> list[Parameter]:
    """`parameter_overrides` for a node's constructor, from plain values; for tests and programs that start nodes."""
    converted = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return [Parameter(name, value=value) for name, value in converted.items()]


def main(args: list[str] | None = None) -> int:
    """Print the reference table of `module:Class`."""
    parser = argparse.ArgumentParser(description="Print the reference table of a node's parameters.")
    parser.add_argument("target", metavar="module:Class", help="for example vla_sim.cell_params:CellParams")
    module, _, name = parser.parse_args(args).target.partition(":")
    print(table(getattr(importlib.import_module(module), name)))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
