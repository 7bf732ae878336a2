# SPDX-License-Identifier: Apache-2.0

"""Datasets as bags: they play, and they convert back to the same numbers."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from vla_core.episode import EpisodeMeta
from vla_core.errors import BagError
from vla_core.frames import ACTION_KEY, STATE_KEY, Frame
from vla_core.profile import parse_profile
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import find_episodes, open_episode
from vla_recorder.bags.source import Connection
from vla_recorder.bags.types import Decoders
from vla_recorder.bags.writer import BagWriter
from vla_recorder.convert import command as convert
from vla_recorder.testing import PROFILE, Scene, scene_events, small_profile, write_episode, write_profile
from vla_recorder.testing.recordings import Recording, expected_depth, write_recording
from vla_recorder.tools import to_bag
from vla_recorder.tools.dataset_messages import Encoder, bag_profile, grid_ns, image_message, vectors
from vla_recorder.tools.dataset_rows import DatasetRows

SCALED = PROFILE.replace(
    "    fields: [position.elbow_joint, position.wrist_joint]\n",
    "    fields: [position.elbow_joint, position.wrist_joint]\n    scale: {from: [0.1, 0.7929], to: [0.0, 1.0]}\n",
)


def make_dataset(folder: Path, text: str = PROFILE, *options: str, silence=()) -> Path:
    profile = small_profile(text)
    for number in (1, 2):
        scene = Scene(seed=number, duration_s=3.0, silence=silence)
        write_episode(
            folder / f"bags/episode_{number}",
            scene_events(profile, scene),
            profile,
            episode_uuid=f"uuid{number}",
            outcome="success",
        )
    arguments = ["--bags", str(folder / "bags"), "--output", str(folder / "dataset"), "--workers", "1", *options]
    assert convert.main(arguments) == 0
    return folder / "dataset"


def rows(dataset: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(sorted((dataset / "data").rglob("*.parquet")))
    names = [
        name for name in (STATE_KEY, ACTION_KEY, "stamp_ns", "episode_index", "phase") if name in table.column_names
    ]
    return {name: np.array(table.column(name).to_pylist()) for name in names}


def back(bags: Path, dataset: Path, *options: str) -> dict[str, np.ndarray]:
    assert convert.main(["--bags", str(bags), "--output", str(dataset), "--workers", "1", *options]) == 0
    return rows(dataset)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_made_of_a_dataset_converts_back_to_the_same_numbers(tmp_path: Path, capsys, storage: str) -> None:
    dataset = make_dataset(tmp_path)
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "again"), "--storage", storage]) == 0
    assert capsys.readouterr().out.count("state and action exact") == 2
    first, second = rows(dataset), back(tmp_path / "again", tmp_path / "dataset2")
    for name in (STATE_KEY, ACTION_KEY, "episode_index"):
        np.testing.assert_array_equal(first[name], second[name])
    assert np.abs(first["stamp_ns"] - second["stamp_ns"]).max() <= 1
    bag = open_episode(tmp_path / "again/episode_000000")
    meta = EpisodeMeta.from_dict(dict(bag.custom))
    assert (meta.episode_uuid, meta.outcome, meta.task, meta.robot) == (
        "uuid1",
        "success",
        "lift the block",
        "test_arm",
    )
    assert bag.notes == ()


def test_rows_that_are_missing_stay_missing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, silence=(("joint_states", 1.0, 1.6),))
    first = rows(dataset)
    steps = np.diff(first["stamp_ns"][first["episode_index"] == 0])
    assert steps.max() > 150_000_000
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "again")]) == 0
    second = back(tmp_path / "again", tmp_path / "dataset2")
    np.testing.assert_array_equal(first[STATE_KEY], second[STATE_KEY])
    np.testing.assert_array_equal(first[ACTION_KEY], second[ACTION_KEY])


@pytest.mark.parametrize("space", ["absolute_joint", "delta_joint"])
def test_scales_and_deltas_are_undone_exactly(tmp_path: Path, capsys, space: str) -> None:
    dataset = make_dataset(tmp_path, SCALED.replace("task:", f"action_space: {space}\ntask:"))
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "again")]) == 0
    assert "state and action exact" in capsys.readouterr().out
    first, second = rows(dataset), back(tmp_path / "again", tmp_path / "dataset2")
    np.testing.assert_array_equal(first[STATE_KEY], second[STATE_KEY])
    np.testing.assert_array_equal(first[ACTION_KEY], second[ACTION_KEY])
    values = [
        m.message.position[0] for m in open_episode(tmp_path / "again/episode_000000").messages({"/joint_states"})
    ]
    # In joint units again: at the beginning the sine is small and positive, its scaled value below zero.
    assert values[0] == pytest.approx(first[STATE_KEY][0, 0] * 0.6929 + 0.1, abs=1e-6)
    assert values[0] > 0 > first[STATE_KEY][0, 0]


def test_pictures_come_out_as_they_are_in_the_video(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    source = DatasetRows(dataset)
    for options, topic in ((["--raw"], "/front/image_raw"), ([], "/front/image_raw/compressed")):
        output = tmp_path / f"bags{len(options)}"
        assert to_bag.main([str(dataset), "--output", str(output), "--episode", "1", *options]) == 0
        assert [path.name for path in output.iterdir()] == ["episode_000001"]
        messages = list(open_episode(output / "episode_000001").messages({topic}))
        pictures = list(source.pictures(1, "front"))
        assert len(messages) == len(pictures)
        if options:
            for message, picture in zip(messages, pictures, strict=True):
                assert bytes(message.message.data) == picture.tobytes()
        else:
            assert all(message.message.format == "jpeg" for message in messages)
    second = tmp_path / "raw_dataset"
    back(tmp_path / "bags1", second)
    for stored, picture in zip(DatasetRows(second).pictures(0, "front"), pictures, strict=True):
        assert np.abs(stored.astype(int) - picture).mean() < 3.0


def test_phases_come_back(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    path = next((dataset / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    phases = np.array(table.column("phase").to_pylist())
    phases[10:15], phases[15:] = 3, 4
    field = table.schema.field("phase")
    place = table.schema.get_field_index("phase")
    pq.write_table(table.set_column(place, field, pa.array(phases, field.type)), path)
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "again")]) == 0
    second = back(tmp_path / "again", tmp_path / "dataset2")
    np.testing.assert_array_equal(second["phase"], phases)


def test_a_dataset_of_another_program_needs_a_profile(tmp_path: Path, capsys) -> None:
    dataset = make_dataset(tmp_path)
    shutil.rmtree(dataset / "meta/vla")
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "again")]) == 2
    assert (
        "was made by another program, so nobody knows its topics; give a profile with --profile"
        in capsys.readouterr().err
    )
    profile = write_profile(tmp_path)
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "again"), "--profile", str(profile)]) == 0
    second = back(tmp_path / "again", tmp_path / "dataset2")
    np.testing.assert_array_equal(rows(dataset)[STATE_KEY], second[STATE_KEY])
    other = write_profile(tmp_path, PROFILE.replace("front:", "top:"), "other.yaml")
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "third"), "--profile", str(other)]) == 1
    assert "has no observation.images.top, which the profile names" in capsys.readouterr().err


def test_bad_input_is_refused_with_a_remedy(tmp_path: Path, capsys) -> None:
    assert to_bag.main([str(tmp_path), "--output", str(tmp_path / "x")]) == 2
    assert "no complete LeRobot dataset" in capsys.readouterr().err
    dataset = make_dataset(tmp_path)
    output = ["--output", str(tmp_path / "again")]
    assert to_bag.main([str(dataset), *output, "--episode", "7"]) == 2
    assert "has the episodes 0 to 1" in capsys.readouterr().err
    assert to_bag.main([str(dataset), *output, "--jpeg-quality", "0"]) == 2
    assert "1 to 100 is possible" in capsys.readouterr().err
    assert to_bag.main([str(dataset), *output, "--episode", "0"]) == 0
    assert to_bag.main([str(dataset), *output, "--episode", "0"]) == 1
    assert "exists already; give another --output" in capsys.readouterr().err
    text = (dataset / "meta/vla/profile.yaml").read_text()
    tree = yaml.safe_load(text)
    tree["state"][0]["fields"].append("position.third_joint")
    (dataset / "meta/vla/profile.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    assert to_bag.main([str(dataset), *output, "--episode", "1"]) == 1
    assert "describes 3 values of 'observation.state', the dataset has 2" in capsys.readouterr().err
    (dataset / "meta/vla/profile.yaml").write_text(text)
    video = next((dataset / "videos").rglob("*.mp4"))
    video.unlink()
    assert to_bag.main([str(dataset), *output, "--episode", "1"]) == 1
    assert "is missing; it holds episode 1" in capsys.readouterr().err
    assert [path.name for path in find_episodes(tmp_path / "again")] == ["episode_000000"]
    report = json.loads((dataset / "meta/vla/report.json").read_text())
    (dataset / "meta/vla/report.json").write_text(json.dumps({**report, "action": "delta"}))
    assert to_bag.main([str(dataset), *output]) == 2
    assert "its actions are differences of states" in capsys.readouterr().err


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_ros2_bag_play_plays_it(tmp_path: Path, storage: str) -> None:
    """Every message arrives, in another process that subscribes like any node."""
    dataset = make_dataset(tmp_path)
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "bags"), "--storage", storage, "--episode", "0"]) == 0
    expected = open_episode(tmp_path / "bags/episode_000000").counts
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(random.randint(1, 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    listener = (
        "import sys, rclpy\n"
        "from rclpy.node import Node\n"
        "from sensor_msgs.msg import JointState, CompressedImage\n"
        "rclpy.init()\n"
        "node = Node('listener')\n"
        "seen = {}\n"
        "def count(name):\n"
        "    seen[name] = 0\n"
        "    def add(_):\n"
        "        seen[name] += 1\n"
        "    return add\n"
        "wanted = {'/joint_states': JointState, '/command/arm': JointState, '/front/image_raw/compressed': CompressedImage}\n"
        "for topic, kind in wanted.items():\n"
        "    node.create_subscription(kind, topic, count(topic), 100)\n"
        "print('ready', flush=True)\n"
        f"while min(seen.values()) < {expected['/joint_states']}:\n"
        "    rclpy.spin_once(node, timeout_sec=0.1)\n"
        "print(seen, flush=True)\n"
    )
    heard = subprocess.Popen([sys.executable, "-c", listener], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert heard.stdout is not None
        assert heard.stdout.readline() == "ready\n"
        ros2 = shutil.which("ros2")
        assert ros2
        arguments = [
            "bag",
            "play",
            str(tmp_path / "bags/episode_000000"),
            "--delay",
            "1.0",
            "--disable-keyboard-controls",
        ]
        played = subprocess.run(
            [ros2, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert played.returncode == 0, played.stdout + played.stderr
        assert heard.wait(timeout=10) == 0
        assert heard.stdout.read().count(str(expected["/joint_states"])) == 3
    finally:
        heard.kill()
        heard.wait()


OTHER_TYPES = """\
robot: other
fps: 10
base_frame: base_link
tool_frame: tool0
task: wave
cameras: {}
state:
  - topic: joints
    fields: [position.a, velocity.a, position.b]
    rate_hz: 10
    max_age_s: 0.2
  - topic: tool_pose
    type: geometry_msgs/msg/PoseStamped
    fields: [pose.position.x, pose.position.z, pose.orientation.w]
    rate_hz: 10
    max_age_s: 0.2
  - topic: forces
    type: std_msgs/msg/Float64MultiArray
    fields: ["data[2]", "data[0]"]
    stamp: receive
    rate_hz: 10
    max_age_s: 0.2
action:
  - name: arm
    record: {topic: plan, type: trajectory_msgs/msg/JointTrajectory, rate_hz: 10, max_age_s: 0.5}
    command: {interface: none}
    joints: [a, b]
    limits: {lower: [-3.0, -3.0], upper: [3.0, 3.0]}
"""


def test_every_message_type_carries_its_numbers(tmp_path: Path) -> None:
    profile = bag_profile(parse_profile(OTHER_TYPES), 10, raw=True)
    rng = np.random.default_rng(0)
    columns = {
        STATE_KEY: rng.normal(size=(20, len(profile.state_names))).astype(np.float32),
        ACTION_KEY: rng.normal(size=(20, 2)).astype(np.float32),
    }
    made = vectors(profile, columns)
    assert (made.state_error, made.action_error) == (0.0, 0.0)
    assert [(topic.topic, sorted(topic.fields)) for topic in made.topics] == [
        ("joints", ["position.a", "position.b", "velocity.a"]),
        ("tool_pose", ["pose.orientation.w", "pose.position.x", "pose.position.z"]),
        ("forces", ["data[0]", "data[2]"]),
        ("plan", ["position.a", "position.b"]),
    ]
    writer = BagWriter(tmp_path / "bag", "bag")
    encoders = {topic.topic: Encoder(f"/{topic.topic}", topic.type) for topic in made.topics}
    for row in range(20):
        for topic in made.topics:
            encoder = encoders[topic.topic]
            writer.add_topic(encoder.info)
            t_ns = 1_000_000_000 + row * 100_000_000
            writer.write(encoder.info.name, encoder(topic.message(row, t_ns)), t_ns, t_ns)
    writer.close({})
    frames = [frame for frame in BagFrames(open_episode(tmp_path / "bag"), profile, 10) if isinstance(frame, Frame)]
    np.testing.assert_array_equal(np.stack([frame.state for frame in frames]), columns[STATE_KEY])
    np.testing.assert_array_equal(np.stack([frame.action for frame in frames]), columns[ACTION_KEY])


def test_two_meanings_of_one_field_are_refused() -> None:
    text = OTHER_TYPES.replace(
        "record: {topic: plan, type: trajectory_msgs/msg/JointTrajectory,",
        "record: {topic: joints, type: sensor_msgs/msg/JointState,",
    )
    profile = bag_profile(parse_profile(text), 10, raw=True)
    columns = {STATE_KEY: np.zeros((3, len(profile.state_names))), ACTION_KEY: np.zeros((3, 2))}
    vectors(profile, columns)
    with pytest.raises(
        BagError, match=r"topic 'joints' would have to carry two different values of 'position.a' at once"
    ):
        vectors(profile, {**columns, ACTION_KEY: np.ones((3, 2))})


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_depth_pictures_keep_their_values(dtype) -> None:
    depth = (np.arange(12).reshape(3, 4) * 100).astype(dtype)
    encoder = Encoder("/depth", "sensor_msgs/msg/Image")
    data = encoder(image_message(depth, 5, "wrist", None))
    connection = Connection(topic="/depth", type="sensor_msgs/msg/Image")
    message = Decoders(Path("x")).decode(connection, data)
    assert (message.encoding, message.step) == ("16UC1" if dtype == np.uint16 else "32FC1", 4 * dtype().itemsize)
    np.testing.assert_array_equal(np.frombuffer(message.data, dtype).reshape(3, 4), depth)


def test_rows_out_of_order_are_refused() -> None:
    assert list(grid_ns(np.array([5, 100_000_004, 300_000_006]), 10)) == [5, 100_000_005, 300_000_005]
    with pytest.raises(BagError, match="lies on or before the instant of the row before"):
        list(grid_ns(np.array([5, 100_000_004, 100_000_006]), 10))


@pytest.mark.parametrize("mode", ["video", "image"])
def test_depth_converts_back_to_the_same_values(tmp_path: Path, mode: str) -> None:
    """Of a depth video the codes are the same; lossless pictures are the camera's millimetres."""
    recording = Recording(kind="jpeg", seconds=0.5, height=48, width=64, fps=10, depth=True)
    write_recording(tmp_path / "bags/one", recording)
    arguments = ["--workers", "1", "--depth", mode]
    dataset = tmp_path / "dataset"
    assert convert.main(["--bags", str(tmp_path / "bags"), "--output", str(dataset), *arguments]) == 0
    assert to_bag.main([str(dataset), "--output", str(tmp_path / "again")]) == 0
    back(tmp_path / "again", tmp_path / "dataset2", "--depth", mode)
    first, second = DatasetRows(dataset), DatasetRows(tmp_path / "dataset2")
    assert first.is_depth("depth")
    for number, (old, new) in enumerate(zip(first.pictures(0, "depth"), second.pictures(0, "depth"), strict=True)):
        assert old.dtype == (np.float32 if mode == "video" else np.uint16)
        if mode == "image":
            np.testing.assert_array_equal(new, old)
            np.testing.assert_array_equal(old, expected_depth(number, 48, 64))
        else:
            # The codes of the video are compressed once more.
            assert np.abs(old - new).max() < 0.003
