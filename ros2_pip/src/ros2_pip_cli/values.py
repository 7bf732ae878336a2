# SPDX-License-Identifier: Apache-2.0

"""Interface types and YAML values given on the command line."""

import sys
from collections.abc import Callable
from typing import Any

import yaml
from rosidl_runtime_py import set_message_fields
from rosidl_runtime_py.utilities import get_action, get_message, get_service

from ros2_pip_cli.errors import CliError

_LOADERS: dict[str, Callable[[str], Any]] = {"message": get_message, "service": get_service, "action": get_action}


def load_type(kind: str, name: str) -> Any:
    """Return the class of an interface; ``kind`` is 'message', 'service' or 'action'.

    Raises:
        CliError: the type is unknown here; the text says whether the name, the package or the interface is at fault.
    """
    try:
        return _LOADERS[kind](name)
    except (AttributeError, ModuleNotFoundError, ValueError) as error:
        text = (
            f"The passed {kind} type is invalid: {error}. "
            f"Source the workspace that holds its package; `ros2 interface list` shows what is known."
        )
        raise CliError(text) from None


def read_values(text: str | None, *, from_stdin: bool = False) -> dict[str, Any]:
    """Parse a YAML (or JSON) dictionary of field values, given as text or on standard input."""
    source = sys.stdin.read() if from_stdin else (text or "{}")
    try:
        values = yaml.safe_load(source)
    except yaml.YAMLError as error:
        msg = f"The passed value needs to be a dictionary in YAML format: {error}"
        raise CliError(msg) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        msg = f"The passed value needs to be a dictionary in YAML format, got '{source.strip()}'"
        raise CliError(msg)
    return values


def fill(msg: Any, values: dict[str, Any]) -> list[Callable[[Any], None]]:
    """Set the fields of a message; return what sets its ``auto`` and ``now`` stamps when it is sent."""
    try:
        stamps: list[Callable[[Any], None]] = set_message_fields(
            msg, values, expand_header_auto=True, expand_time_now=True
        )
    except (AttributeError, AssertionError, TypeError, ValueError) as error:
        text = f"Failed to populate field: {error}"
        raise CliError(text) from None
    return stamps
