# SPDX-License-Identifier: Apache-2.0

"""Convert one episode: a pure function of bag, profile and options, so that a pool can run many of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from vla_core.errors import BagError
from vla_core.frames import IMAGE_PREFIX, Frame, Missing, skew_s
from vla_core.profile import Profile, parse_profile
from vla_core.report import stream_summary

from vla_recorder.bags.attachments import export_attachments
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import EpisodeBag, content_uuid
from vla_recorder.convert.job import Job
from vla_recorder.convert.joints import Robot
from vla_recorder.convert.result import Converted, TargetResult
from vla_recorder.convert.target_rows import TargetRows
from vla_recorder.convert.targets import DRIVEN, Row, Takeovers, Target
from vla_recorder.formats.base import PacketReference
from vla_recorder.media.stream_copy import PACKET_TYPES, CopyRefusedError

ATTACHMENTS = "attachments"
"""Folder of the files that travel with an episode."""


def convert_episode(job: Job, work_dir: Path, bag: EpisodeBag, bag_xxh128: str) -> Converted:
    """Read a bag once and write the files of every target.

    Packets of a video stream are copied where that is possible; where it turns out that it is not, the bag is read again
    and the camera is encoded.

    Args:
        job: What to do.
        work_dir: Where the files go, one folder per target; empty or absent.
        bag: The episode.
        bag_xxh128: Hash of its content.

    Raises:
        BagError: Not one frame can be built from the bag.
        VlaError: A target cannot be made of it, or its files cannot be written.
    """
    started = time.perf_counter()
    profile = parse_profile(job.profile_text, job.profile_source)
    copied = copyable_cameras(profile, bag, job.targets)
    notes = list(bag.notes)
    while True:
        try:
            reading = _Reading(job, profile, work_dir, bag, copied)
            origin = {"bag": bag.name, "bag_xxh128": bag_xxh128, "episode_uuid": content_uuid(bag_xxh128)}
            results = reading.run({**origin, **bag.custom})
            break
        except CopyRefusedError as error:
            refused = frozenset({error.key.removeprefix(IMAGE_PREFIX)}) & copied or copied
            notes += [f"{name}: its packets cannot be copied, it was encoded again: {error.reason}" for name in refused]
            copied -= refused
    return Converted(
        folder=job.folder,
        bag_xxh128=bag_xxh128,
        targets=results,
        frames=len(reading.stamps),
        dropped=reading.frames.dropped,
        examples=reading.examples,
        warnings=[*notes, *([bag.damage] if bag.damage else []), *reading.frames.warnings],
        damage=bag.damage,
        streams=reading.streams(),
        attachments=export_attachments(bag, work_dir / ATTACHMENTS),
        ages_s={key: np.array(ages, np.float32) for key, ages in reading.ages.items()},
        skew_s=np.array(reading.skews, np.float32),
        lead_s=(reading.frames.t0_ns - reading.frames.first_ns) * 1e-9,
        seconds=time.perf_counter() - started,
    )


def copyable_cameras(profile: Profile, bag: EpisodeBag, targets: Sequence[Target]) -> frozenset[str]:
    """Return the cameras whose packets might be stored as they are.

    They come as packets of a video stream, are not resized, and no row is taken out of the middle or added.
    """
    if any(target.remove_noops or target.stop_frames or target.phases != DRIVEN for target in targets):
        return frozenset()
    return frozenset(
        camera.name for camera in profile.cameras if camera.type in PACKET_TYPES and camera.frame_size == camera.size
    )


class _Reading:
    """One pass over a bag, with what was read whatever the targets keep of it."""

    def __init__(self, job: Job, profile: Profile, work_dir: Path, bag: EpisodeBag, copied: frozenset[str]) -> None:
        self._job = job
        self._bag = bag
        self.frames = BagFrames(bag, profile, job.fps, actions=job.action == "commanded", references=copied)
        robot = Robot(profile, job.gripper_closed, job.stop_state)
        self._outputs = {
            target.name: TargetRows(job, target, job.layout(profile, target, copied), robot, work_dir / target.name)
            for target in job.targets
        }
        self._takeovers = Takeovers()
        self.stamps: list[int] = []
        self.ages: dict[str, list[float]] = {}
        self.skews: list[float] = []
        self.examples: dict[str, str] = {}

    def run(self, about: Mapping[str, Any]) -> dict[str, TargetResult]:
        """Read the bag and return what every target made of it."""
        try:
            for frame in self.frames:
                if isinstance(frame, Missing):
                    self.examples.setdefault(f"{frame.stream}: {frame.reason}", frame.detail)
                    for output in self._outputs.values():
                        output.miss()
                else:
                    self._add(frame)
            if not self.stamps:
                raise BagError(f"{self._bag.folder}: no frame could be built. {'; '.join(self.examples.values())}")
            about = {**about, **self._about()}
            return {name: output.finish(self._job.task, about) for name, output in self._outputs.items()}
        except BaseException:
            for output in self._outputs.values():
                output.discard()
            raise

    def _add(self, frame: Frame) -> None:
        images: dict[str, Any] = {IMAGE_PREFIX + name: image for name, image in frame.images.items()}
        for name, message in frame.references.items():
            images[IMAGE_PREFIX + name] = PacketReference(message, self.frames.packet_number(name, message))
        phase = self.frames.phase_at(frame.t_ns)
        row = Row(
            t_ns=frame.t_ns,
            phase=phase,
            state=frame.state64,
            joints=frame.joints,
            targets=frame.targets,
            images=images,
            ages_s=frame.ages_s,
            skew_s=skew_s(frame),
            intervention=self._takeovers.look(phase),
        )
        self.stamps.append(row.t_ns)
        self.skews.append(row.skew_s)
        for key, age in row.ages_s.items():
            self.ages.setdefault(key, []).append(age)
        for output in self._outputs.values():
            output.push(row)

    def _about(self) -> dict[str, Any]:
        span_s = (self.stamps[-1] - self.stamps[0]) * 1e-9
        found: dict[str, Any] = {
            "fps": self._job.fps,
            "measured_fps": round((len(self.stamps) - 1) / span_s, 3) if span_s > 0 else 0.0,
        }
        return {**found, "damage": self._bag.damage} if self._bag.damage else found

    def streams(self) -> dict[str, dict[str, float]]:
        """Return the counts and ages of every stream, and its measured rate [Hz]."""
        first, last = self._bag.span_ns
        seconds = max((last - first) * 1e-9, 1e-9)
        return {
            key: {**counts, "rate_hz": round(counts["pushed"] / seconds, 3)}
            for key, counts in stream_summary(self.frames.builder).items()
        }
