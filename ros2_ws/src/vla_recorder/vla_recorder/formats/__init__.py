# SPDX-License-Identifier: Apache-2.0

"""Dataset formats: one module each, behind the protocol in `base`; `FORMATS` names them for ``--format``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vla_core.errors import VlaError, listing, nearest_name

if TYPE_CHECKING:
    from vla_recorder.formats.base import DatasetFormat

DEFAULT_FORMAT = "lerobot-v3"
FORMATS: Mapping[str, str] = {
    "lerobot-v3": "vla_recorder.formats.lerobot_v3:LeRobotV3",
    "lerobot-v2.1": "vla_recorder.formats.lerobot_v21:LeRobotV21",
    "openpi": "vla_recorder.formats.openpi:OpenPi",
    "rlds": "vla_recorder.formats.rlds:Rlds",
    "npz": "vla_recorder.formats.npz:Npz",
}
"""Name -> ``module:class``; a module is imported when its format is asked for."""


class FormatError(VlaError):
    """There is no such format, or it has no such option."""


def format_class(name: str) -> type[Any]:
    """Return the class of a format: a frozen dataclass whose fields, but `name`, are its options.

    Raises:
        FormatError: There is no such format.
    """
    if name not in FORMATS:
        raise FormatError(f"there is no format '{name}'; formats: {listing(FORMATS)}{nearest_name(name, FORMATS)}")
    module, _, attribute = FORMATS[name].partition(":")
    found: type[Any] = getattr(import_module(module), attribute)
    return found


def format_options(name: str) -> tuple[dataclasses.Field[Any], ...]:
    """Return the options of a format; ``metadata["help"]`` says what one means, ``["choices"]`` what it may be."""
    return tuple(field for field in dataclasses.fields(format_class(name)) if field.name != "name")


def make_format(name: str, options: Mapping[str, str] | None = None) -> DatasetFormat:
    """Return a format with its options.

    Args:
        name: A key of `FORMATS`.
        options: Option -> value as text, as the command line gives it.

    Raises:
        FormatError: There is no such format or option, or a value does not fit.
    """
    fields = {field.name: field for field in format_options(name)}
    values: dict[str, Any] = {}
    for key, text in (options or {}).items():
        if key not in fields:
            known = f"options: {listing(fields)}" if fields else "it has no options"
            raise FormatError(f"--format-option {key}: format '{name}' has no option '{key}'; {known}")
        values[key] = _value(name, fields[key], text)
    made: DatasetFormat = format_class(name)(**values)
    return made


def _value(name: str, field: dataclasses.Field[Any], text: str) -> Any:
    """Return the value that a text stands for; the default says of which kind it is."""
    choices = field.metadata.get("choices")
    if choices and text not in choices:
        raise FormatError(
            f"--format-option {field.name}={text}: format '{name}' takes one of {listing(map(str, choices))}"
        )
    default: Any = field.default
    kind = type(default)
    if kind is bool:
        if text not in ("true", "false"):
            raise FormatError(f"--format-option {field.name}={text}: format '{name}' takes true or false")
        return text == "true"
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        raise FormatError(f"--format-option {field.name}={text}: format '{name}' takes a number") from None
