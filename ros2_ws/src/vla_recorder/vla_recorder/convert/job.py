# SPDX-License-Identifier: Apache-2.0

"""What one episode is converted to, as it is sent to a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_core.frames import IMAGE_PREFIX, FrameBuilder, features
from vla_core.profile import Profile

from vla_recorder.convert.targets import NOOP_THRESHOLD, Target, targets_of
from vla_recorder.formats.base import DatasetFormat, Layout
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.media.video import VideoSettings

STAMP_KEY = "stamp_ns"
"""Column with the tick of every row on the node clock [ns]; a step larger than 1/fps shows dropped or removed frames."""
PHASE_KEY = "phase"
"""Column with the phase of every row, a constant of vla_msgs/msg/EpisodeEvent."""
SYNTHETIC_KEY = "synthetic"
"""Column that marks rows which the conversion added: stop frames, copies of the last row with the gripper closed."""
INTERVENTION_KEY = "intervention"
"""Column that marks rows in which a person had taken over from a policy or a skill; LeRobot's rollouts name it so too."""
AGE_PREFIX = "age."
"""Optional columns: signed age of the message that a row was built from, per stream [s]."""
SKEW_KEY = "skew"
"""Optional column: newest minus oldest stamp of the observations of a row [s]."""

ACTIONS = ("commanded", "next_state", "delta")


def dataset_features(profile: Profile, age_columns: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return the features of the dataset: those of the frames, and what tells where a row comes from.

    Args:
        profile: Profile of the dataset.
        age_columns: Streams whose ages are stored; none means no age columns and no skew.
    """
    extra = {STAMP_KEY: "int64", PHASE_KEY: "int64", SYNTHETIC_KEY: "bool", INTERVENTION_KEY: "bool"}
    extra |= {f"{AGE_PREFIX}{stream}": "float32" for stream in age_columns}
    extra |= {SKEW_KEY: "float32"} if age_columns else {}
    return {**features(profile), **{key: {"dtype": kind, "shape": (1,), "names": None} for key, kind in extra.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker needs for one episode.

    Attributes:
        folder: The episode.
        profile_text: Profile to read it with.
        profile_source: Its name in messages.
        fps: Rows per second.
        task: Instruction.
        work_dir: Where finished episodes are kept.
        video: How images are encoded.
        format: What is written.
        name: Name of the dataset.
        targets: Training sets to make, all in one pass over the bag.
        action: One of `ACTIONS`. ``delta`` differs from ``next_state`` only by the action space of the profile.
        noop_rule: What must move for a row to be kept; see `Robot.position`.
        noop_threshold: By how much.
        gripper_closed: Joint position of a closed gripper, where the profile has no scale for it.
        stop_state: One of `STOP_STATES`; see `Robot`.
        age_columns: Whether the ages of the messages are stored with every row.
    """

    folder: Path
    profile_text: str
    profile_source: str
    fps: int
    task: str
    work_dir: Path
    video: VideoSettings
    format: DatasetFormat = field(default_factory=LeRobotV3)
    name: str = "local/dataset"
    targets: tuple[Target, ...] = targets_of("recorded")
    action: str = "commanded"
    noop_rule: str = "all"
    noop_threshold: float = NOOP_THRESHOLD
    gripper_closed: float | None = None
    stop_state: str = "closed"
    age_columns: bool = False

    def age_streams(self, profile: Profile) -> tuple[str, ...]:
        """Return the streams whose ages are stored."""
        if not self.age_columns:
            return ()
        return tuple(stream.key for stream in FrameBuilder(profile, actions=self.action == "commanded").streams)

    def layout(self, profile: Profile, target: Target, copied: frozenset[str] = frozenset()) -> Layout:
        """Return what the rows of a target hold.

        Args:
            profile: The parsed profile.
            target: The target.
            copied: Cameras whose packets are stored as they are.
        """
        return Layout(
            profile=profile,
            fps=self.fps,
            features=dataset_features(profile, self.age_streams(profile)),
            video=self.video,
            name=self.name,
            target=target.name,
            copied=frozenset(IMAGE_PREFIX + name for name in copied),
        )
