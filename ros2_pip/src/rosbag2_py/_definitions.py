# SPDX-License-Identifier: Apache-2.0

"""Texts of message types from the installed interface packages, with everything they contain (`ros2msg`)."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from rosbag2_py._storage import MessageDefinition

_LOG = logging.getLogger("rosbag2_py")
_TYPE_NAME = re.compile(r"([a-zA-Z0-9_]+)/(?:msg/)?([a-zA-Z0-9_]+)")
_FIELD_TYPE = re.compile(r"^[ \t]*([a-zA-Z0-9_/]+)(?:<=\d+)?(?:\[[^\]]*\])?[ \t]+[a-zA-Z]", re.MULTILINE)
_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_PRIMITIVES = frozenset(["bool", "byte", "char", "float32", "float64", "string", "wstring", *_INTEGERS])
_SEPARATOR = "=" * 80


class _NotFoundError(Exception):
    """A type has no text."""


class LocalMessageDefinitionSource:
    """Looks message types up in the ament index and keeps what it found."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def get_full_text(self, root_type: str) -> MessageDefinition:
        """Return the definition of a type such as `sensor_msgs/msg/Image`.

        A type that is not installed gets an empty definition and a warning: the bag is complete, but only readers
        that have the type can decode it. Types of services and actions have no text of their own either.
        """
        if not _TYPE_NAME.fullmatch(root_type):
            _LOG.warning("no text for type '%s': only message types have one; the bag holds none for it", root_type)
            return MessageDefinition(root_type, "unknown", "", "")
        try:
            text = self._expand(root_type)
        except _NotFoundError as error:
            _LOG.warning(
                "type '%s' goes into the bag without its text: %s; source the workspace that defines it",
                root_type,
                error,
            )
            return MessageDefinition(root_type, "", "", "")
        return MessageDefinition(root_type, "ros2msg", text, "")

    def _expand(self, root_type: str) -> str:
        """Text of the type, then of each contained type once, depth first."""
        parts: list[str] = []
        seen: set[str] = set()

        def visit(name: str) -> None:
            text = self._text(name)
            parts.append(text if not parts else f"\n{_SEPARATOR}\nMSG: {name}\n{text}")
            package = name.split("/", 1)[0]
            for dependency in _dependencies(text, package):
                if dependency not in seen:
                    seen.add(dependency)
                    visit(dependency)

        visit(root_type)
        return "".join(parts)

    def _text(self, name: str) -> str:
        if name not in self._texts:
            match = _TYPE_NAME.fullmatch(name)
            if match is None:
                raise _NotFoundError(f"'{name}' is not the name of a message type")
            package, short = match.groups()
            try:
                path = Path(get_package_share_directory(package)) / "msg" / f"{short}.msg"
                self._texts[name] = path.read_text(encoding="utf-8")
            except PackageNotFoundError as error:
                raise _NotFoundError(f"package '{package}' is not installed") from error
            except OSError as error:
                raise _NotFoundError(f"{error.filename}: {error.strerror}") from error
        return self._texts[name]


def _dependencies(text: str, package: str) -> list[str]:
    """Names of contained types in the notation of the text, short ones completed with the package; sorted."""
    names = {name for name in _FIELD_TYPE.findall(text) if name not in _PRIMITIVES}
    return sorted(name if "/" in name else f"{package}/{name}" for name in names)
