# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder probe_encoders``: what each encoder preset costs and gives on this machine and these pictures."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from vla_core.errors import BagError, VlaError
from vla_core.frames import Frame
from vla_core.profile import parse_profile

from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import find_episodes, open_episode
from vla_recorder.media.hardware import probe_hardware
from vla_recorder.media.settings import ENCODERS, VideoError, VideoSettings
from vla_recorder.media.synthetic import Pictures
from vla_recorder.media.video import VideoEncoder, decode

EXAMPLE = """\
examples:
  ros2 run vla_recorder probe_encoders
  ros2 run vla_recorder probe_encoders --bag ~/episodes --camera front --json encoders.json
"""
_RANDOM_READS = 20
_FPS = 30


@dataclass(frozen=True, slots=True)
class Measured:
    """What an encoder made of some pictures.

    Attributes:
        name: Preset or codec.
        what: Its settings, for people.
        works: Whether it could be used; otherwise `reason` says why not and the numbers are 0.
        reason: See `works`.
        cpu_ms: CPU time per picture, colour conversion included [ms].
        kib: Size per picture [KiB].
        psnr_db: Mean over the pictures of the peak signal-to-noise ratio of RGB after decoding [dB].
        read_ms: Wall time to open a file and decode one picture at random, as training does [ms], median.
    """

    name: str
    what: str
    works: bool
    reason: str = ""
    cpu_ms: float = 0.0
    kib: float = 0.0
    psnr_db: float = 0.0
    read_ms: float = 0.0


def psnr_db(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of two images of the same shape [dB]; 99 for equal ones."""
    error = float(np.mean((original.astype(np.float64) - decoded) ** 2))
    return 99.0 if error == 0 else min(99.0, 10 * float(np.log10(255**2 / error)))


def measure(name: str, settings: VideoSettings, images: Sequence[NDArray[np.uint8]]) -> Measured:
    """Encode images and read them back.

    Args:
        name: For the table.
        settings: How to encode.
        images: (H, W, 3) uint8 RGB each, at least one.
    """
    speed = f" {settings.preset}" if settings.preset else ""
    what = f"{settings.vcodec}{speed}, GOP {settings.gop}, CRF {settings.crf}"
    height, width = images[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.mp4"
        try:
            before = time.process_time()
            with VideoEncoder(path, height=height, width=width, fps=_FPS, settings=settings) as encoder:
                for image in images:
                    encoder.add(image)
            cpu_ms = (time.process_time() - before) * 1e3 / len(images)
            quality = float(np.mean([psnr_db(a, b) for a, b in zip(images, decode(path), strict=True)]))
        except VideoError as error:
            return Measured(name, what, works=False, reason=str(error).removeprefix(f"{path}: "))
        kib = path.stat().st_size / 1024 / len(images)
        return Measured(name, what, True, "", cpu_ms, kib, quality, _random_read_ms(path, len(images)))


def _random_read_ms(path: Path, count: int) -> float:
    """Return the median time to open a file, seek and decode one picture [ms]."""
    rng = np.random.default_rng(0)
    times = []
    for index in rng.integers(0, count, _RANDOM_READS):
        before = time.perf_counter()
        container: Any = av.open(str(path))
        try:
            stream = container.streams.video[0]
            wanted = round(int(index) / _FPS / stream.time_base)
            container.seek(wanted, stream=stream)
            next(frame for frame in container.decode(stream) if frame.pts >= wanted).to_ndarray(format="rgb24")
        finally:
            container.close()
        times.append((time.perf_counter() - before) * 1e3)
    return float(np.median(times))


def measure_all(images: Sequence[NDArray[np.uint8]]) -> list[Measured]:
    """Measure every preset, and every hardware encoder that FFmpeg knows."""
    rows = [measure(name, settings, images) for name, settings in ENCODERS.items()]
    rows.append(measure("x264 veryfast", VideoSettings(preset="veryfast", crf=23, pix_fmt="yuv420p"), images))
    for codec, reason in probe_hardware().items():
        settings = VideoSettings(vcodec=codec, crf=23)
        rows.append(Measured(codec, "hardware", False, reason) if reason else measure(codec, settings, images))
    return rows


def synthetic_images(count: int, height: int = 480, width: int = 640) -> list[NDArray[np.uint8]]:
    """Return pictures with a moving texture and noise, (H, W, 3) uint8 RGB."""
    pictures = Pictures(height, width, seed=0)
    return [pictures.draw(number / _FPS, number) for number in range(count)]


def bag_images(folder: Path, camera: str, count: int) -> list[NDArray[np.uint8]]:
    """Return the first pictures of a camera as frames hold them, after the resize of the profile.

    Raises:
        BagError: There is no such bag or camera, or no frame can be built.
    """
    bag = open_episode(find_episodes(folder)[0])
    text = bag.get("profile")
    if not text:
        raise BagError(f"{bag.folder}: the bag carries no robot profile; probe with synthetic pictures instead")
    profile = parse_profile(text, f"profile in {bag.folder}")
    colour = [spec.name for spec in profile.cameras if not spec.depth]
    name = camera or next(iter(colour), "")
    if name not in colour:
        raise BagError(
            f"{bag.folder}: no colour camera {name!r}; give one of {', '.join(colour) or 'none'} with --camera"
        )
    frames = BagFrames(bag, profile, profile.fps, actions=False)
    images = list(islice((frame.images[name] for frame in frames if isinstance(frame, Frame)), count))
    if not images:
        raise BagError(f"{bag.folder}: no frame can be built: {frames.builder.dropped}")
    return images


def table(rows: Sequence[Measured]) -> str:
    """Return the measurements as text."""
    head = f"{'encoder':<18} {'settings':<34} {'CPU ms':>7} {'KiB':>7} {'PSNR dB':>8} {'read ms':>8}"
    lines = [head, "-" * len(head)]
    lines += [
        f"{row.name:<18} {row.what:<34} {row.cpu_ms:7.2f} {row.kib:7.1f} {row.psnr_db:8.2f} {row.read_ms:8.2f}"
        for row in rows
        if row.works
    ]
    absent = [f"  {row.name}: {row.reason}" for row in rows if not row.works]
    if absent:
        lines += ["", "not on this machine:", *absent]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="probe_encoders",
        description="Encode some pictures with every preset and print time, size, quality and random-access time per picture.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--bag", type=Path, help="take the pictures from this episode or folder; default: synthetic ones"
    )
    result.add_argument("--camera", default="", help="camera of the bag; default: the first")
    result.add_argument("--frames", type=int, default=60, help="number of pictures; default: 60")
    result.add_argument("--json", type=Path, help="write the numbers to this file, too")
    return result


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if it cannot begin."""
    arguments = parser().parse_args(args)
    os.environ.setdefault("SVT_LOG", "1")
    try:
        if arguments.frames < 1:
            raise VlaError(f"--frames {arguments.frames}: at least one is needed")
        if arguments.bag is None:
            images = synthetic_images(arguments.frames)
        else:
            images = bag_images(arguments.bag, arguments.camera, arguments.frames)
    except VlaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = measure_all(images)
    height, width = images[0].shape[:2]
    print(f"{len(images)} pictures of {height}x{width} px (height x width); numbers are per picture\n\n{table(rows)}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
