# SPDX-License-Identifier: Apache-2.0

"""What a conversion was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vla_recorder.convert.targets import NOOP_THRESHOLD
from vla_recorder.formats.base import DatasetFormat
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.media.video import VideoSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a conversion was asked for; see the command line for the meanings."""

    bags: Path
    output: Path
    repo_id: str = "local/dataset"
    format: DatasetFormat = field(default_factory=LeRobotV3)
    target: str = "recorded"
    keep_noops: bool = False
    noop_rule: str = "all"
    noop_threshold: float = NOOP_THRESHOLD
    gripper_closed: float | None = None
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
