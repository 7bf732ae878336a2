# SPDX-License-Identifier: Apache-2.0

"""Run a conversion: convert the planned episodes, write the datasets, say what happened."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm
from vla_core.errors import BagError, VlaError

from vla_recorder.bags.reader import EpisodeBag
from vla_recorder.convert.cluster import cluster_results
from vla_recorder.convert.dataset import META, REPORT_FILE, Dataset
from vla_recorder.convert.job import dataset_features
from vla_recorder.convert.options import Options
from vla_recorder.convert.plan import Plan, make_plan, roots_of
from vla_recorder.convert.pool import results
from vla_recorder.convert.publish import publish
from vla_recorder.convert.report import Report, Tally, make_report
from vla_recorder.convert.staging import APPEND, OutputError, Workspace, check_settings, read_json
from vla_recorder.convert.store import load, write_json
from vla_recorder.convert.worker import Kept
from vla_recorder.formats.base import Layout

__all__ = ["META", "Options", "Plan", "Report", "convert", "make_plan"]


def convert(plan: Plan, options: Options) -> Report:
    """Convert the planned episodes; the output appears complete or not at all.

    A run that ends early keeps its finished episodes beside the output; see `vla_recorder.convert.staging`.

    Raises:
        VlaError: No episode can be converted, one cannot and `strict` is set, or the dataset cannot be written.
    """
    started = time.perf_counter()
    settings = options.settings(plan.profile.text, plan.fps)
    if plan.begin.mode == APPEND:
        _check_finished(plan, options, settings)
    failed = list(plan.bad)
    tally = Tally()
    with Workspace(options.output.absolute(), plan.begin, settings) as space:
        space.begin_dataset()
        datasets = {
            name: Dataset(root, _layout(plan, options, name), options)
            for name, root in roots_of(space.dataset, plan.targets).items()
        }
        for bag, result in _run(plan, options, space):
            if isinstance(result, VlaError):
                if options.strict:
                    raise result
                failed.append((bag.name, str(result)))
                continue
            converted = load(result.folder, space.links / result.folder.name)
            tally.add(bag.name, converted)
            for dataset in datasets.values():
                dataset.add(bag, converted, result.folder)
        for dataset in datasets.values():
            dataset.finish()
        report = _reported(plan, options, datasets, tally, failed, time.perf_counter() - started)
        _put_in_place(plan, options, datasets, report, space)
    if options.url is not None:
        _publish(options.output.absolute(), options.url, options.overwrite)
    return report


def _publish(output: Path, url: str, overwrite: bool) -> None:
    """Copy the finished dataset to where it belongs and delete the folder in which it was made."""
    try:
        publish(output, url, overwrite=overwrite)
    except VlaError as error:
        raise BagError(
            f"{error}. The dataset is complete in {output}; `ros2 run vla_recorder publish {output} {url}` copies it"
        ) from error
    shutil.rmtree(output)


def _reported(
    plan: Plan,
    options: Options,
    datasets: dict[str, Dataset],
    tally: Tally,
    failed: list[tuple[str, str]],
    seconds: float,
) -> Report:
    # Where people find the datasets, which is not where this run put them if they go to a URL.
    where = options.url or str(options.output.absolute())
    single = len(plan.targets) == 1
    roots = {name: where if single else f"{where.rstrip('/')}/{name}" for name in datasets}
    numbers = {name: dataset.numbers(roots[name], seconds) for name, dataset in datasets.items()}
    report = make_report(plan, options, tally, failed, numbers, seconds)
    if options.report is not None:
        write_json(options.report, report.data)
    return report


def _put_in_place(plan: Plan, options: Options, datasets: dict[str, Dataset], report: Report, space: Workspace) -> None:
    if not any(dataset.episodes for dataset in datasets.values()):
        if not report.failed:
            space.remove()  # going on would end the same way
        if plan.begin.mode != APPEND:
            raise BagError(f"{options.bags}: not one episode could be converted; {_first_reason(report)}")
        space.remove()
        return
    for name, dataset in datasets.items():
        if dataset.episodes or dataset.before:
            write_json(dataset.root / META / REPORT_FILE, report.dataset(name))
    space.commit()


def _check_finished(plan: Plan, options: Options, settings: dict[str, object]) -> None:
    """Refuse to extend a dataset that holds something else."""
    for root in roots_of(options.output.absolute(), plan.targets).values():
        path = root / META / REPORT_FILE
        if path.is_file():
            check_settings(read_json(path).get("settings", {}), settings, root)
            return
    raise OutputError(
        f"{options.output}: --resume finds no {META}/{REPORT_FILE} in it, so it is no dataset of this command with the target "
        f"{options.target}; give another --output, or --overwrite to replace it"
    )


def _layout(plan: Plan, options: Options, target: str) -> Layout:
    name = options.repo_id if len(plan.targets) == 1 else f"{options.repo_id}_{target}"
    return Layout(
        profile=plan.profile,
        fps=plan.fps,
        features=dataset_features(plan.profile, plan.age_streams),
        video=options.video,
        name=name,
        target=target,
    )


def _first_reason(report: Report) -> str:
    reasons = [f"{name}: {reason}" for name, reason in report.failed]
    reasons += [
        f"{name}: {reason}" for numbers in report.data["targets"].values() for name, reason in numbers["skipped"]
    ]
    return f"the first says: {reasons[0]}" if reasons else "there is none"


def _run(plan: Plan, options: Options, space: Workspace) -> Iterator[tuple[EpisodeBag, Kept | VlaError]]:
    """Yield the episodes in order; errors come as values."""
    jobs = [replace(job, work_dir=space.episodes) for _, job in plan.jobs]
    if not jobs:
        return
    if options.ray is not None:
        answers = cluster_results(jobs, options.ray)
    else:
        answers = results(jobs, min(options.workers, len(jobs)))
    interactive = sys.stderr.isatty()
    with tqdm(total=len(jobs), unit="episode", disable=not interactive, file=sys.stderr) as bar:
        for number, result in enumerate(answers, start=1):
            bag = plan.jobs[number - 1][0]
            bar.update()
            if not interactive or isinstance(result, VlaError):
                bar.write(f"episode {number}/{len(jobs)} {bag.name}: {_outcome(result)}", file=sys.stderr)
            yield bag, result


def _outcome(result: Kept | VlaError) -> str:
    if isinstance(result, VlaError):
        return f"failed: {result}"
    frames = ", ".join(
        f"{count} frames{'' if len(result.frames) == 1 else f' of {name}'}" for name, count in result.frames.items()
    )
    if result.reused:
        return f"{frames}, finished by an earlier run"
    return f"{frames}, {result.dropped} dropped, {result.seconds:.1f} s"
