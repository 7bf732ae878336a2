# SPDX-License-Identifier: Apache-2.0

"""The v2.1 layout and OpenPI's: read by `datasets`, converted by LeRobot to v3.0, the same numbers everywhere."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset
from vla_recorder.formats import make_format
from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_tables import read_json_lines
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.lerobot_v21 import LeRobotV21
from vla_recorder.formats.openpi import OpenPi
from vla_recorder.testing.datasets import (
    DEPTH,
    DEPTH_FEATURE,
    FEATURES,
    FRONT,
    STATE,
    WRIST,
    layout,
    number_of,
    psnr,
    write_dataset,
)

INFO_KEYS = {
    "codebase_version",
    "robot_type",
    "total_episodes",
    "total_frames",
    "total_tasks",
    "total_videos",
    "total_chunks",
    "chunks_size",
    "fps",
    "splits",
    "data_path",
    "video_path",
    "features",
}


def read_back(root: Path, truth: list[dict], images: dict[str, str], lowest_psnr: float) -> LeRobotDataset:
    """Let LeRobot convert the dataset to v3.0 and compare every row."""
    convert_dataset("local/test", root=root, push_to_hub=False)
    dataset = LeRobotDataset("local/test", root=root, return_uint8=True)
    assert len(dataset) == sum(len(raw["stamp_ns"]) for raw in truth)
    index = 0
    for raw in truth:
        for row in range(len(raw["stamp_ns"])):
            item = dataset[index]
            assert item["task"] == raw["task"][row]
            assert int(item["stamp_ns"]) == raw["stamp_ns"][row]
            assert bool(item["synthetic"]) == raw["synthetic"][row]
            for ours, theirs in images.items():
                picture = item[theirs].numpy()
                if picture.dtype != np.uint8:
                    picture = (picture * 255).round().astype(np.uint8)
                picture = picture.transpose(1, 2, 0)
                assert number_of(picture) == index
                assert psnr(picture, raw[ours][row]) >= lowest_psnr
            index += 1
    return dataset


def test_v21_converts_to_v30_with_the_same_rows(tmp_path: Path) -> None:
    root = tmp_path / "data"
    truth = write_dataset(LeRobotV21(), root)
    info = json.loads((root / "meta/info.json").read_text())
    assert set(info) == INFO_KEYS
    assert (info["total_videos"], info["total_chunks"], info["splits"]) == (6, 1, {"train": "0:3"})
    assert (root / "data/chunk-000/episode_000002.parquet").is_file()
    assert (root / f"videos/chunk-000/{WRIST}/episode_000002.mp4").is_file()
    assert read_json_lines(root / "meta/tasks.jsonl") == [
        {"task_index": 0, "task": "lift"},
        {"task_index": 1, "task": "put it down"},
    ]
    assert read_json_lines(root / "meta/episodes.jsonl")[1] == {
        "episode_index": 1,
        "tasks": ["put it down"],
        "length": 12,
    }
    assert list(read_json_lines(root / "meta/episodes_stats.jsonl")[0]["stats"][FRONT]) == [
        "min",
        "max",
        "mean",
        "std",
        "count",
    ]
    write_dataset(LeRobotV3(), tmp_path / "v3")
    exact = json.loads((root / "meta/vla/stats.json").read_text())
    assert exact == json.loads((tmp_path / "v3/meta/stats.json").read_text())

    dataset = read_back(root, truth, {FRONT: FRONT, WRIST: WRIST}, 38)
    for index, raw in enumerate(np.concatenate([raw[STATE] for raw in truth])):
        np.testing.assert_array_equal(dataset[index][STATE].numpy(), raw)
    for key in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(dataset.meta.stats[STATE][key], exact[STATE][key], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(dataset.meta.stats[FRONT][key], exact[FRONT][key], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("images", "lowest_psnr"), [("png", np.inf), ("jpeg", 35)])
def test_openpi_holds_images_that_datasets_opens(tmp_path: Path, images: str, lowest_psnr: float) -> None:
    root = tmp_path / "data"
    truth = write_dataset(make_format("openpi", {"images": images}), root, (4, 3))
    rows = datasets.load_dataset(
        "parquet", data_dir=str(root / "data"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows.features["base_rgb"] == datasets.Image()
    assert set(rows.column_names) >= {"base_rgb", "wrist_rgb", "state", "action", "task_index", "timestamp"}
    for index, row in enumerate(rows):
        raw, at = (truth[0], index) if index < 4 else (truth[1], index - 4)
        assert row["base_rgb"].mode == "RGB"
        assert psnr(np.asarray(row["base_rgb"]), raw[FRONT][at]) >= lowest_psnr
        assert psnr(np.asarray(row["wrist_rgb"]), raw[WRIST][at]) >= lowest_psnr
        np.testing.assert_array_equal(np.float32(row["state"]), raw[STATE][at])
        np.testing.assert_array_equal(np.float32(row["action"]), raw["action"][at])
        assert row["base_rgb"].format == images.upper()
    info = json.loads((root / "meta/info.json").read_text())
    assert info["features"]["base_rgb"] == {
        "dtype": "image",
        "shape": [64, 96, 3],
        "names": ["height", "width", "channels"],
    }
    assert (info["video_path"], info["total_videos"]) == (None, 0)
    read_back(root, truth, {FRONT: "base_rgb", WRIST: "wrist_rgb"}, lowest_psnr)


def test_openpi_keys_are_a_choice(tmp_path: Path) -> None:
    keys = OpenPi(image_keys="front=image, wrist=wrist_image,action=actions").keys(layout())
    assert keys == {FRONT: "image", WRIST: "wrist_image", STATE: "state", "action": "actions"}
    with pytest.raises(DatasetError, match=r"there is no camera 'left'; names: front, wrist, state, action"):
        OpenPi(image_keys="left=base_rgb").keys(layout())
    with pytest.raises(DatasetError, match=r"image_keys: 'wrist_rgb' names more than one column"):
        OpenPi(image_keys="front=wrist_rgb").keys(layout())
    with pytest.raises(DatasetError, match=r"'front' is not CAMERA=KEY; give front=base_rgb,wrist=wrist_rgb"):
        OpenPi(image_keys="front")
    with pytest.raises(DatasetError, match=r"quality 0 is outside 1\.\.100"):
        OpenPi(quality=0)
    side = {"observation.images.side": FEATURES[FRONT], STATE: FEATURES[STATE], "action": FEATURES["action"]}
    with pytest.raises(DatasetError, match="camera 'side' has no key; add side=<key> to --format-option image_keys"):
        OpenPi().dataset_writer(tmp_path, layout(side))


@pytest.mark.parametrize("format_", [LeRobotV21(), OpenPi()])
def test_depth_is_refused(tmp_path: Path, format_: LeRobotV21 | OpenPi) -> None:
    with pytest.raises(DatasetError, match=rf"LeRobot v2.1 cannot hold depth \({DEPTH}\); take the camera out"):
        format_.episode_writer(layout({**FEATURES, DEPTH: DEPTH_FEATURE}), tmp_path)


def test_long_image_episodes_are_written_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vla_recorder.formats.image_episode._BATCH_BYTES", 20_000)
    truth = write_dataset(OpenPi(), tmp_path / "data", (30,))
    rows = datasets.Dataset.from_parquet(
        str(tmp_path / "data/data/chunk-000/episode_000000.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert [number_of(np.asarray(row["base_rgb"])) for row in rows] == list(range(30))
    np.testing.assert_array_equal(rows["stamp_ns"], truth[0]["stamp_ns"])
