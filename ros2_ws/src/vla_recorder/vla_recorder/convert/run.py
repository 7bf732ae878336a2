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
from vla_recorder.convert.episode import Converted, dataset_features
from vla_recorder.convert.options import Options
from vla_recorder.convert.plan import Plan, make_plan
from vla_recorder.convert.pool import results
from vla_recorder.convert.report import META, Report, make_report, write_json
from vla_recorder.convert.staging import staged
from vla_recorder.formats.base import DatasetWriter, Layout

__all__ = ["META", "Options", "Plan", "Report", "convert", "make_plan"]

WORK = ".work"


def convert(plan: Plan, options: Options) -> Report:
    """Convert the planned episodes; the output appears complete or not at all.

    Raises:
        VlaError: No episode can be converted, one cannot and `strict` is set, or the dataset cannot be written.
    """
    started = time.perf_counter()
    failed = list(plan.bad)
    converted: list[tuple[EpisodeBag, Converted]] = []
    with staged(options.output, force=options.overwrite) as root:
        roots = _roots(plan, root)
        writers: dict[str, DatasetWriter] = {}
        for bag, result in _run(plan, options.workers, root):
            if isinstance(result, VlaError):
                if options.strict:
                    raise result
                failed.append((bag.name, str(result)))
                continue
            converted.append((bag, result))
            for name, made in result.targets.items():
                if made.episode is not None:
                    if name not in writers:
                        writers[name] = options.format.dataset_writer(roots[name], _layout(plan, options, name))
                    writers[name].add(made.episode)
        _require_episodes(options, converted, failed, writers)
        for writer in writers.values():
            writer.finish()
        shutil.rmtree(root / WORK)
        outputs = _roots(plan, options.output.absolute())
        named = [(bag.name, result) for bag, result in converted]
        report = make_report(plan, options, named, failed, outputs, time.perf_counter() - started)
        for name in writers:
            _write_meta(roots[name], plan, name, converted, report)
    if options.report is not None:
        write_json(options.report, report.data)
    return report


def _roots(plan: Plan, output: Path) -> dict[str, Path]:
    """Return where the dataset of every target goes; a single one is the output itself."""
    if len(plan.targets) == 1:
        return {plan.targets[0].name: output}
    return {target.name: output / target.name for target in plan.targets}


def _layout(plan: Plan, options: Options, target: str) -> Layout:
    ages = plan.jobs[0][1].age_streams(plan.profile)
    name = options.repo_id if len(plan.targets) == 1 else f"{options.repo_id}_{target}"
    return Layout(
        profile=plan.profile,
        fps=plan.fps,
        features=dataset_features(plan.profile, ages),
        video=options.video,
        name=name,
        target=target,
    )


def _require_episodes(
    options: Options,
    converted: list[tuple[EpisodeBag, Converted]],
    failed: list[tuple[str, str]],
    writers: dict[str, DatasetWriter],
) -> None:
    if writers:
        return
    reasons = [reason for _, reason in failed]
    reasons += [f"{bag.name}: {made.skipped}" for bag, result in converted for made in result.targets.values()]
    raise BagError(f"{options.bags}: not one episode could be converted; the first says: {reasons[0]}")


def _run(plan: Plan, workers: int, root: Path) -> Iterator[tuple[EpisodeBag, Converted | VlaError]]:
    """Yield the episodes in order; errors come as values."""
    jobs = [replace(job, work_dir=root / WORK / job.work_dir) for _, job in plan.jobs]
    interactive = sys.stderr.isatty()
    with tqdm(total=len(jobs), unit="episode", disable=not interactive, file=sys.stderr) as bar:
        for number, result in enumerate(results(jobs, min(workers, len(jobs))), start=1):
            bag = plan.jobs[number - 1][0]
            bar.update()
            bar.set_postfix_str(_outcome(result), refresh=False)
            if not interactive or isinstance(result, VlaError):
                bar.write(f"episode {number}/{len(jobs)} {bag.name}: {_outcome(result)}", file=sys.stderr)
            yield bag, result


def _outcome(result: Converted | VlaError) -> str:
    if isinstance(result, VlaError):
        return f"failed: {result}"
    frames = [
        f"{made.episode.length if made.episode else 0} frames{'' if len(result.targets) == 1 else f' of {name}'}"
        for name, made in result.targets.items()
    ]
    return f"{', '.join(frames)}, {sum(result.dropped.values())} dropped, {result.seconds:.1f} s"


def _write_meta(
    root: Path, plan: Plan, target: str, converted: list[tuple[EpisodeBag, Converted]], report: Report
) -> None:
    """Write where everything came from; LeRobot keeps files that it does not know, but not keys in its own files."""
    folder = root / META
    (folder / "episodes").mkdir(parents=True)
    (folder / "profile.yaml").write_text(plan.profile.text, encoding="utf-8")
    write_json(folder / "report.json", report.dataset(target))
    made = [(bag, result, one.episode) for bag, result in converted if (one := result.targets[target]).episode]
    for index, (bag, result, episode) in enumerate(made):
        provenance = {
            "episode_index": index,
            **{key: value for key, value in episode.about.items() if key not in ("topics", "warnings", "versions")},
            "topics": bag.structured("topics"),
            "recorder_warnings": bag.structured("warnings"),
            "versions": bag.structured("versions"),
            **result.report(target),
        }
        write_json(folder / "episodes" / f"episode_{index:06d}.json", provenance)
