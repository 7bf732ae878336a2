# SPDX-License-Identifier: Apache-2.0

"""A scripted demonstration through record.launch.py: the arguments reach the recorder, and no moving frame is lost."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from launches import isolated, launch
from vla_core.episode import ARMED, IDLE, TELEOP
from vla_recorder.bags.reader import open_episode
from vla_recorder.testing import read_bag

SPAN_S = 0.2


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "scene.yaml").write_text("blocks: 1\n")
    arguments = ["sim:=true", "robot:=sim_ur5e_tiny"]
    arguments += [
        "operator:=scripted",
        "episodes:=1",
        "seed:=7",
        f"output_dir:={folder / 'bags'}",
        "operator_name:=ada",
    ]
    arguments += [
        "include:=/tcp_pose_broadcaster/.* /clock",
        "exclude:=/rosout",
        f"attachments:={folder / 'scene.yaml'}",
    ]
    code, out = launch(isolated(folder / "log"), "record", *arguments)
    assert code == 0, out
    (bag,) = (folder / "bags").iterdir()
    return bag


def test_the_arguments_reach_the_recorder(recorded: Path) -> None:
    bag = open_episode(recorded)
    assert (bag.get("operator"), bag.get("seed"), bag.get("outcome")) == ("ada", "7", "success")
    assert bag.counts["/tcp_pose_broadcaster/pose"] > 100
    assert bag.counts["/clock"] > 100
    assert "/rosout" not in bag.counts
    assert b"blocks: 1" in next(recorded.glob("*.mcap")).read_bytes()


def test_the_demonstration_is_whole_from_the_first_motion_on(recorded: Path) -> None:
    _, topics = read_bag(recorded)
    events = topics["/episode/event"]
    assert [event.phase for _, event in events] == [ARMED, TELEOP, IDLE]
    began = events[1][0].log_time
    for topic, period_s in (
        ("/front_camera/color/image_raw", 1 / 30),
        ("/command/arm", 0.02),
        ("/joint_states", 0.002),
    ):
        stamps = [message.publish_time for message, _ in topics[topic]]
        assert stamps[0] <= began - (SPAN_S - 2 * period_s) * 1e9, f"{topic} before the motion"
        assert max(b - a for a, b in pairwise(stamps)) <= 1.5 * period_s * 1e9, f"a hole in {topic}"
    targets = [(message.publish_time, list(command.position)) for message, command in topics["/command/arm"]]
    at_rest = [position for stamp, position in targets if stamp < began]
    strayed = max(abs(a - b) for position in at_rest for a, b in zip(position, at_rest[0], strict=True))
    assert strayed <= 0.001, "nothing that moved is left out of the phase"
    assert json.loads(open_episode(recorded).get("warnings")) == []
