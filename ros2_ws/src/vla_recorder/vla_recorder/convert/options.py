# SPDX-License-Identifier: Apache-2.0

"""What a conversion was asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vla_recorder.convert.targets import NOOP_THRESHOLD, STOP_FRAMES
from vla_recorder.formats.base import DatasetFormat
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.media.video import VideoSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a conversion was asked for; see the command line for the meanings.

    `output` is a folder of this machine. With a `url`, the finished dataset is copied there and the folder is deleted.
    """

    bags: Path
    output: Path
    url: str | None = None
    repo_id: str = "local/dataset"
    format: DatasetFormat = field(default_factory=LeRobotV3)
    target: str = "recorded"
    keep_noops: bool = False
    noop_rule: str = "all"
    noop_threshold: float = NOOP_THRESHOLD
    gripper_closed: float | None = None
    stop_frames: int = STOP_FRAMES
    stop_state: str = "closed"
    action: str = "commanded"
    codec: str | None = None
    rotation: str | None = None
    image_size: int | None = None
    age_columns: bool = False
    fps: float | None = None
    profile: Path | None = None
    task: str | None = None
    video: VideoSettings = field(default_factory=VideoSettings)
    include_failures: bool = False
    strict: bool = False
    overwrite: bool = False
    resume: bool = False
    workers: int = 1
    ray: str | None = None
    report: Path | None = None

    def settings(self, profile_text: str, fps: int) -> dict[str, Any]:
        """Return what decides the content of a dataset; JSON types only. Episodes of other settings do not go into it.

        Which bags are taken, how many work at a time and where the output goes are no part of it. Neither are tasks, which
        every episode has for itself.

        Args:
            profile_text: Profile of the dataset, with codec and image size.
            fps: Rows per second.
        """
        return {
            "format": repr(self.format),
            "fps": fps,
            "target": self.target,
            "keep_noops": self.keep_noops,
            "noop_rule": self.noop_rule,
            "noop_threshold": self.noop_threshold,
            "gripper_closed": self.gripper_closed,
            "stop_frames": self.stop_frames,
            "stop_state": self.stop_state,
            "action": self.action,
            "age_columns": self.age_columns,
            "video": asdict(self.video),
            "profile": profile_text,
        }
