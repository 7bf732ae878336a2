# SPDX-License-Identifier: Apache-2.0

"""What the server shows and passes on: the seam between the web and the robot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Desk(Protocol):
    """Everything that the page needs.

    Methods are called by the server's thread and return at once, except `command` and `thumbnail`, which the server
    calls on worker threads.
    """

    def hello(self) -> dict[str, Any]:
        """What does not change: robot, cameras, names of the plots, and the plots' history."""

    def fast(self) -> dict[str, Any]:
        """What changes ten times a second: clock, streams, plots."""

    def slow(self) -> dict[str, Any]:
        """What changes seldom: recorder, policy, nodes, events, episodes."""

    def pictures(self) -> dict[str, tuple[int, bytes]]:
        """Number and JPEG of the newest picture by camera; number 0: none yet."""

    def watch(self, viewers: int) -> None:
        """So many browsers look now."""

    def command(self, name: str, arguments: Mapping[str, str]) -> tuple[bool, str]:
        """Do what a button says: whether it was done, and a sentence for people. Blocks.

        Raises:
            KeyError: There is no such command.
        """

    def thumbnail(self, uuid: str) -> bytes | None:
        """JPEG of the first picture of an episode; None if there is none. Blocks."""
