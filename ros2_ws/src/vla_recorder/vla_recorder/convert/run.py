# SPDX-License-Identifier: Apache-2.0

"""Plan and run a conversion: choose the episodes, check their profiles, convert in parallel, write the dataset."""

from __future__ import annotations

import json
import multiprocessing
import platform
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from vla_core.errors import BagError, VlaError
from vla_core.profile import Profile, load_profile, mapping_differences, parse_profile

from vla_recorder.bags.reader import EpisodeBag, find_episodes, open_episode
from vla_recorder.capture.session import OPEN_SUFFIX
from vla_recorder.convert.episode import Converted, Job, convert_episode, dataset_features
from vla_recorder.convert.staging import check_output, staged
from vla_recorder.formats.lerobot_v3 import DatasetWriter
from vla_recorder.formats.stats import summary
from vla_recorder.media.video import VideoSettings

META = "meta/vla"
WORK = ".work"
_SHOWN_WARNINGS = 10
_BROKEN_ENDS = ("shutdown", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a conversion was asked for; see the command line for the meanings."""

    bags: Path
    output: Path
    repo_id: str = "local/dataset"
    fps: float | None = None
    profile: Path | None = None
    task: str | None = None
    workers: int = 1
    video: VideoSettings = field(default_factory=VideoSettings)
    include_failures: bool = False
    skip_bad: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be converted.

    Attributes:
        profile: Profile of the dataset.
        fps: Rows per second.
        jobs: (bag, job) in the order of the dataset; ``job.work_dir`` is relative to the output.
        skipped: (episode, reason) that are left out on purpose.
        bad: (episode, reason) that cannot be read and were allowed to be left out.
        warnings: For people.
    """

    profile: Profile
    fps: int
    jobs: tuple[tuple[EpisodeBag, Job], ...]
    skipped: tuple[tuple[str, str], ...]
    bad: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """What a conversion did; `data` is what ``report.json`` holds."""

    data: dict[str, Any]
    failed: list[tuple[str, str]]

    def text(self) -> str:
        """Return a summary for people."""
        data = self.data
        lines = [
            f"{data['output']}: {data['episodes']} episodes, {data['frames']} frames in {data['seconds']:.1f} s "
            f"({data['frames_per_s']:.0f} frames/s)"
        ]
        lines += [f"  dropped {count} frames: {reason}" for reason, count in data["dropped"].items()]
        lines += [f"  failed {name}: {reason}" for name, reason in self.failed]
        shown = data["warnings"][:_SHOWN_WARNINGS]
        lines += [f"  warning {warning}" for warning in shown]
        if len(shown) < len(data["warnings"]):
            lines.append(f"  {len(data['warnings']) - len(shown)} more warnings in {META}/report.json")
        lines += [f"  skipped {len(data['skipped'])} episodes"] if data["skipped"] else []
        return "\n".join(lines)


def make_plan(options: Options) -> Plan:
    """Choose the episodes and check that they belong together.

    Raises:
        VlaError: There is nothing to convert, an episode is unreadable, profiles differ, or the output exists.
    """
    if options.workers < 1:
        raise VlaError(f"--workers {options.workers}: at least one is needed")
    check_output(options.output.absolute(), options.force)
    bags, bad = _open_all(options)
    chosen, skipped = _choose(bags, options)
    profiles = {bag.name: _profile_of(bag, options) for bag in chosen}
    first = profiles[chosen[0].name]
    warnings = _compare(profiles)
    fps = _whole_fps(options.fps if options.fps is not None else first.fps)
    for camera in first.cameras:
        options.video.pixel_format(*camera.frame_size)
    jobs = tuple(
        (
            bag,
            Job(
                folder=bag.folder.absolute(),
                profile_text=profiles[bag.name].text,
                profile_source=profiles[bag.name].source,
                fps=fps,
                task=options.task or bag.get("task") or profiles[bag.name].task,
                work_dir=Path(WORK) / bag.name,
                video=options.video,
            ),
        )
        for bag in chosen
    )
    return Plan(profile=first, fps=fps, jobs=jobs, skipped=tuple(skipped), bad=tuple(bad), warnings=tuple(warnings))


def convert(plan: Plan, options: Options) -> Report:
    """Convert the planned episodes; the output appears complete or not at all.

    Raises:
        VlaError: An episode cannot be converted (and may not be skipped), or the dataset cannot be written.
    """
    started = time.perf_counter()
    failed = list(plan.bad)
    converted: list[tuple[EpisodeBag, Converted]] = []
    with staged(options.output, force=options.force) as root:
        writer = DatasetWriter(
            root,
            features=dataset_features(plan.profile),
            fps=plan.fps,
            robot_type=plan.profile.robot,
            video=options.video,
        )
        for bag, result in _run(plan, options.workers, root):
            if isinstance(result, VlaError):
                if not options.skip_bad:
                    raise result
                failed.append((bag.name, str(result)))
                continue
            writer.add(result.episode)
            converted.append((bag, result))
        if not converted:
            raise BagError(
                f"{options.bags}: not one episode could be converted; the first says: {failed[0][1]}"
                if failed
                else f"{options.bags}: no episode to convert"
            )
        writer.finish()
        shutil.rmtree(root / WORK)
        report = _report(plan, options, converted, failed, time.perf_counter() - started)
        _write_meta(root, plan.profile, converted, report)
    return Report(report, failed)


def _open_all(options: Options) -> tuple[list[EpisodeBag], list[tuple[str, str]]]:
    bags, bad = [], []
    for folder in find_episodes(options.bags):
        try:
            bags.append(open_episode(folder))
        except BagError as error:
            if not options.skip_bad:
                raise
            bad.append((folder.name, str(error)))
    bags.sort(key=lambda bag: (bag.get("recorded_at"), bag.name))
    return bags, bad


def _choose(bags: list[EpisodeBag], options: Options) -> tuple[list[EpisodeBag], list[tuple[str, str]]]:
    chosen = []
    skipped = [
        (path.name, "never closed: its recorder was killed")
        for path in sorted(options.bags.glob(f"*{OPEN_SUFFIX}"))
        if path.is_dir()
    ]
    for bag in bags:
        reason = ""
        if bag.get("outcome") == "failure":
            reason = "its outcome is failure"
        elif bag.get("termination") in _BROKEN_ENDS:
            reason = f"incomplete ({bag.get('termination')}): {bag.get('error') or 'the recorder was stopped'}"
        if reason and not options.include_failures:
            skipped.append((bag.name, f"{reason}; --include-failures takes it"))
        else:
            chosen.append(bag)
    if not chosen:
        reasons = Counter(reason for _, reason in skipped)
        detail = "; ".join(f"{count} skipped: {reason}" for reason, count in reasons.items()) or "none is readable"
        raise BagError(f"{options.bags}: no episode to convert ({detail})")
    return chosen, skipped


def _profile_of(bag: EpisodeBag, options: Options) -> Profile:
    if options.profile is not None:
        return load_profile(options.profile)
    text = bag.get("profile")
    if not text:
        raise BagError(
            f"{bag.folder}: the bag carries no robot profile, so nobody knows what its topics mean; give the profile "
            "with --profile"
        )
    return parse_profile(text, f"profile in {bag.folder}")


def _compare(profiles: dict[str, Profile]) -> list[str]:
    """Refuse episodes whose numbers mean different things; other differences only deserve a warning."""
    first_name, first = next(iter(profiles.items()))
    warnings = []
    for name, profile in profiles.items():
        if profile.sha256 == first.sha256:
            continue
        differences = mapping_differences(first, profile)
        if differences:
            shown = "; ".join(line.replace("trained with", "there").replace(", now", ", here") for line in differences)
            raise BagError(
                f"{name} was recorded with another mapping than {first_name}: {shown}. Convert them apart, or read all "
                "with one profile by --profile"
            )
        warnings.append(
            f"{name}: its profile differs from that of {first_name} in topics, rates or limits; the mapping is the same"
        )
    return warnings


def _whole_fps(fps: float) -> int:
    if fps < 1 or fps != int(fps):
        raise VlaError(f"fps {fps:g}: LeRobot stores whole frames per second; give one with --fps")
    return int(fps)


def _run(plan: Plan, workers: int, root: Path) -> Iterator[tuple[EpisodeBag, Converted | VlaError]]:
    """Yield the episodes in order, converted by a pool of processes; errors come as values."""
    jobs = [(bag, replace(job, work_dir=root / job.work_dir)) for bag, job in plan.jobs]
    workers = min(workers, len(jobs))
    interactive = sys.stderr.isatty()
    with tqdm(total=len(jobs), unit="episode", disable=not interactive, file=sys.stderr) as bar:
        for number, (bag, result) in enumerate(_results(jobs, workers), start=1):
            bar.update()
            bar.set_postfix_str(_outcome(result), refresh=False)
            if not interactive or isinstance(result, VlaError):
                bar.write(f"episode {number}/{len(jobs)} {bag.name}: {_outcome(result)}", file=sys.stderr)
            yield bag, result


def _results(jobs: list[tuple[EpisodeBag, Job]], workers: int) -> Iterator[tuple[EpisodeBag, Converted | VlaError]]:
    if workers == 1:
        for bag, job in jobs:
            yield bag, _attempt(job)
        return
    # Forking a process that has loaded FFmpeg and Arrow threads is unsafe, so workers start afresh.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    try:
        futures: list[Future[Converted | VlaError]] = [pool.submit(_attempt, job) for _, job in jobs]
        for (bag, _), future in zip(jobs, futures, strict=True):
            yield bag, future.result()
    except BrokenProcessPool as error:
        raise VlaError(
            f"a worker process was killed while {bag.name} or one after it was converted; out of memory? "
            "Use fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
            worker.join()


def _ignore_interrupt() -> None:
    """A terminal sends ctrl-c to every process; the workers are ended by the main one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _attempt(job: Job) -> Converted | VlaError:
    try:
        return convert_episode(job)
    except VlaError as error:
        return error


def _outcome(result: Converted | VlaError) -> str:
    if isinstance(result, VlaError):
        return f"failed: {result}"
    dropped = sum(result.dropped.values())
    return f"{result.episode.length} frames, {dropped} dropped, {result.seconds:.1f} s"


def _report(
    plan: Plan,
    options: Options,
    converted: list[tuple[EpisodeBag, Converted]],
    failed: list[tuple[str, str]],
    seconds: float,
) -> dict[str, Any]:
    dropped: Counter[str] = Counter()
    ages: dict[str, list[NDArray[np.float32]]] = {}
    for _, result in converted:
        dropped.update(result.dropped)
        for key, values in result.ages_s.items():
            ages.setdefault(key, []).append(values)
    frames = sum(result.episode.length for _, result in converted)
    return {
        "repo_id": options.repo_id,
        "output": str(options.output.absolute()),
        "robot": plan.profile.robot,
        "profile_sha256": plan.profile.sha256,
        "fps": plan.fps,
        "episodes": len(converted),
        "frames": frames,
        "dropped": dict(dropped),
        "gaps": sum(len(result.gaps) for _, result in converted),
        "ages_s": {key: summary(np.concatenate(parts)) for key, parts in ages.items()},
        "skipped": [list(pair) for pair in plan.skipped],
        "failed": [list(pair) for pair in failed],
        "warnings": [
            *plan.warnings,
            *(f"{bag.name}: {warning}" for bag, result in converted for warning in result.warnings),
        ],
        "seconds": round(seconds, 3),
        "frames_per_s": round(frames / seconds, 1),
        "video": {
            "vcodec": options.video.vcodec,
            "pix_fmt": {camera.name: options.video.pixel_format(*camera.frame_size) for camera in plan.profile.cameras},
            "gop": options.video.gop,
            "crf": options.video.crf,
        },
        "versions": {name: version(name) for name in ("av", "numpy", "pyarrow", "mcap")}
        | {"python": platform.python_version()},
    }


def _write_meta(
    root: Path, profile: Profile, converted: list[tuple[EpisodeBag, Converted]], report: dict[str, Any]
) -> None:
    """Write where everything came from; LeRobot keeps files that it does not know, but not keys in its own files."""
    folder = root / META
    (folder / "episodes").mkdir(parents=True)
    (folder / "profile.yaml").write_text(profile.text, encoding="utf-8")
    _dump(folder / "report.json", report)
    for index, (bag, result) in enumerate(converted):
        provenance = {
            "episode_index": index,
            "bag": bag.name,
            **{key: value for key, value in bag.custom.items() if key not in ("topics", "warnings", "versions")},
            "topics": bag.structured("topics"),
            "recorder_warnings": bag.structured("warnings"),
            "versions": bag.structured("versions"),
            **result.report(),
        }
        _dump(folder / "episodes" / f"episode_{index:06d}.json", provenance)


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
