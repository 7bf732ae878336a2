# SPDX-License-Identifier: Apache-2.0

"""What a conversion did: for ``report.json``, for the terminal and for the exit code."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_recorder.convert.episode import Converted
from vla_recorder.convert.options import Options
from vla_recorder.convert.plan import Plan
from vla_recorder.formats.stats import summary

META = "meta/vla"
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

    def text(self) -> str:
        """Return a summary for people."""
        lines = []
        for target in self.data["targets"]:
            lines += self._dataset_text(target)
        lines += [f"  failed {name}: {reason}" for name, reason in self.failed]
        return "\n".join(lines)

    def _dataset_text(self, target: str) -> list[str]:
        data = self.dataset(target)
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
        lines += [f"  skipped {len(data['skipped'])} episodes"] if data["skipped"] else []
        return lines


def make_report(
    plan: Plan,
    options: Options,
    converted: Sequence[tuple[str, Converted]],
    failed: list[tuple[str, str]],
    outputs: dict[str, Path],
    seconds: float,
) -> Report:
    """Return the report of a run.

    Args:
        plan: What was planned.
        options: What was asked for.
        converted: (episode, what became of it).
        failed: (episode, reason).
        outputs: Target -> where its dataset is.
        seconds: Wall time [s].
    """
    dropped: Counter[str] = Counter()
    for _, result in converted:
        dropped.update(result.dropped)
    data = {
        "repo_id": options.repo_id,
        "format": options.format.name,
        "robot": plan.profile.robot,
        "profile_sha256": plan.profile.sha256,
        "fps": plan.fps,
        "action": options.action,
        "dropped": dict(dropped),
        "ages_s": _joined([result.ages_s for _, result in converted]),
        "skew_s": _summary([result.skew_s for _, result in converted]),
        "failed": [list(pair) for pair in failed],
        "seconds": round(seconds, 3),
        "video": {
            **asdict(options.video),
            "pix_fmt": {camera.name: options.video.pixel_format(*camera.frame_size) for camera in plan.profile.cameras},
        },
        "versions": {name: version(name) for name in ("av", "numpy", "pyarrow", "mcap")}
        | {"python": platform.python_version()},
        "targets": {
            target.name: _dataset(target.name, plan, converted, outputs[target.name], seconds)
            for target in plan.targets
        },
    }
    return Report(data, failed)


def _dataset(
    target: str, plan: Plan, converted: Sequence[tuple[str, Converted]], output: Path, seconds: float
) -> dict[str, Any]:
    made = [(name, result, result.targets[target]) for name, result in converted]
    frames = sum(one.episode.length for _, _, one in made if one.episode)
    removed: Counter[str] = Counter()
    for _, _, one in made:
        removed.update(one.removed)
    return {
        "target": target,
        "output": str(output),
        "episodes": sum(1 for _, _, one in made if one.episode),
        "frames": frames,
        "frames_per_s": round(frames / seconds, 1),
        "removed": dict(removed),
        "gaps": sum(len(one.gaps) for _, _, one in made),
        "skipped": [list(pair) for pair in plan.skipped]
        + [[name, one.skipped] for name, _, one in made if one.skipped],
        "warnings": [
            *plan.warnings,
            *(
                f"{name}: {warning}"
                for name, result, one in made
                if one.episode
                for warning in result.warnings_of(target)
            ),
        ],
    }


def _joined(parts: Sequence[dict[str, NDArray[np.float32]]]) -> dict[str, dict[str, float]]:
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: _summary([part[key] for part in parts if key in part]) for key in keys}


def _summary(parts: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    return summary(np.concatenate(parts)) if parts else {}


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
