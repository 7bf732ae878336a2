# SPDX-License-Identifier: Apache-2.0

"""One way from bags to videos and rows, in a process of its own; `benchmarks/convert.py` starts it.

    python benchmarks/convert_ways.py WAY BAGS OUTPUT [--workers N]

Prints one line of JSON: CPU and wall seconds of the imports and of the work, and the peak memory. CPU seconds are user and
system time, children included. All ways read the same bags with the same reader.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

AV1 = {"g": "2", "crf": "30", "preset": "12"}
X264 = {"g": "2", "crf": "23", "preset": "veryfast", "bf": "0"}
_OURS = {
    "ours_av1": ("--encoder", "lerobot"),
    "ours_x264": ("--encoder", "fast", "--preset", "veryfast", "--crf", "23", "--pix-fmt", "yuv420p"),
    "ours_copy": ("--encoder", "fast"),
}
_FLOORS = {"floor_av1": ("libsvtav1", AV1), "floor_x264": ("libx264", X264)}
WAYS = (*_OURS, "lerobot_default", "lerobot_streaming", *_FLOORS)


def modules(way: str) -> list[str]:
    """Return what a way imports; imported before the clock starts, because a run of many episodes pays it once."""
    reading = [
        "av",
        "vla_recorder.bags.frames",
        "vla_recorder.bags.reader",
        "vla_core.images_compressed",
        "cv2",
        "pandas",
    ]
    if way in _OURS:
        return [*reading, "vla_recorder.convert.command"]
    if way in _FLOORS:
        return reading
    return [*reading, "lerobot.datasets.lerobot_dataset", "lerobot.configs", "vla_core.frames"]


def ours(way: str, bags: Path, output: Path, workers: int) -> None:
    """Run the converter."""
    command = importlib.import_module("vla_recorder.convert.command")
    code = command.main(["--bags", str(bags), "--output", str(output), "--workers", str(workers), *_OURS[way]])
    if code != 0:
        raise RuntimeError(f"{way}: the converter ended with exit code {code}")


def floor(way: str, bags: Path, output: Path) -> None:
    """Encode every picture with PyAV, and nothing else: one file per episode and camera."""
    av = importlib.import_module("av")
    encoder, options = _FLOORS[way]
    for bag, profile in episodes(bags):
        decode = {f"/{camera.topic}": _decoder(camera.type) for camera in profile.cameras}
        streams: dict[str, Any] = {}
        for topic, _, message in bag.messages(set(decode)):
            picture = decode[topic](message)
            if topic not in streams:
                path = output / bag.name / f"{topic.split('/')[1]}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                container = av.open(str(path), "w")
                stream = container.add_stream(encoder, rate=int(profile.fps), options=options)
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                stream.thread_count = 1
                streams[topic] = [container, stream, 0]
            container, stream, number = streams[topic]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, int(profile.fps))
            container.mux(stream.encode(frame))
            streams[topic][2] += 1
        for container, stream, _ in streams.values():
            container.mux(stream.encode(None))
            container.close()


def _decoder(kind: str) -> Callable[[Any], Any]:
    if kind.endswith("CompressedImage"):
        return importlib.import_module("vla_core.images_compressed").decode_compressed  # type: ignore[no-any-return]
    return importlib.import_module("vla_core.images").decode_image  # type: ignore[no-any-return]


def with_lerobot(way: str, bags: Path, output: Path) -> None:
    """Write the frames with `LeRobotDataset.add_frame` and `save_episode`.

    ``lerobot_default`` has LeRobot's defaults and the image writer threads of `lerobot-record`, four per camera;
    ``lerobot_streaming`` has a queue that holds an episode, so that it drops no frame.
    """
    dataset_class = importlib.import_module("lerobot.datasets.lerobot_dataset").LeRobotDataset
    frames_module = importlib.import_module("vla_core.frames")
    bag_frames = importlib.import_module("vla_recorder.bags.frames").BagFrames
    dataset: Any = None
    for bag, profile in episodes(bags):
        features = frames_module.features(profile)
        if dataset is None:
            streaming = way == "lerobot_streaming"
            more = (
                {"streaming_encoding": True, "encoder_queue_maxsize": 100_000}
                if streaming
                else {"image_writer_threads": 4 * len(profile.cameras)}
            )
            dataset = dataset_class.create(
                "local/benchmark",
                fps=int(profile.fps),
                features=features,
                root=output,
                robot_type=profile.robot,
                **more,
            )
        for frame in bag_frames(bag, profile, profile.fps):
            if not isinstance(frame, frames_module.Frame):
                continue
            row = {frames_module.STATE_KEY: frame.state, frames_module.ACTION_KEY: frame.action, "task": profile.task}
            row.update({frames_module.IMAGE_PREFIX + name: picture for name, picture in frame.images.items()})
            dataset.add_frame(row)
        dataset.save_episode()
    dataset.finalize()


def episodes(bags: Path) -> Iterator[tuple[Any, Any]]:
    """Yield (bag, profile) of every episode in a folder, in order."""
    reader = importlib.import_module("vla_recorder.bags.reader")
    parse = importlib.import_module("vla_core.profile").parse_profile
    for folder in reader.find_episodes(bags):
        bag = reader.open_episode(folder)
        yield bag, parse(bag.get("profile"), str(folder))


def cpu_s() -> float:
    """Return user and system time of this process and its ended children [s]."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def peak_mb() -> float:
    """Return the most memory that this process or one of its children held [MB]."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def main() -> int:
    """Run one way and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=WAYS, help="what to run")
    parser.add_argument("bags", type=Path, help="folder of episodes")
    parser.add_argument("output", type=Path, help="folder to write; must not exist")
    parser.add_argument("--workers", type=int, default=1, help="processes of the converter")
    arguments = parser.parse_args()
    os.environ.setdefault("SVT_LOG", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)
    started = time.perf_counter()
    for name in modules(arguments.way):
        importlib.import_module(name)
    import_wall, import_cpu, import_mb = time.perf_counter() - started, cpu_s(), peak_mb()
    started = time.perf_counter()
    if arguments.way in _OURS:
        ours(arguments.way, arguments.bags, arguments.output, arguments.workers)
    elif arguments.way in _FLOORS:
        floor(arguments.way, arguments.bags, arguments.output)
    else:
        with_lerobot(arguments.way, arguments.bags, arguments.output)
    cost = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": cpu_s() - import_cpu,
        "peak_rss_mb": peak_mb(),
        "import_wall_s": import_wall,
        "import_cpu_s": import_cpu,
        "import_rss_mb": import_mb,
    }
    sys.stdout.write("\n" + json.dumps(cost) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
