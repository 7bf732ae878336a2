# SPDX-License-Identifier: Apache-2.0

"""Convert episodes at the same time: in this process, in a pool of processes, in the order of the dataset."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from vla_core.errors import VlaError

from vla_recorder.convert.episode import Converted, Job, convert_episode


def attempt(job: Job) -> Converted | VlaError:
    """Convert an episode; an error is a value, so that it does not end the others."""
    try:
        return convert_episode(job)
    except VlaError as error:
        return error


def results(jobs: Sequence[Job], workers: int) -> Iterator[Converted | VlaError]:
    """Yield what became of every job, in order."""
    if workers == 1:
        yield from map(attempt, jobs)
        return
    # Forking a process that has loaded FFmpeg and Arrow threads is unsafe, so workers start afresh.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    folder = jobs[0].folder
    try:
        futures: list[Future[Converted | VlaError]] = [pool.submit(attempt, job) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            folder = job.folder
            yield future.result()
    except BrokenProcessPool as error:
        raise VlaError(
            f"a worker process was killed while {folder.name} or one after it was converted; out of memory? "
            "Use fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
            worker.join()


def _ignore_interrupt() -> None:
    """A terminal sends ctrl-c to every process; the workers are ended by the main one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
