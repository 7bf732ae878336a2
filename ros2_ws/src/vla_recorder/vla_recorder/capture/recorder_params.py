# SPDX-License-Identifier: Apache-2.0

"""Parameters of the recorder node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_common.params import param
from vla_core.specs import STREAM_POLICIES

from vla_recorder.bags.mcap_file import COMPRESSIONS

POLICIES = ("", *STREAM_POLICIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderParams:
    """See the descriptions; `ros2 param describe /recorder <name>` shows them too."""

    profile: str = param(description="Path of the robot profile; its topics are recorded.")
    output_dir: str = param("recordings", "Folder that gets one folder per episode.")
    task: str = param("", "Instruction of the episodes; empty: the profile's task.")
    operator: str = param("", "Who records; stored with each episode.")
    max_duration_s: float = param(
        600.0,
        "Time after which an episode is closed [s, node clock]; 0: never. An episode of this length must fit on the disk.",
        minimum=0.0,
        maximum=86400.0,
    )
    include: tuple[str, ...] = param(
        (), "Further topics to record: regular expressions that match the whole name, as in /camera/.*"
    )
    exclude: tuple[str, ...] = param(
        (), "Topics not to record: regular expressions; they win over include and record_all."
    )
    record_all: bool = param(False, "Record every topic, also those that appear later; not hidden ones (include does).")
    prefer_compressed: bool = param(
        True,
        "Record <topic>/compressed of a raw colour camera where somebody publishes it, unless the profile forbids it.",
    )
    record_from: str = param(
        "motion",
        "motion: an episode is armed and records nothing until a command moves; start: it records at once.",
        choices=("motion", "start"),
    )
    motion_threshold: float = param(
        0.001,
        "Change of a command above which it is motion [units of the message: rad, m, rad/s, m/s].",
        minimum=0.0,
        maximum=1e6,
    )
    preroll_s: float = param(
        0.2, "How much of the time before the first motion is recorded too [s].", minimum=0.0, maximum=10.0
    )
    on_missing_stream: str = param(
        "",
        "What an observation that is silent leads to. warn: only a warning; pause: nothing is recorded until it is back; "
        "refuse: no episode is started. Empty: what the profile says.",
        choices=POLICIES,
    )
    on_slow_stream: str = param(
        "", "What an observation below 80 % of its rate leads to, see on_missing_stream.", choices=POLICIES
    )
    attachments: tuple[str, ...] = param((), "Files that are copied into each episode, for example scene.yaml.")
    compression: str = param(
        "auto", "Compression of the bag; auto: zstd where it makes a quarter smaller.", choices=COMPRESSIONS
    )
    queue_mib: int = param(256, "How much may wait for the disk [MiB].", minimum=16, maximum=65536)
    sync_period_s: float = param(
        1.0,
        "How often the bag is brought to the disk itself, against a power cut [s]; 0: only at the end. A killed recorder "
        "loses nothing older than a second whatever the period is.",
        minimum=0.0,
        maximum=3600.0,
    )
    min_free_gb: float = param(
        1.0, "Free disk space that stays: an episode ends before less is left [GB].", minimum=0.0, maximum=1e5
    )
    lockstep: bool = param(False, "Answer the ticks of a simulated cell that runs in lockstep.")
