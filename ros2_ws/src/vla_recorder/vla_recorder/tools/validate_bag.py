# SPDX-License-Identifier: Apache-2.0

"""Measure recorded episodes as they are, before a conversion filters anything."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError
from vla_core.frames import IMAGE_PREFIX, STATE_KEY, Frame, Missing
from vla_core.profile import Profile, load_profile, parse_profile

from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import EpisodeBag, open_episode
from vla_recorder.tools.validate_rules import (
    ERROR,
    WARNING,
    EpisodeReport,
    Finding,
    ImageWatch,
    RobotRules,
    Thresholds,
    check_offsets,
    check_times,
)

_NOT_FINITE = "not_finite"
_QUICKER = 1.05
"""A camera whose rate is this much above that of the rows is not one that should give a picture for each."""


def validate_bag(
    folder: Path, thresholds: Thresholds, *, profile: Path | None = None, images: bool = True
) -> EpisodeReport:
    """Return what a person should know of a recording before converting it.

    Args:
        folder: The episode.
        thresholds: What is still all right.
        profile: Read it with this profile; with its own if None.
        images: Whether pictures are looked at.
    """
    report = EpisodeReport(folder.name)
    try:
        bag = open_episode(folder)
        _Bag(bag, _profile(bag, profile), thresholds, report, images).check()
    except VlaError as error:
        report.add([Finding("readable", ERROR, str(error))])
    return report


def _profile(bag: EpisodeBag, given: Path | None) -> Profile:
    if given is not None:
        return load_profile(given)
    text = bag.get("profile")
    if not text:
        raise VlaError(f"{bag.folder}: the bag carries no robot profile; give the one that fits with --profile")
    return parse_profile(text, f"profile in {bag.folder}")


def check_pictures_used(
    name: str, stamps_s: NDArray[np.float64], fps: float, rate_hz: float, thresholds: Thresholds
) -> list[Finding]:
    """Return whether the pictures that rows show follow each other unevenly: one shown twice, or some left out.

    Of a camera that is quicker than the rows, pictures are left out by design; then only a repeated picture and a step that
    lost messages explain are found.

    Args:
        name: Of the camera.
        stamps_s: (N,) stamps of the pictures of consecutive rows [s].
        fps: Rows per second.
        rate_hz: Of the camera, not below `fps`.
        thresholds: What is still all right.
    """
    steps = np.diff(stamps_s)
    slack = thresholds.frame_tolerance / fps
    low, high = 1.0 / fps - slack, 1.0 / fps + slack
    if rate_hz > _QUICKER * fps:
        low, high = 0.0, 1.0 / fps + (1.0 + thresholds.frame_tolerance) / rate_hz
    bad = (steps > high) | (steps < low) | (steps <= 0.0)
    if not bad.any():
        return []
    count, row = int(bad.sum()), int(bad.argmax()) + 1
    text = (
        f"{name}: {count} of {len(steps)} steps between the pictures used are uneven, the longest is {steps.max():.4g} s "
        f"for {1.0 / fps:.4g} s; {int((steps <= 0.0).sum())} rows repeat the picture before"
    )
    return [Finding("frame_interval", WARNING, text, count, row)]


class _Bag:
    """One pass over a recording."""

    def __init__(
        self, bag: EpisodeBag, profile: Profile, thresholds: Thresholds, report: EpisodeReport, images: bool
    ) -> None:
        self._frames = BagFrames(bag, profile, profile.fps)
        self._profile = profile
        self._thresholds = thresholds
        self._report = report
        self._images = images
        self._watches = {name: ImageWatch(name, thresholds) for name in profile.camera_names}
        self._ages: dict[str, list[float]] = {}
        self._states: list[Any] = []
        self._stamps: list[int] = []
        self._missing = Counter[tuple[str, str]]()
        self._details: dict[tuple[str, str], str] = {}

    def check(self) -> None:
        for frame in self._frames:
            if isinstance(frame, Missing):
                key = (frame.stream, frame.reason)
                self._missing[key] += 1
                self._details.setdefault(key, frame.detail)
            else:
                self._add(frame)
        self._report.rows = len(self._stamps)
        self._report.add(self._missing_frames())
        self._report.add(Finding("non_monotonic_time", WARNING, text) for text in self._frames.warnings)
        if not self._stamps:
            self._report.add([Finding("shape", ERROR, "not one frame can be built")])
            return
        stamps = np.array(self._stamps, np.int64)
        self._report.add(check_times((stamps - stamps[0]) * 1e-9, self._profile.fps, self._thresholds))
        self._check_pictures_used(stamps)
        self._check_offsets()
        self._check_robot_and_images()

    def _add(self, frame: Frame) -> None:
        self._stamps.append(frame.t_ns)
        self._states.append(frame.state64)
        for key, age in frame.ages_s.items():
            self._ages.setdefault(key, []).append(age)
        if self._images:
            for name, watch in self._watches.items():
                watch.add(frame.images[name])

    def _missing_frames(self) -> list[Finding]:
        found = []
        for (stream, reason), count in self._missing.items():
            rule, level = ("nan", ERROR) if reason == _NOT_FINITE else ("missing_frame", WARNING)
            text = f"{count} ticks without a frame: {self._details[stream, reason]}"
            found.append(Finding(rule, level, text, count))
        return found

    def _check_pictures_used(self, stamps: NDArray[np.int64]) -> None:
        """Cameras that are slower than the grid repeat pictures by design."""
        adjacent = np.concatenate([[True], np.diff(stamps) * 1e-9 * self._profile.fps < 1.5])
        for camera in self._profile.cameras:
            if camera.rate_hz < self._profile.fps:
                continue
            used = (stamps - stamps[0]) * 1e-9 - np.array(self._ages[IMAGE_PREFIX + camera.name])
            for run in np.split(used, np.flatnonzero(~adjacent)):
                self._report.add(
                    check_pictures_used(camera.name, run, self._profile.fps, camera.rate_hz, self._thresholds)
                )

    def _check_offsets(self) -> None:
        robot = next((np.array(ages) for key, ages in self._ages.items() if key.startswith(STATE_KEY)), None)
        for name in self._watches:
            ages = self._ages.get(IMAGE_PREFIX + name)
            if robot is None or ages is None:
                self._report.unchecked["camera_offset"] = "the profile has no state"
            else:
                self._report.add(check_offsets(name, np.array(ages) - robot, self._thresholds))

    def _check_robot_and_images(self) -> None:
        rules = RobotRules(self._profile)
        states = np.stack(self._states)
        self._report.unchecked |= rules.unchecked
        self._report.add(rules.check(states, self._thresholds))
        if not self._images:
            self._report.unchecked |= dict.fromkeys(("frozen_image", "black_image"), "--no-images")
            return
        joints = rules.positions(states)
        for watch in self._watches.values():
            self._report.add(watch.findings(joints))
