# SPDX-License-Identifier: Apache-2.0

"""The image histograms of every episode of a dataset, in one file.

They make the statistics of a dataset exact again when episodes are added or taken away, without decoding a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.stats import DEPTH_UNITS, ImageHistogram, Statistics

HISTOGRAMS_PATH = "meta/vla/image_histograms.parquet"
"""Where a dataset keeps them."""

_BATCH_ROWS = 64
_SCHEMA = pa.schema(
    {
        "episode_index": pa.int64(),
        "feature": pa.string(),
        "frames": pa.int64(),
        "scale": pa.float64(),
        "channels": pa.int32(),
        "levels": pa.int32(),
        "index": pa.list_(pa.int32()),
        "count": pa.list_(pa.int64()),
    }
)


class HistogramLog:
    """Writes the histograms as the episodes come and adds them up; levels without a pixel are left out."""

    def __init__(self, path: Path) -> None:
        """Prepare a log that is at `path` after `close`; an older file there is replaced, not written into."""
        self._path = path
        self._new = path.with_name(path.name + ".new")
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        self._totals: dict[str, ImageHistogram] = {}

    def add(self, episode: int, histograms: Mapping[str, ImageHistogram]) -> None:
        """Append the histograms of one episode, feature -> histogram.

        Raises:
            DatasetError: The pixels mean something else than those before, such as depth in another unit.
        """
        for name, histogram in histograms.items():
            total = self._totals.setdefault(name, ImageHistogram(np.zeros_like(histogram.counts), 0, histogram.scale))
            if (total.scale, total.counts.shape) != (histogram.scale, histogram.counts.shape):
                raise DatasetError(
                    f"{name}: episode {episode} holds {_kind(histogram)}, the ones before it hold {_kind(total)}; convert "
                    "them apart"
                )
            total.merge(histogram)
            self._rows.append(_row(episode, name, histogram))
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def statistics(self) -> dict[str, Statistics]:
        """Return feature -> statistics of all its pixels."""
        return {name: total.statistics() for name, total in self._totals.items()}

    def close(self) -> None:
        """Complete the file."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._new.replace(self._path)

    def _flush(self) -> None:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._new, _SCHEMA, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
        self._rows = []


def read_histograms(path: Path, episode: int | None = None) -> Iterator[tuple[int, str, ImageHistogram]]:
    """Yield (episode, feature, histogram) of a log, one at a time; nothing if there is no such file.

    Args:
        path: The file.
        episode: Only this one.
    """
    if not path.exists():
        return
    if episode is not None:
        yield from _histograms(pq.read_table(path, filters=[("episode_index", "==", episode)]))
        return
    with pq.ParquetFile(path) as log:
        for batch in log.iter_batches(batch_size=_BATCH_ROWS):
            yield from _histograms(batch)


def _histograms(rows: pa.Table | pa.RecordBatch) -> Iterator[tuple[int, str, ImageHistogram]]:
    for row in rows.to_pylist():
        counts = np.zeros((row["channels"], row["levels"]), np.int64)
        counts.reshape(-1)[row["index"]] = row["count"]
        yield row["episode_index"], row["feature"], ImageHistogram(counts, row["frames"], row["scale"])


def counted_episodes(path: Path) -> set[tuple[int, str]]:
    """Return the (episode, feature) pairs of a log."""
    if not path.exists():
        return set()
    table = pq.read_table(path, columns=["episode_index", "feature"])
    return set(zip(table["episode_index"].to_pylist(), table["feature"].to_pylist(), strict=True))


def _kind(histogram: ImageHistogram) -> str:
    units = {scale: unit for unit, scale in DEPTH_UNITS.items()}
    return f"depth in {units[histogram.scale]}" if histogram.scale in units else "colour"


def _row(episode: int, name: str, histogram: ImageHistogram) -> dict[str, Any]:
    flat = histogram.counts.reshape(-1)
    used = np.flatnonzero(flat)
    return {
        "episode_index": episode,
        "feature": name,
        "frames": histogram.frames,
        "scale": histogram.scale,
        "channels": histogram.counts.shape[0],
        "levels": histogram.counts.shape[1],
        "index": used,
        "count": flat[used],
    }
