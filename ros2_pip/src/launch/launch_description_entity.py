# SPDX-License-Identifier: Apache-2.0

"""Base of everything a launch description can hold."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class LaunchDescriptionEntity:
    """Something that is visited with a context and may give more entities to visit."""

    def visit(self, context: "LaunchContext") -> "Sequence[LaunchDescriptionEntity] | None":
        """Do the work of this entity; return the entities to visit next."""
        raise NotImplementedError(f"{type(self).__name__} does not define visit()")

    def describe(self) -> str:
        """Return one line that names this entity."""
        return f"{type(self).__name__}()"

    def describe_sub_entities(self) -> "Sequence[LaunchDescriptionEntity]":
        """Return the entities that are always visited after this one."""
        return []

    def describe_conditional_sub_entities(self) -> "Iterable[tuple[str, Iterable[LaunchDescriptionEntity]]]":
        """Return pairs of a reason and the entities that are visited for it."""
        return []

    def get_asyncio_future(self) -> "asyncio.Future[None] | None":
        """Return what is done when this entity no longer keeps the launch busy; None if it never did."""
        return None
