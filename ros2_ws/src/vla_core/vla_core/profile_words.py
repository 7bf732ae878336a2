# SPDX-License-Identifier: Apache-2.0

"""Names and small values that every part of a robot profile is written with."""

from __future__ import annotations

import re

from vla_core.yamltree import Section, Tree

Triple = tuple[float, float, float]
_TOPIC = re.compile(r"^/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*$")
_TYPE = re.compile(r"^[a-z]\w*/msg/[A-Z]\w*$")
_WORD = re.compile(r"^[A-Za-z]\w*$")


def word(section: Section, key: str, what: str) -> str:
    """Return a name that can be part of a dataset key."""
    value = section.text(key)
    return check_word(section.child(key), value, what)


def check_word(tree: Tree, value: str, what: str) -> str:
    """Return `value` if it is a plain name."""
    if not _WORD.match(value):
        raise tree.place.error(f"'{value}' is no {what}: use letters, digits and underscores, starting with a letter")
    return value


def topic_name(section: Section, key: str = "topic") -> str:
    """Return the name of a topic or an action."""
    return check_topic(section.child(key), section.text(key))


def check_topic(tree: Tree, value: str) -> str:
    """Return `value` if it can name a topic, an action or a service."""
    if not _TOPIC.match(value):
        raise tree.place.error(
            f"'{value}' is no topic name: use words of letters, digits and underscores with '/' between"
        )
    return value


def controller_of(name: str) -> str:
    """Return the controller that serves an action or a topic: the part of its name before the last."""
    parts = name.strip("/").split("/")
    return parts[-2] if len(parts) > 1 else parts[0]


def message_type(section: Section, key: str = "type") -> str:
    """Return the name of a message type."""
    value = section.text(key)
    if not _TYPE.match(value):
        raise section.error(key, f"'{value}' is no message type; write it like 'std_msgs/msg/String'")
    return value


def triple(section: Section, key: str, default: Triple | None = None) -> Triple:
    """Return three numbers."""
    if key not in section and default is not None:
        return default
    x, y, z = section.numbers(key, 3)
    return x, y, z
