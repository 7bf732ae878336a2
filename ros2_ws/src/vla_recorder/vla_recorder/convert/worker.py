# SPDX-License-Identifier: Apache-2.0

"""The per-episode function of every pool: convert an episode once, keep it, and answer with where it is."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vla_core.errors import VlaError

from vla_recorder.bags.reader import open_episode
from vla_recorder.convert.episode import convert_episode
from vla_recorder.convert.job import Job
from vla_recorder.convert.store import UNFINISHED, is_finished, save, stored_frames

_KEY_DIGITS = 16


class WorkerError(VlaError):
    """An episode could not be converted for a reason that lies in this program or this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A finished episode.

    Attributes:
        folder: Where it is; see `vla_recorder.convert.store`.
        reused: Whether an earlier run had finished it.
        frames: Target -> rows.
        dropped: Ticks without a frame.
        seconds: Wall time of the conversion [s].
    """

    folder: Path
    reused: bool
    frames: dict[str, int]
    dropped: int
    seconds: float


def attempt(job: Job) -> Kept | VlaError:
    """Convert an episode unless it is finished already; an error is a value, so that it does not end the others."""
    try:
        return keep_episode(job)
    except VlaError as error:
        return error
    except OSError as error:
        return WorkerError(
            f"{job.folder}: {error.filename or job.work_dir}: {error.strerror or error}. Is there room on the disk of the "
            "output, and is the bag readable?"
        )
    except Exception as error:  # noqa: BLE001  (the border of a process: the episode fails, the others go on)
        logging.getLogger(__name__).error("%s: %s", job.folder, traceback.format_exc())
        return WorkerError(
            f"{job.folder}: the conversion broke down ({type(error).__name__}: {error}); the log has the traceback. "
            "Please report it"
        )


def keep_episode(job: Job) -> Kept:
    """Convert an episode into ``job.work_dir / <name>``, unless it is there.

    Raises:
        VlaError: It cannot be converted.
    """
    bag = open_episode(job.folder)
    bag_xxh128 = bag.content_hash()
    finished = job.work_dir / f"{bag.name}-{episode_key(job, bag_xxh128, bag.custom)}"
    if is_finished(finished):
        return Kept(folder=finished, reused=True, frames=stored_frames(finished), dropped=0, seconds=0.0)
    unfinished = finished.with_name(finished.name + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        result = convert_episode(job, unfinished, bag, bag_xxh128)
        save(result, unfinished, finished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return Kept(
        folder=finished,
        reused=False,
        frames=stored_frames(finished),
        dropped=sum(result.dropped.values()),
        seconds=result.seconds,
    )


def episode_key(job: Job, bag_xxh128: str, metadata: Mapping[str, str]) -> str:
    """Return what tells whether a finished episode can be used again.

    Args:
        job: What was to be done; where and in which process does not matter.
        bag_xxh128: Hash of the bag's content.
        metadata: Metadata of the episode, which lie beside it and can be edited.
    """
    matters = {
        **{key: value for key, value in asdict(job).items() if key not in ("folder", "work_dir", "targets", "format")},
        "targets": [
            [target.name, sorted(target.phases), target.stop_frames, target.remove_noops] for target in job.targets
        ],
        "format": [job.format.name, repr(job.format)],
        "bag": bag_xxh128,
        "metadata": dict(metadata),
    }
    text = json.dumps(matters, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
