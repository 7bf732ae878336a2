# SPDX-License-Identifier: Apache-2.0

"""Depth cameras: LeRobot's own functions and LeRobot's reader agree with what is stored, as video and as images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets.depth_utils import dequantize_depth, quantize_depth
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from vla_recorder.convert import command
from vla_recorder.formats.base import Layout
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.video_episode import ABOUT_VIDEO
from vla_recorder.media.depth import DepthEncoder, depth_codes, depth_error, depth_metres
from vla_recorder.media.settings import VideoError, VideoSettings
from vla_recorder.testing import small_profile
from vla_recorder.testing.recordings import Recording, expected_depth, write_recording

FPS = 10
KEY = "observation.images.depth"


def depth_images(count: int, dtype: type) -> list[np.ndarray]:
    """Slanted planes with noise and some pixels without a return."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[0:48, 0:64]
    images = []
    for number in range(count):
        millimetres = 400 + 90 * number + 30 * y + 8 * x + rng.normal(0, 5, y.shape)
        millimetres[3, 5] = 0
        image = millimetres.round().astype(np.uint16)
        images.append(image if dtype is np.uint16 else (image / np.float32(1000)).astype(np.float32))
    return images


def dataset(root: Path, images: list[list[np.ndarray]], depth: str) -> tuple[LeRobotDataset, list]:
    """Write episodes of depth images and open them with LeRobot."""
    layout = Layout(
        profile=small_profile(),
        fps=FPS,
        features={
            "observation.state": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
            KEY: {
                "dtype": "video",
                "shape": (48, 64, 1),
                "names": ["height", "width", "channels"],
                "info": {"is_depth_map": True},
            },
        },
        video=VideoSettings(depth=depth),
        name="local/depth",
    )
    form = LeRobotV3()
    writer = form.dataset_writer(root / "data", layout)
    episodes = []
    for number, episode in enumerate(images):
        rows = form.episode_writer(layout, root / f"work{number}")
        for image in episode:
            rows.add({KEY: image})
        state = np.zeros((len(episode), 2), np.float32)
        episodes.append(rows.finish({"observation.state": state}, "look", {"bag": f"e{number}"}))
        writer.add(episodes[-1])
    writer.finish()
    return LeRobotDataset("local/depth", root=root / "data", depth_output_unit="mm", video_backend="pyav"), episodes


def test_codes_are_lerobots() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(depth_codes(every), quantize_depth(every, video_backend=None))
    metres = np.random.default_rng(0).uniform(0, 12, (64, 64)).astype(np.float32)
    assert np.array_equal(depth_codes(metres), quantize_depth(metres, video_backend=None))
    codes = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    theirs = dequantize_depth(codes, output_unit="m", output_tensor=False)[0]
    assert np.allclose(depth_metres(codes), theirs, atol=5e-6)


def test_values_that_are_not_finite_mean_no_return() -> None:
    image = np.array([[np.nan, np.inf, -np.inf, 1.0]], np.float32)
    assert depth_codes(image).tolist()[0][:3] == [0, 0, 0]
    assert depth_codes(image)[0, 3] == depth_codes(np.array([[1000]], np.uint16))[0, 0]


@pytest.mark.parametrize(("dtype", "unit"), [(np.uint16, "mm"), (np.float32, "m")])
def test_lerobot_reads_depth_video_back_within_the_reported_error(tmp_path: Path, dtype: type, unit: str) -> None:
    sources = [depth_images(5, dtype), depth_images(3, dtype)]
    read, episodes = dataset(tmp_path, sources, "video")
    assert len(read) == 8
    info = read.meta.features[KEY]["info"]
    assert info["is_depth_map"]
    assert info["depth_unit"] == unit
    assert info["video.pix_fmt"] == "gray12le"
    about = episodes[0].about[ABOUT_VIDEO][KEY]
    assert about["depth_unit"] == unit
    error = about["depth_error"]
    assert 0 < error["mean_mm"] < error["max_mm"] < 1.5
    assert error["no_return_pixels"] == error["clipped_pixels"] == 5
    flat = [image for episode in sources for image in episode]
    for number, image in enumerate(flat):
        back = read[number][KEY].numpy()[0]
        truth = image.astype(np.float64) * (1 if dtype is np.uint16 else 1000)
        seen = truth > 0
        # LeRobot rounds to whole millimetres for this output unit.
        assert np.abs(back - truth)[seen].max() <= error["max_mm"] + 0.5
        assert (back[~seen] == 10).all()  # "no return" comes back as the near end of the scale


def test_statistics_of_depth_are_in_the_unit_of_the_camera(tmp_path: Path) -> None:
    images = depth_images(4, np.uint16)
    read, _ = dataset(tmp_path, [images], "video")
    stats = read.meta.stats[KEY]
    values = np.stack(images)
    assert np.allclose(stats["mean"].reshape(-1), values.mean())
    assert np.allclose(stats["max"].reshape(-1), values.max())
    assert np.allclose(stats["q50"].reshape(-1), np.quantile(values, 0.5))
    assert stats["count"].tolist() == [4]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_depth_images_come_back_exactly(tmp_path: Path, dtype: type) -> None:
    images = depth_images(3, dtype)
    read, _ = dataset(tmp_path, [images], "image")
    assert read.meta.features[KEY]["dtype"] == "image"
    assert not list((tmp_path / "data").rglob("*.mp4"))
    for number, image in enumerate(images):
        back = read[number][KEY].numpy()[0]
        if dtype is np.uint16:
            assert np.array_equal(back, image)
        else:
            assert np.allclose(back, image * 1000, rtol=1e-6)  # metres, returned as millimetres


@pytest.mark.parametrize("mode", ["video", "image"])
def test_a_depth_camera_from_bag_to_dataset(tmp_path: Path, mode: str) -> None:
    recording = Recording(kind="jpeg", seconds=0.8, height=48, width=64, fps=FPS, depth=True)
    write_recording(tmp_path / "bags" / "one", recording)
    output = tmp_path / "data"
    arguments = ["--bags", str(tmp_path / "bags"), "--output", str(output), "--workers", "1", "--depth", mode]
    assert command.main(arguments) == 0
    read = LeRobotDataset("local/depth", root=output, depth_output_unit="mm", video_backend="pyav")
    assert read.meta.features[KEY]["dtype"] == mode
    assert len(read) == recording.frames
    for number in range(len(read)):
        truth = expected_depth(number, 48, 64)
        back = read[number][KEY].numpy()[0]
        if mode == "image":
            assert np.array_equal(back, truth)
        else:
            assert np.abs(back - truth)[truth > 0].max() < 2
    about = json.loads(next(output.glob("meta/vla/episodes/*.json")).read_text())
    if mode == "video":
        assert 0 < about["video"][KEY]["depth_error"]["max_mm"] < 1.5


def test_error_of_the_scale_at_known_distances() -> None:
    counts = np.zeros(65536, np.int64)
    counts[[0, 1000, 12000]] = [7, 3, 2]
    found = depth_error(counts)
    expected = abs(float(depth_metres(depth_codes(np.array([[1000]], np.uint16)))[0, 0]) * 1000 - 1000)
    assert found == {
        "max_mm": round(expected, 4),
        "mean_mm": round(expected, 4),
        "clipped_pixels": 9,
        "no_return_pixels": 7,
    }


def test_another_size_or_type_is_named(tmp_path: Path) -> None:
    with DepthEncoder(tmp_path / "d.mp4", height=48, width=64, fps=FPS) as encoder:
        encoder.add(depth_images(1, np.uint16)[0])
        with pytest.raises(VideoError, match=r"frame 1 is uint8 \(48, 64\), the video holds depth \(48, 64\)"):
            encoder.add(np.zeros((48, 64), np.uint8))
