# SPDX-License-Identifier: Apache-2.0

"""LeRobot reads every picture of videos that were copied, encoded by any preset, and joined, in any order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from vla_recorder.formats.base import Layout, PacketReference
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.media.settings import ENCODERS, VideoSettings
from vla_recorder.media.video import decode
from vla_recorder.testing import small_profile
from vla_recorder.testing.recordings import PacketEncoder, Pictures

HEIGHT, WIDTH, FPS = 64, 96, 10
KEY = "observation.images.front"


def layout(settings: VideoSettings, *, copied: bool) -> Layout:
    return Layout(
        profile=small_profile(),
        fps=FPS,
        features={
            "observation.state": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
            KEY: {"dtype": "video", "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]},
        },
        video=settings,
        name="local/video",
        copied=frozenset({KEY}) if copied else frozenset(),
    )


def rows(codec: str, lengths: list[int]) -> list[list[Any]]:
    """Episodes of copied packets, or of pictures if there is no codec."""
    episodes = []
    for seed, length in enumerate(lengths):
        pictures = Pictures(HEIGHT, WIDTH, seed)
        drawn = [pictures.draw(number / 2, number) for number in range(length)]
        if codec:
            encoder = PacketEncoder(codec, HEIGHT, WIDTH, FPS, 5)
            packets = [SimpleNamespace(format=codec, data=encoder.encode(picture)) for picture in drawn]
            episodes.append([PacketReference(packet, number) for number, packet in enumerate(packets)])
        else:
            episodes.append(drawn)
    return episodes


@pytest.mark.parametrize(
    ("codec", "settings"),
    [
        ("h264", VideoSettings()),
        ("hevc", VideoSettings()),
        ("av1", VideoSettings()),
        ("", VideoSettings(vcodec="hevc")),
        ("", ENCODERS["archive"]),
        ("", ENCODERS["lerobot"]),
    ],
    ids=["copied-h264", "copied-hevc", "copied-av1", "hevc", "archive", "lerobot"],
)
def test_random_access(tmp_path: Path, codec: str, settings: VideoSettings) -> None:
    form = LeRobotV3()
    own = layout(settings, copied=bool(codec))
    writer = form.dataset_writer(tmp_path / "data", own)
    lengths = [7, 1, 12]
    stored = []
    for number, episode in enumerate(rows(codec, lengths)):
        work = form.episode_writer(own, tmp_path / f"work{number}")
        for image in episode:
            work.add({KEY: image})
        finished = work.finish({"observation.state": np.zeros((len(episode), 2), np.float32)}, "look", {})
        stored += list(decode(finished.videos[KEY]))
        writer.add(finished)
    writer.finish()
    # torchcodec finds pictures by number and PyAV by stamp, and they round colours differently.
    for backend, tolerance in (("pyav", 0.0), ("torchcodec", 2.0)):
        dataset = LeRobotDataset("local/video", root=tmp_path / "data", video_backend=backend)
        assert len(dataset) == len(stored) == sum(lengths)
        for index in np.random.default_rng(0).permutation(len(stored)):
            picture = (dataset[int(index)][KEY].numpy().transpose(1, 2, 0) * 255).round()
            assert np.abs(picture - stored[index]).mean() <= tolerance, (backend, index)
