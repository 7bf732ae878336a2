# SPDX-License-Identifier: Apache-2.0

"""Datasets whose pictures show their number, for tests of the LeRobot formats. Needs no ROS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.profile import Profile, parse_profile

from vla_recorder.formats.base import Appendable, DatasetFormat, Layout
from vla_recorder.formats.rows import Episode
from vla_recorder.media.video import VideoSettings
from vla_recorder.testing import PROFILE

FPS = 10
FRONT = "observation.images.front"
WRIST = "observation.images.wrist"
DEPTH = "observation.images.depth"
STATE = "observation.state"
FEATURES: dict[str, dict[str, Any]] = {
    STATE: {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    "stamp_ns": {"dtype": "int64", "shape": (1,), "names": None},
    "phase": {"dtype": "int64", "shape": (1,), "names": None},
    "synthetic": {"dtype": "bool", "shape": (1,), "names": None},
    "age.front": {"dtype": "float32", "shape": (1,), "names": None},
    FRONT: {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
    WRIST: {"dtype": "video", "shape": (64, 64, 3), "names": ["height", "width", "channels"]},
}
DEPTH_FEATURE: dict[str, Any] = {
    "dtype": "video",
    "shape": (48, 64, 1),
    "names": ["height", "width", "channels"],
    "info": {"is_depth_map": True},
}


def profile() -> Profile:
    """The profile of the small robot."""
    return parse_profile(PROFILE, "test")


def layout(
    features: dict[str, dict[str, Any]] | None = None, video: VideoSettings | None = None, fps: int = FPS
) -> Layout:
    """What the rows hold; `FEATURES` by default."""
    return Layout(
        profile=profile(),
        fps=fps,
        features=FEATURES if features is None else features,
        video=video or VideoSettings(),
        name="local/test",
    )


def picture(number: int, height: int, width: int) -> NDArray[Any]:
    """An image that shows its number: a smooth gradient with 10 bits as black or white bars."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 128)], axis=-1).astype(np.uint8)
    for bit in range(10):
        image[height // 2 :, bit * width // 10 : (bit + 1) * width // 10] = 255 * (number >> bit & 1)
    return image


def number_of(image: NDArray[Any]) -> int:
    """The number that a picture shows, (H, W, 3)."""
    height, width, _ = image.shape
    row = image[height * 3 // 4]
    return sum(int(row[int((bit + 0.5) * width / 10)].mean() > 127) << bit for bit in range(10))


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Peak signal to noise ratio of two uint8 images [dB]."""
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def columns(start: int, length: int) -> dict[str, NDArray[Any]]:
    """Values of the rows; every episode has a mean of its own."""
    rng = np.random.default_rng(start)
    return {
        STATE: rng.normal(start, 1, (length, 3)).astype(np.float32),
        "action": rng.normal(0, 1, (length, 2)).astype(np.float32),
        "stamp_ns": 1_700_000_000_000_000_000 + start * 10**9 + np.arange(length, dtype=np.int64) * 100_000_000,
        "phase": np.arange(length, dtype=np.int64) % 3,
        "synthetic": np.arange(length) >= length - 1,
        "age.front": rng.uniform(0, 0.1, length).astype(np.float32),
    }


def image(key: str, number: int, features: Mapping[str, Mapping[str, Any]]) -> NDArray[Any]:
    """Image of a row as the frame builder gives it."""
    height, width, channels = features[key]["shape"]
    if channels == 3:
        return picture(number, height, width)
    return (1000 + 3 * number + np.arange(height * width).reshape(height, width) % 500).astype(np.uint16)


def write_episode(
    format_: DatasetFormat, layout_: Layout, folder: Path, start: int, length: int, task: str = "lift"
) -> tuple[Episode, dict[str, NDArray[Any]]]:
    """Write an episode with the numbers from `start` on; return it and what went in, images as (N, H, W, ...)."""
    writer = format_.episode_writer(layout_, folder / f"{start}")
    raw: dict[str, list[NDArray[Any]]] = {key: [] for key in layout_.image_keys}
    for number in range(start, start + length):
        images = {key: image(key, number, layout_.features) for key in layout_.image_keys}
        writer.add(images)
        for key, value in images.items():
            raw[key].append(value)
    values = columns(start, length)
    episode = writer.finish(values, task, {"bag": f"bag_{start}"})
    return episode, {**values, **{key: np.stack(images) for key, images in raw.items()}}


def write_dataset(
    format_: DatasetFormat,
    root: Path,
    lengths: tuple[int, ...] = (7, 12, 5),
    *,
    layout_: Layout | None = None,
    start: int = 0,
    append: bool = False,
) -> list[dict[str, NDArray[Any]]]:
    """Write a dataset of episodes whose tasks alternate; return what went in."""
    layout_ = layout_ or layout()
    if append:
        assert isinstance(format_, Appendable)
        writer = format_.append_writer(root, layout_)
    else:
        writer = format_.dataset_writer(root, layout_)
    truth = []
    for index, length in enumerate(lengths):
        task = ("lift", "put it down")[index % 2]
        episode, raw = write_episode(format_, layout_, root.with_name(root.name + ".parts"), start, length, task)
        writer.add(episode)
        truth.append({**raw, "task": np.array([task] * length)})
        start += length
    writer.finish()
    return truth
