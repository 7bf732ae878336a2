# SPDX-License-Identifier: Apache-2.0

"""Video packets through the whole converter: copied where nothing stands against it, encoded again with the reason."""

import json
from pathlib import Path

import av
import pytest
from vla_recorder.bags.reader import open_episode
from vla_recorder.convert.command import main
from vla_recorder.media.video import count_frames
from vla_recorder.testing.recordings import Recording, write_recording

RECORDING = Recording(kind="h264", seconds=3.0, height=64, width=96, gop=10)
FRONT = "observation.images.front"


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    write_recording(tmp_path / "bags/episode_a", RECORDING)
    return tmp_path / "bags"


def run(bags: Path, output: Path, *more: object) -> dict:
    assert main([str(arg) for arg in ("--bags", bags, "--output", output, "--workers", 1, *more)]) == 0
    return json.loads((output / "meta/vla/episodes/episode_000000.json").read_text())


def video(output: Path) -> Path:
    return output / "videos" / FRONT / "chunk-000/file-000.mp4"


def payloads(path: Path) -> list[bytes]:
    """Return the stored packet of every picture."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_packets_of_the_bag_are_in_the_dataset(bags: Path, tmp_path: Path) -> None:
    about = run(bags, tmp_path / "data")
    assert about["video"][FRONT]["copied"] is True
    assert about["frames"] == RECORDING.frames == count_frames(video(tmp_path / "data"))
    sent = [m.message.data for m in open_episode(bags / "episode_a").messages({"/front/image"})]
    for stored, original in zip(payloads(video(tmp_path / "data")), sent, strict=True):
        # MP4 has lengths where the bag has start codes; the end of the last slice is the same.
        assert stored[-32:] == bytes(original)[-32:]
    assert not [warning for warning in about["warnings"] if "copied" in warning]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--fps", 10], "its packets cannot be copied, it was encoded again"),
        (["--image-size", 32], ""),
        (["--target", "e2e"], ""),
    ],
)
def test_what_cannot_be_copied_is_encoded(bags: Path, tmp_path: Path, options, reason) -> None:
    about = run(bags, tmp_path / "data", *options)
    assert "copied" not in str(about.get("video", ""))
    assert count_frames(video(tmp_path / "data")) == about["frames"] > 0
    found = [warning for warning in about["warnings"] if "encoded again" in warning]
    assert bool(found) == bool(reason)
    assert all(reason in warning for warning in found)


def test_formats_without_video_decode_the_packets(bags: Path, tmp_path: Path) -> None:
    about = run(bags, tmp_path / "data", "--format", "npz")
    assert about["frames"] == RECORDING.frames
    run(bags, tmp_path / "rlds", "--format", "rlds", "--format-option", "schema=generic")
    run(bags, tmp_path / "openpi", "--format", "lerobot-v2.1")
