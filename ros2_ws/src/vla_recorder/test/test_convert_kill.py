# SPDX-License-Identifier: Apache-2.0

"""The converter process is killed at random moments; what existed stays whole, and a resumed run gives the same dataset."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
from vla_recorder.convert.staging import PARTIAL_SUFFIX
from vla_recorder.testing import Scene, scene_events, small_profile, write_episode

FULL = bool(os.environ.get("VLA_TEST_FULL"))
MOMENTS = 20 if FULL else 4
EPISODES = 5
TIMEOUT_S = 120.0


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the real command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "vla_recorder.convert.command", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the command with all its workers, as a power cut would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_S)


def finish(*arguments: object) -> tuple[int, str]:
    process = start(*arguments)
    text, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, text


def content(dataset: Path) -> dict[str, str]:
    """Hash of every row and of every stored picture's packet, by column and by video."""
    rows = pq.read_table(sorted((dataset / "data").rglob("*.parquet")))
    found = {
        name: hashlib.sha256(repr(rows.column(name).to_pylist()).encode()).hexdigest() for name in rows.column_names
    }
    for path in sorted((dataset / "videos").rglob("*.mp4")):
        with av.open(str(path)) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        found[str(path.relative_to(dataset))] = hashlib.sha256(b"".join(packets)).hexdigest() + f" {len(packets)}"
    return found


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill") / "bags"
    profile = small_profile()
    for number in range(EPISODES):
        events = scene_events(profile, Scene(duration_s=3.0, seed=number))
        write_episode(folder / f"episode_{number}", events, profile, recorded_at=str(number))
    return folder


@pytest.fixture(scope="module")
def whole(recordings, tmp_path_factory):
    """An undisturbed conversion: what it holds, and how long it takes [s]."""
    output = tmp_path_factory.mktemp("whole") / "dataset"
    started = time.monotonic()
    code, text = finish("--bags", recordings, "--output", output, "--workers", 2)
    assert code == 0, text
    return content(output), time.monotonic() - started


def killed_when(process: subprocess.Popen[str], reached: Callable[[], bool], limit_s: float) -> bool:
    """Kill the command as soon as a condition holds (or it ends, or the time is over); returns whether it still ran."""
    deadline = time.monotonic() + limit_s
    while process.poll() is None and not reached() and time.monotonic() < deadline:
        pass
    kill(process)
    return process.returncode == -signal.SIGKILL


def check(recordings: Path, output: Path, expected: dict[str, str]) -> str:
    """Resume after a kill; returns what had survived."""
    partial = output.with_name(output.name + PARTIAL_SUFFIX)
    survived = "complete" if output.exists() else "partial" if partial.exists() else "nothing"
    if output.exists():
        assert content(output) == expected, "an output that is visible is whole"
        return survived
    code, text = finish("--bags", recordings, "--output", output, "--workers", 2, "--resume")
    assert code == 0, text
    assert content(output) == expected
    assert not partial.exists()
    return survived


@pytest.mark.timeout(900 if FULL else 240)
def test_killed_at_random_moments(recordings, whole, tmp_path):
    expected, seconds = whole
    rng = random.Random(0)
    for number in range(MOMENTS):
        output = tmp_path / f"dataset_{number}"
        process = start("--bags", recordings, "--output", output, "--workers", 2)
        moment = rng.uniform(0.2, 1.1) * seconds
        killed_when(process, lambda: False, moment)
        print(f"killed after {moment:.2f} s: {check(recordings, output, expected)}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("moment", ["first episode", "assembly", "rename"])
def test_killed_at_a_chosen_moment(recordings, whole, tmp_path, moment):
    output = tmp_path / "dataset"
    partial = output.with_name(output.name + PARTIAL_SUFFIX)
    reached = {
        "first episode": lambda: any(partial.glob("**/*.mp4")),
        "assembly": lambda: (partial / "dataset").is_dir(),
        "rename": output.exists,
    }[moment]
    process = start("--bags", recordings, "--output", output, "--workers", 2)
    killed = killed_when(process, reached, TIMEOUT_S)
    assert killed or moment == "rename", "the moment was reached while the command ran"
    print(f"killed at {moment}: {check(recordings, output, whole[0])}")


@pytest.mark.timeout(240)
def test_killed_while_it_resumes(recordings, whole, tmp_path):
    expected, seconds = whole
    output = tmp_path / "dataset"
    partial = output.with_name(output.name + PARTIAL_SUFFIX)
    common = ("--bags", recordings, "--output", output, "--workers", 2)
    assert killed_when(start(*common), lambda: any(partial.glob("episodes/*")), TIMEOUT_S)
    for fraction in (0.5, 0.7, 0.9):
        killed_when(start(*common, "--resume"), output.exists, fraction * seconds)
    print(f"killed while resuming: {check(recordings, output, expected)}")


@pytest.mark.timeout(240)
def test_what_is_replaced_stays_until_the_new_one_is_whole(recordings, whole, tmp_path):
    expected, seconds = whole
    output = tmp_path / "dataset"
    small = tmp_path / "one"
    shutil.copytree(recordings / "episode_0", small / "episode_0")
    assert finish("--bags", small, "--output", output, "--workers", 1)[0] == 0
    before = content(output)
    for fraction in (0.3, 0.7, 0.95):
        process = start("--bags", recordings, "--output", output, "--workers", 2, "--overwrite")
        killed_when(process, lambda: False, fraction * seconds)
        assert output.is_dir(), "the old or the new dataset is there"
        assert content(output) in (before, expected)
    code, text = finish("--bags", recordings, "--output", output, "--workers", 2, "--overwrite")
    assert code == 0, text
    assert content(output) == expected
