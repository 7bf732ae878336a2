# SPDX-License-Identifier: Apache-2.0

"""Readable tree of a launch description."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from launch.launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from launch.launch_description import LaunchDescription

_Block = tuple[str, list["_Block"]]


def _blocks(entities: Iterable[LaunchDescriptionEntity]) -> list[_Block]:
    return [_block(entity) for entity in entities]


def _block(entity: LaunchDescriptionEntity) -> _Block:
    inner = _blocks(entity.describe_sub_entities())
    for reason, entities in entity.describe_conditional_sub_entities():
        blocks = _blocks(entities)
        if blocks:
            inner.append((reason, blocks))
    return entity.describe(), inner


def _lines(blocks: list[_Block], indent: str) -> Iterable[str]:
    for index, (text, inner) in enumerate(blocks):
        last = index == len(blocks) - 1
        yield f"{indent}{'└── ' if last else '├── '}{text}"
        yield from _lines(inner, indent + ("    " if last else "│   "))


class LaunchIntrospector:
    """Describes launch descriptions without running them."""

    def format_launch_description(self, launch_description: "LaunchDescription") -> str:
        """Return the tree, one entity a line."""
        return "\n".join([f"{launch_description}", *_lines(_blocks(launch_description.entities), "")])
