# SPDX-License-Identifier: Apache-2.0

"""The command ``norms``: mean, spread and quantiles of actions and measured vectors, for training to normalise with.

``norms.npz`` holds ``action_mean``, ``action_std``, ``action_min``, ``action_max``, ``action_q01``, ``action_q99``, and the
same six as ``proprio.<key>.<statistic>`` for every measured vector. ``metadata.json`` says where they come from and what to
be careful with: a value that hardly varies would be blown up by the division, so its std is replaced by 1.
"""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError, listing, nearest_name
from vla_core.frames import ACTION_KEY

from vla_recorder.formats.lerobot_meta import INFO_PATH
from vla_recorder.formats.npz import ACTIONS, OBSERVATION
from vla_recorder.formats.npz_reader import NpzEpisode, find_npz
from vla_recorder.formats.npz_spec import SPEC_FILE, load_spec
from vla_recorder.tools.validate_lerobot import LeRobotDataset

EXIT_OK, EXIT_USAGE = 0, 2
MAX_EPISODES = 50
MIN_STD = 1e-6
"""A spread below this is none: float32 does not hold seven digits."""
TIGHT = 1e-3
"""Quantiles nearer to each other than this part of the whole range blow up a few values."""
STATISTICS = ("mean", "std", "min", "max", "q01", "q99")
_ACTIONS = (ACTION_KEY, "actions")
"""Names of the action in datasets for LeRobot and for OpenPI."""
NORMS_FILE, METADATA_FILE = "norms.npz", "metadata.json"
_EXAMPLE = """\
example:
  ros2 run vla_recorder norms --data-root data --spec data/spec.yaml --out-dir norms/lift
  ros2 run vla_recorder norms --data-root ~/datasets/lift --out-dir norms/lift --proprio-keys observation.state
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where vectors come from.

    Attributes:
        kind: npz or lerobot.
        episodes: Names of all episodes.
        keys: Measured vectors that are taken.
        names: Vector -> names of its values, where they are known.
        read: Episode number -> vector (with ``action``) -> (T, k).
    """

    kind: str
    episodes: Sequence[str]
    keys: tuple[str, ...]
    names: Mapping[str, Sequence[str]]
    read: Any


@dataclass(slots=True)
class Norms:
    """Statistics of one vector.

    Attributes:
        values: Statistic -> (k,) float32.
        constant: Numbers of the values that hardly vary; their std is 1.
        tight: Numbers of the values whose quantiles nearly touch.
        rows: How many rows they are of.
    """

    values: dict[str, NDArray[np.float32]]
    constant: list[int] = field(default_factory=list)
    tight: list[int] = field(default_factory=list)
    rows: int = 0


def norms_of(values: NDArray[Any]) -> Norms:
    """Return the statistics of the columns of (N, k) values, N at least 1, computed in float64.

    ``std`` is that of the population. Where it is (nearly) 0 it is replaced by 1, so that a division leaves the value 0.
    """
    rows = np.asarray(values, np.float64)
    low, high = np.quantile(rows, [0.01, 0.99], axis=0)
    std = rows.std(axis=0)
    span = rows.max(axis=0) - rows.min(axis=0)
    constant = std <= MIN_STD * np.maximum(1.0, np.abs(rows).max(axis=0))
    tight = ~constant & (high - low <= TIGHT * span)
    found = {
        "mean": rows.mean(axis=0),
        "std": np.where(constant, 1.0, std),
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "q01": low,
        "q99": high,
    }
    return Norms(
        values={key: value.astype(np.float32) for key, value in found.items()},
        constant=np.flatnonzero(constant).tolist(),
        tight=np.flatnonzero(tight).tolist(),
        rows=len(rows),
    )


def npz_source(root: Path, spec_path: Path | None, keys: Sequence[str] | None) -> Source:
    """Return the vectors of npz episodes.

    Raises:
        VlaError: There is no episode or no spec, or a key is none of the spec.
    """
    paths = find_npz(root)
    spec = load_spec(spec_path or root / SPEC_FILE)
    chosen = tuple(keys) if keys is not None else spec.required_proprio_keys
    arrays = NpzEpisode.open(paths[0]).arrays
    known = [name.removeprefix(OBSERVATION) for name, (shape, _) in arrays.items() if _is_vector(name, shape)]
    _check_keys(chosen, known, str(paths[0]))

    def read(number: int) -> dict[str, NDArray[Any]]:
        episode = NpzEpisode.open(paths[number])
        return {ACTION_KEY: episode.array(ACTIONS), **{key: episode.array(OBSERVATION + key) for key in chosen}}

    names = {ACTION_KEY: spec.action_names} if spec.action_names else {}
    return Source(kind="npz", episodes=[path.stem for path in paths], keys=chosen, names=names, read=read)


def _is_vector(name: str, shape: tuple[int, ...]) -> bool:
    return name.startswith(OBSERVATION) and len(shape) <= 2


def lerobot_source(root: Path, keys: Sequence[str] | None) -> Source:
    """Return the vectors of a LeRobot dataset.

    Raises:
        VlaError: It is none, has no action, or a key is no column of it.
    """
    dataset = LeRobotDataset(root)
    action = next((key for key in _ACTIONS if key in dataset.columns), None)
    if action is None:
        raise VlaError(f"{root}: has no column {' or '.join(_ACTIONS)}; it has {listing(dataset.columns)}")
    known = [key for key in dataset.columns if key.startswith("observation.") or key == "state"]
    chosen = tuple(keys) if keys is not None else tuple(known)
    _check_keys(chosen, known, str(root))

    def read(number: int) -> dict[str, NDArray[Any]]:
        rows = dataset.rows(dataset.episodes[number], [action, *chosen])
        return {ACTION_KEY: rows.pop(action), **rows}

    names = {
        ACTION_KEY if key == action else key: spec["names"]
        for key, spec in dataset.features.items()
        if key in (action, *chosen) and isinstance(spec.get("names"), list)
    }
    return Source(
        kind="lerobot",
        episodes=[f"episode {row['episode_index']}" for row in dataset.episodes],
        keys=chosen,
        names=names,
        read=read,
    )


def _check_keys(chosen: Sequence[str], known: Sequence[str], where: str) -> None:
    for key in chosen:
        if key not in known:
            raise VlaError(
                f"{where}: has no measured vector '{key}'{nearest_name(key, known)}; it has {listing(known)}"
            )


def collect(source: Source, max_episodes: int) -> dict[str, Norms]:
    """Return the statistics of every vector over the first episodes.

    Raises:
        VlaError: A number is NaN or infinite, or episodes do not have the same vectors.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    for number, name in enumerate(source.episodes[:max_episodes]):
        for key, values in source.read(number).items():
            rows = np.asarray(values).reshape(len(values), -1)
            if not np.isfinite(rows).all():
                raise VlaError(f"{name}: '{key}' holds NaN or infinity; `ros2 run vla_recorder validate` says where")
            before = parts.setdefault(key, [])
            if before and before[0].shape[1] != rows.shape[1]:
                raise VlaError(f"{name}: '{key}' has {rows.shape[1]} values, it had {before[0].shape[1]} before")
            before.append(rows)
    return {key: norms_of(np.concatenate(rows)) for key, rows in parts.items()}


def array_names(norms: Mapping[str, Norms]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield (name in ``norms.npz``, values) of all statistics."""
    for key, one in norms.items():
        for statistic in STATISTICS:
            name = f"action_{statistic}" if key == ACTION_KEY else f"proprio.{key}.{statistic}"
            yield name, one.values[statistic]


def warnings_of(source: Source, norms: Mapping[str, Norms]) -> list[str]:
    """Return what to be careful with, for people."""
    found = []
    for key, one in norms.items():
        names = source.names.get(key) or [str(i) for i in range(len(one.values["mean"]))]
        for marked, why in (
            (one.constant, "hardly vary in these rows; their std is set to 1"),
            (
                one.tight,
                "lie almost all at one value: q01 and q99 nearly touch, so quantile normalisation blows up the rest",
            ),
        ):
            if marked:
                found.append(f"{key}: {', '.join(names[i] for i in marked)} {why}")
    return found


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="norms",
        description="Mean, std and quantiles of actions and measured vectors, of npz episodes or a LeRobot dataset.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--data-root", type=Path, required=True, help="folder with 'episodes', or a LeRobot dataset")
    result.add_argument("--spec", type=Path, help=f"spec of npz episodes; default {SPEC_FILE} in the folder")
    result.add_argument("--out-dir", type=Path, required=True, help=f"where {NORMS_FILE} and {METADATA_FILE} go")
    result.add_argument(
        "--max-episodes", type=int, default=MAX_EPISODES, help=f"how many episodes are read; default {MAX_EPISODES}"
    )
    result.add_argument(
        "--proprio-keys", nargs="+", metavar="KEY", help="measured vectors; default all that the data require"
    )
    return result


def _run(arguments: argparse.Namespace) -> list[str]:
    """Write the files and return the lines to print."""
    root: Path = arguments.data_root
    if arguments.max_episodes < 1:
        raise VlaError(f"--max-episodes {arguments.max_episodes}: at least one is needed")
    if (root / INFO_PATH).is_file() and arguments.spec is None:
        source = lerobot_source(root, arguments.proprio_keys)
    else:
        source = npz_source(root, arguments.spec, arguments.proprio_keys)
    norms = collect(source, arguments.max_episodes)
    used = list(source.episodes[: arguments.max_episodes])
    warnings = warnings_of(source, norms)
    arrays: dict[str, Any] = dict(array_names(norms))
    metadata = {
        "data_root": str(root.absolute()),
        "kind": source.kind,
        "episodes": used,
        "episodes_total": len(source.episodes),
        "rows": norms[ACTION_KEY].rows,
        "proprio_keys": list(source.keys),
        "names": {key: list(names) for key, names in source.names.items()},
        "std": "of the population; 1 where a value hardly varies",
        "constant": {key: one.constant for key, one in norms.items()},
        "tight_quantiles": {key: one.tight for key, one in norms.items()},
        "warnings": warnings,
    }
    arguments.out_dir.mkdir(parents=True, exist_ok=True)
    np.savez(arguments.out_dir / NORMS_FILE, **arrays)
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    (arguments.out_dir / METADATA_FILE).write_text(text, encoding="utf-8")
    done = f"{arguments.out_dir / NORMS_FILE}: {len(norms)} vectors over {len(used)} of {len(source.episodes)} episodes"
    return [f"{done}, {norms[ACTION_KEY].rows} rows", *(f"warning: {text}" for text in warnings)]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 if there is nothing to compute.
    """
    arguments = parser().parse_args(args)
    try:
        print("\n".join(_run(arguments)))
    except (VlaError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
