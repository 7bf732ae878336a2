# SPDX-License-Identifier: Apache-2.0

"""What goes wrong in a lab, put into a bag: what is kept is exact, and the report says what happened."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_core.frames import ACTION_KEY, STATE_KEY
from vla_recorder.convert import command
from vla_recorder.testing import Event, Scene, image, joint_state, scene_events, small_profile, write_episode

NS = 1_000_000_000
SCENE = Scene(duration_s=4.0)
CAMERA, JOINTS, COMMAND = "/front/image_raw", "/joint_states", "/command/arm"
Change = Callable[[list[Event]], list[Event]]


class Result(NamedTuple):
    code: int
    text: str
    report: dict
    rows: dict[int, tuple[np.ndarray, np.ndarray]]


def convert(folder: Path, output: Path, capsys) -> Result:
    code = command.main(["--bags", str(folder), "--output", str(output), "--workers", "1"])
    shown = capsys.readouterr()
    path = output / "meta/vla/report.json"
    report = json.loads(path.read_text()) if path.is_file() else {}
    rows = {}
    for file in sorted((output / "data").rglob("*.parquet")) if output.exists() else []:
        for row in pq.read_table(file).to_pylist():
            rows[row["stamp_ns"]] = (np.array(row[STATE_KEY], np.float32), np.array(row[ACTION_KEY], np.float32))
    return Result(code, shown.out + shown.err, report, rows)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The rows of the episode in which nothing goes wrong, by tick."""
    folder = tmp_path_factory.mktemp("clean")
    profile = small_profile()
    write_episode(folder / "bags/episode", scene_events(profile, SCENE), profile)
    output = folder / "dataset"
    assert command.main(["--bags", str(folder / "bags"), "--output", str(output), "--workers", "1"]) == 0
    table = pq.read_table(next((output / "data").rglob("*.parquet"))).to_pylist()
    return {
        row["stamp_ns"]: (np.array(row[STATE_KEY], np.float32), np.array(row[ACTION_KEY], np.float32)) for row in table
    }


@pytest.fixture
def with_fault(tmp_path, capsys):
    def run(change: Change) -> Result:
        profile = small_profile()
        write_episode(tmp_path / "bags/episode", change(scene_events(profile, SCENE)), profile)
        return convert(tmp_path / "bags", tmp_path / "dataset", capsys)

    return run


def seconds(event: Event) -> float:
    return (event.receive_ns - SCENE.start_ns) / NS


def again(event: Event, *, stamp_ns: int | None = None, receive_ns: int | None = None, **changes) -> Event:
    """Return an event with other times or another content."""
    stamp = event.stamp_ns if stamp_ns is None else stamp_ns
    receive = event.receive_ns if receive_ns is None else receive_ns
    if hasattr(event.message, "encoding"):
        message = event.message
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        return image(event.topic, receive, stamp, changes.get("pixels", pixels))
    names, position = changes.get("names", event.message.name), changes.get("position", event.message.position)
    return joint_state(event.topic, receive, stamp, names, position)


def between(first: float, last: float, topic: str, change: Callable[[Event], Sequence[Event]]) -> Change:
    """Apply a change to the messages of a topic that arrive in a span of time [s]."""

    def apply(events: list[Event]) -> list[Event]:
        found = []
        for event in events:
            hit = event.topic == topic and first <= seconds(event) < last
            found += change(event) if hit else [event]
        return found

    return apply


def assert_kept_rows_are_exact(result: Result, clean: dict, lost: range) -> None:
    """The lost rows are within the span, all others are there, and every one is as it would have been."""
    assert set(result.rows) <= set(clean)
    missing = len(clean) - len(result.rows)
    assert lost.start <= missing < lost.stop, missing
    for stamp, (state, action) in result.rows.items():
        np.testing.assert_array_equal(state, clean[stamp][0])
        np.testing.assert_array_equal(action, clean[stamp][1])


def test_camera_that_stops_and_comes_back(with_fault, clean):
    result = with_fault(between(1.0, 2.0, CAMERA, lambda _: []))
    assert result.code == 0
    assert_kept_rows_are_exact(result, clean, range(5, 11))
    assert result.report["dropped"].keys() == {"observation.images.front: stale"}
    assert "dropped" in result.text


def test_camera_that_changes_its_size(with_fault, clean):
    small = np.zeros((12, 16, 3), np.uint8)
    result = with_fault(between(2.0, 9.0, CAMERA, lambda event: [again(event, pixels=small)]))
    assert_kept_rows_are_exact(result, clean, range(15, 25))
    assert "observation.images.front: size" in result.report["dropped"]
    assert "observation.images.front: size" in result.text


def test_camera_without_stamps_for_a_while(with_fault, clean):
    result = with_fault(between(1.0, 2.0, CAMERA, lambda event: [again(event, stamp_ns=0)]))
    assert_kept_rows_are_exact(result, clean, range(5, 11))
    assert "stamp" in result.text


def test_camera_whose_stamps_jump_back(with_fault, clean):
    result = with_fault(between(1.0, 2.0, CAMERA, lambda event: [again(event, stamp_ns=event.stamp_ns - 50 * NS)]))
    assert_kept_rows_are_exact(result, clean, range(5, 11))
    assert result.report["dropped"]


def shifted(seconds_later: float) -> Change:
    """Every clock of the cell jumps at 2 s."""

    def apply(events: list[Event]) -> list[Event]:
        jump = int(seconds_later * NS)
        return [
            again(e, stamp_ns=e.stamp_ns + jump, receive_ns=e.receive_ns + jump) if seconds(e) >= 2.0 else e
            for e in events
        ]

    return apply


def test_clock_that_jumps_forward(with_fault, clean):
    result = with_fault(shifted(7.0))
    before = [stamp for stamp in result.rows if stamp < SCENE.start_ns + 2 * NS]
    after = [stamp for stamp in result.rows if stamp > SCENE.start_ns + 8 * NS]
    assert 15 <= len(before) <= 21
    assert 15 <= len(after) <= 21
    assert len(before) + len(after) == len(result.rows)
    for stamp in before:
        np.testing.assert_array_equal(result.rows[stamp][0], clean[stamp][0])
    assert sum(result.report["dropped"].values()) >= 60
    assert result.report["gaps"] == 1


def test_clock_that_jumps_back(with_fault, clean):
    result = with_fault(shifted(-50.0))
    assert 15 <= len(result.rows) <= 21, "what was recorded before the jump"
    for stamp, (state, _) in result.rows.items():
        np.testing.assert_array_equal(state, clean[stamp][0])
    assert "back" in result.text
    assert "clock" in result.text


def test_messages_out_of_order_change_nothing(with_fault, clean):
    rng = np.random.default_rng(0)

    def shuffle(events: list[Event]) -> list[Event]:
        order = np.argsort([e.receive_ns + rng.integers(0, int(0.04 * NS)) for e in events])
        return [events[i] for i in order]

    result = with_fault(shuffle)
    assert result.code == 0
    assert_kept_rows_are_exact(result, clean, range(2))


def test_messages_that_come_twice_change_nothing(with_fault, clean):
    result = with_fault(lambda events: [copy for event in events for copy in (event, event)])
    assert result.code == 0
    assert_kept_rows_are_exact(result, clean, range(1))


def test_joints_that_are_no_numbers(with_fault, clean):
    broken = between(1.0, 2.0, JOINTS, lambda event: [again(event, position=[float("nan"), 0.0])])
    result = with_fault(broken)
    assert_kept_rows_are_exact(result, clean, range(8, 13))
    assert "observation.state.0: not_finite" in result.report["dropped"]


def test_joints_that_come_in_another_order(with_fault, clean):
    def turned(event: Event) -> list[Event]:
        return [again(event, names=event.message.name[::-1], position=event.message.position[::-1])]

    result = with_fault(between(1.0, 9.0, JOINTS, turned))
    assert result.code == 0
    assert_kept_rows_are_exact(result, clean, range(1))


def test_bag_without_a_topic_is_named_and_the_others_are_converted(tmp_path, clean, capsys):
    profile = small_profile()
    events = scene_events(profile, SCENE)
    write_episode(tmp_path / "bags/good", events, profile, recorded_at="1")
    write_episode(tmp_path / "bags/lame", [e for e in events if e.topic != COMMAND], profile, recorded_at="2")
    result = convert(tmp_path / "bags", tmp_path / "dataset", capsys)
    assert result.code == 1
    assert_kept_rows_are_exact(result, clean, range(1))
    assert "lame" in result.text
    assert "no usable message of action.arm (/command/arm: 0 messages)" in result.text
    assert [name for name, _ in result.report["failed"]] == ["lame"]


@pytest.mark.parametrize(("rows", "text"), [(0, "no usable message"), (1, "1 rows are left, at least 2 are needed")])
def test_episodes_that_are_too_short_are_counted(tmp_path, capsys, rows, text):
    profile = small_profile()
    events = scene_events(profile, SCENE)
    write_episode(tmp_path / "bags/good", events, profile, recorded_at="1")
    first: dict[str, Event] = {}
    for event in events:
        first.setdefault(event.topic, event)
    short = [] if rows == 0 else [*first.values()]
    write_episode(tmp_path / "bags/short", short, profile, recorded_at="2")
    result = convert(tmp_path / "bags", tmp_path / "dataset", capsys)
    assert text in result.text
    assert "short" in json.dumps([result.report["failed"], result.report["skipped"]])
    assert result.report["episodes"] == 1
