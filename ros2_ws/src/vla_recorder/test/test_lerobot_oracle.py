# SPDX-License-Identifier: Apache-2.0

"""Stock LeRobot reads, edits, extends and trains on what the v3 writer stored."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.datasets.dataset_tools import add_features, delete_episodes, merge_datasets, split_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts.lerobot_dataset_viz import get_feature_names, to_hwc_uint8_numpy
from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.media.video import VideoSettings
from vla_recorder.testing.datasets import (
    DEPTH,
    DEPTH_FEATURE,
    FEATURES,
    FPS,
    FRONT,
    STATE,
    WRIST,
    layout,
    number_of,
    picture,
    psnr,
    write_dataset,
)
from vla_recorder.tools.merge import merge
from vla_recorder.tools.split import split

V3 = LeRobotV3()
FULL = os.environ.get("VLA_TEST_FULL") == "1"
LOWEST_PSNR = {"h264": 38, "hevc": 33, "av1": 30}
LENGTHS = (7, 12, 5)


def load(root: Path, **options: object) -> LeRobotDataset:
    return LeRobotDataset("local/test", root=root, return_uint8=True, **options)


def shown(item: dict, key: str = FRONT) -> np.ndarray:
    """The picture of a row, (H, W, 3) uint8; the tools of LeRobot return it as float."""
    image = item[key] if item[key].dtype == torch.uint8 else (item[key] * 255).round().to(torch.uint8)
    return image.numpy().transpose(1, 2, 0)


def numbers(dataset: LeRobotDataset) -> list[int]:
    return [number_of(shown(dataset[index])) for index in range(len(dataset))]


def flat(truth: list[dict[str, np.ndarray]]) -> list[dict]:
    return [{key: raw[key][row] for key in raw} for raw in truth for row in range(len(raw["stamp_ns"]))]


@pytest.mark.parametrize("vcodec", ["h264", "hevc", "av1"])
def test_every_frame_in_random_order(tmp_path: Path, vcodec: str) -> None:
    truth = flat(write_dataset(V3, tmp_path / "data", LENGTHS, layout_=layout(video=VideoSettings(vcodec=vcodec))))
    for backend in ("torchcodec", "pyav"):
        dataset = load(tmp_path / "data", video_backend=backend)
        assert (len(dataset), dataset.meta.total_episodes, dataset.meta.fps) == (24, 3, FPS)
        for index in np.random.default_rng(0).permutation(24):
            item, row = dataset[int(index)], truth[index]
            assert item["task"] == row["task"]
            assert (int(item["index"]), int(item["phase"])) == (index, row["phase"])
            assert int(item["stamp_ns"]) == row["stamp_ns"]
            assert item["synthetic"].dtype == torch.bool
            assert bool(item["synthetic"]) == row["synthetic"]
            assert item["age.front"].numpy() == row["age.front"]
            np.testing.assert_array_equal(item[STATE].numpy(), row[STATE])
            np.testing.assert_array_equal(item["action"].numpy(), row["action"])
            for key in (FRONT, WRIST):
                assert number_of(shown(item, key)) == index
                assert psnr(shown(item, key), row[key]) >= LOWEST_PSNR[vcodec]


def test_delta_timestamps_stop_at_the_ends_of_an_episode(tmp_path: Path) -> None:
    write_dataset(V3, tmp_path / "data", LENGTHS)
    deltas = {"action": [i / FPS for i in range(4)], FRONT: [-1 / FPS, 0.0]}
    dataset = load(tmp_path / "data", delta_timestamps=deltas)
    plain = load(tmp_path / "data")
    for index in range(24):
        start, end = next((s, e) for s, e in ((0, 7), (7, 19), (19, 24)) if s <= index < e)
        item = dataset[index]
        wanted = [min(index + i, end - 1) for i in range(4)]
        np.testing.assert_array_equal(item["action"].numpy(), np.stack([plain[i]["action"] for i in wanted]))
        assert item["action_is_pad"].tolist() == [index + i >= end for i in range(4)]
        pictures = item[FRONT].numpy().transpose(0, 2, 3, 1)
        assert [number_of(picture) for picture in pictures] == [max(index - 1, start), index]


def test_sessions_and_own_tools(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_dataset(V3, root, (3, 4))
    write_dataset(V3, root, (5, 2), start=7, append=True)
    assert numbers(load(root)) == list(range(14))
    chosen = split(root, tmp_path / "parts", {"a": 0.5, "b": 0.5})
    merge([tmp_path / "parts/a", tmp_path / "parts/b"], tmp_path / "again")
    starts = (0, 3, 7, 12, 14)
    order = [number for index in chosen["a"] + chosen["b"] for number in range(starts[index], starts[index + 1])]
    assert numbers(load(tmp_path / "again")) == order


@pytest.mark.parametrize(("depth", "tolerance_mm"), [("image", 0), ("video", 5)])
def test_depth(tmp_path: Path, depth: str, tolerance_mm: float) -> None:
    features = {**FEATURES, DEPTH: DEPTH_FEATURE}
    settings = VideoSettings(depth=depth)
    truth = flat(write_dataset(V3, tmp_path / "data", (3, 4), layout_=layout(features, settings)))
    dataset = load(tmp_path / "data")
    assert dataset.meta.depth_keys == [DEPTH]
    for index, row in enumerate(truth):
        item = dataset[index]
        assert item[DEPTH].shape == (1, 48, 64)
        assert np.abs(item[DEPTH].numpy()[0] - row[DEPTH]).max() <= tolerance_mm
        assert number_of(shown(item)) == index
    less = delete_episodes(dataset, [0], output_dir=tmp_path / "less", repo_id="local/less")
    for index, row in enumerate(truth[3:]):
        assert np.abs(less[index][DEPTH].numpy()[0] - row[DEPTH]).max() <= tolerance_mm


def test_dataset_tools(tmp_path: Path) -> None:
    write_dataset(V3, tmp_path / "data", LENGTHS)
    dataset = load(tmp_path / "data")
    assert numbers(delete_episodes(dataset, [1], output_dir=tmp_path / "deleted", repo_id="local/d")) == [
        *range(7),
        *range(19, 24),
    ]
    parts = split_dataset(dataset, {"a": [0, 2], "b": [1]}, output_dir=tmp_path / "split")
    assert numbers(parts["b"]) == list(range(7, 19))
    merged = merge_datasets([parts["a"], parts["b"]], output_repo_id="local/m", output_dir=tmp_path / "merged")
    assert numbers(merged) == [*range(7), *range(19, 24), *range(7, 19)]
    weight = {"weight": (np.arange(24, dtype=np.float32)[:, None], {"dtype": "float32", "shape": (1,), "names": None})}
    added = add_features(dataset, weight, output_dir=tmp_path / "added", repo_id="local/a")
    assert [float(added[index]["weight"]) for index in range(24)] == list(range(24))
    assert numbers(added) == list(range(24))


def test_lerobot_records_on(tmp_path: Path) -> None:
    """An episode that LeRobot appends, then one of ours after a merge that counts LeRobot's pixels."""
    root = tmp_path / "data"
    small = layout({key: FEATURES[key] for key in (STATE, "action", FRONT)})
    writer = V3.dataset_writer(root, small)
    episode = V3.episode_writer(small, tmp_path / "parts")
    for number in range(4):
        episode.add({FRONT: picture(number, 64, 96)})
    columns = {name: np.zeros((4, *FEATURES[name]["shape"]), np.float32) for name in (STATE, "action")}
    writer.add(episode.finish(columns, "lift", {}))
    writer.finish()
    dataset = LeRobotDataset.resume("local/test", root=root)
    for number in range(4, 7):
        dataset.add_frame(
            {
                STATE: np.zeros(3, np.float32),
                "action": np.zeros(2, np.float32),
                FRONT: picture(number, 64, 96),
                "task": "lift",
            }
        )
    dataset.save_episode()
    dataset.finalize()
    assert numbers(load(root)) == list(range(7))
    with pytest.raises(DatasetError, match=r"lacks the pixels of episodes \[1\].*vla_recorder merge"):
        V3.append_writer(root, small)
    merge([root], tmp_path / "own")
    V3.append_writer(tmp_path / "own", small)
    assert numbers(load(tmp_path / "own")) == list(range(7))


def test_what_the_visualiser_reads(tmp_path: Path) -> None:
    write_dataset(V3, tmp_path / "data", LENGTHS)
    dataset = LeRobotDataset("local/test", root=tmp_path / "data", episodes=[1])
    assert get_feature_names(dataset, "action") == ["a", "b"]
    batches = torch.utils.data.DataLoader(dataset, num_workers=0, batch_size=5)
    seen = [number_of(to_hwc_uint8_numpy(image)) for batch in batches for image in batch[FRONT]]
    assert seen == list(range(7, 19))
    assert sum(len(batch[STATE]) for batch in batches) == 12


def run(*command: str, home: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_LEROBOT_HOME": str(home)}
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [str(tool), *command[1:]], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(not FULL, reason="starts LeRobot's commands, a minute in all; VLA_TEST_FULL=1")
@pytest.mark.timeout(900)
def test_edit_commands(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_dataset(V3, root, LENGTHS)
    edit = ("lerobot-edit-dataset", "--repo_id=local/test", f"--root={root}")

    def new(name: str) -> tuple[str, str]:
        return f"--new_repo_id=local/{name}", f"--new_root={tmp_path / name}"

    run(*edit, *new("deleted"), "--operation.type=delete_episodes", "--operation.episode_indices=[1]", home=tmp_path)
    assert numbers(load(tmp_path / "deleted")) == [*range(7), *range(19, 24)]
    splits = '--operation.splits={"a": [0, 2], "b": [1]}'
    run(*edit, f"--new_root={tmp_path / 'split'}", "--operation.type=split", splits, home=tmp_path)
    assert numbers(load(tmp_path / "split/b")) == list(range(7, 19))
    roots = f"--operation.roots=['{tmp_path}/split/a', '{tmp_path}/split/b']"
    names = "--operation.repo_ids=['local/a', 'local/b']"
    run("lerobot-edit-dataset", *new("merged"), "--operation.type=merge", names, roots, home=tmp_path)
    assert numbers(load(tmp_path / "merged")) == [*range(7), *range(19, 24), *range(7, 19)]
    removed = '--operation.feature_names=["phase", "synthetic"]'
    run(*edit, *new("removed"), "--operation.type=remove_feature", removed, home=tmp_path)
    assert "phase" not in load(tmp_path / "removed").features


@pytest.mark.skipif(not FULL, reason="trains a small ACT for a minute; VLA_TEST_FULL=1")
@pytest.mark.timeout(900)
def test_training(tmp_path: Path) -> None:
    write_dataset(V3, tmp_path / "data", (30, 30))
    run(
        "lerobot-train",
        "--dataset.repo_id=local/test",
        f"--dataset.root={tmp_path / 'data'}",
        "--policy.type=act",
        "--policy.device=cpu",
        "--policy.push_to_hub=false",
        "--policy.pretrained_backbone_weights=null",
        "--policy.dim_model=64",
        "--policy.dim_feedforward=64",
        "--policy.n_encoder_layers=1",
        "--policy.chunk_size=8",
        "--policy.n_action_steps=8",
        "--wandb.enable=false",
        "--env_eval_freq=0",
        "--num_workers=0",
        "--batch_size=4",
        "--steps=4",
        "--log_freq=1",
        "--save_freq=4",
        f"--output_dir={tmp_path / 'train'}",
        home=tmp_path,
    )
    assert (tmp_path / "train/checkpoints/last/pretrained_model/model.safetensors").stat().st_size > 1e6
