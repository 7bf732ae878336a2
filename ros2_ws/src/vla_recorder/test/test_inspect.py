# SPDX-License-Identifier: Apache-2.0

"""The table and the page show what is in the episodes: rows, gaps, phases, pictures."""

import base64
import re

import cv2
import numpy as np
import pytest
from vla_core.episode import ARMED, CORRECTION, SKILL, TELEOP
from vla_core.errors import BagError, VlaError
from vla_recorder.bags.reader import open_episode
from vla_recorder.convert import command
from vla_recorder.testing import Scene, episode_event, scene_events, small_profile, write_episode
from vla_recorder.tools import inspect
from vla_recorder.tools.episode_view import EpisodeView, bag_view, dataset_views, grey, picture_rows
from vla_recorder.tools.inspect_page import PHASE_COLOURS, page

GAP = Scene(duration_s=4.0, silence=(("joint_states", 2.0, 3.0),))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    profile = small_profile()
    write_episode(folder / "episode_a", scene_events(profile, Scene(duration_s=3.0)), profile, recorded_at="1")
    write_episode(
        folder / "episode_b", scene_events(profile, GAP), profile, recorded_at="2", warnings='["a slow <camera>"]'
    )
    return folder


@pytest.fixture(scope="module")
def dataset(recordings, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "dataset"
    assert command.main(["--bags", str(recordings), "--output", str(output), "--workers", "1"]) == 0
    return output


def view(**changes) -> EpisodeView:
    values = {
        "name": "a <name>",
        "task": "lift & place",
        "outcome": "success",
        "fps": 10.0,
        "t_s": np.array([0.0, 0.1, 0.2, 0.9, 1.0]),
        "state": np.arange(10, dtype=np.float32).reshape(5, 2),
        "state_names": ("elbow", "wrist"),
        "action": np.zeros((5, 1), np.float32),
        "action_names": ("elbow",),
        "phases": np.array([TELEOP, TELEOP, SKILL, SKILL, CORRECTION]),
        "pictures": {"front": [(0, np.full((24, 32, 3), (200, 30, 30), np.uint8))]},
    }
    return EpisodeView(**{**values, **changes})


def test_gaps_and_segments():
    assert view().gaps == [(3, pytest.approx(0.7))]
    assert view().segments == [(TELEOP, 0, 1), (SKILL, 2, 3), (CORRECTION, 4, 4)]
    assert view().duration_s == pytest.approx(1.1)


def test_picture_rows_are_spread_and_unique():
    assert picture_rows(0) == []
    assert picture_rows(3) == [0, 1, 2]
    rows = picture_rows(100)
    assert (rows[0], rows[-1], len(rows)) == (0, 99, 8)


def test_dataset_and_bag_show_the_same_episode(recordings, dataset):
    shown = list(dataset_views(dataset))
    assert [item.rows for item in shown] == [bag_view(open_episode(p)).rows for p in sorted(recordings.iterdir())]
    of_bag, of_dataset = bag_view(open_episode(recordings / "episode_b")), shown[1]
    np.testing.assert_array_equal(of_bag.state, of_dataset.state)
    np.testing.assert_array_equal(of_bag.action, of_dataset.action)
    np.testing.assert_allclose(of_bag.t_s, of_dataset.t_s)
    assert len(of_bag.gaps) == len(of_dataset.gaps) == 1
    assert of_bag.dropped == of_dataset.dropped != {}
    assert of_dataset.state_names == ("elbow_joint.pos", "wrist_joint.pos")


def test_phases_are_those_of_the_events(tmp_path, capsys):
    profile, scene = small_profile(), Scene(duration_s=3.0)
    events = scene_events(profile, scene)
    for after_s, phase in ((0.0, ARMED), (0.5, TELEOP), (1.5, SKILL), (2.2, CORRECTION)):
        events.append(episode_event("/episode/event", scene.start_ns + int(after_s * 1e9), phase))
    events.sort(key=lambda event: event.receive_ns)
    write_episode(tmp_path / "bags/episode_d", events, profile)
    of_bag = bag_view(open_episode(tmp_path / "bags/episode_d"))
    assert [phase for phase, _, _ in of_bag.segments] == [ARMED, TELEOP, SKILL, CORRECTION]
    assert command.main(["--bags", str(tmp_path / "bags"), "--output", str(tmp_path / "d"), "--workers", "1"]) == 0
    of_dataset = next(iter(dataset_views(tmp_path / "d")))
    np.testing.assert_array_equal(of_dataset.phases, of_bag.phases[of_bag.phases != ARMED])
    capsys.readouterr()
    assert inspect.main([str(tmp_path / "d")]) == 0
    assert "teleop:10 skill:7 correction:" in capsys.readouterr().out


def test_pictures_of_the_dataset_are_those_of_the_bag(recordings, dataset):
    shown = next(iter(dataset_views(dataset, range(1)))).pictures["front"]
    raw = dict(bag_view(open_episode(recordings / "episode_a")).pictures["front"])
    common = [(row, image) for row, image in shown if row in raw]
    assert len(common) >= 2
    for row, image in common:
        assert np.abs(image.astype(int) - raw[row].astype(int)).mean() < 6


def test_page_holds_pictures_phases_and_gaps_and_escapes_text():
    text = page("recordings", [view()])
    assert "a &lt;name&gt;" in text
    assert "<name>" not in text
    assert "lift &amp; place" in text
    for colour in (PHASE_COLOURS[TELEOP], PHASE_COLOURS[SKILL], PHASE_COLOURS[CORRECTION]):
        assert f"fill='{colour}'" in text
    assert "0.70 s between rows 2 and 3" in text
    picture = base64.b64decode(re.search(r"base64,([^']+)'", text).group(1))
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert decoded.shape[0] == 96
    assert np.abs(decoded.reshape(-1, 3).mean(axis=0) - (200, 30, 30)).max() < 4
    assert text.count("<polyline") == 3
    assert "<script" not in text
    assert "http" not in text


def test_page_survives_values_that_are_not_finite():
    state = np.full((5, 2), np.nan, np.float32)
    assert "nan" not in page("x", [view(state=state)]).split("</style>")[1]


def test_depth_is_shown_as_grey():
    shown = grey(np.array([[1000, 2000], [3000, 1000]], np.uint16))
    assert shown[..., 0].tolist() == [[0, 127], [255, 0]]


def test_command_prints_a_line_per_episode_and_writes_the_page(recordings, dataset, tmp_path, capsys):
    assert inspect.main([str(dataset), "--html", str(tmp_path / "d.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == inspect.HEADER
    assert "episode_a" in lines[1]
    assert "success" in lines[1]
    assert (tmp_path / "d.html").read_text().count("<h2") == 2
    assert inspect.main([str(recordings), "--last", "1"]) == 0
    out = capsys.readouterr().out
    assert "episode_b" in out
    assert "episode_a" not in out
    assert "a slow <camera>" in out


def test_damaged_bag_is_named_and_the_others_are_shown(recordings, tmp_path, capsys):
    for path in recordings.iterdir():
        target = tmp_path / path.name
        target.mkdir()
        for file in path.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
    (tmp_path / "episode_a" / "episode_a_0.mcap").write_bytes(b"nothing")
    assert inspect.main([str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "episode_a" in shown.err
    assert "episode_b" in shown.out


def test_bad_requests_are_explained(dataset, tmp_path, capsys):
    assert inspect.main([str(dataset), "--episode", "7"]) == 2
    assert "--episode 7:" in capsys.readouterr().err
    assert inspect.main([str(dataset), "--last", "0"]) == 2
    assert "at least one episode" in capsys.readouterr().err
    assert inspect.main([str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert inspect.main([str(dataset), "--html", str(tmp_path / "no" / "d.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_bag_without_profile_and_other_versions_are_refused(tmp_path):
    profile = small_profile()
    bag = write_episode(tmp_path / "episode_c", scene_events(profile, Scene(duration_s=1.0)), profile)
    stripped = open_episode(bag)
    object.__setattr__(stripped, "custom", {})
    with pytest.raises(BagError, match="carries no robot profile; give one with --profile"):
        bag_view(stripped)
    (tmp_path / "old/meta").mkdir(parents=True)
    (tmp_path / "old/meta/info.json").write_text('{"codebase_version": "v2.1", "total_episodes": 1}')
    with pytest.raises(VlaError, match=r"version 'v2\.1'"):
        next(iter(dataset_views(tmp_path / "old")))
