# SPDX-License-Identifier: Apache-2.0

"""Entities given one by one, in lists, or in lists of lists."""

from collections.abc import Iterable
from typing import Any

from launch.launch_description_entity import LaunchDescriptionEntity


def normalize_to_list_of_entities(entities: Any) -> list[LaunchDescriptionEntity]:
    """Return the entities as one flat list.

    Raises:
        TypeError: something in it is not a launch entity.
    """
    if entities is None:
        return []
    if isinstance(entities, LaunchDescriptionEntity):
        return [entities]
    if isinstance(entities, str) or not isinstance(entities, Iterable):
        raise TypeError(f"expected a launch entity or an iterable of them, got {entities!r}")
    return [entity for item in entities for entity in normalize_to_list_of_entities(item)]
