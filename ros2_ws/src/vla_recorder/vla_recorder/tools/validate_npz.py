# SPDX-License-Identifier: Apache-2.0

"""Measure npz episodes by their specification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vla_core.profile import Profile

from vla_recorder.formats.npz import ACTIONS, OBSERVATION, TIMESTAMPS
from vla_recorder.formats.npz_reader import NpzEpisode, NpzError
from vla_recorder.formats.npz_spec import Spec
from vla_recorder.tools.validate_rules import (
    ERROR,
    EpisodeReport,
    Finding,
    ImageWatch,
    RobotRules,
    Thresholds,
    check_finite,
    check_frequency,
    check_range,
    check_times,
)

_STATE = f"{OBSERVATION}state"


def validate_npz(path: Path, spec: Spec, thresholds: Thresholds, profile: Profile | None = None) -> EpisodeReport:
    """Return what breaks the specification in one file.

    Args:
        path: The file.
        spec: What it must hold.
        thresholds: What is still all right.
        profile: What the numbers of ``obs.state`` mean; without it, joints cannot be looked at.
    """
    report = EpisodeReport(path.stem)
    try:
        episode = NpzEpisode.open(path)
        joints = _check_robot(episode, profile, thresholds, report)
        _check(episode, spec, thresholds, report, joints)
    except NpzError as error:
        report.add([Finding("readable", ERROR, str(error))])
    return report


def _check_robot(
    episode: NpzEpisode, profile: Profile | None, thresholds: Thresholds, report: EpisodeReport
) -> NDArray[np.float64] | None:
    """Check the joints and return those of the arm (T, k), where somebody says what the numbers mean."""
    shape = episode.arrays.get(_STATE, ((), None))[0]
    if profile is None or len(shape) != 2 or shape[1] != len(profile.state_names):
        why = "no robot profile says what the numbers mean"
        report.unchecked |= dict.fromkeys(("joint_jump", "tcp_jump"), why)
        return None
    rules = RobotRules(profile)
    states = episode.array(_STATE)
    report.unchecked |= rules.unchecked
    report.add(rules.check(states, thresholds))
    return rules.positions(states)


def _check(
    episode: NpzEpisode,
    spec: Spec,
    thresholds: Thresholds,
    report: EpisodeReport,
    joints: NDArray[np.float64] | None,
) -> None:
    observations = [OBSERVATION + key for key in (*spec.required_obs_keys, *spec.required_proprio_keys)]
    absent = [name for name in (ACTIONS, TIMESTAMPS, *observations) if name not in episode.arrays]
    report.add([Finding("missing_key", ERROR, f"'{name}' is not there; the spec requires it") for name in absent])
    if ACTIONS in absent:
        return
    shape = episode.arrays[ACTIONS][0]
    report.rows = shape[0] if shape else 0
    if len(shape) != 2 or shape[1] != spec.action_dim or not report.rows:
        report.add(
            [Finding("shape", ERROR, f"'{ACTIONS}' is {shape}, the spec says (T, {spec.action_dim}), T at least 1")]
        )
    else:
        _check_actions(episode, spec, report)
    if spec.max_episode_steps is not None and report.rows > spec.max_episode_steps:
        text = f"{report.rows} rows, the spec allows {spec.max_episode_steps}"
        report.add([Finding("too_long", ERROR, text)])
    if TIMESTAMPS not in absent:
        _check_timestamps(episode, spec, thresholds, report)
    for name in observations:
        if name not in absent:
            _check_observation(episode, name, spec, thresholds, report, joints)


def _check_actions(episode: NpzEpisode, spec: Spec, report: EpisodeReport) -> None:
    actions = episode.array(ACTIONS)
    names = spec.action_names or tuple(f"{ACTIONS}[{i}]" for i in range(spec.action_dim))
    if not spec.allow_nan:
        report.add(check_finite(ACTIONS, actions))
    if spec.action_min is not None or spec.action_max is not None:
        lower = spec.action_min or (-np.inf,) * spec.action_dim
        upper = spec.action_max or (np.inf,) * spec.action_dim
        known = np.isfinite(actions).all(axis=1)
        report.add(check_range(names, np.where(known[:, None], actions, np.clip(0.0, lower, upper)), lower, upper))


def _check_timestamps(episode: NpzEpisode, spec: Spec, thresholds: Thresholds, report: EpisodeReport) -> None:
    t_s = np.asarray(episode.array(TIMESTAMPS), np.float64)
    if t_s.shape != (report.rows,):
        report.add([Finding("shape", ERROR, f"'{TIMESTAMPS}' is {t_s.shape}, the actions have {report.rows} rows")])
        return
    broken = check_finite(TIMESTAMPS, t_s)
    report.add(broken)
    if not broken:
        report.add(check_times(t_s, spec.control_freq_hz, thresholds))
        report.add(check_frequency(t_s, spec.control_freq_hz, spec.control_freq_tolerance_pct))


def _check_observation(
    episode: NpzEpisode,
    name: str,
    spec: Spec,
    thresholds: Thresholds,
    report: EpisodeReport,
    joints: NDArray[np.float64] | None,
) -> None:
    shape, dtype = episode.arrays[name]
    if not shape or shape[0] != report.rows:
        report.add([Finding("shape", ERROR, f"'{name}' is {shape}, the actions have {report.rows} rows")])
        return
    is_image = len(shape) == 4 or (len(shape) == 3 and name.removeprefix(OBSERVATION) in spec.required_obs_keys)
    if is_image:
        watch = ImageWatch(name, thresholds)
        for piece in episode.pieces(name):
            for image in piece:
                watch.add(image)
        report.add(watch.findings(joints if joints is not None and len(joints) == report.rows else None))
    elif np.issubdtype(dtype, np.floating) and not spec.allow_nan:
        report.add(check_finite(name, episode.array(name)))
