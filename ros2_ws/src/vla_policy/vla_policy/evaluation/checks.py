# SPDX-License-Identifier: Apache-2.0

"""What must hold before a policy is evaluated on a dataset: frame rate, profile, and which episodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_core.errors import ProfileError
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY
from vla_core.profile import Profile, load_profile, mapping_differences

from vla_policy.evaluation.run_folder import EvaluationError
from vla_policy.policies.contract import feature_differences, profile_shapes
from vla_policy.training.dataset_checks import DATASET_PROFILE, channels_first


def own_profile(dataset: Path) -> Profile | None:
    """The profile that travels with a dataset, or None.

    Raises:
        EvaluationError: it cannot be read.
    """
    file = dataset / DATASET_PROFILE
    if not file.is_file():
        return None
    try:
        return load_profile(file)
    except ProfileError as error:
        raise EvaluationError(f"{file}: the dataset's robot profile is unusable: {error}") from error


def check_fit(dataset: Path, info: dict[str, Any], profile: Profile, whose: str) -> None:
    """Refuse a dataset whose numbers do not mean what the policy's mean.

    Args:
        dataset: Its folder.
        info: Content of its `meta/info.json`.
        profile: The profile of the policy.
        whose: Who brought that profile, for the message.

    Raises:
        EvaluationError: with one line per difference and what to do.
    """
    if float(info["fps"]) != float(profile.fps):
        raise EvaluationError(
            f"{dataset}: has {info['fps']} frames per second, the profile of {whose} {profile.fps:g}: step k of a chunk "
            f"would be compared with another time. Convert the bags again with: ros2 run vla_recorder convert --fps "
            f"{profile.fps:g}, or train on this dataset."
        )
    differences = _differences(info["features"], profile)
    recorded = own_profile(dataset)
    if recorded is not None:
        differences += [line.replace(", now ", ", the dataset ") for line in mapping_differences(profile, recorded)]
    if differences:
        raise EvaluationError(
            f"{dataset}: the dataset does not fit the profile of {whose}:\n  "
            + "\n  ".join(dict.fromkeys(differences))
            + "\nEvaluate on a dataset that was converted under the policy's profile, or train on this one."
        )


def _differences(features: dict[str, Any], profile: Profile) -> list[str]:
    """One line per feature that differs in shape, and for names in another order."""
    stored = {
        name: channels_first(feature)
        for name, feature in features.items()
        if name in (ACTION_KEY, STATE_KEY) or name.startswith(IMAGE_PREFIX)
    }
    lines = [
        line.replace("the policy was trained without it", "the dataset is without it")
        .replace("the policy needs it", "the dataset holds it")
        .replace("policy (", "dataset (")
        for line in feature_differences(stored, profile_shapes(profile))
    ]
    for key, wanted in ((ACTION_KEY, profile.action_names), (STATE_KEY, profile.state_names)):
        names = features.get(key, {}).get("names")
        if isinstance(names, list) and len(names) == len(wanted) and tuple(names) != wanted:
            pairs = [f"'{a}' where the policy has '{b}'" for a, b in zip(names, wanted, strict=True) if a != b]
            lines.append(f"{key}: the dataset has {', '.join(pairs)}")
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which episodes are evaluated, and why those.

    Attributes:
        episodes: Their numbers.
        why: `given`, `held_out`, `unseen_dataset` or `all`.
        text: The same for people.
        trained_on: How many of them the policy was trained on; None where that is not known.
    """

    episodes: tuple[int, ...]
    why: str
    text: str
    trained_on: int | None


def choose_episodes(
    total: int, run: dict[str, Any], *, dataset: Path, sha256: str, given: Sequence[int] | None
) -> Selection:
    """The episodes to evaluate on: those asked for, else those that the training left out, else all.

    Args:
        total: Episodes in the dataset.
        run: Content of the run's `run.json`; empty where there is none.
        dataset: The dataset.
        sha256: Its hash, as `run.json` has it.
        given: What the user asked for, if anything.

    Raises:
        EvaluationError: an episode is not in the dataset, or none is left.
    """
    record = next((one for one in run.get("datasets", []) if one["sha256"] == sha256), None)
    changed = record is None and any(_same_folder(one, dataset) for one in run.get("datasets", []))
    held_out = None if record is None else tuple(record.get("held_out") or ())
    if given is not None:
        return _given(total, None if changed or not run else held_out or (), record is not None, dataset, given)
    if held_out:
        missing = [number for number in held_out if number >= total]
        if missing:
            raise EvaluationError(
                f"{dataset}: the run left out episode {missing[0]}, the dataset has {total} (0 to {total - 1}). Is it the "
                f"dataset that the run was trained on? Else name episodes: --episodes 0:{total}"
            )
        return Selection(
            episodes=held_out, why="held_out", text=f"{len(held_out)} episodes that the training left out", trained_on=0
        )
    everything = tuple(range(total))
    if record is not None:
        text = f"all {total} episodes; the training left none out, so the errors are those of training"
        return Selection(episodes=everything, why="all", text=text, trained_on=total)
    if changed:
        text = f"all {total} episodes; the dataset has changed since the training, which may know some of them"
        return Selection(episodes=everything, why="all", text=text, trained_on=None)
    if run:
        text = f"all {total} episodes of a dataset that the run was not trained on"
        return Selection(episodes=everything, why="unseen_dataset", text=text, trained_on=0)
    text = f"all {total} episodes; no run.json says which of them the policy was trained on"
    return Selection(episodes=everything, why="all", text=text, trained_on=None)


def _given(
    total: int, held_out: tuple[int, ...] | None, trained_on: bool, dataset: Path, given: Sequence[int]
) -> Selection:
    """The episodes asked for. `held_out`: None where it is not known what the training saw."""
    wrong = [number for number in given if not 0 <= number < total]
    if wrong:
        raise EvaluationError(
            f"{dataset}: there is no episode {wrong[0]}; the dataset has {total} (0 to {total - 1}). Name others: --episodes"
        )
    chosen = tuple(sorted(set(given)))
    seen = None if held_out is None else len(set(chosen) - set(held_out)) if trained_on else 0
    known = "it is not known which of them the policy was trained on"
    return Selection(
        episodes=chosen,
        why="given",
        text=f"{len(chosen)} episodes as asked for; {known if seen is None else f'the policy was trained on {seen} of them'}",
        trained_on=seen,
    )


def _same_folder(record: dict[str, Any], dataset: Path) -> bool:
    return Path(str(record.get("path"))).resolve() == dataset.resolve()
