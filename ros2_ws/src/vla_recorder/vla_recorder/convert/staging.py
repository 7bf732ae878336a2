# SPDX-License-Identifier: Apache-2.0

"""Where a conversion works: beside the output, so that the output appears complete or not at all.

``<output>.partial`` holds the finished episodes and the dataset that is being made of them. A run that ends early leaves
it; ``--resume`` goes on with it. A finished dataset is extended the same way: a copy made of hard links grows and takes
the place of the old one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError
from vla_core.profile import mapping_differences, parse_profile

from vla_recorder.convert.store import UNFINISHED, is_finished, link_or_copy, sync, sync_folder

PARTIAL_SUFFIX = ".partial"
REPLACED_SUFFIX = ".replaced"
SETTINGS_FILE = "settings.json"
PROFILE = "profile"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Constants of Linux' renameat2(2), which Python does not offer."""
_LOCK_FILE = "lock"
_COMMIT_FILE = "committing"

NEW, REPLACE, APPEND = "new", "replace", "append"


class OutputError(VlaError):
    """The output folder cannot be used."""


@dataclass(frozen=True, slots=True)
class Begin:
    """How a run begins.

    Attributes:
        mode: ``new``, ``replace`` (an existing output) or ``append`` (to a finished dataset).
        go_on: Whether finished episodes of an earlier run are there.
    """

    mode: str
    go_on: bool


def partial_of(output: Path) -> Path:
    """Return the folder in which a conversion to `output` works."""
    return output.with_name(output.name + PARTIAL_SUFFIX)


def how_to_begin(output: Path, *, resume: bool, overwrite: bool) -> Begin:
    """Return how a run begins, after tidying up behind one that was killed while it put its output in place.

    Raises:
        OutputError: Something is there that may not be touched; the text says what to do.
    """
    if resume and overwrite:
        raise OutputError("--resume keeps what is there and --overwrite replaces it; give one of them")
    partial = partial_of(output)
    for path in (output, partial):
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path}: is a file; give the path of a folder with --output")
    _tidy(output, partial)
    begun = (partial / SETTINGS_FILE).is_file()
    there = output.exists() and any(output.iterdir())
    if overwrite:
        return Begin(REPLACE if there else NEW, False)
    if resume:
        if begun:
            return Begin(read_json(partial / SETTINGS_FILE)["mode"], True)
        return Begin(APPEND if there else NEW, False)
    if partial.exists():
        raise OutputError(
            f"{partial}: an earlier conversion did not end; go on with --resume, or begin again with --overwrite"
        )
    if there:
        raise OutputError(
            f"{output}: exists already; give another --output, --overwrite to replace it, or --resume to add new episodes"
        )
    return Begin(NEW, False)


def _tidy(output: Path, partial: Path) -> None:
    """Finish or take back a replacement that was interrupted between two renames."""
    if not (partial / _COMMIT_FILE).exists():
        return
    replaced = output.with_name(output.name + REPLACED_SUFFIX)
    if (partial / "dataset").exists():  # not yet in place
        if replaced.exists() and not output.exists():
            replaced.rename(output)
        (partial / _COMMIT_FILE).unlink()
        return
    shutil.rmtree(replaced, ignore_errors=True)
    shutil.rmtree(partial)


class Workspace:
    """The working folder of one run. A context manager: it holds a lock until the end."""

    def __init__(self, output: Path, begin: Begin, settings: Mapping[str, Any]) -> None:
        """Open the folder.

        Args:
            output: Where the dataset goes.
            begin: How to begin.
            settings: What decides the content of the dataset; JSON types only.

        Raises:
            OutputError: The folder cannot be written, another run works in it, or the earlier run did something else.
        """
        self.output = output
        self.mode = begin.mode
        self._partial = partial_of(output)
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._partial / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(
                f"{self._partial}: cannot be written ({error.strerror or error}); choose another --output"
            ) from error
        try:
            self._take_lock()
            self._prepare(begin, settings)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def episodes(self) -> Path:
        """Folder of the finished episodes."""
        return self._partial / "episodes"

    @property
    def dataset(self) -> Path:
        """Folder of the dataset that is being made."""
        return self._partial / "dataset"

    @property
    def links(self) -> Path:
        """Folder for hard links to the files of finished episodes."""
        return self._partial / "links"

    def finished(self) -> int:
        """Return how many episodes are finished."""
        return sum(1 for folder in self.episodes.iterdir() if is_finished(folder)) if self.episodes.is_dir() else 0

    def begin_dataset(self) -> None:
        """Make the folder of the dataset: empty, or a copy of the finished one that is to be extended."""
        shutil.rmtree(self.dataset, ignore_errors=True)
        if self.mode == APPEND:
            clone(self.output, self.dataset)
        else:
            self.dataset.mkdir()

    def commit(self) -> None:
        """Put the dataset in place of the output, and remove the working folder."""
        sync(self.dataset)
        (self._partial / _COMMIT_FILE).touch()
        sync_folder(self._partial)
        replaced = self.output.with_name(self.output.name + REPLACED_SUFFIX)
        if self.output.exists() and exchange(self.dataset, self.output):
            self.dataset.rename(replaced)
        else:
            if self.output.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                self.output.rename(replaced)
            self.dataset.rename(self.output)
        sync_folder(self.output.parent)
        shutil.rmtree(replaced, ignore_errors=True)
        self.remove()

    def remove(self) -> None:
        """Delete the working folder with all that is in it."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)
        if self._partial.exists() and not self.finished():
            self.remove()

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(
                f"{self._partial}: another conversion works there; wait for it, or choose another --output"
            ) from None

    def _prepare(self, begin: Begin, settings: Mapping[str, Any]) -> None:
        if begin.go_on:
            check_settings(read_json(self._partial / SETTINGS_FILE)["settings"], settings, self._partial)
            for folder in self.episodes.glob(f"*{UNFINISHED}"):
                shutil.rmtree(folder)
        else:
            for path in self._partial.iterdir():
                if path.name != _LOCK_FILE:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            written = self._partial / (SETTINGS_FILE + UNFINISHED)
            written.write_text(json.dumps({"mode": begin.mode, "settings": settings}, indent=1), encoding="utf-8")
            written.rename(self._partial / SETTINGS_FILE)
        self.episodes.mkdir(exist_ok=True)


def exchange(first: Path, second: Path) -> bool:
    """Let two folders swap their names in one step, so that there is no moment at which one of them is absent.

    Returns:
        False, with nothing done, where the system or the file system cannot do that.
    """
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is None:
        return False
    done: int = swap(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if done == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OutputError(f"{second}: cannot be replaced ({os.strerror(error)})")


def check_settings(there: Mapping[str, Any], here: Mapping[str, Any], where: Path) -> None:
    """Refuse to go on with other settings.

    Args:
        there: Settings of what is there; ``profile`` is the text of a robot profile.
        here: Settings of this run.
        where: What is there, for the message.

    Raises:
        OutputError: Names every setting that differs; of profiles, every difference that a policy would see.
    """
    here = json.loads(json.dumps(here))
    differences = [
        f"{key}: there {there.get(key, 'absent')!r}, now {here.get(key, 'absent')!r}"
        for key in dict.fromkeys((*there, *here))
        if key != PROFILE and there.get(key, "absent") != here.get(key, "absent")
    ]
    if PROFILE in there:
        profiles = [parse_profile(texts[PROFILE], f"profile of {where}") for texts in (there, here)]
        differences += [line.replace("trained with", "there") for line in mapping_differences(*profiles)]
    if differences:
        raise OutputError(
            f"{where}: was begun with other settings, so its episodes do not go with these: {'; '.join(differences)}. "
            "Give the same options, another --output, or --overwrite to begin again"
        )


def clone(source: Path, target: Path) -> None:
    """Copy a folder with hard links for the files."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, copy)


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a file of an earlier run.

    Raises:
        OutputError: It cannot be read.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); begin again with --overwrite") from error
