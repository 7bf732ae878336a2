# SPDX-License-Identifier: Apache-2.0

"""Which video packet of a camera is the how manieth."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

_REMEMBERED = 1024
"""Packets that a tick may still ask for; far more than the frame builder looks back."""


class PacketNumbers:
    """Remembers which message of a camera was the how manieth, so that rows can prove that none is left out."""

    def __init__(self) -> None:
        self._count = 0
        # The message is kept with its number: an id is only unique as long as its object lives.
        self._known: OrderedDict[int, tuple[int, Any]] = OrderedDict()

    def push(self, message: Any) -> None:
        """Take the next message of the camera's topic, in the order of sending."""
        self._known[id(message)] = (self._count, message)
        self._count += 1
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def number(self, message: Any) -> int:
        """Return the number of a message that was pushed, from 0.

        Raises:
            KeyError: It was not pushed, or too long ago.
        """
        return self._known[id(message)][0]
