# SPDX-License-Identifier: Apache-2.0

"""What a stream does now, what a closed episode lacks, and how long the disk lasts."""

from collections import namedtuple
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from vla_core.errors import BagError
from vla_recorder.bags.writer import TopicCount
from vla_recorder.capture import disk, live_audit
from vla_recorder.capture.audit import audit, unmoved
from vla_recorder.capture.disk import DiskBudget
from vla_recorder.capture.live_audit import MISSING, SLOW, AuditBoard, StreamAudit
from vla_recorder.capture.topic_plan import TopicPlan

NS = 1_000_000_000
CAMERA = TopicPlan(
    topic="front", type="sensor_msgs/msg/Image", qos="default", role="observation", label="camera 'front'",
    max_age_s=0.3, rate_hz=30.0,
)  # fmt: skip
COMMAND = TopicPlan(
    topic="command", type="sensor_msgs/msg/JointState", qos="default", role="command", label="action 'arm'",
    max_age_s=0.3, rate_hz=30.0,
)  # fmt: skip


def feed(stream: StreamAudit, rate_hz: float, start_s: float, seconds: float, *, stamps: bool = True) -> float:
    """Send messages at a rate; returns the time of the last one [s]."""
    last = start_s
    for index in range(int(seconds * rate_hz)):
        last = start_s + index / rate_hz
        stream.tick(int(last * NS), int((last - 0.02) * NS) if stamps else 0)
    return last


def seen(stream: StreamAudit, now_s: float):
    """What is wrong, asked ten times a second as the recorder does."""
    stream.problem(int((now_s - 0.2) * NS))
    return stream.problem(int(now_s * NS))


def test_a_stream_that_never_came_names_topic_and_type() -> None:
    stream = StreamAudit(CAMERA, "/front")
    found = stream.problem(5 * NS)
    assert (found.kind, found.topic) == (MISSING, "/front")
    assert found.text == "camera 'front': nothing received on /front (sensor_msgs/msg/Image)"
    stream.conflict = "/front is published as std_msgs/msg/String, but the profile says sensor_msgs/msg/Image"
    assert stream.problem(5 * NS).text == f"camera 'front': {stream.conflict}"
    assert stream.report(5 * NS, 0)[0] == DiagnosticStatus.STALE


def test_a_stream_that_stops_is_missing_within_a_second() -> None:
    stream = StreamAudit(CAMERA, "/front")
    last = feed(stream, 30, 10.0, 3.0)
    assert stream.problem(int((last + 0.4) * NS)) is None, "half a second may pass on a busy machine"
    found = stream.problem(int((last + 0.6) * NS))
    assert found.text == "camera 'front': /front silent for 0.6 s (limit 0.5 s)"
    feed(stream, 30, last + 1.0, 0.2)
    assert stream.problem(int((last + 1.2) * NS)) is None
    assert stream.max_gap_ns == pytest.approx(1.0 * NS, rel=1e-6)
    stream.begin()
    assert stream.max_gap_ns == 0


def test_a_stream_that_slows_down_is_known_within_a_second() -> None:
    stream = StreamAudit(CAMERA, "/front")
    slow_from = feed(stream, 30, 10.0, 3.0)
    assert stream.rate_hz(int(slow_from * NS)) == pytest.approx(30, abs=1.5)
    last = feed(stream, 15, slow_from + 1 / 15, 0.9)
    found = seen(stream, last)
    assert found is not None, f"not after {last - slow_from:.2f} s"
    assert found.kind == SLOW
    assert "Hz on /front instead of 30 Hz" in found.text
    level, message, values = stream.report(int(last * NS), 7)
    assert (level, message, values["lost"]) == (DiagnosticStatus.WARN, found.text, "7")


def test_a_young_stream_and_a_short_stumble_are_not_slow() -> None:
    stream = StreamAudit(CAMERA, "/front")
    last = feed(stream, 20, 10.0, 0.5)
    assert stream.rate_hz(int(last * NS)) is None
    assert seen(stream, last) is None
    stream = StreamAudit(CAMERA, "/front")
    last = feed(stream, 30, 20.0, 3.0)
    burst = last + 0.35
    for index in range(11):  # ten periods arrive together
        stream.tick(int((burst + 0.001 * index) * NS), int((last - 0.02 + (index + 1) / 30) * NS))
    assert stream.problem(int((burst + 0.05) * NS)) is None
    assert stream.stamp_gaps == 0


def test_gaps_in_stamps_are_counted_and_a_clock_that_jumps_is_not() -> None:
    stream = StreamAudit(CAMERA, "/front")
    for index in (0, 1, 2, 5, 6, 8):
        stream.tick(10 * NS + index * NS // 30, 10 * NS + index * NS // 30)
    assert stream.stamp_gaps == 3
    stream.tick(11 * NS, 5 * NS)
    stream.tick(11 * NS + NS // 30, 5 * NS + NS // 30)
    assert stream.stamp_gaps == 3
    unstamped = StreamAudit(CAMERA, "/front")
    feed(unstamped, 10, 0.0, 2.0, stamps=False)
    assert unstamped.stamp_gaps == 0


def test_commands_count_only_while_somebody_drives_and_only_when_silent() -> None:
    arm = StreamAudit(COMMAND, "/command")
    board = AuditBoard({"/command": arm})
    assert board.problems(5 * NS, commands=False) == []
    (unheard,) = board.problems(5 * NS, commands=False, armed=True)
    assert unheard.text == "action 'arm': nothing received on /command (sensor_msgs/msg/JointState)"
    assert [problem.kind for problem in board.problems(5 * NS, commands=True)] == [MISSING]
    last = feed(arm, 5, 5.0, 4.0)
    assert board.problems(int((last + 5) * NS), commands=False, armed=True) == [], "it may be silent at rest"
    assert seen(arm, last).kind == SLOW
    assert board.problems(int(last * NS), commands=True) == []


def test_silence_while_nobody_looked_is_no_fault_of_the_stream(monkeypatch) -> None:
    wall = {"s": 100.0}
    monkeypatch.setattr(live_audit.time, "monotonic", lambda: wall["s"])
    camera, dead = StreamAudit(CAMERA, "/front"), StreamAudit(CAMERA, "/dead")
    board = AuditBoard({"/front": camera, "/dead": dead})
    last = feed(camera, 30, 10.0, 2.0)
    wall["s"] += 0.8  # an episode was saved meanwhile
    now = int((last + 0.8) * NS)
    assert [problem.topic for problem in board.problems(now, commands=False)] == ["/dead"], "it never sent anything"
    for _ in range(6):
        wall["s"] += 0.1
        now += NS // 10
        board.look(now)
    texts = [problem.text for problem in board.problems(now, commands=False)]
    assert texts[0] == "camera 'front': /front silent for 1.4 s (limit 0.5 s)", "but it does not come back either"


def test_a_closed_episode_says_what_it_lacks() -> None:
    count = TopicCount()
    for t in (0.0, 0.1, 0.2, 0.9, 1.0):
        count.add(int(t * NS), 10)
    warnings = audit([(CAMERA, "/front"), (COMMAND, "/command")], {"/front": count}, {"/front": 3})
    assert warnings[0].startswith("camera 'front': 3 messages of /front were published but not received")
    assert warnings[1] == "camera 'front': 4.0 Hz on /front instead of 30 Hz"
    assert "gap of 0.700 s on /front (limit 0.3 s)" in warnings[2]
    assert warnings[3] == "action 'arm': no message on /command"
    assert (
        "nothing moved on /command. Drive the arm, tell the recorder with the service set_phase"
        in unmoved(["/command"])[0]
    )


def test_the_disk_must_hold_the_episode(tmp_path: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(5_000_000_000))
    budget = DiskBudget(tmp_path / "not" / "there", 1_000_000_000)
    assert budget.free == 5_000_000_000
    assert budget.seconds_left is None
    budget.check_start(1e6)  # nothing is known of the rate yet
    budget.sample(0, 10 * NS)
    budget.sample(50_000_000, 11 * NS)
    assert budget.bytes_per_s == 50e6
    assert budget.seconds_left == pytest.approx(80.0)
    budget.check_start(79.0)
    with pytest.raises(
        BagError, match=r"an episode of 81 s at 50.0 MB/s needs 4.0 GB beside the 1.0 GB .* 5.0 GB are free"
    ):
        budget.check_start(81.0)
    (tmp_path / "episode").mkdir()
    (tmp_path / "episode" / "a.mcap").write_bytes(b"x" * 250)
    budget.learn(1000, tmp_path / "episode")
    budget.check_start(300.0)
    budget.sample(0, 12 * NS)  # the clock or the counter began anew
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(900_000_000))
    with pytest.raises(BagError, match=r"only 0\.9 GB are free, recording needs 1\.0 GB"):
        budget.check()
