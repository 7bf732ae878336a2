# SPDX-License-Identifier: Apache-2.0

"""Convert episodes at the same time in processes of this machine, in the order of the dataset.

A worker has one episode at a time. If it is killed, that episode is reported, another worker takes its place and the
others go on; the pools of the standard library give all waiting work up instead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess

from vla_core.errors import VlaError

from vla_recorder.convert.job import Job
from vla_recorder.convert.worker import Kept, WorkerError, attempt

_END_S = 5.0
"""How long a worker may take to end before it is killed [s]."""


@dataclass(slots=True)
class _Worker:
    """A process, the pipe to it, and the number of the job that it has."""

    process: SpawnProcess
    pipe: Connection
    job: int


def results(jobs: Sequence[Job], workers: int) -> Iterator[Kept | VlaError]:
    """Yield what became of every job, in order.

    Args:
        jobs: The episodes.
        workers: Processes; with one, the episodes are converted in this process.
    """
    if workers == 1:
        yield from map(attempt, jobs)
        return
    # Forking a process that has loaded FFmpeg and Arrow threads is unsafe, so workers start afresh.
    context = multiprocessing.get_context("spawn")
    running: list[_Worker] = []
    done: dict[int, Kept | VlaError] = {}
    waiting = iter(range(len(jobs)))
    try:
        for number in waiting:
            running.append(_start(context, jobs, number))
            if len(running) == workers:
                break
        for number in range(len(jobs)):
            while number not in done:
                for worker in _ready(running):
                    done[worker.job] = _result(worker, jobs[worker.job])
                    _next(context, jobs, worker, next(waiting, None), running)
            yield done.pop(number)
    finally:
        for worker in running:
            _stop(worker)


def _start(context: SpawnContext, jobs: Sequence[Job], number: int) -> _Worker:
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    here.send(jobs[number])
    return _Worker(process, here, number)


def _ready(running: Sequence[_Worker]) -> list[_Worker]:
    """Wait until a worker has answered or ended."""
    ready = set(wait([worker.pipe for worker in running]))
    return [worker for worker in running if worker.pipe in ready]


def _result(worker: _Worker, job: Job) -> Kept | VlaError:
    try:
        answer: Kept | VlaError = worker.pipe.recv()
        return answer
    except (EOFError, ConnectionResetError):
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return WorkerError(
            f"{job.folder}: the process that converted it {how}. Was the memory full? Use fewer --workers, and go on with "
            "--resume"
        )


def _next(
    context: SpawnContext, jobs: Sequence[Job], worker: _Worker, number: int | None, running: list[_Worker]
) -> None:
    """Give a worker its next job; a new one takes the place of one that ended."""
    if number is not None and worker.process.is_alive():
        worker.pipe.send(jobs[number])
        worker.job = number
        return
    running.remove(worker)
    _stop(worker)
    if number is not None:
        running.append(_start(context, jobs, number))


def _stop(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join(_END_S)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _serve(pipe: Connection) -> None:
    """Run a worker: convert what comes until the pipe closes."""
    # A terminal sends ctrl-c to every process; the workers are ended by the main one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(job))


def _end_with_parent() -> None:
    """End as soon as the main process has ended, also when it was killed and could tell nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
