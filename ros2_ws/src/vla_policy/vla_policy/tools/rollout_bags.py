# SPDX-License-Identifier: Apache-2.0

"""Recorded evaluation runs as they lie on the disk: reading, labelling, and what they add up to.

Only `metadata.yaml` of each bag is read and written, so this needs neither ROS nor the recorder.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from vla_core.episode import OUTCOMES
from vla_core.errors import BagError, listing
from vla_core.statistics import wilson_interval

METADATA = "metadata.yaml"
ROOT = "rosbag2_bagfile_information"
FAILURE, SUCCESS, UNKNOWN = "failure", "success", "unknown"
GRASP_FAILURES = ("grasp_failed_no_correction", "failed")
STOPPED = ("estop", "shutdown", "interrupted")
COLUMNS = (
    "model", "checkpoint", "mode", "task", "n", "labelled", "successes", "success_rate", "rate_low", "rate_high",
    "timeouts", "grasp_fails", "estops", "interventions", "mean_duration_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One recorded run.

    Attributes:
        folder: Its bag.
        model: The policy, for people.
        checkpoint: Folder or address.
        mode: e2e, planner or correction.
        task: Instruction.
        outcome: success, failure or unknown.
        skill_outcome: One of `vla_core.episode.SKILL_OUTCOMES`.
        termination: How the run ended; `interrupted` where nobody could say.
        interventions: Times that a person took over.
        duration_s: Of the run [s].
        message: Why it ended.
    """

    folder: Path
    model: str
    checkpoint: str
    mode: str
    task: str
    outcome: str
    skill_outcome: str
    termination: str
    interventions: int
    duration_s: float
    message: str


def find_rollouts(folder: Path) -> tuple[list[Rollout], int]:
    """The evaluation runs in a folder or below it, by name, and the number of bags that are none.

    Raises:
        BagError: there is no such folder, no run in it, or a metadata file cannot be read.
    """
    if not folder.is_dir():
        raise BagError(f"{folder}: no such folder; give the output_dir of infer.launch.py record_eval:=true")
    found = [read_rollout(path.parent) for path in sorted(folder.rglob(METADATA))]
    rollouts = [rollout for rollout in found if rollout is not None]
    if not rollouts:
        raise BagError(
            f"{folder}: {len(found)} bags, but no recorded evaluation run among them; record some with "
            "ros2 launch vla_bringup infer.launch.py record_eval:=true …"
        )
    return rollouts, len(found) - len(rollouts)


def read_rollout(bag: Path) -> Rollout | None:
    """The run in one bag; None if the bag is no evaluation run.

    Raises:
        BagError: its metadata cannot be read.
    """
    data = _load(bag)[ROOT].get("custom_data") or {}
    if data.get("x_eval") != "1":
        return None
    try:
        return Rollout(
            folder=bag,
            model=data.get("x_policy", ""),
            checkpoint=data.get("x_checkpoint", ""),
            mode=data.get("x_mode", ""),
            task=data.get("task", ""),
            outcome=data.get("outcome", UNKNOWN),
            skill_outcome=data.get("skill_outcome", ""),
            termination=data.get("x_run_termination", ""),
            interventions=int(data.get("x_interventions") or 0),
            duration_s=float(data.get("x_run_duration_s") or data.get("duration_s") or 0.0),
            message=data.get("x_run_message", ""),
        )
    except ValueError as error:
        raise BagError(f"{bag / METADATA}: a value of the run cannot be read: {error}") from None


def label(bag: Path, outcome: str, notes: str = "") -> None:
    """Write the outcome of a run, as a person saw it, into its metadata; the file is replaced as a whole.

    Raises:
        BagError: the outcome is unknown, or the folder holds no evaluation run.
    """
    if outcome not in OUTCOMES:
        raise BagError(f"outcome '{outcome}' is not one of {listing(OUTCOMES)}")
    content = _load(bag)
    data = content[ROOT].get("custom_data") or {}
    if data.get("x_eval") != "1":
        raise BagError(f"{bag}: no recorded evaluation run; other episodes are labelled by the recorder")
    data["outcome"] = outcome
    data["labelled_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    if notes:
        data["notes"] = "; ".join(part for part in (data.get("notes", ""), notes) if part)
    path, temporary = bag / METADATA, bag / f"{METADATA}.new"
    with temporary.open("w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def summarize(rollouts: Sequence[Rollout]) -> list[dict[str, Any]]:
    """One row per model, checkpoint, mode and task, with the keys `COLUMNS`.

    The success rate is that of the labelled runs, with the 95 % interval of Wilson (1927); empty where none is labelled.
    """
    groups: dict[tuple[str, str, str, str], list[Rollout]] = {}
    for rollout in rollouts:
        groups.setdefault((rollout.model, rollout.checkpoint, rollout.mode, rollout.task), []).append(rollout)
    return [_row(key, runs) for key, runs in sorted(groups.items())]


def _row(key: tuple[str, str, str, str], runs: Sequence[Rollout]) -> dict[str, Any]:
    successes = sum(run.outcome == SUCCESS for run in runs)
    labelled = sum(run.outcome in (SUCCESS, FAILURE) for run in runs)
    rate = low = high = ""
    if labelled:
        rate = f"{successes / labelled:.3f}"
        low, high = (f"{bound:.3f}" for bound in wilson_interval(successes, labelled))
    return dict(
        zip(
            COLUMNS,
            (
                *key,
                len(runs),
                labelled,
                successes,
                rate,
                low,
                high,
                sum(run.termination == "timeout" for run in runs),
                sum(run.skill_outcome in GRASP_FAILURES for run in runs),
                sum(run.termination in STOPPED for run in runs),
                sum(run.interventions for run in runs),
                f"{sum(run.duration_s for run in runs) / len(runs):.2f}",
            ),
            strict=True,
        )
    )


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the rows of `summarize` with a header line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _load(bag: Path) -> dict[str, Any]:
    path = bag / METADATA
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BagError(f"{path}: cannot be read ({error.strerror or error}). Is it the folder of a bag?") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BagError(f"{path}: not readable as YAML ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get(ROOT), dict):
        raise BagError(f"{path}: not the metadata of a bag (no {ROOT})")
    return content
