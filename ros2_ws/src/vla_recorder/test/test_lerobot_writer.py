# SPDX-License-Identifier: Apache-2.0

"""What the LeRobot v3 writer stores, and what it refuses. No LeRobot needed; see test_lerobot_oracle.py."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_recorder.formats import lerobot_v3
from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_meta import VIDEO_FILE_S
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.stats import QUANTILES, quantile_key
from vla_recorder.media.video import VideoSettings
from vla_recorder.testing.datasets import (
    DEPTH,
    DEPTH_FEATURE,
    FEATURES,
    FRONT,
    STATE,
    WRIST,
    columns,
    layout,
    write_dataset,
    write_episode,
)

V3 = LeRobotV3()


def statistics(root: Path) -> dict:
    return json.loads((root / "meta/stats.json").read_text())


def check_statistics(stats: dict, truth: list[dict[str, np.ndarray]]) -> None:
    state = np.concatenate([raw[STATE] for raw in truth]).astype(np.float64)
    images = np.concatenate([raw[FRONT].reshape(-1, 3) for raw in truth]) / 255.0
    for name, values, shape in ((STATE, state, (3,)), (FRONT, images, (3, 1, 1))):
        expected = {"mean": values.mean(0), "std": values.std(0), "min": values.min(0), "max": values.max(0)}
        expected |= {quantile_key(q): np.quantile(values, q, axis=0) for q in QUANTILES}
        for key, value in expected.items():
            assert np.shape(stats[name][key]) == shape
            np.testing.assert_allclose(np.ravel(stats[name][key]), value, rtol=1e-12, atol=1e-12)
        assert stats[name]["count"] == [len(state)]


def test_statistics_are_exact_over_all_frames(tmp_path: Path) -> None:
    truth = write_dataset(V3, tmp_path / "data")
    check_statistics(statistics(tmp_path / "data"), truth)


def test_episodes_that_are_appended_make_the_same_dataset(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    truth = write_dataset(V3, whole, (7, 12, 5))
    write_dataset(V3, parts, (7, 12))
    before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file() and "meta" not in path.parts}
    write_dataset(V3, parts, (5,), start=19, append=True)

    assert statistics(parts) == statistics(whole)
    check_statistics(statistics(parts), truth)
    assert {path: path.read_bytes() for path in before} == before
    table = pq.read_table(parts / "data")
    assert table["index"].to_pylist() == list(range(24))
    assert table["episode_index"].to_pylist() == [0] * 7 + [1] * 12 + [2] * 5
    info = json.loads((parts / "meta/info.json").read_text())
    assert info == json.loads((whole / "meta/info.json").read_text())
    episodes = pq.read_table(parts / "meta/episodes").to_pylist()
    assert [row["data/file_index"] for row in episodes] == [0, 0, 1]
    assert [row[f"videos/{FRONT}/file_index"] for row in episodes] == [0, 0, 1]
    assert episodes[2][f"videos/{FRONT}/from_timestamp"] == 0.0


def test_appending_never_writes_into_a_file_that_exists(tmp_path: Path) -> None:
    original, linked = tmp_path / "original", tmp_path / "linked"
    write_dataset(V3, original, (4,))
    before = {path.relative_to(original): path.read_bytes() for path in original.rglob("*") if path.is_file()}
    for name in before:
        (linked / name).parent.mkdir(parents=True, exist_ok=True)
        (linked / name).hardlink_to(original / name)
    write_dataset(V3, linked, (3,), start=4, append=True)
    assert {path.relative_to(original): path.read_bytes() for path in original.rglob("*") if path.is_file()} == before


def test_append_refuses_another_dataset(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with pytest.raises(DatasetError, match=r"has no meta/info.json, so it is no complete LeRobot dataset"):
        V3.append_writer(root, layout())
    write_dataset(V3, root, (4,))
    other = {**FEATURES, "action": {**FEATURES["action"], "names": ["a", "z"]}}
    del other["phase"]
    with pytest.raises(
        DatasetError,
        match=r"cannot be appended to: fps is 10 there, 20 here; feature 'phase' is only there; "
        r"names of 'action' is \['a', 'b'\] there, \['a', 'z'\] here",
    ):
        V3.append_writer(root, layout(other, fps=20))
    coarse = layout(video=VideoSettings(crf=40))
    episode, _ = write_episode(V3, coarse, tmp_path / "parts", 4, 3)
    with pytest.raises(DatasetError, match=rf"{FRONT} was encoded otherwise: video.crf is 18 there, 40 here"):
        V3.append_writer(root, coarse).add(episode)
    (root / "meta/vla/image_histograms.parquet").unlink()
    with pytest.raises(DatasetError, match=r"lacks the pixels of episodes \[0\]"):
        V3.append_writer(root, layout())


def test_files_are_rolled_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lerobot_v3, "DATA_FILE_MB", 0)
    monkeypatch.setattr(lerobot_v3, "VIDEO_FILE_MB", 0)
    truth = write_dataset(V3, tmp_path / "data", (3, 2, 4))
    episodes = pq.read_table(tmp_path / "data/meta/episodes").to_pylist()
    assert [row["data/file_index"] for row in episodes] == [0, 1, 2]
    assert [row[f"videos/{WRIST}/file_index"] for row in episodes] == [0, 1, 2]
    check_statistics(statistics(tmp_path / "data"), truth)


def test_videos_of_other_settings_or_too_long_get_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lerobot_v3, "VIDEO_FILE_S", 0.8)
    writer = V3.dataset_writer(tmp_path / "data", layout())
    for start, length, crf in ((0, 3, 18), (3, 5, 18), (8, 1, 18), (9, 2, 30), (11, 30, 30)):
        episode, _ = write_episode(V3, layout(video=VideoSettings(crf=crf)), tmp_path / "parts", start, length)
        writer.add(episode)
    writer.finish()
    episodes = pq.read_table(tmp_path / "data/meta/episodes").to_pylist()
    assert [row[f"videos/{FRONT}/file_index"] for row in episodes] == [0, 0, 1, 2, 3]
    assert [row[f"videos/{FRONT}/from_timestamp"] for row in episodes] == [0.0, 0.3, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("fps", [5, 10, 15, 25, 30, 50, 60])
def test_no_row_is_farther_from_its_picture_than_lerobot_tolerates(fps: int) -> None:
    """What LeRobot compares: float32 of (start of the episode + float32 of the row's time) with float32 of the stamp."""
    for first in range(0, int(VIDEO_FILE_S * fps), 977):
        rows = np.arange(int(VIDEO_FILE_S * fps) - first)
        asked = (first / fps + (rows / fps).astype(np.float32).astype(np.float64)).astype(np.float32)
        stored = ((first + rows) / fps).astype(np.float32)
        assert np.abs(asked.astype(np.float64) - stored.astype(np.float64)).max() < 1e-4


def test_exact_depth_is_an_image_of_16_bit(tmp_path: Path) -> None:
    features = {**FEATURES, DEPTH: DEPTH_FEATURE}
    truth = write_dataset(V3, tmp_path / "data", (3, 4), layout_=layout(features, VideoSettings(depth="image")))
    info = json.loads((tmp_path / "data/meta/info.json").read_text())
    assert info["features"][DEPTH]["dtype"] == "image"
    assert info["features"][DEPTH]["info"] == {"is_depth_map": True, "depth_unit": "mm"}
    assert info["features"][FRONT]["dtype"] == "video"
    depth = np.concatenate([raw[DEPTH] for raw in truth])
    stats = statistics(tmp_path / "data")[DEPTH]
    np.testing.assert_allclose(np.ravel(stats["mean"]), depth.mean(), rtol=1e-12)
    np.testing.assert_allclose(np.ravel(stats["q99"]), np.quantile(depth, 0.99), rtol=1e-12)


def test_rows_and_pictures_must_agree(tmp_path: Path) -> None:
    writer = V3.dataset_writer(tmp_path / "data", layout())
    episode, _ = write_episode(V3, layout(), tmp_path / "parts", 0, 6)
    short = {name: values[:5] for name, values in episode.columns.items()}
    with pytest.raises(DatasetError, match=r"6 pictures for 5 rows of 'observation.images.front'"):
        writer.add(replace(episode, columns=short))
    wrong = {**episode.columns, "action": episode.columns["action"].copy()}
    wrong["action"][2, 1] = np.nan
    with pytest.raises(DatasetError, match=r"column 'action' holds NaN"):
        writer.add(replace(episode, columns=wrong))
    with pytest.raises(DatasetError, match=r"column 'action' is float64, the feature is float32"):
        writer.add(replace(episode, columns={**episode.columns, "action": episode.columns["action"].astype(float)}))
    with pytest.raises(DatasetError, match=r"episode has columns .* the features need"):
        writer.add(replace(episode, columns={name: v for name, v in columns(0, 6).items() if name != "phase"}))
    with pytest.raises(DatasetError, match="no episode was converted"):
        writer.finish()
    assert not (tmp_path / "data/meta/info.json").exists()


def test_a_depth_camera_keeps_its_unit(tmp_path: Path) -> None:
    features = {DEPTH: DEPTH_FEATURE, STATE: FEATURES[STATE]}
    exact = layout(features, VideoSettings(depth="image"))
    writer = V3.dataset_writer(tmp_path / "data", exact)
    for number, dtype in enumerate((np.uint16, np.float32)):
        images = V3.episode_writer(exact, tmp_path / f"{number}")
        images.add({DEPTH: np.ones((48, 64), dtype)})
        with pytest.raises(DatasetError, match=r"row 1 is uint8 \(48, 64, 3\), the feature is depth \(48, 64\)"):
            images.add({DEPTH: np.ones((48, 64, 3), np.uint8)})
        episode = images.finish({STATE: np.zeros((1, 3), np.float32)}, "lift", {})
        if number == 0:
            writer.add(episode)
    with pytest.raises(
        DatasetError, match=r"episode 1 holds depth in m, the ones before it hold depth in mm; convert them apart"
    ):
        writer.add(episode)
