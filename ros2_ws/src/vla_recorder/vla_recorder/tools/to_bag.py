# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder to_bag``: a LeRobot v3.0 dataset as bags that play, and that convert back to the same numbers."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vla_core.episode import IDLE, OUTCOMES, EpisodeMeta
from vla_core.errors import BagError, VlaError
from vla_core.frames import IMAGE_PREFIX, resolve_topic
from vla_core.profile import Profile, load_profile, parse_profile
from vla_core.stamps import split_ns

from vla_recorder.bags.sqlite_writer import SqliteBagWriter
from vla_recorder.bags.writer import BagWriter
from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_meta import OWN_META
from vla_recorder.tools.dataset_messages import Encoder, bag_profile, grid_ns, image_message, vectors
from vla_recorder.tools.dataset_rows import DatasetEpisode, DatasetRows

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
STORAGES = ("mcap", "sqlite3")
_EVENT_TOPIC, _EVENT = "episode/event", "vla_msgs/msg/EpisodeEvent"
_FOREIGN_START_NS = 1_000_000_000
_EXAMPLE = """example:
  ros2 run vla_recorder to_bag outputs/demo/dataset --output bags --episode 0
  ros2 bag play bags/episode_000000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How bags are written.

    Attributes:
        profile: Profile of the dataset.
        storage: ``mcap`` or ``sqlite3``.
        jpeg_quality: 1 to 100; None stores pixels as they are.
    """

    profile: Profile
    storage: str = "mcap"
    jpeg_quality: int | None = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A bag that was made of an episode; the errors are those of `vla_recorder.tools.dataset_messages.Vectors`."""

    folder: Path
    rows: int
    messages: int
    state_error: float
    action_error: float


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="to_bag",
        description="Write the episodes of a LeRobot v3.0 dataset as bags with the topics of its robot profile: one message "
        "per row and topic, stamped with the instant of the row.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("dataset", type=Path, help="folder of the dataset")
    result.add_argument("--output", type=Path, required=True, help="folder for the bags, episode_<number> each")
    result.add_argument("--episode", type=int, action="append", metavar="N", help="only this episode; may be repeated")
    result.add_argument(
        "--storage", choices=STORAGES, default="mcap", help="storage of the bags (default: %(default)s)"
    )
    result.add_argument("--raw", action="store_true", help="images as they come out of the video, instead of as JPEG")
    result.add_argument(
        "--jpeg-quality",
        type=int,
        default=95,
        metavar="1-100",
        help="quality of the JPEG images (default: %(default)s)",
    )
    result.add_argument("--profile", type=Path, help="robot profile; needed for a dataset of another program")
    return result


def dataset_profile(root: Path, path: Path | None) -> Profile:
    """Return the profile of a dataset, or the one that was given for it.

    Raises:
        DatasetError: There is none, or the actions of the dataset are no commands.
    """
    report = root / OWN_META / "report.json"
    action = (
        json.loads(report.read_text(encoding="utf-8")).get("action", "commanded") if report.is_file() else "commanded"
    )
    if action == "delta":
        raise DatasetError(
            f"{root}: its actions are differences of states (--action delta), no commands; convert the recorded bags with "
            "--action commanded instead"
        )
    if path is not None:
        return load_profile(path)
    own = root / OWN_META / "profile.yaml"
    if not own.is_file():
        raise DatasetError(
            f"{root}: was made by another program, so nobody knows its topics; give a profile with --profile"
        )
    return parse_profile(own.read_text(encoding="utf-8"), str(own))


def write_bag(rows: DatasetRows, index: int, output: Path, options: Options) -> Written:
    """Write one episode as a bag; it appears under its name when it is complete.

    Raises:
        VlaError: The profile does not fit, a picture is missing, or the bag cannot be written.
    """
    episode = rows.episode(index)
    profile = bag_profile(options.profile, rows.fps, raw=options.jpeg_quality is None)
    absent = sorted(set(profile.camera_names) - set(rows.cameras))
    if absent:
        raise BagError(
            f"{rows.root}: has no {', '.join(IMAGE_PREFIX + name for name in absent)}, which the profile names"
        )
    final = output / f"episode_{index:06d}"
    if final.exists():
        raise BagError(f"{final}: exists already; give another --output")
    folder = final.with_name(f"{final.name}.open")
    if folder.exists():
        shutil.rmtree(folder)
    numbers = vectors(profile, episode.columns)
    stamps = list(grid_ns(_stamps(episode, rows.fps), rows.fps))
    meta = _meta(rows, episode, profile)
    make = BagWriter if options.storage == "mcap" else SqliteBagWriter
    writer = make(folder, final.name, custom_data=meta)
    count = 0
    try:
        for topic, data, t_ns in _messages(
            rows, episode, profile, stamps, numbers.topics, options.jpeg_quality, writer
        ):
            writer.write(topic, data, t_ns, t_ns)
            count += 1
        writer.close(meta)
    except BaseException:
        writer.abandon()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    folder.rename(final)
    return Written(
        folder=final,
        rows=len(stamps),
        messages=count,
        state_error=numbers.state_error,
        action_error=numbers.action_error,
    )


def _stamps(episode: DatasetEpisode, fps: int) -> Any:
    """Return the instants of the rows [ns]; those of a dataset that knows none begin at one second."""
    if "stamp_ns" in episode.columns:
        return episode.columns["stamp_ns"].reshape(-1).astype(np.int64)
    frames = episode.columns["frame_index"].reshape(-1).astype(np.float64)
    return _FOREIGN_START_NS + np.rint(frames * 1e9 / fps).astype(np.int64)


def _messages(
    rows: DatasetRows,
    episode: DatasetEpisode,
    profile: Profile,
    stamps: list[int],
    topics: Sequence[Any],
    jpeg_quality: int | None,
    writer: BagWriter | SqliteBagWriter,
) -> Iterator[tuple[str, bytes, int]]:
    """Yield topic, serialized message and instant, in the order of time; announces every topic."""
    namespace = str(episode.about.get("namespace", "/"))
    cameras = [
        (
            camera,
            Encoder(resolve_topic(camera.topic, namespace), camera.type),
            rows.pictures(episode.index, camera.name),
        )
        for camera in profile.cameras
    ]
    numbers = [(topic, Encoder(resolve_topic(topic.topic, namespace), topic.type)) for topic in topics]
    phases = _phases(episode, stamps)
    event = Encoder(resolve_topic(_EVENT_TOPIC, namespace), _EVENT) if phases else None
    for encoder in [*(e for _, e, _ in cameras), *(e for _, e in numbers), *([event] if event else [])]:
        writer.add_topic(encoder.info)
    for row, t_ns in enumerate(stamps):
        if event is not None and row in phases:
            yield event.info.name, event(_event(phases[row], t_ns, episode)), t_ns
        for topic, encoder in numbers:
            yield encoder.info.name, encoder(topic.message(row, t_ns)), t_ns
        for camera, encoder, pictures in cameras:
            quality = None if camera.depth else jpeg_quality
            yield encoder.info.name, encoder(image_message(next(pictures), t_ns, camera.name, quality)), t_ns
    if event is not None:
        end = stamps[-1] + round(1_000_000_000 / rows.fps)
        yield event.info.name, event(_event(IDLE, end, episode)), end


def _phases(episode: DatasetEpisode, stamps: list[int]) -> dict[int, int]:
    """Return row -> phase wherever the phase changes."""
    if "phase" not in episode.columns:
        return {}
    phases = episode.columns["phase"].reshape(-1).astype(int).tolist()
    return {row: phases[row] for row in range(len(stamps)) if row == 0 or phases[row] != phases[row - 1]}


def _event(phase: int, t_ns: int, episode: DatasetEpisode) -> dict[str, Any]:
    sec, nanosec = split_ns(t_ns)
    uuid_text = "" if phase == IDLE else str(episode.about.get("episode_uuid", ""))
    return {"stamp": {"sec": sec, "nanosec": nanosec}, "phase": phase, "episode_uuid": uuid_text, "label": "dataset"}


def _meta(rows: DatasetRows, episode: DatasetEpisode, profile: Profile) -> dict[str, str]:
    about = episode.about
    name = f"{rows.root.absolute()}#{episode.index}"
    outcome = str(about.get("outcome", "unknown"))
    return EpisodeMeta(
        episode_uuid=str(about.get("episode_uuid") or uuid.uuid5(uuid.NAMESPACE_URL, name)),
        task=episode.task,
        outcome=outcome if outcome in OUTCOMES else "unknown",
        termination="stopped",
        robot=profile.robot,
        profile=profile.text,
        profile_sha256=profile.sha256,
        extra={
            "source": name,
            "recorded_at": str(about.get("recorded_at", "")),
            "namespace": str(about.get("namespace", "/")),
        },
    ).to_dict()


def _chosen(asked: Sequence[int] | None, total: int, root: Path) -> list[int]:
    if asked is None:
        return list(range(total))
    for index in asked:
        if not 0 <= index < total:
            raise DatasetError(f"--episode {index}: {root} has the episodes 0 to {total - 1}")
    return list(dict.fromkeys(asked))


def _exactness(written: Written) -> str:
    if written.state_error == written.action_error == 0.0:
        return "state and action exact"
    return f"state within {written.state_error:.2g}, action within {written.action_error:.2g}"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if an episode could not be written, the others are; 2 if nothing can be done.
    """
    arguments = parser().parse_args(args)
    if not 1 <= arguments.jpeg_quality <= 100:
        print(f"error: --jpeg-quality {arguments.jpeg_quality}: 1 to 100 is possible", file=sys.stderr)
        return EXIT_USAGE
    failed = 0
    try:
        rows = DatasetRows(arguments.dataset)
        options = Options(
            profile=dataset_profile(arguments.dataset, arguments.profile),
            storage=arguments.storage,
            jpeg_quality=None if arguments.raw else arguments.jpeg_quality,
        )
        chosen = _chosen(arguments.episode, len(rows), arguments.dataset)
    except VlaError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    for index in chosen:
        try:
            written = write_bag(rows, index, arguments.output, options)
        except VlaError as error:
            failed += 1
            print(f"error: episode {index}: {error}", file=sys.stderr)
            continue
        print(f"{written.folder}: {written.rows} rows, {written.messages} messages, {_exactness(written)}", flush=True)
    return EXIT_FAILURE if failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
