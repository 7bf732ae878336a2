# SPDX-License-Identifier: Apache-2.0

"""`evaluate --sim`: trials over seeds, kept as they end, and two checkpoints compared on the same seeds."""

import argparse
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm
from vla_core.statistics import wilson_interval

from vla_policy.evaluation.closed_loop import SHORT_NAMES, SimSettings, Trial, require_ros, run_trials
from vla_policy.evaluation.run_folder import (
    NO_RUN,
    PAIRED,
    SIM,
    EvaluationError,
    find_run,
    read_json,
    step_of,
    weights_sha256,
    write_json,
)
from vla_policy.evaluation.saving import Places, save, stamp
from vla_policy.evaluation.significance import compare_paired
from vla_policy.evaluation.sim_page import as_text, ending, write_page
from vla_policy.policies.checkpoint import Checkpoint, choose_profile, find_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A checkpoint that is tried.

    Attributes:
        given: As the user named it; the launch gets it.
        checkpoint: What it means.
        label: Short name for tables.
        folder: Evaluations folder of its run.
        weights: Hash of its weights.
    """

    given: Path
    checkpoint: Checkpoint
    label: str
    folder: Path
    weights: str

    @staticmethod
    def of(given: Path) -> "Contender":
        """Look a checkpoint up.

        Raises:
            VlaError: there is none, or it has no weights or profile.
        """
        checkpoint = find_checkpoint(given)
        choose_profile(checkpoint, None)  # the launch needs the profile too; say so before it starts
        run = find_run(checkpoint)
        step = step_of(checkpoint)
        name = run.resolve().name if run else checkpoint.path.resolve().name
        return Contender(
            given=given,
            checkpoint=checkpoint,
            label=name if step is None else f"{name}@{step}",
            folder=run / "evaluations" if run else NO_RUN,
            weights=weights_sha256(checkpoint),
        )


def run_sim(options: argparse.Namespace, command: str) -> list[dict[str, Any]]:
    """Run, print, write. Returns the records: of the checkpoint, and with --against of the second and of both.

    Raises:
        VlaError: anything that the user can put right. Trials that have ended are kept.
    """
    require_ros()
    settings = SimSettings(
        scene=SHORT_NAMES.get(options.scene, options.scene),
        strategy=options.strategy,
        latency_ms=options.latency_ms,
        max_duration=options.max_duration,
        task=options.task,
        device=options.device,
        launch=tuple(options.launch),
    )
    contenders = [Contender.of(path) for path in (options.checkpoint, options.against) if path is not None]
    if len(contenders) == 2 and contenders[0].weights == contenders[1].weights:
        raise EvaluationError(
            f"--against {options.against}: has the same weights as --checkpoint; there is nothing to compare."
        )
    records = []
    for number, contender in enumerate(contenders):
        places = _places(options, contender, settings.scene, number)
        records.append(_evaluate(contender, settings, options, places, command))
    places = _places(options, contenders[0], settings.scene, 0)
    if len(records) == 2:
        paired = pair(records, command, f"{records[0]['name']}-against-{contenders[1].label}")
        records.append(paired)
        places = Places.of(options, contenders[0].folder, paired["name"])
    sys.stdout.write("\n" + as_text(records) + "\n\n")
    save(records[-1], places, write_page(records, places.pages))
    return records


def _places(options: argparse.Namespace, contender: Contender, scene: str, number: int) -> Places:
    """Where a contender's record goes; in a folder that the user named both might have one file."""
    step = step_of(contender.checkpoint)
    name = options.name or f"sim-{scene}" + ("" if step is None else f"-{step}")
    return Places.of(
        options, contender.folder, name if number == 0 or options.output is None else f"{name}-{contender.label}"
    )


def _evaluate(
    contender: Contender, settings: SimSettings, options: argparse.Namespace, places: Places, command: str
) -> dict[str, Any]:
    """Run the seeds that are not done yet; the record is rewritten after each trial."""
    trials = _kept(places.record, contender, settings, fresh=options.fresh)
    left = [seed for seed in options.seeds if seed not in trials]
    if trials and len(left) < len(options.seeds):
        sys.stderr.write(f"{contender.label}: {len(options.seeds) - len(left)} trials are kept from {places.record}\n")

    def keep(trial: Trial) -> None:
        trials[int(trial["seed"])] = trial
        write_json(
            places.record, summarise(contender, settings, options.seeds, trials, command) | {"name": places.record.stem}
        )
        bar.update()
        bar.set_postfix_str(f"{sum(bool(one['success']) for one in trials.values())}/{len(trials)} succeeded")

    with (
        tqdm(total=len(left), unit="trial", desc=contender.label, file=sys.stderr, disable=not left) as bar,
        _Stoppable(),
    ):
        try:
            run_trials(contender.given, left, settings, keep)
        except KeyboardInterrupt as error:
            raise EvaluationError(
                f"stopped; {len(trials)} trials are kept in {places.record}. The same command goes on from there."
            ) from error
    record = summarise(contender, settings, options.seeds, trials, command) | {"name": places.record.stem}
    write_json(places.record, record)
    return record


def _kept(file: Path, contender: Contender, settings: SimSettings, *, fresh: bool) -> dict[int, Trial]:
    """Trials of an earlier call, by seed.

    Raises:
        EvaluationError: they are of another policy, or were run otherwise.
    """
    if fresh or not file.is_file():
        return {}
    record = read_json(file)
    now = {"weights_sha256": contender.weights, **settings.record()}
    before = {"weights_sha256": record.get("weights_sha256"), **(record.get("settings") or {})}
    different = [
        f"{key}: {before.get(key)} then, {value} now" for key, value in now.items() if before.get(key) != value
    ]
    if different or record.get("kind") != SIM:
        raise EvaluationError(
            f"{file}: holds trials that were run otherwise ({'; '.join(different) or 'another kind of evaluation'}). Name this "
            f"evaluation --name NAME, or pass --fresh to forget them."
        )
    return {int(trial["seed"]): trial for trial in record["trials"]}


def summarise(
    contender: Contender, settings: SimSettings, seeds: Sequence[int], trials: dict[int, Trial], command: str
) -> dict[str, Any]:
    """The record of an evaluation; measures count the seeds asked for, and all kept trials stay in it."""
    done = [trials[seed] for seed in seeds if seed in trials]
    ok = [trial for trial in done if trial["success"]]
    low, high = wilson_interval(len(ok), len(done)) if done else (0.0, 1.0)
    durations = [trial["duration_s"] for trial in ok]
    return {
        **stamp(),
        "kind": SIM,
        "label": contender.label,
        "checkpoint": str(contender.checkpoint.path),
        "policy_type": contender.checkpoint.policy_type,
        "step": step_of(contender.checkpoint),
        "weights_sha256": contender.weights,
        "settings": settings.record(),
        "seeds": list(seeds),
        "complete": len(done) == len(seeds),
        "n": len(done),
        "ok": len(ok),
        "rate": len(ok) / len(done) if done else None,
        "low": low,
        "high": high,
        "duration_s": _spread(durations),
        "inference_ms_p50": _median([trial["inference_ms_p50"] for trial in done]),
        "endings": dict(Counter(ending(trial) for trial in done).most_common()),
        "trials": [trials[seed] for seed in sorted(trials)],
        "command": command,
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"median": statistics.median(values), "mean": statistics.fmean(values), "max": max(values)}


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def pair(records: Sequence[dict[str, Any]], command: str, name: str) -> dict[str, Any]:
    """The paired comparison of two records on the seeds of the first.

    Raises:
        EvaluationError: they have no seed in common.
    """
    outcomes = [
        {trial["seed"]: bool(trial["success"]) for trial in record["trials"] if trial["seed"] in record["seeds"]}
        for record in records
    ]
    found = compare_paired(*outcomes)
    return {
        **stamp(),
        "kind": PAIRED,
        "name": name,
        "first": {key: records[0][key] for key in ("label", "checkpoint", "weights_sha256", "ok", "n", "low", "high")},
        "second": {key: records[1][key] for key in ("label", "checkpoint", "weights_sha256", "ok", "n", "low", "high")},
        "settings": records[0]["settings"],
        "n": found.n,
        "both": list(found.both),
        "only_first": list(found.only_first),
        "only_second": list(found.only_second),
        "neither": list(found.neither),
        "p_value": found.p_value,
        "command": command,
    }


class _Stoppable:
    """While active, SIGTERM stops the trials as Ctrl+C does, so that no simulation is left behind."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, self._stop)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt
