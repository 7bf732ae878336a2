# SPDX-License-Identifier: Apache-2.0

"""Full text of message definitions, as a bag stores them beside the raw messages (schema encoding ``ros2msg``)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from vla_core.errors import BagError

_PRIMITIVES = frozenset(
    {"bool", "byte", "char", "string", "wstring", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_FIELD = re.compile(r"^\s*([A-Za-z]\w*(?:/\w+)*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*")
_SEPARATOR = "=" * 80


@cache
def installed_text(type_name: str) -> str:
    """Return the ``.msg`` file of a type such as ``sensor_msgs/msg/Image`` from the prefixes in AMENT_PREFIX_PATH.

    The prefixes are searched here, because bags are converted where no package of ROS is installed, too.

    Raises:
        BagError: The package or the message is not installed.
    """
    package, _, name = _split(type_name)
    prefixes = [prefix for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    files = [Path(prefix) / "share" / package / "msg" / f"{name}.msg" for prefix in prefixes]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise BagError(
            f"{type_name}: its definition is in none of the {len(prefixes)} prefixes of AMENT_PREFIX_PATH, so it cannot be "
            f"recorded. Is the package {package!r} installed and the workspace sourced?"
        )
    return found.read_text(encoding="utf-8")


def full_definition(type_name: str, text_of: Callable[[str], str] = installed_text) -> str:
    """Return the definition of a message and, after separator lines, of every message inside it.

    Args:
        type_name: For example ``sensor_msgs/msg/Image``.
        text_of: Returns the ``.msg`` text of one type.

    Raises:
        BagError: A definition cannot be found.
    """
    parts = [text_of(type_name)]
    seen = {type_name}
    queue = _dependencies(type_name, parts[0])
    while queue:
        name = queue.pop(0)
        if name in seen:
            continue
        seen.add(name)
        text = text_of(name)
        package, _, short = _split(name)
        parts.append(f"{_SEPARATOR}\nMSG: {package}/{short}\n{text}")
        queue += _dependencies(name, text)
    return "\n".join(parts)


def _split(type_name: str) -> tuple[str, str, str]:
    pieces = type_name.split("/")
    if len(pieces) != 3 or pieces[1] != "msg":
        raise BagError(f"{type_name!r} is no message type; expected the form package/msg/Name")
    return pieces[0], pieces[1], pieces[2]


def _dependencies(type_name: str, text: str) -> list[str]:
    package = type_name.split("/")[0]
    names = []
    for line in text.splitlines():
        match = _FIELD.match(line.split("#", 1)[0])
        if match is None or match.group(1) in _PRIMITIVES:
            continue
        pieces = match.group(1).split("/")
        if pieces == ["Header"]:
            pieces = ["std_msgs", "Header"]
        owner = pieces[0] if len(pieces) > 1 else package
        names.append(f"{owner}/msg/{pieces[-1]}")
    return names
