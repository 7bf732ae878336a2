# SPDX-License-Identifier: Apache-2.0

"""Sentence embeddings of the instruction: 512 float32 numbers per task, computed once per task.

Datasets for OpenVLA carry one, by custom of the Universal Sentence Encoder. No language model is shipped and the network is
never used, so the user names where it comes from:

=====================  ==============================================================================================
``zeros``              512 zeros: a placeholder, marked as such in the data (the default)
``hash``               a unit vector drawn from the hash of the text: tells tasks apart, means nothing; marked as such
``command:PROGRAM …``  a program that gets the text on its standard input and prints 512 numbers
``NAME``               a Python object of the entry point group ``vla_recorder.embedders``: ``NAME(text) -> 512 numbers``
=====================  ==============================================================================================

Every dataset says in its metadata which one was used (`Embedder.source`).
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import listing, nearest_name

from vla_recorder.formats.base import DatasetError

SIZE = 512
GROUP = "vla_recorder.embedders"
BUILT_IN = ("zeros", "hash")
_COMMAND = "command:"
_TIMEOUT_S = 600.0


class EmbeddingError(DatasetError):
    """An instruction cannot be embedded as asked."""


class Embedder(Protocol):
    """Turns instructions into vectors."""

    @property
    def source(self) -> str:
        """Where the numbers come from, as the dataset says it."""

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return (512,) float32.

        Raises:
            EmbeddingError: It does not work.
        """


@dataclass(frozen=True, slots=True)
class Zeros:
    """A placeholder."""

    source: str = "placeholder zeros, no language model"

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return zeros, (512,)."""
        return np.zeros(SIZE, np.float32)


@dataclass(frozen=True, slots=True)
class Hash:
    """A unit vector that depends on nothing but the text."""

    source: str = "placeholder hash of the text, no language model"

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return a vector of length 1, (512,)."""
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest(), "little")
        values = np.random.Generator(np.random.PCG64(seed)).standard_normal(SIZE)
        result: NDArray[np.float32] = (values / np.linalg.norm(values)).astype(np.float32)
        return result


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the user's; it runs once per task."""

    line: str

    @property
    def source(self) -> str:
        """The command line."""
        return f"{_COMMAND}{self.line}"

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return what the program prints for the text, (512,).

        Raises:
            EmbeddingError: It cannot be started, fails, hangs, or prints something else.
        """
        try:
            done = subprocess.run(
                shlex.split(self.line), input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, ValueError) as error:
            raise EmbeddingError(
                f"embedder '{self.source}' cannot be started ({error}); correct the command"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise EmbeddingError(
                f"embedder '{self.source}' did not end within {_TIMEOUT_S:g} s for {text!r}"
            ) from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it printed no reason"])[-1]
            raise EmbeddingError(f"embedder '{self.source}' failed with exit code {done.returncode}: {last}")
        try:
            numbers = [float(word) for word in done.stdout.replace(",", " ").strip("[] \n").split()]
        except ValueError as error:
            raise EmbeddingError(
                f"embedder '{self.source}' printed something that is no number ({error}); it must print {SIZE} numbers "
                "and nothing else on its standard output"
            ) from error
        return _checked(numbers, self.source)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A callable that an installed package offers."""

    name: str

    @property
    def source(self) -> str:
        """The entry point with the package that it comes from."""
        package = self._point().dist
        return f"{self.name} ({package.name} {package.version})" if package else self.name

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return what the callable returns for the text, (512,).

        Raises:
            EmbeddingError: There is none of that name, or it returns something else.
        """
        call: Callable[[str], Any] = self._point().load()
        return _checked(call(text), self.source)

    def _point(self) -> Any:
        found = entry_points(group=GROUP)
        if self.name not in found.names:
            known = [*BUILT_IN, f"{_COMMAND}PROGRAM", *sorted(found.names)]
            raise EmbeddingError(
                f"embedder '{self.name}': there is none of that name; a package offers one by an entry point of the group "
                f"{GROUP}. Known: {listing(known)}{nearest_name(self.name, known)}"
            )
        return found[self.name]


def _checked(values: Any, source: str) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32).reshape(-1)
    if array.shape != (SIZE,) or not np.isfinite(array).all():
        raise EmbeddingError(
            f"embedder '{source}' gave {array.size} numbers, {int(np.isfinite(array).sum())} of them finite; a sentence "
            f"embedding here is {SIZE} finite numbers"
        )
    return array


def make_embedder(name: str) -> Embedder:
    """Return the embedder of a name (see the module).

    Raises:
        EmbeddingError: There is none of that name.
    """
    if name == "zeros":
        return Zeros()
    if name == "hash":
        return Hash()
    if name.startswith(_COMMAND):
        if not name.removeprefix(_COMMAND).strip():
            raise EmbeddingError(
                "embedder=command: names no program; example: --format-option 'embedder=command:python embed.py'"
            )
        return Command(name.removeprefix(_COMMAND).strip())
    plugin = Plugin(name)
    plugin.source  # noqa: B018 - looks it up now, so that a wrong name stops before any work
    return plugin
