# SPDX-License-Identifier: Apache-2.0

"""Parquet tables of LeRobot datasets: rows of frames, and the statistics of what was stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import Statistics, vector_statistics
from vla_recorder.media.video import count_frames

DEFAULT_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}
"""Columns that every LeRobot dataset has besides those of its robot."""

IMAGES_FILE = "images"
"""Key in ``Episode.files`` of the parquet file with the encoded images of the rows."""

IMAGE_TYPE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""How Hugging Face ``datasets`` stores an image that is embedded in a table."""

DEPTH_UNIT_METADATA = b"vla_depth_unit:"
"""Prefix of the schema metadata key that holds the unit of a depth column of ``IMAGES_FILE``."""


def complete_features(features: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the features with the automatic columns, shapes as lists."""
    return {**{name: {**spec, "shape": list(spec["shape"])} for name, spec in features.items()}, **DEFAULT_FEATURES}


def row_schema(features: Mapping[str, Mapping[str, Any]]) -> pa.Schema:
    """Return the schema of the table of rows, described so that ``datasets`` reads images as images.

    Videos are stored beside the table and have no column.

    Raises:
        DatasetError: A feature is neither a vector nor an image.
    """
    fields: list[pa.Field] = []
    described: dict[str, dict[str, Any]] = {}
    for name, spec in features.items():
        if spec["dtype"] == "video":
            continue
        if spec["dtype"] == "image":
            fields.append(pa.field(name, IMAGE_TYPE))
            described[name] = {"_type": "Image"}
            continue
        shape = list(spec["shape"])
        if len(shape) != 1:
            raise DatasetError(f"feature {name!r} has the shape {shape}; only vectors, images and videos are stored")
        kind = pa.from_numpy_dtype(np.dtype(spec["dtype"]))
        value: dict[str, Any] = {"dtype": spec["dtype"], "_type": "Value"}
        fields.append(pa.field(name, kind if shape == [1] else pa.list_(kind, shape[0])))
        # "Sequence" rather than the newer "List", because every version of `datasets` reads it.
        described[name] = value if shape == [1] else {"feature": value, "length": shape[0], "_type": "Sequence"}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": described}})})


def column_array(values: NDArray[np.generic], field: pa.Field) -> pa.Array:
    """Return (N, k) or (N,) values as the array of a column of rows."""
    values = np.ascontiguousarray(values)
    if pa.types.is_fixed_size_list(field.type):
        flat = pa.array(values.reshape(-1), type=field.type.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, field.type.list_size)
    return pa.array(values.reshape(-1), type=field.type)


def automatic_columns(
    length: int, *, fps: int, episode: int, first_index: int, task_index: int
) -> dict[str, NDArray[np.generic]]:
    """Return the values of ``DEFAULT_FEATURES`` for one episode.

    Args:
        length: Number of rows.
        fps: Rows per second.
        episode: Number of the episode.
        first_index: Number of its first row in the dataset.
        task_index: Number of its task.
    """
    frame_index = np.arange(length, dtype=np.int64)
    return {
        "timestamp": (frame_index / fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.full(length, episode, np.int64),
        "index": frame_index + first_index,
        "task_index": np.full(length, task_index, np.int64),
    }


def check_episode(episode: Episode, features: Mapping[str, Mapping[str, Any]]) -> None:
    """Prove that an episode has every feature, and one value and one picture for each row.

    Raises:
        DatasetError: It does not; says which feature.
    """
    wanted = {n for n, s in features.items() if s["dtype"] not in ("video", "image")} - set(DEFAULT_FEATURES)
    if set(episode.columns) != wanted:
        raise DatasetError(f"episode has columns {sorted(episode.columns)}, the features need {sorted(wanted)}")
    length = episode.length
    for name, values in episode.columns.items():
        shape = (length, *features[name]["shape"])
        if values.shape != shape and not (shape[1:] == (1,) and values.shape == (length,)):
            raise DatasetError(f"column {name!r} has the shape {values.shape}, the feature needs {shape}")
        if values.dtype != np.dtype(features[name]["dtype"]):
            raise DatasetError(f"column {name!r} is {values.dtype}, the feature is {features[name]['dtype']}")
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise DatasetError(f"column {name!r} holds NaN or infinity; no policy can be trained on that")
    _check_pictures(episode, features)


def _check_pictures(episode: Episode, features: Mapping[str, Mapping[str, Any]]) -> None:
    length = episode.length
    images = [name for name, spec in features.items() if spec["dtype"] == "image"]
    for key in (name for name, spec in features.items() if spec["dtype"] == "video"):
        pictures = count_frames(episode.videos[key])
        if pictures != length:
            raise DatasetError(f"{episode.videos[key]}: {pictures} pictures for {length} rows of {key!r}")
    if images:
        path = episode.files[IMAGES_FILE]
        stored = pq.read_metadata(path).num_rows
        if stored != length:
            raise DatasetError(f"{path}: {stored} pictures for {length} rows of {', '.join(images)}")


def row_tables(
    columns: Mapping[str, NDArray[np.generic]], schema: pa.Schema, images: Path | None
) -> Iterator[pa.Table]:
    """Yield the rows of one episode as tables, one at a time, so that its images are never all in memory.

    Args:
        columns: Feature -> values of every row, images excepted.
        schema: Of the table of rows.
        images: ``IMAGES_FILE`` of the episode, if the schema has images. Its row groups become the row groups of the
            rows; without images an episode is one row group.
    """
    arrays = {field.name: column_array(columns[field.name], field) for field in schema if field.type != IMAGE_TYPE}
    if images is None:
        yield pa.table(arrays, schema=schema)
        return
    start = 0
    with pq.ParquetFile(images) as source:
        for group in range(source.num_row_groups):
            pictures = source.read_row_group(group)
            parts = {name: array.slice(start, pictures.num_rows) for name, array in arrays.items()}
            parts.update({name: pictures[name] for name in pictures.column_names})
            yield pa.table([parts[name] for name in schema.names], schema=schema)
            start += pictures.num_rows


def depth_units(images: Path) -> dict[str, str]:
    """Return depth feature -> unit (``mm`` or ``m``) of an ``IMAGES_FILE``."""
    metadata = pq.read_schema(images).metadata or {}
    prefix = DEPTH_UNIT_METADATA
    return {key[len(prefix) :].decode(): value.decode() for key, value in metadata.items() if key.startswith(prefix)}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; afterwards the file is at `path`.

    An older file there is replaced and not written into, since it may be a hard link to a dataset that is in use.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def read_column(paths: Sequence[Path], name: str) -> NDArray[np.generic]:
    """Return all rows of one column, (N, k) or (N,), of files of rows in order."""
    parts = []
    for path in paths:
        column = pq.read_table(path, columns=[name])[name]
        if pa.types.is_fixed_size_list(column.type):
            size = column.type.list_size
            parts += [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, size) for chunk in column.chunks]
        else:
            parts.append(column.to_numpy())
    return np.concatenate(parts)


def stored_statistics(paths: Sequence[Path], schema: pa.Schema) -> dict[str, Statistics]:
    """Return the exact statistics of every column that is not an image, from the files themselves.

    One column is in memory at a time.
    """
    return {
        field.name: vector_statistics(read_column(paths, field.name)) for field in schema if field.type != IMAGE_TYPE
    }


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file for people, too."""
    with replacing(path) as new:
        new.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_json_lines(path: Path, values: Sequence[Any]) -> None:
    """Write one JSON value per line."""
    with replacing(path) as new:
        new.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")


def read_json_lines(path: Path) -> list[Any]:
    """Return the values of a file of one JSON value per line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
