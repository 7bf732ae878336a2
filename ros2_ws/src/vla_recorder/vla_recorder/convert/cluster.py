# SPDX-License-Identifier: Apache-2.0

"""Convert episodes on a Ray cluster, with the same function per episode as on one machine.

Bags and output must lie on a file system that all nodes share: what travels is where an episode is, not the episode.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from vla_core.errors import VlaError

from vla_recorder.convert.job import Job
from vla_recorder.convert.store import is_finished
from vla_recorder.convert.worker import Kept, WorkerError, attempt

_ANSWER_S = 5.0
"""How long a cluster may take to answer at all [s]."""


class ClusterError(VlaError):
    """The cluster cannot be used."""


def cluster_results(jobs: Sequence[Job], address: str) -> Iterator[Kept | VlaError]:
    """Yield what became of every job, in order; as many run at a time as the cluster has cores.

    Args:
        jobs: The episodes.
        address: Of the cluster: ``auto``, ``host:port``, ``ray://host:port``, or ``local`` for one on this machine.

    Raises:
        ClusterError: Ray is not installed, or no cluster answers.
    """
    ray = _connect(address)
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(attempt)
        limit = max(1, int(ray.cluster_resources().get("CPU", 1)))
        running = {remote.remote(job): number for number, job in enumerate(jobs[:limit])}
        waiting = iter(range(len(running), len(jobs)))
        done: dict[int, Kept | VlaError] = {}
        for number in range(len(jobs)):
            while number not in done:
                ready, _ = ray.wait(list(running), num_returns=1)
                ended = running.pop(ready[0])
                done[ended] = _result(ray, ready[0], jobs[ended])
                following = next(waiting, None)
                if following is not None:
                    running[remote.remote(jobs[following])] = following
            yield done.pop(number)
    finally:
        ray.shutdown()


def _connect(address: str) -> Any:
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise ClusterError(
            f"--ray {address}: Ray is not installed ({error}); `pip install ray`, or use --workers on this machine"
        ) from error
    _check_answers(address)
    try:
        ray.init(address=address, logging_level="warning", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _no_cluster(address, error) from error
    return ray


def _check_answers(address: str) -> None:
    """Knock at the address; Ray itself keeps trying for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"--ray {address}: no cluster answers ({str(error).strip().splitlines()[0]}). Is it running? `ray status --address "
        "ADDRESS` says so; `ray start --head` starts one here"
    )


def _result(ray: Any, reference: Any, job: Job) -> Kept | VlaError:
    try:
        answer: Kept | VlaError = ray.get(reference)
    except ray.exceptions.RayError as error:
        return WorkerError(
            f"{job.folder}: the worker of the cluster ended ({type(error).__name__}). Was its memory full? "
            "Go on with --resume"
        )
    if isinstance(answer, Kept) and not is_finished(answer.folder):
        return WorkerError(
            f"{job.folder}: was converted to {answer.folder} on another node, but that folder is not here. Bags and output "
            "must lie on a file system that all nodes share"
        )
    return answer
