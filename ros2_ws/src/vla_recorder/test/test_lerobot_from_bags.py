# SPDX-License-Identifier: Apache-2.0

"""From bags by the convert command: the same rows in every LeRobot format, and datasets that the tools go on with."""

import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from vla_recorder.convert.command import main
from vla_recorder.formats.lerobot_check import check_complete
from vla_recorder.testing import Scene, scene_events, small_profile, write_episode
from vla_recorder.tools.merge import merge

STATE = "observation.state"


def make_bag(folder: Path, number: int) -> None:
    profile = small_profile()
    write_episode(
        folder / f"episode_{number:03d}",
        scene_events(profile, Scene(seed=number, duration_s=1.0)),
        profile,
        recorded_at=f"2026-01-0{number}T00:00:00",
    )


def convert(bags: Path, output: Path, *more: str) -> None:
    assert main(["--bags", str(bags), "--output", str(output), "--workers", "1", *more]) == 0


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    for number in (1, 2):
        make_bag(folder, number)
    return folder


def test_every_format_holds_the_same_rows(bags: Path, tmp_path: Path) -> None:
    convert(bags, tmp_path / "v3")
    convert(bags, tmp_path / "v21", "--format", "lerobot-v2.1")
    convert(bags, tmp_path / "pi", "--format", "openpi", "--format-option", "image_keys=front=image,action=actions")
    v3, v21, pi = (pq.read_table(tmp_path / name / "data") for name in ("v3", "v21", "pi"))
    for name in v3.column_names:
        renamed = {STATE: "state", "action": "actions"}.get(name, name)
        assert v3[name].equals(v21[name])
        assert v3[name].equals(pi[renamed])
    for name in ("v3", "v21", "pi"):
        assert check_complete(tmp_path / name)["total_frames"] == len(v3)
        assert (tmp_path / name / "meta/vla/profile.yaml").read_text() == small_profile().text
    exact = json.loads((tmp_path / "v3/meta/stats.json").read_text())
    assert exact == json.loads((tmp_path / "v21/meta/vla/stats.json").read_text())
    pictures = datasets.load_dataset(
        "parquet", data_dir=str(tmp_path / "pi/data"), split="train", cache_dir=str(tmp_path / "cache")
    )
    dataset = LeRobotDataset("local/test", root=tmp_path / "v3", return_uint8=True)
    for row, picture in enumerate(pictures):
        stored = dataset[row]["observation.images.front"].numpy().transpose(1, 2, 0)
        assert np.abs(np.asarray(picture["image"]).astype(int) - stored).mean() < 3


def test_extended_and_merged_datasets_are_the_one_of_all_bags(bags: Path, tmp_path: Path) -> None:
    some, output = tmp_path / "some", tmp_path / "data"
    make_bag(some, 1)
    convert(some, output)
    convert(some, tmp_path / "first")
    for path in (some / "episode_001").iterdir():
        path.unlink()
    (some / "episode_001").rmdir()
    make_bag(some, 2)
    convert(some, output, "--resume")
    convert(some, tmp_path / "second")
    merge([tmp_path / "first", tmp_path / "second"], tmp_path / "merged")
    convert(bags, tmp_path / "whole")
    whole = json.loads((tmp_path / "whole/meta/stats.json").read_text())
    for root in (output, tmp_path / "merged"):
        assert json.loads((root / "meta/stats.json").read_text()) == whole
        assert check_complete(root) == check_complete(tmp_path / "whole")
        assert len(LeRobotDataset("local/test", root=root)) == check_complete(root)["total_frames"]
        origins = [json.loads(path.read_text())["bag"] for path in sorted(root.glob("meta/vla/episodes/*.json"))]
        assert origins == ["episode_001", "episode_002"]
