# SPDX-License-Identifier: Apache-2.0

"""RLDS: what is written is what tensorflow_datasets reads, number for number; seed and generic schema."""

import json
import subprocess
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from vla_recorder.formats.base import STATE64_KEY, DatasetError
from vla_recorder.formats.rlds import Rlds, dataset_name
from vla_recorder.formats.tfrecord import read_records
from vla_recorder.formats.tfrecord_example import parse_example
from vla_recorder.testing.rows import PROFILE, layout, rows, write_rows

ROOT = next(p for p in Path(__file__).resolve().parents if (p / "setup" / "bootstrap.py").is_file())
REFEREE = ROOT / ".referees" / "bin" / "python"


def write(root, form, shape, episodes, work):
    """A whole RLDS dataset; returns its folder."""
    return write_rows(root, form, shape, episodes, work).folder


def referee(folder, tmp_path):
    """Everything that tensorflow_datasets reads: structure, and arrays by name."""
    if not REFEREE.exists():
        reason = ROOT / ".state" / "referees.reason"
        pytest.skip(
            f"no referee environment: {reason.read_text() if reason.exists() else 'run ./test data to make it'}"
        )
    output = tmp_path / "read.npz"
    script = Path(__file__).with_name("referee_tfds.py")
    done = subprocess.run(
        [REFEREE, "-I", script, folder, output], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(output) as arrays:
        return json.loads(done.stdout), dict(arrays)


def jpeg(image, quality=95):
    """What a decoder makes of an image that went through the writer's JPEG."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], options)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]


@pytest.mark.parametrize("size", [224, 256])
def test_tensorflow_datasets_reads_the_seed_schema_number_for_number(tmp_path, size):
    shape = layout(size)
    episodes = [(*rows(n, n, size), f"lift ü {n}", {"bag": f"bag_{n}", "outcome": "success"}) for n in (3, 1, 2)]
    folder = write(tmp_path / "out", Rlds(embedder="hash"), shape, episodes, tmp_path / "work")
    assert folder == tmp_path / "out" / "ur5e_vla_e2e" / "1.0.0"
    about, read = referee(folder, tmp_path)
    assert (about["name"], about["version"], about["episodes"]) == ("ur5e_vla_e2e", "1.0.0", 3)
    assert about["steps"] == {
        "observation/image": [[size, size, 3], "uint8"],
        "observation/wrist_image": [[size, size, 3], "uint8"],
        "observation/state": [[8], "float32"],
        "action": [[6], "float32"],
        "action_gripper": [[1], "float32"],
        "discount": [[], "float32"],
        "reward": [[], "float32"],
        "is_first": [[], "bool"],
        "is_last": [[], "bool"],
        "is_terminal": [[], "bool"],
        "language_instruction": [[], "string"],
        "language_embedding": [[512], "float32"],
    }
    for number, (columns, images, task, origin) in enumerate(episodes):
        state = columns[STATE64_KEY]
        length = len(state)
        last = np.arange(length) == length - 1

        def got(path, number=number):
            return read[f"{number}/{path}"]

        joints, gripper = state[:, :6], state[:, 6:]
        np.testing.assert_array_equal(
            got("observation/state"), np.hstack([joints, np.zeros((length, 1)), gripper]).astype(np.float32)
        )
        delta = np.vstack([joints[1:] - joints[:-1], np.zeros((1, 6))]).astype(np.float32)
        np.testing.assert_array_equal(got("action"), delta)
        np.testing.assert_array_equal(got("action_gripper"), np.vstack([gripper[1:], gripper[-1:]]).astype(np.float32))
        np.testing.assert_array_equal(got("reward"), last.astype(np.float32))
        np.testing.assert_array_equal(got("discount"), np.ones(length, np.float32))
        for name, want in (("is_first", np.arange(length) == 0), ("is_last", last), ("is_terminal", last)):
            np.testing.assert_array_equal(got(name), want)
        assert got("language_instruction").tolist() == [task] * length
        norm = np.linalg.norm(got("language_embedding"), axis=1)
        np.testing.assert_allclose(norm, 1.0, rtol=1e-6)
        for row, image in enumerate(images):
            for name, key in (("image", "front"), ("wrist_image", "wrist")):
                error = np.abs(got(f"observation/{name}")[row].astype(int) - jpeg(image[f"observation.images.{key}"]))
                assert error.max() <= 8  # TensorFlow decodes JPEG with a quick and coarse transform
                assert error.mean() <= 1.5
        assert got("episode_metadata/file_path") == origin["bag"]
        assert got("episode_metadata/episode_id") == number
        assert got("episode_metadata/success")
        assert got("episode_metadata/trajectory_length") == length
        assert "placeholder hash" in str(got("episode_metadata/language_embedding_source"))
    assert not np.array_equal(read["0/language_embedding"][0], read["1/language_embedding"][0])


def test_tensorflow_datasets_reads_the_generic_schema_with_depth(tmp_path):
    shape = layout(text=PROFILE.replace("robot: ur5e", "robot: My_Robot"), target="recorded", depth=True)
    columns, images = rows(4, depth=lambda v: np.asarray(v, np.uint16))
    episodes = [(columns, images, "a", {"outcome": "failure"})]
    form = Rlds(schema="generic", embedder="none")
    folder = write(tmp_path / "out", form, shape, episodes, tmp_path / "work")
    about, read = referee(folder, tmp_path)
    assert about["name"] == "my_robot_vla"
    assert "language_embedding: none" in about["description"]
    assert set(about["steps"]) == {
        *(f"observation/{name}" for name in ("front", "wrist", "far", "state")),
        *("action", "stamp_ns", "synthetic", "discount", "reward", "is_first", "is_last", "is_terminal"),
        "language_instruction",
    }
    assert about["steps"]["observation/far"] == [[64, 64, 1], "uint16"]
    for path, key in (
        ("observation/state", "observation.state"),
        *((key, key) for key in ("action", "stamp_ns", "synthetic")),
    ):
        np.testing.assert_array_equal(read[f"0/{path}"], columns[key])
    far = np.stack([row["observation.images.far"] for row in images])[..., None]
    np.testing.assert_array_equal(read["0/observation/far"], far)
    assert not read["0/episode_metadata/success"]
    assert not read["0/reward"].any()


def test_depth_in_metres_keeps_every_bit(tmp_path):
    shape = layout(depth=True)
    columns, images = rows(2, depth=lambda v: np.float32(v) / 700)
    form = Rlds(schema="generic", embedder="none")
    folder = write(tmp_path / "out", form, shape, [(columns, images, "a", {})], tmp_path / "work")
    values = parse_example(next(read_records(next(folder.glob("*.tfrecord-*")))))["steps/observation/far"]
    want = np.stack([row["observation.images.far"] for row in images])
    np.testing.assert_array_equal(values, want.reshape(-1))
    leaf = json.loads((folder / "features.json").read_text())["featuresDict"]["features"]["steps"]["sequence"][
        "feature"
    ]
    far = leaf["featuresDict"]["features"]["observation"]["featuresDict"]["features"]["far"]["tensor"]
    assert far["dtype"] == "float32"


def test_files_are_closed_at_their_size_and_counted(tmp_path):
    shape = layout(256)
    rng = np.random.default_rng(1)
    noise = {key: rng.integers(0, 256, (256, 256, 3), np.uint8) for key in shape.image_keys}
    episodes = [(rows(6, n)[0], [noise] * 6, "t", {"bag": str(n)}) for n in range(3)]
    folder = write(tmp_path / "out", Rlds(shard_mb=2), shape, episodes, tmp_path / "work")
    info = json.loads((folder / "dataset_info.json").read_text())
    (split,) = info["splits"]
    files = sorted(folder.glob("*.tfrecord-*"))
    assert [f.name for f in files] == [f"ur5e_vla_e2e-train.tfrecord-{i:05d}-of-00003" for i in range(3)]
    assert split["shardLengths"] == ["1", "1", "1"]
    assert int(split["numBytes"]) == sum(f.stat().st_size - 16 for f in files)
    seen = [parse_example(data)["episode_metadata/episode_id"][0] for f in files for data in read_records(f)]
    assert seen == [0, 1, 2]
    assert not list((tmp_path / "work").rglob("*.spools"))


def test_the_same_episodes_give_the_same_bytes(tmp_path):
    shape = layout()
    for name in ("a", "b"):
        write(tmp_path / name, Rlds(), shape, [(*rows(3), "t", {"bag": "x"})], tmp_path / f"work_{name}")
    first, second = (sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert len(first) == 3


def test_a_file_that_lost_bytes_is_found_before_the_dataset_is_called_complete(tmp_path):
    shape, form = layout(), Rlds()
    writer = form.dataset_writer(tmp_path / "out", shape)
    one = form.episode_writer(shape, tmp_path / "work")
    columns, images = rows(2)
    for row in images:
        one.add(row)
    episode = one.finish(columns, "t", {})
    spool = episode.files["observation.images.front"]
    spool.write_bytes(spool.read_bytes()[:-1] + b"?")
    writer.add(episode)
    with pytest.raises(DatasetError, match="data of record 0 do not match their checksum"):
        writer.finish()
    assert not (writer.folder / "dataset_info.json").exists()


def test_a_spool_that_is_too_short_stops_the_episode(tmp_path):
    shape, form = layout(), Rlds()
    one = form.episode_writer(shape, tmp_path / "work")
    columns, images = rows(2)
    for row in images:
        one.add(row)
    episode = one.finish(columns, "t", {})
    spool = episode.files["observation.images.front"]
    spool.write_bytes(spool.read_bytes()[:-5])
    with pytest.raises(DatasetError, match=r"has \d+ bytes, \d+ were written to it. Is the disk full"):
        form.dataset_writer(tmp_path / "out", shape).add(episode)


def test_the_zeros_of_the_default_say_that_they_are_a_placeholder(tmp_path):
    folder = write(tmp_path / "out", Rlds(), layout(), [(*rows(2), "t", {})], tmp_path / "work")
    values = parse_example(next(read_records(next(folder.glob("*.tfrecord-*")))))
    assert not values["steps/language_embedding"].any()
    assert values["steps/language_embedding"].shape == (2 * 512,)
    assert values["episode_metadata/language_embedding_source"] == [b"placeholder zeros, no language model"]
    for name in ("features.json", "dataset_info.json"):
        assert "placeholder zeros, no language model" in (folder / name).read_text()


def test_cameras_can_be_named(tmp_path):
    cameras = Rlds(primary="wrist", wrist="front").cameras(layout())
    assert [(c.feature, c.name) for c in cameras] == [
        ("observation.images.wrist", "image"),
        ("observation.images.front", "wrist_image"),
    ]


def test_memory_does_not_grow_with_the_episode(tmp_path):
    shape, rng = layout(128), np.random.default_rng(0)
    image = {key: rng.integers(0, 256, (128, 128, 3), np.uint8) for key in shape.image_keys}
    form = Rlds(jpeg_quality=100)
    one = form.episode_writer(shape, tmp_path / "work")
    one.add(image)
    dataset = form.dataset_writer(tmp_path / "out", shape)
    columns = rows(300, size=2)[0]
    tracemalloc.start()
    for _ in range(299):
        one.add(image)
    dataset.add(one.finish(columns, "t", {}))
    dataset.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (file,) = dataset.folder.glob("*.tfrecord-*")
    assert file.stat().st_size > 25e6
    assert peak < 12e6


def append(root, form, shape, episodes, work):
    """Go on behind the last episode of a dataset, whose files are hard links to ones in use."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    copy = root.with_name("copy")
    for path in before:
        (copy / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(root)).hardlink_to(path)
    writer = form.append_writer(copy, shape)
    for number, (columns, images, task, about) in enumerate(episodes):
        one = form.episode_writer(shape, work / f"more{number}")
        for row in images:
            one.add(row)
        writer.add(one.finish(columns, task, about))
    writer.finish()
    assert {path: path.read_bytes() for path in before} == before
    return copy


def test_episodes_can_be_added_to_a_finished_dataset(tmp_path):
    shape = layout(depth=True)
    form = Rlds(schema="generic", shard_mb=1)
    parts = [(*rows(n, n, depth=lambda v: np.asarray(v, np.uint16)), f"t{n}", {"bag": str(n)}) for n in (3, 1, 2)]
    write(tmp_path / "whole", form, shape, parts, tmp_path / "work1")
    write(tmp_path / "first", form, shape, parts[:2], tmp_path / "work2")
    copy = append(tmp_path / "first", form, shape, parts[2:], tmp_path / "work2")
    folder = copy / "ur5e_vla_e2e/1.0.0"
    assert sorted(p.name for p in folder.iterdir()) == [
        "dataset_info.json",
        "features.json",
        "ur5e_vla_e2e-train.tfrecord-00000-of-00002",
        "ur5e_vla_e2e-train.tfrecord-00001-of-00002",
    ]
    assert json.loads((folder / "dataset_info.json").read_text())["splits"][0]["shardLengths"] == ["2", "1"]

    def records(root):
        return [data for path in sorted(root.rglob("*.tfrecord-*")) for data in read_records(path)]

    assert records(copy) == records(tmp_path / "whole")


def test_episodes_of_other_options_are_not_added(tmp_path):
    folder = write(tmp_path / "first", Rlds(), layout(), [(*rows(2), "t", {})], tmp_path / "work")
    with pytest.raises(DatasetError, match=r"differs from this conversion in steps/language_embedding;"):
        Rlds(embedder="hash").append_writer(tmp_path / "first", layout())
    with pytest.raises(DatasetError, match=r"in steps/observation/image, steps/observation/wrist_image; .*--overwrite"):
        Rlds().append_writer(tmp_path / "first", layout(32))
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DatasetError, match=r"its description cannot be read"):
        Rlds().append_writer(tmp_path / "first", layout())


def test_no_episode_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="no episode was converted"):
        Rlds().dataset_writer(tmp_path, layout()).finish()


def test_names_of_datasets():
    assert dataset_name("ur5e", "planner") == "ur5e_vla_planner"
    assert dataset_name("UR5e 2F-85", "recorded") == "ur5e_2f_85_vla"
    assert dataset_name("5dof", "e2e") == "robot_5dof_vla_e2e"
