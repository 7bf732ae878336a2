# SPDX-License-Identifier: Apache-2.0

"""What a conversion did: for ``report.json``, for the terminal and for the exit code."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_recorder.convert.dataset import META
from vla_recorder.convert.options import Options
from vla_recorder.convert.plan import Plan
from vla_recorder.convert.result import Converted
from vla_recorder.formats.stats import summary

_SHOWN = 10


@dataclass(slots=True)
class Report:
    """What a conversion did.

    Attributes:
        data: The whole run; what ``--report FILE`` holds. ``targets`` holds one dataset each, `dataset` gives it as the
            dataset's own ``meta/vla/report.json`` holds it.
        failed: (episode, reason) that could not be converted.
    """

    data: dict[str, Any]
    failed: list[tuple[str, str]] = field(default_factory=list)

    def dataset(self, target: str) -> dict[str, Any]:
        """Return the report of one dataset."""
        common = {key: value for key, value in self.data.items() if key != "targets"}
        return {**common, **self.data["targets"][target]}

    @property
    def complete(self) -> bool:
        """Whether every chosen episode is in the dataset with all that was recorded."""
        return not self.failed and not self.data["damaged"]

    def text(self) -> str:
        """Return a summary for people."""
        lines = []
        for target in self.data["targets"]:
            lines += self._dataset_text(target)
        lines += [f"  failed {name}: {reason}" for name, reason in self.failed]
        return "\n".join(lines)

    def _dataset_text(self, target: str) -> list[str]:
        data = self.dataset(target)
        if not data["episodes"]:
            return [f"{target}: no episode has rows for it, so no dataset was made ({len(data['skipped'])} skipped)"]
        lines = [
            f"{data['output']}: {data['episodes']} episodes, {data['frames']} frames in {data['seconds']:.1f} s "
            f"({data['frames_per_s']:.0f} frames/s)"
        ]
        lines += [f"  dropped {count} frames: {reason}" for reason, count in data["dropped"].items()]
        lines += [f"  left out {count} rows: {reason}" for reason, count in data["removed"].items()]
        shown = data["warnings"][:_SHOWN]
        lines += [f"  warning {warning}" for warning in shown]
        if len(shown) < len(data["warnings"]):
            lines.append(f"  {len(data['warnings']) - len(shown)} more warnings in {META}/report.json")
        lines += [f"  skipped {name}: {reason}" for name, reason in data["skipped"][:_SHOWN]]
        if len(data["skipped"]) > _SHOWN:
            lines.append(f"  {len(data['skipped'])} episodes skipped in all; {META}/report.json names them")
        return lines


@dataclass(slots=True)
class Tally:
    """What is counted over all episodes of a run, whatever the targets keep of them."""

    dropped: Counter[str] = field(default_factory=Counter)
    ages_s: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    skew_s: list[NDArray[np.float32]] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, result: Converted) -> None:
        """Count an episode."""
        if result.damage:
            self.damaged.append((name, result.damage))
        self.dropped.update(result.dropped)
        self.skew_s.append(result.skew_s)
        for key, ages in result.ages_s.items():
            self.ages_s.setdefault(key, []).append(ages)


def make_report(
    plan: Plan, options: Options, tally: Tally, failed: list[tuple[str, str]], datasets: dict[str, Any], seconds: float
) -> Report:
    """Return the report of a run.

    Args:
        plan: What was planned.
        options: What was asked for.
        tally: What was counted.
        failed: (episode, reason).
        datasets: Target -> numbers of its dataset.
        seconds: Wall time [s].
    """
    for numbers in datasets.values():
        numbers["skipped"] = [list(pair) for pair in plan.skipped] + numbers["skipped"]
        numbers["warnings"] = [*plan.warnings, *numbers["warnings"]]
    data = {
        "repo_id": options.repo_id,
        "format": options.format.name,
        "robot": plan.profile.robot,
        "profile_sha256": plan.profile.sha256,
        "settings": options.settings(plan.profile.text, plan.fps),
        "fps": plan.fps,
        "action": options.action,
        "dropped": dict(tally.dropped),
        "ages_s": {key: summary(np.concatenate(parts)) for key, parts in tally.ages_s.items()},
        "skew_s": summary(np.concatenate(tally.skew_s)) if tally.skew_s else {},
        "failed": [list(pair) for pair in failed],
        "damaged": [list(pair) for pair in tally.damaged],
        "seconds": round(seconds, 3),
        "video": {
            **asdict(options.video),
            "pix_fmt": {camera.name: options.video.pixel_format(*camera.frame_size) for camera in plan.profile.cameras},
        },
        "versions": {name: version(name) for name in ("av", "numpy", "pyarrow", "mcap")}
        | {"python": platform.python_version()},
        "targets": datasets,
    }
    return Report(data, failed)
