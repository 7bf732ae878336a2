# SPDX-License-Identifier: Apache-2.0

"""The checkpoints that a server offers: numbered steps of one training run.

Ids are only ever compared with the names of folders that were found, never joined to a path, so an id cannot lead out of
the folder; numbered links that lead out of it are not offered.
"""

import logging
import re
from pathlib import Path
from urllib.parse import unquote

from vla_core.errors import CheckpointError

from vla_policy.policies.checkpoint import CHECKPOINTS_DIR, CONFIG_FILE, PRETRAINED_DIR

NOT_FOUND, CONFIGURED_NOT_FOUND, NONE_AVAILABLE = (
    "Checkpoint not found",
    "Configured checkpoint not found",
    "No checkpoints available",
)
_NUMBER = re.compile(r"[0-9]{1,18}")
_log = logging.getLogger(__name__)


class UnknownCheckpointError(CheckpointError):
    """A checkpoint that is not offered.

    Attributes:
        reason: The short text for the closing frame.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class CheckpointFolder:
    """`<folder>/checkpoints/<number>/pretrained_model`."""

    def __init__(self, folder: Path, chosen: str = "") -> None:
        """Look, and fix the default for as long as the server runs.

        Args:
            folder: A training run.
            chosen: Id of the default checkpoint; empty: the highest number at this moment.

        Raises:
            CheckpointError: the folder has no checkpoints, or not the chosen one.
        """
        self._steps = folder / CHECKPOINTS_DIR
        self._chosen = chosen
        if not self._steps.is_dir():
            raise CheckpointError(
                f"checkpoints_dir {folder}: there is no folder '{CHECKPOINTS_DIR}' in it. Give a training output, "
                f"which holds {CHECKPOINTS_DIR}/<step>/{PRETRAINED_DIR}."
            )
        self._default = self._checked_default()

    def ids(self) -> list[str]:
        """The ids on offer, in numerical order; empty when the folder cannot be read."""
        try:
            names = [entry.name for entry in self._steps.iterdir() if _NUMBER.fullmatch(entry.name)]
        except OSError as error:
            _log.warning("%s cannot be read: %s", self._steps, error.strerror)
            return []
        return sorted((name for name in names if self._inside(name)), key=lambda name: (int(name), name))

    def resolve(self, requested: str) -> tuple[str, Path]:
        """Return the id and the folder that a session asks for.

        Args:
            requested: The part of the path after the prefix, still percent-encoded; empty: the default.

        Raises:
            UnknownCheckpointError: it is not on offer.
        """
        ids = self.ids()
        if requested:
            name = unquote(requested)
            if name not in ids:
                raise UnknownCheckpointError(NOT_FOUND, f"{NOT_FOUND}: {printable(name)}. Available: {ids}")
        elif not ids:
            raise UnknownCheckpointError(NONE_AVAILABLE, f"{NONE_AVAILABLE} in {CHECKPOINTS_DIR}/")
        else:
            name = self._default
            if name not in ids:
                raise UnknownCheckpointError(CONFIGURED_NOT_FOUND, f"{CONFIGURED_NOT_FOUND}: {name}. Available: {ids}")
        return name, self._steps / name / PRETRAINED_DIR

    def _checked_default(self) -> str:
        ids = self.ids()
        if self._chosen and self._chosen not in ids:
            raise CheckpointError(f"{NOT_FOUND}: {self._chosen}. Available: {ids} in {self._steps}")
        if not ids:
            raise CheckpointError(f"{NONE_AVAILABLE} in {self._steps}: no <step>/{PRETRAINED_DIR}/{CONFIG_FILE}.")
        return self._chosen or ids[-1]

    def _inside(self, name: str) -> bool:
        """Whether a numbered folder is a checkpoint that lies in this folder, links followed."""
        folder = self._steps / name / PRETRAINED_DIR
        if not (folder / CONFIG_FILE).is_file():
            return False
        if folder.resolve().is_relative_to(self._steps.resolve()):
            return True
        _log.warning("%s leads out of %s and is not offered", folder, self._steps)
        return False


def printable(name: str, longest: int = 100) -> str:
    """Return a client's text fit for a message: no control characters, not too long."""
    shown = "".join(character if character.isprintable() else "?" for character in name)
    return shown if len(shown) <= longest else shown[:longest] + "…"
