# SPDX-License-Identifier: Apache-2.0

"""What run folders say, side by side. Nothing of torch or LeRobot is loaded."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vla_core.errors import listing

from vla_policy.evaluation.run_folder import OFFLINE, SIM, EvaluationError, evaluations, read_run
from vla_policy.evaluation.texts import interval, percent
from vla_policy.policies.checkpoint import CHECKPOINTS_DIR
from vla_policy.training.run_record import RUN_FILE, LossRows, read_loss

DEPTH = 3
SHORT = 8  # digits of a hash that are shown
# column -> heading; `sim` stands for one column per scene
HEADINGS = {
    "run": "run",
    "policy": "policy",
    "data": "data",
    "frames": "frames",
    "steps": "steps",
    "batch": "batch",
    "seconds": "training [s]",
    "loss": "loss",
    "mse": "MSE",
    "nmse": "MSE/variance",
    "against_hold": "MSE/hold last",
    "sim": "success",
    "latency_ms": "latency [ms]",
    "outcome": "outcome",
}
COLUMNS = tuple(HEADINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run folder.

    Attributes:
        name: Its name, for the table.
        folder: The folder.
        values: Column to value; what is not known is None.
        scenes: Scene to the newest evaluation in it.
        offline: The newest offline evaluation, or None.
        losses: The loss of each step.
    """

    name: str
    folder: Path
    values: dict[str, Any]
    scenes: dict[str, dict[str, Any]]
    offline: dict[str, Any] | None
    losses: LossRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The table.

    Attributes:
        runs: One row each.
        scenes: Scenes in which some run was tried.
        notes: What a reader must know of it.
    """

    runs: tuple[Run, ...]
    scenes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `records`."""
        place = COLUMNS.index("sim")
        sims = [f"sim_{scene}{part}" for scene in self.scenes for part in ("", "_n", "_low", "_high")]
        return (*COLUMNS[:place], *sims, *COLUMNS[place + 1 :], "data_sha256")

    @property
    def head(self) -> list[str]:
        """Headings of `cells`."""
        heads: list[str] = []
        for name, heading in HEADINGS.items():
            heads += [f"{heading} {scene}" for scene in self.scenes] if name == "sim" else [heading]
        return heads

    def records(self) -> list[dict[str, Any]]:
        """One mapping per run, numbers as they are."""
        return [{name: run.values.get(name) for name in self.columns} for run in self.runs]

    def cells(self) -> list[list[Any]]:
        """One row per run, for people."""
        rows = []
        for run in self.runs:
            row: list[Any] = []
            for name in COLUMNS:
                row += (
                    [_success(run.scenes.get(scene)) for scene in self.scenes]
                    if name == "sim"
                    else [run.values.get(name)]
                )
            rows.append(row)
        return rows


def _success(record: dict[str, Any] | None) -> str | None:
    if record is None:
        return None
    unfinished = "" if record["complete"] else " (unfinished)"
    return f"{record['ok']}/{record['n']} {percent(record['rate'])} ({interval(record)}){unfinished}"


def find_runs(given: Sequence[Path]) -> list[Path]:
    """Run folders: those named, and those below the named folders.

    Raises:
        EvaluationError: a folder does not exist, or holds no run.
    """
    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            raise EvaluationError(
                f"{path}: there is no such folder. Runs lie in outputs/runs unless trained with --output."
            )
        below = _below(path, DEPTH)
        if not below:
            raise EvaluationError(
                f"{path}: holds no training run (no folder with {RUN_FILE} or {CHECKPOINTS_DIR}/ down to {DEPTH} levels). "
                f"Make one with: ros2 run vla_policy train --policy act --dataset DIR --run NAME"
            )
        found += below
    return list(dict.fromkeys(path.resolve() for path in found))


def _below(folder: Path, depth: int) -> list[Path]:
    if (folder / RUN_FILE).is_file() or (folder / CHECKPOINTS_DIR).is_dir():
        return [folder]
    if depth == 0:
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [run for path in inside for run in _below(path, depth - 1)]


def read(folder: Path, name: str) -> Run:
    """Read one run folder.

    Raises:
        EvaluationError: a file in it is damaged.
    """
    record = read_run(folder)
    found = [content for _, content in evaluations(folder)]
    offline = next((one for one in reversed(found) if one["kind"] == OFFLINE), None)
    scenes = {one["settings"]["scene"]: one for one in found if one["kind"] == SIM}
    losses = read_loss(folder)
    datasets = record.get("datasets") or []
    values: dict[str, Any] = {
        "run": name,
        "policy": record.get("policy"),
        "data_sha256": "+".join(one["sha256"] for one in datasets) or None,
        "frames": sum(int(one["frames"]) for one in datasets) or None,
        "steps": record.get("steps"),
        "batch": record.get("batch_size"),
        "seconds": record.get("seconds"),
        "loss": record.get("loss"),
        "outcome": record.get("outcome", f"no {RUN_FILE}"),
    }
    values |= _offline_values(offline)
    for scene, one in scenes.items():
        values |= {f"sim_{scene}": one["rate"], f"sim_{scene}_n": one["n"]}
        values |= {f"sim_{scene}_low": one["low"], f"sim_{scene}_high": one["high"]}
    if values["latency_ms"] is None and scenes:
        values["latency_ms"] = next(iter(scenes.values()))["inference_ms_p50"]
    return Run(name=name, folder=folder, values=values, scenes=scenes, offline=offline, losses=losses)


def _offline_values(offline: dict[str, Any] | None) -> dict[str, Any]:
    if offline is None:
        return {"mse": None, "nmse": None, "against_hold": None, "latency_ms": None}
    held = offline["hold_last"]["mse"]
    return {
        "mse": offline["policy"]["mse"],
        "nmse": offline["policy"]["nmse"],
        "against_hold": offline["policy"]["mse"] / held if held else None,
        "latency_ms": (offline["latency_ms"] or {}).get("p50"),
    }


def collect(given: Sequence[Path]) -> Comparison:
    """Read all runs, give shared data a letter, and note what cannot be compared.

    Raises:
        EvaluationError: a folder holds no run, or a file is damaged.
    """
    folders = find_runs(given)
    names = [folder.name for folder in folders]
    runs = [
        read(folder, folder.name if names.count(folder.name) == 1 else f"{folder.parent.name}/{folder.name}")
        for folder in folders
    ]
    runs = _with_letters(runs)
    scenes = sorted({scene for run in runs for scene in run.scenes})
    return Comparison(runs=tuple(runs), scenes=tuple(scenes), notes=tuple(_notes(runs)))


def _with_letters(runs: Sequence[Run]) -> list[Run]:
    """Name the data of each run `A 1b2c3d4e`: the same letter means the same data."""
    hashes = list(dict.fromkeys(run.values["data_sha256"] for run in runs if run.values["data_sha256"]))
    letters = {digest: _letter(number) for number, digest in enumerate(hashes)}
    return [
        replace(run, values={**run.values, "data": f"{letters[digest]} {digest[:SHORT]}"})
        if (digest := run.values["data_sha256"])
        else run
        for run in runs
    ]


def _letter(number: int) -> str:
    """A to Z, then A1, B1 and so on."""
    turn, place = divmod(number, len(string.ascii_uppercase))
    return string.ascii_uppercase[place] + (str(turn) if turn else "")


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    if bare := [run.name for run in runs if run.offline is None and not run.scenes]:
        notes.append(
            f"Not evaluated yet: {listing(bare)}. Run: ros2 run vla_policy evaluate --checkpoint RUN --dataset DIR"
        )
    grounds = {_ground(run.offline) for run in runs if run.offline is not None}
    if len(grounds) > 1:
        notes.append(
            "The offline errors were measured on different episodes, steps or datasets: do not compare them across runs. "
            "Evaluate again with the same --dataset, --episodes and --horizon."
        )
    if seen := [run.name for run in runs if run.offline is not None and run.offline["dataset"]["trained_on"] != 0]:
        notes.append(f"Offline errors on episodes that the training may have seen: {listing(seen)}.")
    for scene in sorted({scene for run in runs for scene in run.scenes}):
        tried = [run.scenes[scene] for run in runs if scene in run.scenes]
        if len({(str(one["settings"]), tuple(one["seeds"])) for one in tried}) > 1:
            notes.append(
                f"Success in {scene} was measured on different seeds or settings; see the evaluations' reports."
            )
    return notes


def _ground(offline: dict[str, Any]) -> tuple[Any, ...]:
    data = offline["dataset"]
    return (data["sha256"], tuple(data["episodes"]), offline["steps"], offline["stride"])


def ordered(comparison: Comparison, column: str, *, reverse: bool) -> Comparison:
    """The comparison sorted by a column; runs without a value come last either way."""

    def value(run: Run) -> Any:
        if column == "sim":
            rates = [one["rate"] for one in run.scenes.values() if one["rate"] is not None]
            return sum(rates) / len(rates) if rates else None
        return run.values.get(column)

    known = sorted((run for run in comparison.runs if value(run) is not None), key=value, reverse=reverse)
    unknown = [run for run in comparison.runs if value(run) is None]
    return replace(comparison, runs=(*known, *unknown))
