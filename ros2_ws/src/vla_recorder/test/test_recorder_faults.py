# SPDX-License-Identifier: Apache-2.0

"""The real recorder process under load: killed at any moment, on a full disk.

What is kept is compared, by digest of every payload, with what the publishers have sent. ``VLA_TEST_FULL=1`` uses full
camera rates and twenty moments, and prints what survived.
"""

import random
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from mcap.reader import NonSeekingReader, make_reader
from vla_msgs.srv import StartEpisode
from vla_recorder.bags.recover import repair
from vla_recorder.testing import read_bag, wait_for
from vla_recorder.testing.load import Kept, Sent, kept_messages
from vla_recorder.testing.recorder import RecorderProgram
from vla_recorder.testing.site import FULL, HEIGHT, STREAMS, WIDTH, Site, exact, file_of, growing, rarest

NS = 1_000_000_000
LONGEST_LOSS_NS = NS


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def unkept_ns(kept: dict[str, list[Kept]], sent: list[Sent], until_ns: int) -> int:
    """How long before a moment the last message that was kept of the worst topic was sent [ns]."""
    last = {topic: messages[-1].number for topic, messages in kept.items() if messages}
    times = {(message.topic, message.number): message.sent_ns for message in sent}
    return max((until_ns - times[topic, number] for topic, number in last.items()), default=0)


# ---------------------------------------------------------------------------------------------------------- kill -9


@dataclass
class Kill:
    """When a recorder is killed, and what was found afterwards."""

    name: str
    after_s: float = 0.0
    stopping: bool = False
    until: str = ""  # glob in the folder of the bags that must match first
    killed_ns: int = 0
    opened_ns: int = 0
    folder: Path = Path()
    state: str = ""

    def do(self, site: Site, program: RecorderProgram) -> None:
        self.opened_ns = time.time_ns()
        folder = site.operator.start(30.0)
        end = time.monotonic() + self.after_s
        while time.monotonic() < end:
            time.sleep(0.001)
        if self.stopping:
            site.operator.ask_to_stop()
        end = time.monotonic() + 10.0
        while self.until and time.monotonic() < end and not list(site.bags.glob(self.until.format(name=folder.stem))):
            pass  # a pause could miss the moment
        program.kill()
        self.killed_ns = time.time_ns()
        final = site.bags / folder.stem
        self.folder = final if final.exists() else folder
        names = {path.name for path in self.folder.iterdir()}
        marks = [name for name in ("metadata.tmp", "metadata.yaml") if name in names]
        self.state = "saved" if final.exists() else " + ".join(["open", *marks])


def kills() -> list[Kill]:
    moments = [
        Kill("while recording", after_s=1.5),
        Kill("stop asked", after_s=0.7, stopping=True),
        Kill("metadata appear", after_s=0.7, stopping=True, until="{name}*/metadata.*"),
    ]
    if not FULL:
        return moments
    rng = random.Random(3)
    moments += [Kill("folder appears", until="{name}*"), Kill("0.1 s after the start", after_s=0.1)]
    moments += [Kill("while recording", after_s=rng.uniform(0.2, 4.0)) for _ in range(5)]
    moments += [Kill("stop asked", after_s=rng.uniform(0.5, 2.0), stopping=True) for _ in range(3)]
    moments += [
        Kill("metadata.tmp appears", after_s=1.0, stopping=True, until="{name}*/metadata.tmp") for _ in range(3)
    ]
    moments += [
        Kill("metadata.yaml appears", after_s=1.0, stopping=True, until="{name}*/metadata.yaml") for _ in range(2)
    ]
    moments += [Kill("final name appears", after_s=1.0, stopping=True, until="{name}") for _ in range(2)]
    assert len(moments) == 20
    return moments


def check_killed(kill: Kill, sent: list[Sent]) -> str:
    """Check what is left of one episode and return its line of the table."""
    kept = kept_messages(file_of(kill.folder), STREAMS, digests=True)
    counts = exact(kept, sent)
    total = sum(counts.values())
    line = f"{kill.name:24} {kill.state:22} {total:7} "
    if kill.stopping:
        return f"{line} {'':>9}"
    late = unkept_ns(kept, sent, kill.killed_ns)
    if kill.killed_ns - kill.opened_ns > 2 * LONGEST_LOSS_NS or total:
        assert late <= LONGEST_LOSS_NS, f"{kill}: the last {late / NS:.2f} s are missing"
        return f"{line} {late / 1e6:6.0f} ms"
    return f"{line} {'':>9}"


@pytest.mark.timeout(600)
def test_a_killed_recorder_loses_less_than_a_second_and_no_saved_episode(site: Site) -> None:
    site.publish_all()
    done = kills()
    saved = []
    for number, kill in enumerate(done):
        program = site.record()
        if number == 0:
            folder = site.operator.start(30.0)
            wait_for(growing(folder, 200_000), what="a first episode")
            answer = site.operator.stop()
            assert answer.success, answer.message
            saved.append(Path(answer.bag_path))
        kill.do(site, program)
    open_folders = [kill.folder for kill in done if kill.state != "saved"]
    last = site.record()
    wait_for(
        lambda: all(f"{folder}: left open" in last.said for folder in open_folders), 20.0, "the names of all leftovers"
    )
    last.interrupt()
    sent = site.sent()
    for folder in saved:
        assert rarest(exact(kept_messages(file_of(folder), STREAMS, digests=True), sent)) > 0
        meta, _ = read_bag(folder)
        assert meta["custom_data"]["termination"] == "stopped"
    print(f"\n{'killed':24} {'left on the disk':22} messages  missing before the kill")
    for kill in done:
        print(check_killed(kill, sent))
    assert any(kill.state != "saved" for kill in done)


def test_the_open_episode_is_marked_and_can_be_repaired(site: Site) -> None:
    site.publish_all()
    program = site.record(task="carry the cup")
    folder = site.operator.start(30.0)
    wait_for(growing(folder, 15 * HEIGHT * WIDTH), what="data on the disk")
    program.kill()
    with file_of(folder).open("rb") as stream:
        record = next(NonSeekingReader(stream).iter_metadata())
    assert (record.metadata["task"], record.metadata["termination"]) == ("carry the cup", "")
    before = kept_messages(file_of(folder), STREAMS, digests=True)
    repaired = repair(folder)
    assert repaired.action == "repaired", repaired
    sent = site.sent()
    after = kept_messages(file_of(folder.with_suffix("")), STREAMS, digests=True)
    # A chunk that was being written when the process died is no chunk for a plain reader; repair reads what is there of it.
    assert all(after[topic][: len(messages)] == messages for topic, messages in before.items())
    assert rarest(exact(after, sent)) > 0
    meta, _ = read_bag(folder.with_suffix(""))
    assert meta["custom_data"]["task"] == "carry the cup"


# -------------------------------------------------------------------------------------------------------- full disk


def test_a_file_that_may_not_grow_ends_the_episode_and_the_next_one_works(site: Site) -> None:
    site.publish_all()
    program = site.record()
    folder = site.operator.start(30.0)
    wait_for(growing(folder, 100_000), what="data on the disk")
    soft = file_of(folder).stat().st_size + 300_000
    resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
    wait_for(lambda: "cannot write the episode" in program.said, 20.0, "the end of the episode")
    assert f"{file_of(folder)}: cannot write the episode (File too large)" in program.said
    resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = site.operator.start()
    wait_for(growing(again, 300_000), what="data of the next episode")
    answer = site.operator.stop()
    assert answer.success, answer.message
    sent = site.sent()
    for kept_in in (folder, Path(answer.bag_path)):
        counts = exact(kept_messages(file_of(kept_in), STREAMS, digests=True), sent)
        assert rarest(counts) > 0, counts
    with file_of(Path(answer.bag_path)).open("rb") as stream:
        assert make_reader(stream, validate_crcs=True).get_summary().statistics.message_count > 100


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small disk; the limited file above is the same without it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up a disk to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while stream.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return ballast


@pytest.mark.parametrize("moment", ["recording", "finishing"])
def test_a_full_disk_keeps_everything_before_and_the_recorder(site: Site, tmp_path: Path, moment: str) -> None:
    site.publish_all()
    with small_disk(tmp_path / "disk", 200 if FULL else 20) as disk:
        program = site.record(output_dir=disk / "bags", max_duration_s=0.0)
        first = site.operator.start(30.0)
        wait_for(growing(first, 200_000), what="a first episode")
        saved = Path(site.operator.stop().bag_path)
        folder = site.operator.start()
        wait_for(growing(folder, 200_000), what="data on the disk")
        sent = site.sent() if moment == "finishing" else []
        ballast = fill(disk)
        if moment == "finishing":
            answer = site.operator.stop()
            assert not answer.success
            assert "the disk is full; free space or choose another output_dir" in answer.message
            site.publish_all(first=100_000)
        wait_for(lambda: "No space left on device" in program.said, 20.0, "the error")
        assert program.process.poll() is None, program.said
        assert "the disk is full; free space or choose another output_dir" in program.said
        assert "Traceback" not in program.said
        full = "the disk is full; free space or choose another output_dir"
        wait_for(lambda: full in site.operator.call(StartEpisode, "start").message, what="a refusal for want of space")
        ballast.unlink()
        assert sorted(path.name for path in (disk / "bags").iterdir()) == sorted([saved.name, folder.name])
        again = site.operator.start()
        wait_for(growing(again, 200_000), what="data of the next episode")
        answer = site.operator.stop()
        assert answer.success, answer.message
        sent += site.sent()
        for kept_in in (saved, folder, Path(answer.bag_path)):
            counts = exact(kept_messages(file_of(kept_in), STREAMS, digests=True), sent)
            assert rarest(counts) > 0, (kept_in, counts)
        program.interrupt()
