# SPDX-License-Identifier: Apache-2.0

"""Parameters of the recorder node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_common.params import param

from vla_recorder.bags.mcap_file import COMPRESSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderParams:
    """See the descriptions; `ros2 param describe /recorder <name>` shows them too."""

    profile: str = param(description="Path of the robot profile; its topics are recorded.")
    output_dir: str = param("recordings", "Folder that gets one folder per episode.")
    task: str = param("", "Instruction of the episodes; empty: the profile's task.")
    max_duration_s: float = param(
        600.0, "Time after which an episode is closed [s, node clock]; 0: never.", minimum=0.0, maximum=86400.0
    )
    compression: str = param(
        "auto", "Compression of the bag; auto: zstd where it makes a quarter smaller.", choices=COMPRESSIONS
    )
    queue_mib: int = param(256, "How much may wait for the disk [MiB].", minimum=16, maximum=65536)
    min_free_gb: float = param(1.0, "Free disk space below which nothing is recorded [GB].", minimum=0.0, maximum=1e5)
    lockstep: bool = param(False, "Answer the ticks of a simulated cell that runs in lockstep.")
