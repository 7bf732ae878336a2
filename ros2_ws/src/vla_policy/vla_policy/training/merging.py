# SPDX-License-Identifier: Apache-2.0

"""Make one dataset of several, by LeRobot's own aggregation: `python -m vla_policy.training.merging OUTPUT DATASET…`.

LeRobot merges quantiles as a weighted mean, which is wrong where datasets differ, and pi0.5 normalises with them. The
statistics of states and actions are therefore computed again from the rows.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from lerobot.datasets.aggregate import aggregate_datasets

from vla_policy.training.dataset_checks import DATASET_PROFILE, INFO, STATS, VECTORS

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def merge(output: Path, datasets: Sequence[Path]) -> None:
    """Write the merged dataset; it appears whole or not at all, and one that is there already is kept.

    Args:
        output: Folder to make.
        datasets: Folders of datasets that fit together, in the order of the result.
    """
    if output.is_dir():
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    work = output.with_name(f".{output.name}-{os.getpid()}")
    try:
        aggregate_datasets(
            [f"local/{path.name}" for path in datasets],
            f"local/{output.name}",
            roots=[path.resolve() for path in datasets],
            aggr_root=work,
        )
        exact_statistics(work)
        profile = datasets[0] / DATASET_PROFILE
        if profile.is_file():
            (work / DATASET_PROFILE).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(profile, work / DATASET_PROFILE)
        work.rename(output)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def exact_statistics(dataset: Path) -> None:
    """Replace the stored statistics of states and actions by those of all rows."""
    info = json.loads((dataset / INFO).read_text(encoding="utf-8"))
    stats = json.loads((dataset / STATS).read_text(encoding="utf-8"))
    for key in (key for key in VECTORS if key in info["features"]):
        parts = [
            pq.read_table(file, columns=[key])[key].to_pylist()
            for file in sorted((dataset / "data").rglob("*.parquet"))
        ]
        rows = np.array([row for part in parts for row in part], dtype=np.float64)
        stats[key] |= {
            "min": rows.min(axis=0).tolist(),
            "max": rows.max(axis=0).tolist(),
            "mean": rows.mean(axis=0).tolist(),
            "std": rows.std(axis=0).tolist(),
            "count": [len(rows)],
            **{name: np.quantile(rows, part, axis=0).tolist() for name, part in QUANTILES.items()},
        }
    (dataset / STATS).write_text(json.dumps(stats, indent=4), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: the folder to make, then the datasets."""
    output, *datasets = [Path(text) for text in (sys.argv[1:] if argv is None else argv)]
    merge(output, datasets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
