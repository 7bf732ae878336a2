# SPDX-License-Identifier: Apache-2.0

"""LeRobot reads back every frame that the writer stored."""

import json
from pathlib import Path

import numpy as np
import pytest
from vla_recorder.convert.rows import Episode
from vla_recorder.formats.lerobot_v3 import DatasetError, DatasetWriter
from vla_recorder.formats.stats import QUANTILES, ImageHistogram, quantile_key
from vla_recorder.media.video import VideoEncoder, VideoSettings

FPS = 10
FRONT = "observation.images.front"
WRIST = "observation.images.wrist"
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    "stamp_ns": {"dtype": "int64", "shape": (1,), "names": None},
    FRONT: {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
    WRIST: {"dtype": "video", "shape": (48, 48, 3), "names": ["height", "width", "channels"]},
}


def picture(number: int, height: int, width: int) -> np.ndarray:
    """An image that shows its number: a smooth gradient with 10 bits as black or white bars."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 128)], axis=-1).astype(np.uint8)
    for bit in range(10):
        image[height // 2 :, bit * width // 10 : (bit + 1) * width // 10] = 255 * (number >> bit & 1)
    return image


def number_of(image: np.ndarray) -> int:
    height, width, _ = image.shape
    row = image[height * 3 // 4]
    return sum(int(row[int((bit + 0.5) * width / 10)].mean() > 127) << bit for bit in range(10))


def make_episode(folder: Path, start: int, length: int, task: str, settings: VideoSettings) -> tuple[Episode, dict]:
    rng = np.random.default_rng(start)
    columns = {
        "observation.state": rng.normal(start, 1, (length, 3)).astype(np.float32),
        "action": rng.normal(0, 1, (length, 2)).astype(np.float32),
        "stamp_ns": 1_700_000_000_000_000_000 + start * 10**9 + np.arange(length, dtype=np.int64) * 100_000_000,
    }
    videos, histograms, raw = {}, {}, {}
    for key in (FRONT, WRIST):
        height, width, _ = FEATURES[key]["shape"]
        videos[key] = folder / f"{start}" / f"{key}.mp4"
        histograms[key] = ImageHistogram()
        raw[key] = [picture(start + i, height, width) for i in range(length)]
        with VideoEncoder(videos[key], height=height, width=width, fps=FPS, settings=settings) as video:
            for image in raw[key]:
                video.add(image)
                histograms[key].add(image)
    return Episode(task=task, columns=columns, videos=videos, histograms=histograms), {**columns, **raw}


@pytest.mark.parametrize("vcodec", ["h264", "av1"])
def test_lerobot_reads_back_every_frame(tmp_path: Path, vcodec: str) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    settings = VideoSettings(vcodec=vcodec)
    writer = DatasetWriter(tmp_path / "data", features=FEATURES, fps=FPS, robot_type="arm", video=settings)
    truth, start = [], 0
    for length, task in ((7, "lift"), (12, "put it down"), (5, "lift")):
        episode, raw = make_episode(tmp_path / "parts", start, length, task, settings)
        writer.add(episode)
        truth += [(task, {key: raw[key][i] for key in raw}) for i in range(length)]
        start += length
    writer.finish()

    for backend in ("torchcodec", "pyav"):
        dataset = LeRobotDataset("local/test", root=tmp_path / "data", video_backend=backend, return_uint8=True)
        assert len(dataset) == len(truth) == 24
        assert dataset.meta.total_episodes == 3
        for index, (task, row) in enumerate(truth):
            item = dataset[index]
            assert item["task"] == task
            np.testing.assert_array_equal(item["observation.state"].numpy(), row["observation.state"])
            np.testing.assert_array_equal(item["action"].numpy(), row["action"])
            assert int(item["stamp_ns"]) == row["stamp_ns"]
            assert int(item["index"]) == index
            for key in (FRONT, WRIST):
                image = item[key].numpy().transpose(1, 2, 0)
                assert number_of(image) == index
                assert np.abs(image.astype(int) - row[key]).mean() < 4.0


def test_statistics_are_exact_over_all_frames(tmp_path: Path) -> None:
    settings = VideoSettings()
    writer = DatasetWriter(tmp_path / "data", features=FEATURES, fps=FPS, robot_type="arm", video=settings)
    rows = []
    for start, length in ((0, 7), (300, 9)):
        episode, raw = make_episode(tmp_path / "parts", start, length, "lift", settings)
        writer.add(episode)
        rows.append(raw)
    writer.finish()
    stats = json.loads((tmp_path / "data/meta/stats.json").read_text())

    state = np.concatenate([raw["observation.state"] for raw in rows]).astype(np.float64)
    images = np.stack([image for raw in rows for image in raw[FRONT]]).reshape(-1, 3) / 255.0
    for name, values, shape in (("observation.state", state, (3,)), (FRONT, images, (3, 1, 1))):
        expected = {"mean": values.mean(0), "std": values.std(0), "min": values.min(0), "max": values.max(0)}
        expected |= {quantile_key(q): np.quantile(values, q, axis=0) for q in QUANTILES}
        for key, value in expected.items():
            assert np.shape(stats[name][key]) == shape
            np.testing.assert_allclose(np.ravel(stats[name][key]), value, rtol=1e-12, atol=1e-12)
        assert stats[name]["count"] == [16]


def test_dataset_tools_of_lerobot_accept_it(tmp_path: Path) -> None:
    from lerobot.datasets.dataset_tools import delete_episodes
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    settings = VideoSettings()
    writer = DatasetWriter(tmp_path / "data", features=FEATURES, fps=FPS, robot_type="arm", video=settings)
    for start, length in ((0, 6), (6, 8)):
        writer.add(make_episode(tmp_path / "parts", start, length, "lift", settings)[0])
    writer.finish()
    dataset = LeRobotDataset("local/test", root=tmp_path / "data", return_uint8=True)
    edited = delete_episodes(dataset, [0], output_dir=tmp_path / "edited", repo_id="local/edited")
    assert len(edited) == 8
    reread = LeRobotDataset("local/edited", root=tmp_path / "edited", return_uint8=True)
    assert [number_of(reread[i][FRONT].numpy().transpose(1, 2, 0)) for i in range(8)] == list(range(6, 14))


def test_rows_and_pictures_must_agree(tmp_path: Path) -> None:
    settings = VideoSettings()
    writer = DatasetWriter(tmp_path / "data", features=FEATURES, fps=FPS, robot_type="arm", video=settings)
    episode, _ = make_episode(tmp_path / "parts", 0, 6, "lift", settings)
    short = {name: values[:5] for name, values in episode.columns.items()}
    with pytest.raises(DatasetError, match=r"6 pictures for 5 rows of 'observation.images.front'"):
        writer.add(Episode(task="t", columns=short, videos=episode.videos, histograms=episode.histograms))
    wrong = {**episode.columns, "action": episode.columns["action"].copy()}
    wrong["action"][2, 1] = np.nan
    with pytest.raises(DatasetError, match=r"column 'action' holds NaN"):
        writer.add(Episode(task="t", columns=wrong, videos=episode.videos, histograms=episode.histograms))
    with pytest.raises(DatasetError, match="no episode was converted"):
        writer.finish()
