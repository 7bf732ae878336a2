# SPDX-License-Identifier: Apache-2.0

"""What the launcher tells the training process beside LeRobot's own options, and what it hears back."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

PLAN_VARIABLE = "VLA_TRAIN_PLAN"
WAIT_VARIABLE = "VLA_TRAIN_WAIT"
EVENT = re.compile(rb"@vla-train (\{.*\})")
LOSS_FILE = "loss.csv"
LOSS_COLUMNS = ("step", "loss", "grad_norm", "lr", "update_s", "data_s")
STOPPED = 4
"""Exit code of a training that ended itself with a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPlan:
    """What makes a checkpoint complete, and how the training is watched.

    Attributes:
        arguments: Options of `lerobot-train`.
        run: Run folder.
        profile: Text of the robot profile.
        profile_sha256: Its hash.
        card: Text of the model card; `{step}` is replaced.
        device: Torch device that was asked for.
        vlm: SmolVLA's backbone folder.
        make_vlm: Sentences and image side of a backbone that is still to be made at `vlm`.
        tokenizer: Tokenizer folder of pi0 and pi0.5.
        std_floor: Least value that is divided by; 0 leaves the statistics as they are.
        state_noise: Standard deviation of the noise on each value of the normalised state; empty: none.
        cache_mb: Memory for decoded frames [MB]; 0 decodes every time.
        autocast: Type of mixed precision on the device, empty for LeRobot's choice.
        has_video: Whether the dataset's pictures are videos.
        last_step: Step that the run continues after; 0 for a new one.
    """

    arguments: tuple[str, ...]
    run: str
    profile: str
    profile_sha256: str
    card: str
    device: str
    vlm: str = ""
    make_vlm: Mapping[str, Any] | None = None
    tokenizer: str = ""
    std_floor: float = 0.0
    state_noise: tuple[float, ...] = ()
    cache_mb: int = 0
    autocast: str = ""
    has_video: bool = True
    last_step: int = 0

    def save(self, path: Path) -> None:
        """Write it for the training process."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def load_plan(path: Path) -> TrainPlan:
    """Read what `TrainPlan.save` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    for name in ("arguments", "state_noise"):
        values[name] = tuple(values[name])
    return TrainPlan(**{field.name: values[field.name] for field in fields(TrainPlan)})


def emit(**event: Any) -> None:
    """Tell the launcher something: one line on the standard output, whatever the progress bar has begun there."""
    os.write(1, b"\n@vla-train " + json.dumps(event).encode() + b"\n")


def parse_event(line: bytes) -> dict[str, Any] | None:
    """The event that a line of the training process holds, if it does."""
    match = EVENT.search(line)
    if match is None:
        return None
    event: dict[str, Any] = json.loads(match.group(1))
    return event
