# SPDX-License-Identifier: Apache-2.0

"""Plan a conversion: choose the episodes and check that they make one dataset."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml
from vla_core.errors import BagError, VlaError
from vla_core.profile import Profile, load_profile, mapping_differences, parse_profile, with_codec

from vla_recorder.bags.reader import EpisodeBag, find_episodes, open_episode
from vla_recorder.capture.session import OPEN_SUFFIX
from vla_recorder.convert.dataset import bags_in
from vla_recorder.convert.job import Job
from vla_recorder.convert.joints import Robot
from vla_recorder.convert.options import Options
from vla_recorder.convert.staging import APPEND, Begin, how_to_begin
from vla_recorder.convert.targets import NOOP_THRESHOLD, STOP_FRAMES, STOP_STATES, Target, targets_of

DISCARDED = "discarded"
_BROKEN_ENDS = ("shutdown", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be converted.

    Attributes:
        profile: Profile of the dataset.
        fps: Rows per second.
        targets: Datasets to make.
        age_streams: Streams whose ages are stored with every row.
        begin: How the work begins: anew, or with what an earlier run left.
        jobs: (bag, job) in the order of the dataset.
        present: Folders of episodes that are in the dataset already.
        skipped: (episode, reason) that are left out on purpose.
        bad: (episode, reason) that cannot be read.
        warnings: For people.
    """

    profile: Profile
    fps: int
    targets: tuple[Target, ...]
    age_streams: tuple[str, ...]
    begin: Begin
    jobs: tuple[tuple[EpisodeBag, Job], ...]
    present: tuple[Path, ...]
    skipped: tuple[tuple[str, str], ...]
    bad: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def make_plan(options: Options) -> Plan:
    """Choose the episodes and check that they belong together.

    Raises:
        VlaError: There is nothing to convert, profiles differ, the output is in the way, or an option does not fit.
    """
    if options.workers < 1:
        raise VlaError(f"--workers {options.workers}: at least one is needed")
    if not 0 <= options.noop_threshold < float("inf"):
        raise VlaError(f"--noop-threshold {options.noop_threshold:g}: give a distance of zero or more")
    _check_target_options(options)
    begin = how_to_begin(options.output.absolute(), resume=options.resume, overwrite=options.overwrite)
    targets = targets_of(options.target, keep_noops=options.keep_noops, stop_frames=options.stop_frames)
    bags, bad = _open_all(options)
    chosen, skipped = _choose(bags, bad, options)
    profiles, unusable = _profiles(chosen, options)
    bad += unusable
    if not profiles:
        raise BagError(f"{options.bags}: no episode can be read; the first says: {bad[0][1]}")
    first = next(iter(profiles.values()))
    warnings = _compare(profiles)
    fps = _whole_fps(first.fps)
    for camera in first.cameras:
        options.video.pixel_format(*camera.frame_size)
    _check_targets(first, targets, options)
    _check_format(_job(chosen[0], first, fps, targets, options), first)
    present = _present(chosen, options.output.absolute(), targets) if begin.mode == APPEND else ()
    jobs = tuple(
        (bag, _job(bag, profiles[bag.folder], fps, targets, options))
        for bag in chosen
        if bag.folder in profiles and bag.folder not in present
    )
    return Plan(
        profile=first,
        fps=fps,
        targets=targets,
        age_streams=_job(chosen[0], first, fps, targets, options).age_streams(first),
        begin=begin,
        jobs=jobs,
        present=present,
        skipped=tuple(skipped),
        bad=tuple(bad),
        warnings=tuple(warnings),
    )


def _check_target_options(options: Options) -> None:
    """Refuse options that mean nothing for the target, instead of taking them and doing nothing."""
    removes = options.target != "recorded" and not options.keep_noops
    rule = options.noop_rule != "all" or options.noop_threshold != NOOP_THRESHOLD
    if rule and not removes:
        why = "--keep-noops is given" if options.keep_noops else "--target recorded removes no rows"
        raise VlaError(
            f"--noop-rule and --noop-threshold mean nothing here: {why}; leave them out, or give --target e2e"
        )
    if options.stop_frames < 1:
        raise VlaError(
            f"--stop-frames {options.stop_frames}: at least 1; without stop frames a policy never learns to say that it is "
            "done. To have none, give --target e2e"
        )
    asked = {
        "--gripper-closed": options.gripper_closed is not None,
        "--stop-frames": options.stop_frames != STOP_FRAMES,
        "--stop-state": options.stop_state != STOP_STATES[0],
    }
    for name, given in asked.items():
        if given and options.target in ("recorded", "e2e"):
            raise VlaError(
                f"{name} is for stop frames, and --target {options.target} has none; leave it out, or give --target "
                "planner or correction"
            )


def _job(bag: EpisodeBag, profile: Profile, fps: int, targets: tuple[Target, ...], options: Options) -> Job:
    return Job(
        folder=bag.folder.absolute(),
        profile_text=profile.text,
        profile_source=profile.source,
        fps=fps,
        task=options.task or bag.get("task") or profile.task,
        work_dir=Path(bag.name),
        video=options.video,
        format=options.format,
        name=options.repo_id,
        targets=targets,
        action=options.action,
        noop_rule=options.noop_rule,
        noop_threshold=options.noop_threshold,
        gripper_closed=options.gripper_closed,
        stop_state=options.stop_state,
        age_columns=options.age_columns,
    )


def _open_all(options: Options) -> tuple[list[EpisodeBag], list[tuple[str, str]]]:
    bags, bad = [], []
    for folder in find_episodes(options.bags):
        try:
            bags.append(open_episode(folder))
        except BagError as error:
            if options.strict:
                raise
            bad.append((folder.name, str(error)))
    bags.sort(key=lambda bag: (bag.get("recorded_at"), bag.span_ns[0], bag.name))
    return bags, bad


def _choose(
    bags: list[EpisodeBag], bad: list[tuple[str, str]], options: Options
) -> tuple[list[EpisodeBag], list[tuple[str, str]]]:
    chosen = []
    skipped = [
        (path.name, "never closed: its recorder was killed")
        for path in sorted(options.bags.glob(f"*{OPEN_SUFFIX}"))
        if path.is_dir()
    ]
    for bag in bags:
        reason = left_out(bag)
        if bag.get("termination") == DISCARDED:
            skipped.append((bag.name, reason))
        elif reason and not options.include_failures:
            skipped.append((bag.name, f"{reason}; --include-failures takes it"))
        else:
            chosen.append(bag)
    if not chosen:
        reasons = Counter(reason for _, reason in skipped)
        parts = [f"{count} skipped: {reason}" for reason, count in reasons.items()]
        parts += [f"{name} cannot be read: {reason}" for name, reason in bad]
        raise BagError(f"{options.bags}: no episode to convert ({'; '.join(parts)})")
    return chosen, skipped


def _present(bags: list[EpisodeBag], output: Path, targets: tuple[Target, ...]) -> tuple[Path, ...]:
    """Return the folders of the bags whose content is in the datasets already."""
    known = set().union(*(bags_in(root) for root in roots_of(output, targets).values()))
    return tuple(bag.folder for bag in bags if bag.content_hash() in known)


def roots_of(output: Path, targets: tuple[Target, ...]) -> dict[str, Path]:
    """Return where the dataset of every target goes; a single one is the output itself."""
    if len(targets) == 1:
        return {targets[0].name: output}
    return {target.name: output / target.name for target in targets}


def left_out(bag: EpisodeBag) -> str:
    """Return why an episode is left out by default; empty if it is taken."""
    if bag.get("termination") == DISCARDED:
        return "it was discarded"
    if bag.get("outcome") == "failure":
        return "its outcome is failure"
    if bag.get("termination") in _BROKEN_ENDS:
        return f"incomplete ({bag.get('termination')}): {bag.get('error') or 'the recorder was stopped'}"
    return ""


def _profiles(bags: list[EpisodeBag], options: Options) -> tuple[dict[Path, Profile], list[tuple[str, str]]]:
    """Return folder -> profile of every bag, and (bag, reason) for those that have none."""
    found: dict[Path, Profile] = {}
    bad: list[tuple[str, str]] = []
    given = load_profile(options.profile) if options.profile is not None else None
    made: dict[str, Profile] = {}
    for bag in bags:
        try:
            profile = given or _own_profile(bag)
            if profile.sha256 not in made:
                made[profile.sha256] = dataset_profile(profile, options)
            found[bag.folder] = made[profile.sha256]
        except VlaError as error:
            if options.strict or given is not None:
                raise
            bad.append((bag.name, str(error)))
    return found, bad


def _own_profile(bag: EpisodeBag) -> Profile:
    text = bag.get("profile")
    if not text:
        raise BagError(
            f"{bag.folder}: the bag carries no robot profile, so nobody knows what its topics mean; give the profile "
            "with --profile"
        )
    return parse_profile(text, f"profile in {bag.folder}")


def dataset_profile(profile: Profile, options: Options) -> Profile:
    """Return the profile of the dataset: the robot's, with the rate, image size and codec that were asked for.

    It travels with the dataset, so that a policy sees its images as the training did and takes its steps as far apart.
    """
    if options.image_size is not None and options.image_size < 1:
        raise VlaError(f"--image-size {options.image_size}: give the number of pixels of one side")
    tree = yaml.safe_load(profile.text)
    if options.fps is not None and options.fps != profile.fps:
        tree["fps"] = _whole_fps(options.fps)
    for camera in tree.get("cameras", {}).values() if options.image_size is not None else ():
        camera["resize"] = [options.image_size, options.image_size]
    text = yaml.safe_dump(tree, sort_keys=False, width=120, allow_unicode=True)
    if text != profile.text:
        profile = parse_profile(text, profile.source)
    codec = dataset_codec(profile, options)
    return profile if codec is None else with_codec(profile, codec, options.rotation or "rotvec")


def dataset_codec(profile: Profile, options: Options) -> str | None:
    """Return the codec that the options ask for; None leaves the profile's.

    Raises:
        VlaError: The options contradict each other.
    """
    if options.rotation is not None and not (options.codec or "").startswith("eepose"):
        raise VlaError(
            f"--rotation {options.rotation}: only the codecs eepose_absolute and eepose_delta have orientations"
        )
    if options.action != "delta":
        return options.codec
    if (options.codec or "").endswith("_absolute"):
        raise VlaError(f"--action delta: gives differences, which the codec {options.codec} does not hold")
    poses = any(spec.space.endswith("_eef") for spec in profile.action)
    return options.codec or ("eepose_delta" if poses else "joints_delta")


def _check_targets(profile: Profile, targets: tuple[Target, ...], options: Options) -> None:
    robot = Robot(profile, options.gripper_closed, options.stop_state)
    if any(target.remove_noops for target in targets):
        robot.position(options.noop_rule)
    if any(target.stop_frames for target in targets):
        robot.check_closed()
    if options.action != "commanded":
        robot.check_measured()


def _check_format(job: Job, profile: Profile) -> None:
    """Refuse a profile that does not fit the format before the first bag is read."""
    with tempfile.TemporaryDirectory() as folder:
        for target in job.targets:
            job.format.episode_writer(job.layout(profile, target), Path(folder) / target.name).discard()


def _compare(profiles: dict[Path, Profile]) -> list[str]:
    """Refuse episodes whose numbers mean different things; other differences only deserve a warning."""
    first_folder, first = next(iter(profiles.items()))
    warnings = []
    for folder, profile in profiles.items():
        if profile.sha256 == first.sha256:
            continue
        differences = mapping_differences(first, profile)
        if differences:
            shown = "; ".join(line.replace("trained with", "there").replace(", now", ", here") for line in differences)
            raise BagError(
                f"{folder.name} was recorded with another mapping than {first_folder.name}: {shown}. Convert them apart, or read all "
                "with one profile by --profile"
            )
        warnings.append(
            f"{folder.name}: its profile differs from that of {first_folder.name} in topics, rates or limits; the mapping is the same"
        )
    return warnings


def _whole_fps(fps: float) -> int:
    if fps < 1 or fps != int(fps):
        raise VlaError(f"fps {fps:g}: datasets hold whole frames per second; give a whole number with --fps")
    return int(fps)
