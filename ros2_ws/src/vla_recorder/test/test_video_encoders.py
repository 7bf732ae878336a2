# SPDX-License-Identifier: Apache-2.0

"""Encoder presets, their overrides and refusals, hardware that is tried and not believed, and joined files."""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from vla_recorder.media import hardware
from vla_recorder.media.hardware import encoder_settings, hardware_settings, probe_hardware
from vla_recorder.media.settings import (
    ENCODERS,
    HARDWARE_CODECS,
    VideoError,
    VideoSettings,
    add_encoder_arguments,
)
from vla_recorder.media.synthetic import Pictures
from vla_recorder.media.video import VideoEncoder, count_frames, decode, header, join, video_info
from vla_recorder.tools import probe_encoders as probe
from vla_recorder.tools.probe_encoders import psnr_db, synthetic_images

HEIGHT, WIDTH, FPS = 64, 96, 10


@pytest.fixture(autouse=True)
def _quiet_av1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


def asked(*arguments: str) -> VideoSettings:
    parser = argparse.ArgumentParser()
    add_encoder_arguments(parser)
    return encoder_settings(parser.parse_args(arguments))


def write(path: Path, images: list, settings: VideoSettings) -> Path:
    with VideoEncoder(path, height=images[0].shape[0], width=images[0].shape[1], fps=FPS, settings=settings) as encoder:
        for image in images:
            encoder.add(image)
    return path


def test_presets_are_what_they_are_called() -> None:
    lerobot = asked("--encoder", "lerobot")
    assert (lerobot.vcodec, lerobot.preset, lerobot.gop, lerobot.crf) == ("av1", "12", 2, 30)
    assert lerobot.pixel_format(480, 640) == "yuv420p"
    fast = asked()
    assert fast == ENCODERS["fast"] == VideoSettings()
    assert (fast.vcodec, fast.preset, fast.gop, fast.crf) == ("h264", "ultrafast", 2, 18)
    assert asked("--encoder", "archive").gop == 30


def test_overrides_change_one_thing_each() -> None:
    chosen = asked("--encoder", "fast", "--preset", "veryfast", "--crf", "23", "--gop", "5", "--pix-fmt", "yuv420p")
    assert chosen == VideoSettings(preset="veryfast", crf=23, gop=5, pix_fmt="yuv420p")
    assert asked("--depth", "image").depth == "image"


def test_another_codec_takes_its_own_quality_and_speed() -> None:
    chosen = asked("--vcodec", "av1")
    assert (chosen.vcodec, chosen.preset, chosen.crf, chosen.gop) == ("av1", "12", 30, 2)
    assert asked("--encoder", "lerobot", "--vcodec", "h264").preset == "ultrafast"
    assert asked("--encoder", "lerobot", "--vcodec", "h264", "--crf", "20").crf == 20


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"vcodec": "mpeg2"}, "vcodec: 'mpeg2' is not one of h264, hevc, av1"),
        ({"pix_fmt": "rgb24"}, "pix_fmt: 'rgb24' is not one of auto, yuv444p, yuv420p"),
        ({"depth": "png"}, "depth: 'png' is not one of video, image"),
        ({"gop": 0}, "gop: 0 is below 1"),
        ({"crf": 60}, r"crf: 60 is outside 0\.\.51 of h264"),
        ({"vcodec": "av1", "crf": 64}, r"crf: 64 is outside 0\.\.63 of av1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(VideoError, match=text):
        VideoSettings(**values)


def test_sizes_and_formats_that_do_not_fit() -> None:
    assert VideoSettings().pixel_format(120, 160) == "yuv444p"
    assert VideoSettings().pixel_format(480, 640) == "yuv420p"
    with pytest.raises(VideoError, match="481x640 px cannot be stored as yuv420p"):
        VideoSettings(pix_fmt="yuv420p").pixel_format(481, 640)
    with pytest.raises(VideoError, match="av1 has no yuv444p here; use --pix-fmt yuv420p, or --vcodec h264 or hevc"):
        VideoSettings(vcodec="av1", pix_fmt="yuv444p").pixel_format(480, 640)


@pytest.mark.parametrize("name", [*ENCODERS, "hevc"])
def test_every_preset_keeps_every_picture(tmp_path: Path, name: str) -> None:
    settings = ENCODERS.get(name) or VideoSettings(vcodec=name)
    pictures = Pictures(HEIGHT, WIDTH, 0)
    images = [pictures.draw(0.5 * number, number) for number in range(12)]
    path = write(tmp_path / "v.mp4", images, settings)
    decoded = list(decode(path))
    assert len(decoded) == count_frames(path) == 12
    # Each picture is nearest to its own original: none is missing, repeated or swapped.
    for number, picture in enumerate(decoded):
        distances = [np.abs(picture.astype(int) - image).mean() for image in images]
        assert int(np.argmin(distances)) == number
    info = video_info(path, settings, FPS)
    assert info["video.codec"] == settings.family
    assert (info["video.g"], info["video.crf"]) == (settings.gop, settings.crf)


def test_pictures_are_as_good_as_from_a_bare_encoder(tmp_path: Path) -> None:
    images = synthetic_images(8, 120, 160)
    settings = VideoSettings()
    with av.open(str(tmp_path / "bare.mp4"), "w") as container:
        options = {"crf": "18", "preset": "ultrafast", "g": "2", "bf": "0"}
        stream: Any = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv444p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    bare = [psnr_db(a, b) for a, b in zip(images, decode(tmp_path / "bare.mp4"), strict=True)]
    ours = [psnr_db(a, b) for a, b in zip(images, decode(write(tmp_path / "v.mp4", images, settings)), strict=True)]
    assert np.mean(ours) == pytest.approx(np.mean(bare), abs=0.05)
    assert np.mean(ours) > 35


def test_a_picture_that_is_read_only_or_not_contiguous_is_the_same(tmp_path: Path) -> None:
    images = synthetic_images(4, HEIGHT, WIDTH)
    wide = [np.asfortranarray(image) for image in images]
    for image in images:
        image.flags.writeable = False
    first, second = write(tmp_path / "a.mp4", images, VideoSettings()), write(tmp_path / "b.mp4", wide, VideoSettings())
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("settings", [VideoSettings(), VideoSettings(vcodec="hevc"), ENCODERS["lerobot"]])
def test_joined_files_have_exact_stamps(tmp_path: Path, settings: VideoSettings) -> None:
    images = synthetic_images(9, HEIGHT, WIDTH)
    parts = [
        write(tmp_path / f"{number}.mp4", images[a:b], settings)
        for number, (a, b) in enumerate([(0, 3), (3, 4), (4, 9)])
    ]
    assert len({header(part) for part in parts}) == 1
    join(parts, tmp_path / "all.mp4", FPS)
    with av.open(str(tmp_path / "all.mp4")) as container:
        stamps = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert stamps == [Fraction(number, FPS) for number in range(9)]
    alone = [picture for part in parts for picture in decode(part)]
    assert all(np.array_equal(a, b) for a, b in zip(alone, decode(tmp_path / "all.mp4"), strict=True))


def test_files_of_other_settings_are_not_joined(tmp_path: Path) -> None:
    images = synthetic_images(2, HEIGHT, WIDTH)
    one = write(tmp_path / "1.mp4", images, VideoSettings())
    two = write(tmp_path / "2.mp4", images, VideoSettings(preset="medium"))
    with pytest.raises(VideoError, match=r"2\.mp4: encoded with other settings than .*1\.mp4, cannot be joined to it"):
        join([one, two], tmp_path / "all.mp4", FPS)


@pytest.mark.parametrize("crf", [5, 40])  # the disk is full at once, or when the file is closed
def test_a_full_disk_is_named_and_leaves_no_file(tmp_path: Path, crf: int) -> None:
    path = tmp_path / "v.mp4"
    path.symlink_to("/dev/full")
    images = synthetic_images(6, 240, 320) if crf == 5 else synthetic_images(1, HEIGHT, WIDTH)
    with pytest.raises(VideoError, match=r"v\.mp4: cannot be written \(No space left on device\); free some space"):
        write(path, images, VideoSettings(crf=crf))
    assert not path.is_symlink()


def test_a_full_disk_stops_a_join(tmp_path: Path) -> None:
    part = write(tmp_path / "1.mp4", synthetic_images(3, HEIGHT, WIDTH), VideoSettings())
    output = tmp_path / "all.mp4"
    output.symlink_to("/dev/full")
    with pytest.raises(VideoError, match=r"all\.mp4: cannot be written \(No space left on device\); free some space"):
        join([part, part], output, FPS)


def test_an_encoder_without_frames_is_no_accident(tmp_path: Path) -> None:
    encoder = VideoEncoder(tmp_path / "v.mp4", height=HEIGHT, width=WIDTH, fps=FPS, settings=VideoSettings())
    encoder.close()
    encoder.discard()
    assert not (tmp_path / "v.mp4").exists()


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"v\.mp4: cannot be decoded .* is it a complete video file\?"):
        list(decode(path))


def test_hardware_is_tried_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    probe_hardware.cache_clear()
    monkeypatch.setattr(
        hardware, "attempt", lambda settings: "" if settings.vcodec == "hevc_nvenc" else "no such device"
    )
    assert hardware_settings().vcodec == "hevc_nvenc"
    probe_hardware.cache_clear()
    monkeypatch.setattr(hardware, "attempt", lambda _: "no such device")
    with pytest.raises(VideoError, match="--encoder hardware: no hardware encoder works on this machine") as refused:
        asked("--encoder", "hardware")
    for name in HARDWARE_CODECS:
        assert f"{name}: no such device" in str(refused.value)
    probe_hardware.cache_clear()


def test_the_trial_of_an_encoder_encodes_and_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.attempt(VideoSettings(crf=23)) == ""
    monkeypatch.setattr(hardware, "decode", lambda _: iter([np.zeros((480, 640, 3), np.uint8)] * 6))
    assert "images come back wrong" in hardware.attempt(VideoSettings())
    monkeypatch.setattr(hardware, "decode", lambda _: iter([]))
    assert hardware.attempt(VideoSettings()) == "0 of 6 images came back"


def test_probe_prints_and_stores_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "probe_hardware", lambda: {"h264_nvenc": "no such device", "hevc_nvenc": ""})
    monkeypatch.setitem(probe.ENCODERS, "archive", VideoSettings(vcodec="hevc"))  # quick, for the test
    assert probe.main(["--frames", "3", "--json", str(tmp_path / "t.json")]) == 0
    printed = capsys.readouterr().out
    for word in (
        "lerobot",
        "archive",
        "fast",
        "CPU ms",
        "PSNR dB",
        "not on this machine",
        "h264_nvenc: no such device",
    ):
        assert word in printed
    rows = {row["name"]: row for row in json.loads((tmp_path / "t.json").read_text())}
    assert rows["fast"]["psnr_db"] > 30
    assert rows["fast"]["read_ms"] > 0
    assert not rows["h264_nvenc"]["works"]


def test_probe_refuses_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--bag", str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert probe.main(["--frames", "0"]) == 2
    assert "--frames 0: at least one is needed" in capsys.readouterr().err


def test_hevc_is_refused_below_one_tree_block() -> None:
    assert VideoSettings(vcodec="hevc").pixel_format(64, 64) == "yuv444p"
    with pytest.raises(
        VideoError, match=r"images of 96x48 px cannot be stored as hevc: libx265 writes outside its memory"
    ):
        VideoSettings(vcodec="hevc").pixel_format(96, 48)
