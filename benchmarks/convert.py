# SPDX-License-Identifier: Apache-2.0

"""Converter throughput against LeRobot's streaming writer, on the same frames in one run.

    python benchmarks/convert.py --height 240 --width 320 --seconds 10 --rounds 3 --json result.json

Each round runs every way once, in turn, so that other work on the machine hits them alike; medians are reported, and
the ratio is what counts. Ways:

* ``bag``: the whole converter, from an MCAP bag with camera, joint and command messages to a finished dataset;
* ``writer``: the same frames from memory through this project's encoder, statistics and dataset writer;
* ``lerobot``: the same frames through ``LeRobotDataset.add_frame`` with streaming encoding, same codec and settings,
  with a queue long enough that it drops nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, Frame
from vla_core.profile import Profile, parse_profile
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.convert.episode import STAMP_KEY, dataset_features
from vla_recorder.convert.rows import Episode
from vla_recorder.convert.run import Options, convert, make_plan
from vla_recorder.formats.lerobot_v3 import DatasetWriter
from vla_recorder.formats.stats import ImageHistogram
from vla_recorder.media.video import CODECS, VideoEncoder, VideoSettings
from vla_recorder.testing import Scene, scene_events, write_episode

FPS = 30
TASK = "benchmark"


def profile(height: int, width: int) -> Profile:
    """Return a robot with two cameras, six joints at 500 Hz and commands at 30 Hz."""
    joints = ", ".join(f"joint_{number}" for number in range(6))
    fields = ", ".join(f"position.joint_{number}" for number in range(6))
    cameras = "\n".join(
        f"  {name}: {{topic: {name}/image_raw, size: [{height}, {width}], rate_hz: {FPS}, max_age_s: 0.2}}"
        for name in ("front", "wrist")
    )
    return parse_profile(
        f"robot: benchmark\nfps: {FPS}\nbase_frame: base_link\ntool_frame: tool0\ntask: {TASK}\ncameras:\n{cameras}\n"
        f"state:\n  - {{topic: joint_states, fields: [{fields}], rate_hz: 500, max_age_s: 0.1}}\n"
        f"action:\n  - name: arm\n    record: {{topic: command/arm, rate_hz: {FPS}, max_age_s: 0.2}}\n"
        f"    command: {{interface: none}}\n    joints: [{joints}]\n"
        f"    limits: {{lower: {[-3.0] * 6}, upper: {[3.0] * 6}}}\n",
        "benchmark profile",
    )


def from_bag(bags: Path, output: Path, video: VideoSettings) -> None:
    """Run the whole converter."""
    options = Options(bags=bags, output=output, video=video)
    convert(make_plan(options), options)


def from_memory(frames: list[Frame], robot: Profile, output: Path, video: VideoSettings) -> None:
    """Write frames with this project's encoder, statistics and dataset writer."""
    videos = {camera.name: output / ".work" / f"{camera.name}.mp4" for camera in robot.cameras}
    histograms = {camera.name: ImageHistogram() for camera in robot.cameras}
    for camera in robot.cameras:
        height, width = camera.frame_size
        with VideoEncoder(videos[camera.name], height=height, width=width, fps=FPS, settings=video) as encoder:
            for frame in frames:
                encoder.add(frame.images[camera.name])
                histograms[camera.name].add(frame.images[camera.name])
    writer = DatasetWriter(output, features=dataset_features(robot), fps=FPS, robot_type=robot.robot, video=video)
    writer.add(
        Episode(
            task=TASK,
            columns={
                STATE_KEY: np.stack([frame.state for frame in frames]),
                ACTION_KEY: np.stack([frame.action for frame in frames if frame.action is not None]),
                STAMP_KEY: np.array([frame.t_ns for frame in frames], np.int64),
            },
            videos={IMAGE_PREFIX + name: path for name, path in videos.items()},
            histograms={IMAGE_PREFIX + name: histogram for name, histogram in histograms.items()},
        )
    )
    writer.finish()


def with_lerobot(frames: list[Frame], robot: Profile, output: Path, video: VideoSettings) -> None:
    """Write frames with LeRobot's streaming encoder."""
    from lerobot.configs import RGBEncoderConfig  # noqa: PLC0415  (torch is heavy, and only this way needs it)
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: PLC0415

    names = {"h264": "h264", "av1": "libsvtav1"}
    encoder = RGBEncoderConfig(
        vcodec=names[video.vcodec],
        pix_fmt=video.pixel_format(*robot.cameras[0].frame_size),
        g=video.gop,
        crf=video.crf,
        preset=video.preset,
    )
    dataset = LeRobotDataset.create(
        "local/benchmark",
        fps=FPS,
        features=dataset_features(robot),
        root=output,
        robot_type=robot.robot,
        rgb_encoder=encoder,
        streaming_encoding=True,
        encoder_queue_maxsize=len(frames) + 1,
        encoder_threads=1,
    )
    for frame in frames:
        row: dict[str, Any] = {
            STATE_KEY: frame.state,
            ACTION_KEY: frame.action,
            STAMP_KEY: np.array([frame.t_ns], np.int64),
            "task": TASK,
        }
        row.update({IMAGE_PREFIX + name: image for name, image in frame.images.items()})
        dataset.add_frame(row)
    dataset.save_episode()
    dataset.finalize()


def measure(work: Callable[[Path], None], folder: Path) -> dict[str, float]:
    """Run once; return CPU and wall seconds and the size of what it wrote [MB]."""
    output = folder / "data"
    cpu, wall = time.process_time(), time.perf_counter()
    work(output)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e6
    rows = json.loads((output / "meta/info.json").read_text())["total_frames"]
    return {"cpu_s": cpu, "wall_s": wall, "mb": size, "rows": rows}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all ways and return the report."""
    robot = profile(arguments.height, arguments.width)
    video = VideoSettings(vcodec=arguments.vcodec, crf=arguments.crf)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = scene_events(robot, Scene(duration_s=arguments.seconds))
        bag = write_episode(folder / "bags" / "episode_0", events, robot)
        del events
        frames = [frame for frame in BagFrames(open_episode(bag), robot, FPS) if isinstance(frame, Frame)]
        ways: dict[str, Callable[[Path], None]] = {
            "bag": lambda output: from_bag(bag.parent, output, video),
            "writer": lambda output: from_memory(frames, robot, output, video),
        }
        if not arguments.without_lerobot:
            ways["lerobot"] = lambda output: with_lerobot(frames, robot, output, video)
        results: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        # The first round warms up imports and caches, and is not counted.
        for number in range(arguments.rounds + 1):
            for way, work in ways.items():
                with tempfile.TemporaryDirectory(dir=folder) as room:
                    result = measure(work, Path(room))
                if result["rows"] != len(frames):
                    raise RuntimeError(f"{way}: {result['rows']:.0f} rows for {len(frames)} frames")
                if number:
                    results[way].append(result)
    return report(arguments, results, len(frames))


def report(arguments: argparse.Namespace, results: dict[str, list[dict[str, float]]], frames: int) -> dict[str, Any]:
    """Return medians, spreads and ratios."""
    seconds = frames / FPS
    ways: dict[str, dict[str, float]] = {}
    for way, rounds in results.items():
        cpu = [one["cpu_s"] for one in rounds]
        ways[way] = {
            "cpu_s": statistics.median(cpu),
            "cpu_s_min": min(cpu),
            "cpu_s_max": max(cpu),
            "wall_s": statistics.median(one["wall_s"] for one in rounds),
            "mb": rounds[0]["mb"],
            "cpu_s_per_episode_s": statistics.median(cpu) / seconds,
        }
    theirs = ways.get("lerobot")
    ratios = {
        f"lerobot/{way}": theirs["cpu_s"] / numbers["cpu_s"]
        for way, numbers in ways.items()
        if theirs is not None and way != "lerobot"
    }
    return {
        "cameras": 2,
        "size": [arguments.height, arguments.width],
        "vcodec": CODECS[arguments.vcodec],
        "frames": frames,
        "rounds": arguments.rounds,
        "ways": ways,
        "cpu_ratio": ratios,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load": os.getloadavg()[0],
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=240, help="image height [px]")
    parser.add_argument("--width", type=int, default=320, help="image width [px]")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the episode [s]")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds")
    parser.add_argument("--vcodec", choices=tuple(CODECS), default="h264", help="video codec of all ways")
    parser.add_argument("--crf", type=int, default=18, help="quality of all ways")
    parser.add_argument("--without-lerobot", action="store_true", help="measure this project's ways only")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    arguments = parser.parse_args()
    os.environ.setdefault("SVT_LOG", "1")
    logging.disable(logging.WARNING)
    result = run(arguments)
    for way, numbers in result["ways"].items():
        print(
            f"{way:8s} {numbers['cpu_s']:6.2f} CPU-s [{numbers['cpu_s_min']:.2f}..{numbers['cpu_s_max']:.2f}] "
            f"{numbers['wall_s']:6.2f} s  {numbers['cpu_s_per_episode_s']:.3f} CPU-s per episode-second  "
            f"{numbers['mb']:.1f} MB"
        )
    for name, ratio in result["cpu_ratio"].items():
        print(f"{name}: {ratio:.1f}x the CPU time")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
