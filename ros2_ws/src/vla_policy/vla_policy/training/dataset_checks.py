# SPDX-License-Identifier: Apache-2.0

"""What must hold of a dataset before anything is trained on it; nothing of LeRobot is imported here."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from vla_core.errors import ProfileError
from vla_core.profile import Profile, load_profile, mapping_differences

from vla_policy.policies.contract import feature_differences, profile_shapes
from vla_policy.training.train_settings import TrainError

DATASET_PROFILE = Path("meta") / "vla" / "profile.yaml"
EPISODE_NOTES = Path("meta") / "vla" / "episodes"
INFO, STATS, TASKS = Path("meta/info.json"), Path("meta/stats.json"), Path("meta/tasks.parquet")
VERSION = "v3.0"
REMEDY = "Make one with: ros2 run vla_recorder convert --bags DIR --output DIR."
VECTORS = ("observation.state", "action")
SPREAD_BY_POLICY = {"diffusion": ("min", "max"), "pi05": ("q01", "q99")}
"""The two statistics whose distance LeRobot divides by; other policies divide by the standard deviation."""
MIN_SPREAD = 1e-4
"""rad or metres: below it a value does not move, it trembles. Far above the digits of float32, far below any motion."""
MAX_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """A dataset that may be trained on.

    Attributes:
        path: Its folder.
        info: Content of `meta/info.json`.
        profile: The robot profile that it was made under.
        sha256: Hash of its numbers, its features and its profile.
        tasks: Task sentences.
        held_out: Episodes that are not trained on.
    """

    path: Path
    info: Mapping[str, Any]
    profile: Profile
    sha256: str
    tasks: tuple[str, ...]
    held_out: tuple[int, ...] = ()

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(self.info["total_episodes"])

    @property
    def frames(self) -> int:
        """Number of frames."""
        return int(self.info["total_frames"])


def check_dataset(dataset: Path) -> dict[str, Any]:
    """Content of the dataset's `meta/info.json`.

    Raises:
        TrainError: the folder is no LeRobot v3.0 dataset, holds no frames, or lacks files.
    """
    if not dataset.is_dir():
        raise TrainError(f"{dataset}: there is no such dataset folder. {REMEDY}")
    if not any(dataset.iterdir()):
        raise TrainError(f"{dataset}: the dataset folder is empty. {REMEDY}")
    info_file = dataset / INFO
    try:
        info = json.loads(info_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{dataset}: not a LeRobot dataset, meta/info.json is missing. {REMEDY}") from error
    except ValueError as error:
        raise TrainError(f"{info_file}: not valid JSON: {error}. {REMEDY}") from error
    if not isinstance(info, dict) or not info.get("total_frames"):
        raise TrainError(f"{dataset}: the dataset holds no frames. {REMEDY}")
    if info.get("codebase_version") != VERSION:
        raise TrainError(
            f"{dataset}: a dataset of version {info.get('codebase_version')!r}; LeRobot trains on {VERSION}. Convert the "
            "bags again with: ros2 run vla_recorder convert (its default target), or a v2.1 dataset of the Hugging Face hub "
            "with: python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id NAME."
        )
    _check_files(dataset, info)
    return info


def episode_rows(dataset: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of `meta/episodes`, in the order of the episodes.

    Raises:
        TrainError: they are missing or damaged.
    """
    files = sorted((dataset / "meta" / "episodes").rglob("*.parquet"))
    try:
        rows = [row for file in files for row in pq.read_table(file, columns=columns).to_pylist()]
    except (OSError, ValueError, KeyError) as error:
        raise TrainError(
            f"{dataset}: meta/episodes cannot be read ({error}). Was the dataset copied completely?"
        ) from error
    if not rows:
        raise TrainError(f"{dataset}: meta/episodes is missing. Was the dataset copied completely? {REMEDY}")
    return sorted(rows, key=lambda row: int(row["episode_index"]))


def _check_files(dataset: Path, info: Mapping[str, Any]) -> None:
    cameras = [name for name, feature in info["features"].items() if feature.get("dtype") == "video"]
    wanted: dict[str, int] = {}
    for row in episode_rows(dataset):
        place = {part: int(row[f"data/{part}"]) for part in ("chunk_index", "file_index")}
        wanted.setdefault(str(info["data_path"]).format(**place), int(row["episode_index"]))
        for key in cameras:
            place = {part: int(row[f"videos/{key}/{part}"]) for part in ("chunk_index", "file_index")}
            wanted.setdefault(str(info["video_path"]).format(video_key=key, **place), int(row["episode_index"]))
    missing = [
        f"{name} (first needed by episode {episode})"
        for name, episode in wanted.items()
        if not (dataset / name).is_file()
    ]
    if missing:
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        raise TrainError(
            f"{dataset}: files are missing: {', '.join(missing[:MAX_LISTED])}{more}. Copy the dataset again with its folders "
            "data/ and videos/, or convert the bags again."
        )


def dataset_profile(dataset: Path, info: Mapping[str, Any], given: Path | None) -> Profile:
    """The profile that the dataset was made under, checked against the dataset's features and rate.

    Raises:
        TrainError: the dataset carries no profile and none is given, or it does not describe the dataset.
    """
    file = given or dataset / DATASET_PROFILE
    if given is None and not file.is_file():
        raise TrainError(
            f"{dataset}: no robot profile travels with the dataset ({DATASET_PROFILE} is missing), and a checkpoint "
            f"without one cannot be run. Pass the profile it was made under: --profile FILE."
        )
    try:
        profile = load_profile(file)
    except ProfileError as error:
        raise TrainError(f"{file}: the dataset's robot profile is unusable: {error}") from error
    stored = {
        name: channels_first(feature)
        for name, feature in info["features"].items()
        if name in VECTORS or name.startswith("observation.images.")
    }
    differences = [
        line.replace("the policy", "the dataset").replace("policy", "dataset")
        for line in feature_differences(stored, profile_shapes(profile))
    ]
    if differences:
        raise TrainError(f"{dataset}: the dataset does not fit the profile {file}:\n  " + "\n  ".join(differences))
    if float(info.get("fps", 0)) != float(profile.fps):
        raise TrainError(
            f"{dataset}: the dataset has {info.get('fps')} frames per second, the profile {file} {profile.fps:g}. A policy "
            "acts at the rate it was trained at: convert the bags under this profile, or pass the dataset's: --profile FILE."
        )
    return profile


def channels_first(feature: Mapping[str, Any]) -> tuple[int, ...]:
    """Shape of a stored feature as a policy sees it: pictures (3, H, W), the rest as it is."""
    shape = tuple(feature["shape"])
    if feature.get("dtype") in ("video", "image") and shape[-1] in (1, 3):
        return (shape[-1], *shape[:-1])
    return shape


def dataset_sha256(dataset: Path) -> str:
    """Hash of `meta/info.json`, of the bytes of all data files and of the profile that travels along."""
    digest = hashlib.sha256()
    for file in [dataset / INFO, *sorted((dataset / "data").rglob("*.parquet")), dataset / DATASET_PROFILE]:
        if file.is_file():
            digest.update(f"{file.relative_to(dataset).as_posix()}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def dataset_tasks(dataset: Path) -> tuple[str, ...]:
    """The task sentences of a dataset, each once."""
    rows = episode_rows(dataset, ["episode_index", "tasks"])
    return tuple(dict.fromkeys(str(task) for row in rows for task in row["tasks"]))


def episode_identities(dataset: Path, info: Mapping[str, Any]) -> list[str]:
    """What makes each episode itself, wherever it lies: the recording's uuid, else a hash of its numbers."""
    found: list[str] = []
    for row in episode_rows(dataset):
        index = int(row["episode_index"])
        note = dataset / EPISODE_NOTES / f"episode_{index:06d}.json"
        uuid = json.loads(note.read_text(encoding="utf-8")).get("episode_uuid") if note.is_file() else None
        found.append(str(uuid) if uuid else _content_identity(dataset, info, row))
    return found


def _content_identity(dataset: Path, info: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    place = {part: int(row[f"data/{part}"]) for part in ("chunk_index", "file_index")}
    file = dataset / str(info["data_path"]).format(**place)
    table = pq.read_table(
        file,
        columns=[name for name in VECTORS if name in info["features"]],
        filters=[("episode_index", "==", int(row["episode_index"]))],
    )
    return hashlib.sha256(json.dumps(table.to_pydict()).encode()).hexdigest()


def held_out_episodes(identities: Sequence[str], part: float) -> tuple[int, ...]:
    """The episodes that are kept for evaluation.

    Each episode's identity is hashed to a number of [0, 1); those below `part` are held out, at least one. So an episode stays
    on its side when others are added, removed or merged.

    Args:
        identities: From `episode_identities`, by episode number.
        part: Part of the episodes, at least 0 and below 1.

    Raises:
        TrainError: no episode would be left to train on.
    """
    if part == 0.0:
        return ()
    if len(identities) < 2:
        raise TrainError(
            f"too few episodes: {len(identities)} cannot be split into trained and held-out ones. Record more, or pass "
            "--held-out 0."
        )
    places = [int(hashlib.sha256(name.encode()).hexdigest()[:12], 16) / 16**12 for name in identities]
    chosen = [index for index, place in enumerate(places) if place < part] or [places.index(min(places))]
    if len(chosen) == len(identities):
        raise TrainError(
            f"--held-out {part:g} holds out all {len(identities)} episodes, so none is left to train on. Lower it, or "
            "record more."
        )
    return tuple(chosen)


def check_statistics(dataset: Path, info: Mapping[str, Any], policy: str) -> None:
    """Refuse values that (almost) never move: LeRobot divides by their spread, and the training would explode.

    Raises:
        TrainError: such a value is there; the message names it and says what to do.
    """
    file = dataset / STATS
    try:
        stats = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainError(f"{file}: cannot read the dataset's statistics ({error}). Convert the bags again.") from error
    problems = []
    for key in VECTORS:
        if key not in info["features"]:
            continue
        names = info["features"][key].get("names")
        for index, spread in enumerate(_spreads(file, stats.get(key), policy)):
            if not spread >= MIN_SPREAD:
                name = names[index] if isinstance(names, list) and index < len(names) else f"value {index}"
                problems.append(f"{key}: '{name}' hardly moves ({_spread_name(policy)} {spread:.2g})")
    if problems:
        raise TrainError(
            f"{dataset}: the normalisation would divide by almost nothing:\n  "
            + "\n  ".join(problems)
            + "\nTake the value "
            "out of the profile and convert again, record episodes in which it moves, or train with --std-floor 0.01, which "
            f"divides by at least that. Limit: {MIN_SPREAD:g}."
        )


def _spread_name(policy: str) -> str:
    return " to ".join(SPREAD_BY_POLICY[policy]) if policy in SPREAD_BY_POLICY else "standard deviation"


def _spreads(file: Path, stats: Mapping[str, Any] | None, policy: str) -> list[float]:
    pair = SPREAD_BY_POLICY.get(policy)
    try:
        if stats is None:
            raise KeyError("the feature")
        if pair is None:
            return [float(value) for value in stats["std"]]
        return [float(high) - float(low) for low, high in zip(stats[pair[0]], stats[pair[1]], strict=True)]
    except KeyError as error:
        raise TrainError(
            f"{file}: {error} is missing, which policy '{policy}' normalises with. Convert the bags again, or run: "
            "python -m lerobot.scripts.augment_dataset_quantile_stats."
        ) from error


def inspect_dataset(
    dataset: Path, *, given: Path | None, policy: str, part: float, spread: bool = True
) -> DatasetFacts:
    """Check one dataset and say what is in it.

    Args:
        dataset: Its folder.
        given: Profile to use instead of the one that travels along.
        policy: LeRobot's policy type; decides what is divided by.
        part: Part of the episodes that is held out.
        spread: Refuse values that never move.

    Raises:
        TrainError: it cannot be trained on.
    """
    info = check_dataset(dataset)
    profile = dataset_profile(dataset, info, given)
    if spread:
        check_statistics(dataset, info, policy)
    held_out = held_out_episodes(episode_identities(dataset, info), part) if part else ()
    return DatasetFacts(
        path=dataset,
        info=info,
        profile=profile,
        sha256=dataset_sha256(dataset),
        tasks=dataset_tasks(dataset),
        held_out=held_out,
    )


def check_alike(found: Sequence[DatasetFacts]) -> None:
    """Refuse datasets that cannot be one.

    Raises:
        TrainError: one is named twice, or they differ in rate, features, robot or what their numbers mean.
    """
    first = found[0]
    for other in found[1:]:
        if other.path.resolve() == first.path.resolve():
            raise TrainError(f"{other.path}: is named twice; its episodes would count twice.")
        reasons = [
            f"{name}: {first.info.get(key)} and {other.info.get(key)}"
            for name, key in (("frames per second", "fps"), ("robot", "robot_type"))
            if first.info.get(key) != other.info.get(key)
        ]
        if set(first.info["features"]) != set(other.info["features"]):
            reasons.append(f"features: {sorted(set(first.info['features']) ^ set(other.info['features']))} only in one")
        reasons += mapping_differences(first.profile, other.profile)
        if reasons:
            raise TrainError(
                f"{other.path}: cannot be trained on together with {first.path}:\n  "
                + "\n  ".join(reasons)
                + "\nConvert the bags of both under one profile, or train on one of them."
            )
