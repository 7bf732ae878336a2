# SPDX-License-Identifier: Apache-2.0

"""Many episodes at a time: order, killed workers, errors in the program, a cluster."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from vla_core.errors import BagError
from vla_recorder.convert import cluster, pool, worker
from vla_recorder.convert.command import main
from vla_recorder.convert.job import Job
from vla_recorder.convert.worker import Kept, WorkerError
from vla_recorder.media.settings import VideoSettings
from vla_recorder.testing import Scene, scene_events, small_profile, wait_for, write_episode

FULL = bool(os.environ.get("VLA_TEST_FULL"))


def jobs_of(folder: Path, durations: list[float]) -> list[Job]:
    profile = small_profile()
    found = []
    for number, duration_s in enumerate(durations):
        events = scene_events(profile, Scene(seed=number, duration_s=duration_s))
        bag = write_episode(folder / f"bags/episode_{number}", events, profile)
        found.append(
            Job(
                folder=bag,
                profile_text=profile.text,
                profile_source="robot.yaml",
                fps=10,
                task="lift",
                work_dir=folder / "episodes",
                video=VideoSettings(),
            )
        )
    (folder / "episodes").mkdir()
    return found


def test_results_come_in_order_whatever_takes_longest(tmp_path: Path) -> None:
    found = list(pool.results(jobs_of(tmp_path, [6.0, 2.0, 2.0, 3.0]), 2))
    assert [one.frames for one in found if isinstance(one, Kept)] == [
        {"recorded": 60},
        {"recorded": 20},
        {"recorded": 20},
        {"recorded": 30},
    ]


def test_a_killed_worker_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, [120.0, 2.0, 2.0])

    def kill_the_first_ones_worker() -> None:
        wait_for(lambda: busy_with("episode_0"), timeout_s=60, what="a worker that has the first episode")
        os.kill(busy_with("episode_0")[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first_ones_worker)
    killer.start()
    first, second, third = pool.results(jobs, 2)
    killer.join()
    assert isinstance(first, WorkerError)
    assert "episode_0: the process that converted it was killed by SIGKILL. Was the memory full?" in str(first)
    assert isinstance(second, Kept)
    assert isinstance(third, Kept)
    assert not multiprocessing.active_children()


def busy_with(name: str) -> list[int]:
    """Processes of this one that have a file of an episode open."""
    found = []
    for child in multiprocessing.active_children():
        try:
            links = [str(link.readlink()) for link in Path(f"/proc/{child.pid}/fd").iterdir()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if child.pid and any(f"/{name}" in link for link in links):
            found.append(child.pid)
    return found


def test_an_error_of_the_program_is_one_episodes_error(tmp_path: Path, monkeypatch, caplog) -> None:
    (job,) = jobs_of(tmp_path, [2.0])
    monkeypatch.setattr(worker, "convert_episode", lambda *_: 1 / 0)
    result = worker.attempt(job)
    assert isinstance(result, WorkerError)
    assert "the conversion broke down (ZeroDivisionError: division by zero); the log has the traceback" in str(result)
    assert "Traceback" in caplog.text
    assert not list((tmp_path / "episodes").iterdir())


def test_errors_come_as_values(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, [2.0, 2.0])
    for path in jobs[0].folder.iterdir():
        path.unlink()
    first, second = pool.results(jobs, 2)
    assert isinstance(first, BagError)
    assert isinstance(second, Kept)


def test_workers_end_when_the_main_process_is_killed(tmp_path: Path) -> None:
    jobs_of(tmp_path, [20.0, 20.0])
    command = ["--bags", str(tmp_path / "bags"), "--output", str(tmp_path / "data"), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vla_recorder.convert.command", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: list(tmp_path.glob("data.partial/episodes/*/recorded")), timeout_s=40, what="workers at work")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(_runs(pid) for pid in children), what="the end of the workers")


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path, capsys, monkeypatch) -> None:
    jobs = jobs_of(tmp_path, [2.0])
    command = ["--bags", str(tmp_path / "bags"), "--output", str(tmp_path / "data")]
    assert main([*command, "--ray", "127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert "--ray 127.0.0.1:1: no cluster answers (" in said
    assert "`ray start --head` starts one here" in said
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(cluster.ClusterError, match=r"Ray is not installed .*pip install ray.*--workers"):
        next(cluster.cluster_results(jobs, "auto"))


@pytest.mark.skipif(not FULL, reason="starting Ray takes 10 s; VLA_TEST_FULL=1 runs it")
def test_a_cluster_makes_the_same_dataset(tmp_path: Path) -> None:
    jobs_of(tmp_path, [2.0, 3.0, 2.0])
    command = ["--bags", str(tmp_path / "bags")]
    assert main([*command, "--output", str(tmp_path / "here"), "--workers", "1"]) == 0
    assert main([*command, "--output", str(tmp_path / "there"), "--ray", "local"]) == 0
    for name in ("meta/stats.json", "data/chunk-000/file-000.parquet"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert json.loads((tmp_path / "there/meta/vla/report.json").read_text())["episodes"] == 3
