# SPDX-License-Identifier: Apache-2.0

"""Video packets are copied bit for bit when they may be, and refused with the reason when they may not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from vla_recorder.bags.packet_numbers import PacketNumbers
from vla_recorder.convert import command
from vla_recorder.formats.base import Layout, PacketReference
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.video_episode import ABOUT_VIDEO
from vla_recorder.media.settings import VideoSettings
from vla_recorder.media.stream_copy import SAMPLED_KEY_FRAMES, CopyRefusedError, PacketCopier
from vla_recorder.media.video import ORIGIN_TAG, count_frames, decode, video_info
from vla_recorder.testing import small_profile
from vla_recorder.testing.recordings import PacketEncoder, Pictures, Recording, write_recording
from vla_recorder.tools.probe_encoders import psnr_db

HEIGHT, WIDTH, FPS = 64, 96, 10
KEY = "observation.images.front"


def messages(codec: str, count: int = 12, gop: int = 4, seed: int = 0, **options: str) -> list[Any]:
    """CompressedVideo messages of a camera."""
    encoder = PacketEncoder(codec, HEIGHT, WIDTH, FPS, gop, options)
    pictures = Pictures(HEIGHT, WIDTH, seed)
    return [
        SimpleNamespace(
            format=codec,
            data=encoder.encode(pictures.draw(number / FPS, number)),
            timestamp=SimpleNamespace(sec=number),
        )
        for number in range(count)
    ]


def b_frame_messages(codec: str, parameters: dict[str, str]) -> list[Any]:
    """Packets in the order in which an encoder with B frames sends them."""
    context: Any = av.CodecContext.create(codec, "w")
    context.height, context.width, context.pix_fmt, context.framerate = HEIGHT, WIDTH, "yuv420p", FPS
    context.options = parameters
    pictures = Pictures(HEIGHT, WIDTH, 0)
    packets = []
    for number in range(8):
        frame = av.VideoFrame.from_ndarray(pictures.draw(number / FPS, number), format="rgb24")
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return [SimpleNamespace(format=codec, data=bytes(packet)) for packet in packets]


def copy(path: Path, packets: list[Any], numbers: list[int] | None = None, width: int = WIDTH) -> PacketCopier:
    copier = PacketCopier(path, height=HEIGHT, width=width, fps=FPS)
    with copier:
        for number, packet in zip(numbers or range(len(packets)), packets, strict=True):
            copier.add(packet, number)
    return copier


def layout(copied: frozenset[str] = frozenset({KEY})) -> Layout:
    return Layout(
        profile=small_profile(),
        fps=FPS,
        features={
            "observation.state": {"dtype": "float32", "shape": (1,), "names": ["a"]},
            KEY: {"dtype": "video", "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]},
        },
        video=VideoSettings(),
        name="local/copy",
        copied=copied,
    )


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_copied_pictures_are_those_of_the_packets(tmp_path: Path, codec: str) -> None:
    packets = messages(codec)
    copier = copy(tmp_path / "v.mp4", packets)
    assert (copier.frames, copier.codec) == (12, codec)
    assert copier.key_frames == 3
    decoder: Any = av.CodecContext.create({"av1": "libdav1d"}.get(codec, codec), "r")
    direct = [frame for packet in packets for frame in decoder.decode(av.Packet(packet.data))] + decoder.decode(None)
    stored = list(decode(tmp_path / "v.mp4"))
    assert all(np.array_equal(a.to_ndarray(format="rgb24"), b) for a, b in zip(direct, stored, strict=True))
    with av.open(str(tmp_path / "v.mp4")) as container:
        frames = list(container.decode(video=0))
        # Stamps are the row numbers exactly, and random access works from the key frames.
        assert [frame.pts * frame.time_base * FPS for frame in frames] == list(range(12))
        assert [number for number, frame in enumerate(frames) if frame.key_frame] == [0, 4, 8]


def test_rows_that_do_not_follow_one_another_are_refused(tmp_path: Path) -> None:
    packets = messages("h264")
    path = tmp_path / "v.mp4"
    with pytest.raises(CopyRefusedError, match="2 pictures between the rows 1 and 2 belong to no row"):
        copy(path, packets[:2] + packets[4:6], [0, 1, 4, 5])
    with pytest.raises(CopyRefusedError, match="row 2 shows the same picture as the row before it"):
        copy(path, [packets[0], packets[1], packets[1]], [0, 1, 1])
    with pytest.raises(CopyRefusedError, match="row 2 shows a picture that was sent before that of row 1"):
        copy(path, [packets[4], packets[5], packets[4]], [4, 5, 4])
    assert not path.exists()


def test_a_copy_begins_at_a_key_frame(tmp_path: Path) -> None:
    packets = messages("h264")
    with pytest.raises(CopyRefusedError, match="the first row is no key frame"):
        copy(tmp_path / "v.mp4", packets[1:], list(range(1, 12)))
    assert copy(tmp_path / "v.mp4", packets[4:], list(range(4, 12))).frames == 8


def test_a_resize_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CopyRefusedError, match=r"the pictures are 64x96 px and the rows 64x32 \(resize\)"):
        copy(tmp_path / "v.mp4", messages("h264"), width=32)


@pytest.mark.parametrize(
    ("codec", "parameters"),
    [
        ("libx264", {"bf": "2", "g": "8", "b-adapt": "0", "x264-params": "b-adapt=0:scenecut=0"}),
        ("libx265", {"preset": "ultrafast", "x265-params": "bframes=3:b-adapt=0:repeat-headers=1:log-level=error"}),
    ],
)
def test_b_frames_are_refused(tmp_path: Path, codec: str, parameters: dict[str, str]) -> None:
    packets = b_frame_messages(codec, parameters)
    with pytest.raises(CopyRefusedError, match=r"sent out of order \(B frames\)"):
        copy(tmp_path / "v.mp4", packets)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_a_camera_that_changes_its_size_is_noticed(tmp_path: Path, codec: str) -> None:
    encoder = PacketEncoder(codec, 2 * HEIGHT, WIDTH, FPS, 4)
    pictures = Pictures(2 * HEIGHT, WIDTH, 0)
    larger = [SimpleNamespace(format=codec, data=encoder.encode(pictures.draw(0.1 * n, n))) for n in range(4)]
    with pytest.raises(CopyRefusedError, match="row 8: the camera sends another stream from here on, 128x96 px"):
        copy(tmp_path / "v.mp4", messages(codec)[:8] + larger)


def test_a_change_of_codec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CopyRefusedError, match="row 1: the codec changes from h264 to hevc"):
        copy(tmp_path / "v.mp4", [messages("h264")[0], messages("hevc")[0]])


def test_other_packets_are_named(tmp_path: Path) -> None:
    with pytest.raises(CopyRefusedError, match="row 0: video format 'theora' is not supported"):
        copy(tmp_path / "v.mp4", [SimpleNamespace(format="theora", data=b"\x00")])
    with pytest.raises(CopyRefusedError, match="vp9 cannot be copied, only h264, hevc, av1"):
        copy(tmp_path / "v.mp4", [SimpleNamespace(format="vp9", data=b"\x82\x49\x83")])
    with pytest.raises(CopyRefusedError, match=r"row 0: .*does not begin with an Annex B start code"):
        copy(tmp_path / "v.mp4", [SimpleNamespace(format="h264", data=b"\x01\x02\x03\x04\x05")])
    with pytest.raises(CopyRefusedError, match="holds no picture"):
        copy(tmp_path / "v.mp4", [SimpleNamespace(format="h264", data=b"\x00\x00\x00\x01\x09\xf0")])


def test_a_picture_that_was_lost_before_the_bag_is_noticed(tmp_path: Path) -> None:
    packets = messages("h264", gop=12)
    with pytest.raises(CopyRefusedError, match="row 3: pictures are missing before it"):
        copy(tmp_path / "v.mp4", packets[:3] + packets[4:], list(range(11)))


def test_packets_of_ffmpeg_image_transport(tmp_path: Path) -> None:
    packets = [
        SimpleNamespace(encoding="libx264", data=packet.data, pts=40 + number)
        for number, packet in enumerate(messages("h264"))
    ]
    assert copy(tmp_path / "v.mp4", packets).frames == 12
    with pytest.raises(CopyRefusedError, match="row 6: pictures are missing before it"):
        copy(tmp_path / "v.mp4", packets[:6] + packets[7:], list(range(11)))


def test_numbers_of_messages() -> None:
    numbers = PacketNumbers()
    sent = messages("h264", 3)
    for message in sent:
        numbers.push(message)
    assert [numbers.number(message) for message in sent] == [0, 1, 2]
    with pytest.raises(KeyError):
        numbers.number(SimpleNamespace())


def write(folder: Path, packets: list[Any], numbers: list[int]) -> Any:
    writer = LeRobotV3().episode_writer(layout(), folder)
    try:
        for number, packet in zip(numbers, packets, strict=True):
            writer.add({KEY: PacketReference(packet, number)})
        state = np.zeros((len(packets), 1), np.float32)
        return writer.finish({"observation.state": state}, "look", {"bag": "b"})
    except BaseException:
        writer.discard()
        raise


def test_an_episode_of_copied_packets(tmp_path: Path) -> None:
    packets = messages("h264", 40, 2)
    episode = write(tmp_path / "work", packets, list(range(40)))
    assert count_frames(episode.videos[KEY]) == 40
    assert episode.about["bag"] == "b"
    assert episode.about[ABOUT_VIDEO][KEY] == {
        "copied": True,
        "codec": "h264",
        "key_frames": 20,
        "statistics_from_frames": SAMPLED_KEY_FRAMES,
    }
    statistics = episode.histograms[KEY].statistics()
    assert statistics["count"] == [SAMPLED_KEY_FRAMES]
    decoded = np.stack(list(decode(episode.videos[KEY])))[::2] / 255
    assert np.allclose(np.array(statistics["mean"]).reshape(-1), decoded.mean((0, 1, 2)), atol=0.02)
    info = video_info(episode.videos[KEY], VideoSettings(), FPS)
    assert info["video.codec"] == "h264"
    assert "video.crf" not in info  # nobody knows what the camera encoded with


def test_the_refusal_names_the_camera_and_leaves_no_file(tmp_path: Path) -> None:
    packets = messages("h264", 6)
    with pytest.raises(CopyRefusedError, match="1 pictures between the rows 1 and 2") as refused:
        write(tmp_path / "work", [*packets[:2], packets[3]], [0, 1, 3])
    assert refused.value.key == KEY
    assert not refused.value.reason.startswith(KEY)
    assert not list((tmp_path / "work").rglob("*.mp4"))


def test_copied_and_encoded_episodes_share_a_dataset(tmp_path: Path) -> None:
    form = LeRobotV3()
    dataset = form.dataset_writer(tmp_path / "data", layout())
    dataset.add(write(tmp_path / "a", messages("h264", 8), list(range(8))))
    dataset.add(write(tmp_path / "b", messages("h264", 4, seed=1), list(range(4))))
    encoder = form.episode_writer(layout(frozenset()), tmp_path / "c")
    pictures = Pictures(HEIGHT, WIDTH, 2)
    for number in range(5):
        encoder.add({KEY: pictures.draw(number / FPS, number)})
    dataset.add(encoder.finish({"observation.state": np.zeros((5, 1), np.float32)}, "look", {}))
    dataset.finish()
    files = sorted((tmp_path / "data/videos").rglob("*.mp4"))
    assert [count_frames(file) for file in files] == [12, 5]
    with av.open(str(files[0])) as container:
        assert ORIGIN_TAG in container.metadata


def converted(tmp_path: Path, name: str, *arguments: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Convert the bag; return what the dataset says of its episode, and its pictures."""
    output = tmp_path / name
    common = ["--bags", str(tmp_path / "bags"), "--output", str(output), "--workers", "1"]
    assert command.main([*common, *arguments]) == 0
    about = json.loads(next(output.glob("meta/vla/episodes/*.json")).read_text())
    return about, list(decode(next(output.glob(f"videos/{KEY}/**/*.mp4"))))


def test_a_camera_that_sends_video_from_bag_to_dataset(tmp_path: Path) -> None:
    recording = Recording(kind="h264", seconds=2.0, height=HEIGHT, width=WIDTH, fps=FPS, gop=10)
    write_recording(tmp_path / "bags" / "one", recording)
    pictures = Pictures(HEIGHT, WIDTH, 0)
    drawn = [pictures.draw(number / FPS, number) for number in range(20)]

    about, copied = converted(tmp_path, "copied")
    assert about[ABOUT_VIDEO][KEY]["copied"]
    assert len(copied) == 20
    assert np.mean([psnr_db(a, b) for a, b in zip(drawn, copied, strict=True)]) > 25

    # Every second picture: the packets depend on one another, so they are decoded and encoded again, and it is said why.
    about, encoded = converted(tmp_path, "slower", "--fps", "5")
    assert ABOUT_VIDEO not in about
    assert any("1 pictures between the rows 0 and 1 belong to no row" in warning for warning in about["warnings"])
    assert len(encoded) == 10
    # The same pictures as the copied ones, but for the loss of the second encoding.
    assert np.mean([psnr_db(a, b) for a, b in zip(copied[::2], encoded, strict=True)]) > 32
