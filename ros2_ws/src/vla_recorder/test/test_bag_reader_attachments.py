# SPDX-License-Identifier: Apache-2.0

"""Files and logs that travel with an episode."""

from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_typestore
from vla_core.errors import BagError
from vla_recorder.bags.attachments import export_attachments, rosout_log
from vla_recorder.bags.reader import open_episode
from vla_recorder.bags.writer import BagWriter, TopicInfo
from vla_recorder.testing import Scene, scene_events, small_profile
from vla_recorder.testing.bags import by_recorder

EVENTS = scene_events(small_profile(), Scene(duration_s=1.5))
JAZZY = get_typestore(Stores.ROS2_JAZZY)


def test_attachments_come_from_the_bag_and_from_beside_it(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "episode", "episode")
    writer.attach("scene.yaml", "application/yaml", b"table: 1")
    writer.attach("goal.png", "image/png", b"\x89PNG" * 100)
    writer.close({})
    folder = tmp_path / "episode/attachments/plan"
    folder.mkdir(parents=True)
    (folder / "skill.csv").write_text("a,b\n")
    bag = open_episode(tmp_path / "episode")
    assert [(a.name, a.media_type, len(a.data)) for a in bag.attachments()] == [
        ("scene.yaml", "application/yaml", 8),
        ("goal.png", "image/png", 400),
        ("plan/skill.csv", "text/csv", 4),
    ]
    file = next((tmp_path / "episode").glob("*.mcap"))
    file.write_bytes(file.read_bytes().replace(b"table: 1", b"table: 2"))
    damaged = open_episode(tmp_path / "episode")
    assert [a.name for a in damaged.attachments()] == ["goal.png", "plan/skill.csv"]
    assert "the attachment 'scene.yaml' has a wrong checksum" in damaged.damage


def test_the_log_of_an_episode_goes_with_its_attachments(tmp_path: Path) -> None:
    types = JAZZY.types
    writer = BagWriter(tmp_path / "episode", "episode")
    kind_of_log = "rcl_interfaces/msg/Log"
    writer.add_topic(TopicInfo(name="/rosout", type=kind_of_log, definition=JAZZY.generate_msgdef(kind_of_log, 2)[0]))
    for level, text in ((20, "episode opened"), (40, "camera 'front' is silent")):
        stamp = types["builtin_interfaces/msg/Time"](1_700_000_000, 5_000_000)
        entry = types[kind_of_log](stamp, level, "recorder", text, "a.py", "f", 1)
        writer.write("/rosout", bytes(JAZZY.serialize_cdr(entry, kind_of_log)), 10, 10)
    writer.attach("plan/a.csv", "text/csv", b"1,2")
    writer.close({})
    bag = open_episode(tmp_path / "episode")
    assert rosout_log(bag) == (
        "2023-11-14T22:13:20.005Z INFO  [recorder] episode opened\n"
        "2023-11-14T22:13:20.005Z ERROR [recorder] camera 'front' is silent\n"
    )
    assert export_attachments(bag, tmp_path / "out") == ["plan/a.csv", "episode.log"]
    assert (tmp_path / "out/plan/a.csv").read_bytes() == b"1,2"
    assert (tmp_path / "out/episode.log").read_text() == rosout_log(bag)
    assert export_attachments(open_episode(by_recorder(tmp_path / "plain", EVENTS)), tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_an_attachment_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    writer = BagWriter(tmp_path / "episode", "episode")
    writer.attach(name, "text/plain", b"x")
    writer.close({})
    with pytest.raises(BagError, match="leads out of its folder"):
        export_attachments(open_episode(tmp_path / "episode"), tmp_path / "out")
    assert not (tmp_path / "evil").exists()
