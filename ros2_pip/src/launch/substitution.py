# SPDX-License-Identifier: Apache-2.0

"""Base of substitutions, and the one for plain text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class Substitution:
    """A piece of text whose value is known when the launch runs."""

    def describe(self) -> str:
        """Return a readable form of the unevaluated substitution."""
        return f"{type(self).__name__}()"

    def perform(self, context: "LaunchContext") -> str:
        """Return the value in this context."""
        raise NotImplementedError(f"{type(self).__name__} does not define perform()")


class TextSubstitution(Substitution):
    """Text that is already known."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"TextSubstitution expected text of type 'str' but got '{type(text).__name__}'")
        self._text = text

    @property
    def text(self) -> str:
        """The text."""
        return self._text

    def describe(self) -> str:
        """Return the text in quotes."""
        return f"'{self._text}'"

    def perform(self, context: "LaunchContext") -> str:
        """Return the text."""
        return self._text
