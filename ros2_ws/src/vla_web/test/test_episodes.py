# SPDX-License-Identifier: Apache-2.0

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import rosbag2_py
import yaml
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from vla_core.profile import load_profile
from vla_web.ros.episodes import NEWEST, EpisodeShelf

ROBOTS = Path(__file__).parents[2] / "vla_bringup" / "robots"
TOPIC = "/front_camera/color/image_raw"


@pytest.fixture(scope="module")
def profile():
    return load_profile(ROBOTS / "sim_ur5e_tiny.yaml")


def image(colour):
    pixels = np.full((96, 96, 3), colour, dtype=np.uint8)
    return Image(height=96, width=96, encoding="rgb8", step=288, data=pixels.tobytes())


def jpeg(colour):
    _, data = cv2.imencode(".jpg", np.full((96, 96, 3), colour[::-1], dtype=np.uint8))
    return CompressedImage(format="rgb8; jpeg compressed bgr8", data=data.tobytes())


def bag(folder, number, messages, **custom):
    """An episode as the recorder leaves it."""
    path = folder / f"episode_20260101T0000{number:02d}Z_{number:08x}"
    writer = rosbag2_py.SequentialWriter()
    writer.open(rosbag2_py.StorageOptions(uri=str(path), storage_id="mcap"), rosbag2_py.ConverterOptions("cdr", "cdr"))
    names = {name: f"sensor_msgs/msg/{type(message).__name__}" for name, message in messages}
    for index, (name, kind) in enumerate(names.items()):
        writer.create_topic(rosbag2_py.TopicMetadata(id=index, name=name, type=kind, serialization_format="cdr"))
    for index, (name, message) in enumerate(messages):
        writer.write(name, serialize_message(message), 10**9 * (index + 1))
    writer.close()
    file = path / "metadata.yaml"
    content = yaml.safe_load(file.read_text())
    content["rosbag2_bagfile_information"]["custom_data"] = {
        "episode_uuid": f"{number:08x}",
        "recorded_at": f"2026-01-01T00:00:{number:02d}+00:00",
        "duration_s": "3.5",
        "outcome": "success",
        "task": "pick up the block",
        "namespace": "/",
        **custom,
    }
    file.write_text(yaml.safe_dump(content))
    return path


def scanned(profile, folder, times=10):
    shelf = EpisodeShelf(profile)
    for _ in range(times):
        shelf.scan(folder)
    return shelf


def test_episodes_are_listed_newest_first_with_what_matters(profile, tmp_path):
    bag(tmp_path, 1, [(TOPIC, image((255, 0, 0)))])
    bag(tmp_path, 2, [(TOPIC, image((0, 0, 255)))], outcome="failure", warnings='["a", "b"]')
    bag(tmp_path, 3, [(TOPIC, image((0, 0, 255)))], error="disk full")
    (tmp_path / "notes").mkdir()
    rows = scanned(profile, tmp_path).rows
    assert [(row["uuid"], row["outcome"], row["note"]) for row in rows] == [
        ("00000003", "success", "error"),
        ("00000002", "failure", "2 warnings"),
        ("00000001", "success", ""),
    ]
    assert rows[2]["duration"] == 3.5
    assert rows[2]["task"] == "pick up the block"
    assert rows[2]["recorded"] == 1767225601.0


def test_a_label_that_changes_is_read_again_and_a_discarded_episode_goes(profile, tmp_path):
    path = bag(tmp_path, 1, [(TOPIC, image((255, 0, 0)))])
    shelf = scanned(profile, tmp_path)
    file = path / "metadata.yaml"
    file.write_text(file.read_text().replace("outcome: success", "outcome: failure"))
    os.utime(file, (1, 1))
    shelf.scan(tmp_path)
    assert [row["outcome"] for row in shelf.rows] == ["failure"]
    path.rename(tmp_path / ".discarded")
    shelf.scan(tmp_path)
    assert shelf.rows == []


@pytest.mark.parametrize("make", [image, jpeg])
def test_the_thumbnail_is_the_first_picture(profile, tmp_path, make):
    topic = TOPIC if make is image else f"{TOPIC}/compressed"
    bag(tmp_path, 1, [(topic, make((250, 10, 20))), (topic, make((0, 0, 255)))])
    shelf = scanned(profile, tmp_path)
    picture = cv2.imdecode(np.frombuffer(shelf.thumbnail("00000001"), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (96, 96, 3)
    assert np.abs(picture[48, 48].astype(int) - (20, 10, 250)).max() < 12  # blue, green, red
    assert shelf.thumbnail("00000001") is shelf.thumbnail("00000001")  # made once


def test_episodes_without_a_picture_have_none(profile, tmp_path):
    bag(tmp_path, 1, [("/other/image", image((1, 2, 3)))])
    bag(tmp_path, 2, [(TOPIC, image((1, 2, 3)))])
    next((tmp_path / "episode_20260101T000002Z_00000002").glob("*.mcap")).write_bytes(b"damaged")
    shelf = scanned(profile, tmp_path)
    assert [shelf.thumbnail(uuid) for uuid in ("00000001", "00000002", "ffffffff")] == [None, None, None]


@pytest.mark.parametrize("text", ["{", "a: 1", "rosbag2_bagfile_information: {custom_data: 3}", "\x00"])
def test_metadata_that_are_no_recorders_are_left_out(profile, tmp_path, text):
    bag(tmp_path, 1, [(TOPIC, image((1, 2, 3)))])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metadata.yaml").write_text(text)
    assert [row["uuid"] for row in scanned(profile, tmp_path).rows] == ["00000001"]


def test_only_the_newest_are_read_and_few_at_a_time(profile, tmp_path):
    for number in range(NEWEST + 3):
        folder = tmp_path / f"episode_{number:03d}"
        folder.mkdir()
        (folder / "metadata.yaml").write_text(
            "rosbag2_bagfile_information: {duration: {nanoseconds: 1}, topics_with_message_count: [], custom_data: "
            f"{{episode_uuid: u{number}, recorded_at: '2026-01-01T00:00:00+00:00'}}}}"
        )
    shelf = EpisodeShelf(profile)
    shelf.scan(tmp_path)
    assert [row["uuid"] for row in shelf.rows] == [f"u{NEWEST + 2 - i}" for i in range(4)]
    for _ in range(NEWEST):
        shelf.scan(tmp_path)
    assert len(shelf.rows) == NEWEST
    assert shelf.rows[0]["uuid"] == f"u{NEWEST + 2}"


def test_a_folder_that_is_not_there_has_no_episodes(profile, tmp_path):
    assert scanned(profile, tmp_path / "nowhere").rows == []
