# SPDX-License-Identifier: Apache-2.0

"""Write one npz file per episode and a specification of them all; any NumPy reads them, without pickle.

``episodes/episode_%06d.npz`` holds ``actions`` (T, A), ``timestamps`` (T,) [s], ``obs.<key>`` arrays with T rows
(``obs.state`` and one per camera), ``task``, and the columns that tell where a row comes from, such as ``stamp_ns``.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import listing
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX

from vla_recorder.formats.base import DatasetError, Layout, PacketReference
from vla_recorder.formats.columns import check_columns
from vla_recorder.formats.image_episode import is_depth
from vla_recorder.formats.lerobot_tables import replacing
from vla_recorder.formats.npz_reader import NpzEpisode, find_npz
from vla_recorder.formats.npz_spec import SPEC_FILE, Spec, load_spec, spec_of
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import ImageHistogram, depth_unit
from vla_recorder.media.stream_copy import CopyRefusedError

EPISODE_PATH = "episodes/episode_{index:06d}.npz"
ACTIONS, TIMESTAMPS, TASK, OBSERVATION = "actions", "timestamps", "task", "obs."
_FILE = "npz"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same rows always give the same bytes
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Npz:
    """npz episodes (see the module).

    Attributes:
        compress: Deflate the arrays; several times slower to write and to read.
    """

    name: str = field(default="npz", init=False)
    compress: bool = field(default=False, metadata={"help": "deflate the arrays; slower to write and to read"})

    def episode_writer(self, layout: Layout, work_dir: Path) -> NpzEpisodeWriter:
        """Return the writer of one episode."""
        return NpzEpisodeWriter(layout, work_dir, compress=self.compress)

    def dataset_writer(self, root: Path, layout: Layout) -> NpzDatasetWriter:
        """Return the writer of the dataset."""
        return NpzDatasetWriter(root, layout)

    def append_writer(self, root: Path, layout: Layout) -> NpzDatasetWriter:
        """Return a writer that goes on behind the last episode of the dataset in `root`.

        Raises:
            DatasetError: The dataset holds something else than `layout` says.
        """
        writer = NpzDatasetWriter(root, layout)
        writer.take_over()
        return writer


class _Frames:
    """Rows of one array on their way into a file whose length is not known yet."""

    def __init__(self, key: str, path: Path, stream: IO[bytes], shape: tuple[int, ...], depth: bool) -> None:
        self.key = key
        self.path = path
        self.shape = shape if not depth else shape[:2]
        self.dtype: np.dtype[Any] | None = None
        self.rows = 0
        self.histogram = ImageHistogram()
        self._stream = stream
        self._depth = depth

    def add(self, image: NDArray[Any] | PacketReference) -> None:
        if isinstance(image, PacketReference):
            raise CopyRefusedError("npz holds pixels, no packets of a video", self.key)
        if self.dtype is None:
            self.dtype = image.dtype
            if self._depth:
                self.histogram = ImageHistogram.of_depth(depth_unit(image))
        if image.shape != self.shape or image.dtype != self.dtype:
            raise DatasetError(
                f"{self.key}: an image of {image.shape} {image.dtype} came, the episode has {self.shape} {self.dtype}; all "
                "images of a camera are alike"
            )
        self._stream.write(np.ascontiguousarray(image).data)
        self.histogram.add(image)
        self.rows += 1


class NpzEpisodeWriter:
    """Writes one episode; images wait in files of their own, so memory does not grow with its length."""

    def __init__(self, layout: Layout, work_dir: Path, *, compress: bool) -> None:
        """Open one file per camera in `work_dir`."""
        work_dir.mkdir(parents=True, exist_ok=True)
        self._layout = layout
        self._compression = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        self._path = work_dir / "episode.npz"
        self._frames: list[_Frames] = []
        with ExitStack() as stack:
            for number, key in enumerate(layout.image_keys):
                path = work_dir / f"camera_{number}.raw"
                spec = layout.features[key]
                stream = stack.enter_context(path.open("wb"))
                self._frames.append(_Frames(key, path, stream, tuple(spec["shape"]), is_depth(spec)))
            self._open = stack.pop_all()

    def add(self, images: Mapping[str, NDArray[Any] | PacketReference]) -> None:
        """Write the images of one row.

        Raises:
            DatasetError: An image is unlike the others of its camera.
            CopyRefusedError: A packet came instead of an image.
        """
        for frames in self._frames:
            frames.add(images[frames.key])

    def finish(self, columns: Mapping[str, NDArray[np.generic]], task: str, about: Mapping[str, Any]) -> Episode:
        """Write the episode's file."""
        self._open.close()
        length = len(next(iter(columns.values())))
        with zipfile.ZipFile(self._path, "w", self._compression, compresslevel=1) as archive:
            _add(archive, TIMESTAMPS, np.arange(length) / self._layout.fps)
            _add(archive, TASK, np.array(task))
            for key, values in columns.items():
                if key in self._layout.features:
                    _add(archive, array_name(key), np.asarray(values))
            for frames in self._frames:
                if frames.dtype is not None:
                    _copy(archive, array_name(frames.key), frames)
                frames.path.unlink()
        return Episode(
            task=task,
            columns=columns,
            videos={},
            histograms={frames.key: frames.histogram for frames in self._frames},
            files={_FILE: self._path},
            about=about,
        )

    def discard(self) -> None:
        """Close and delete the files."""
        self._open.close()
        for path in (self._path, *(frames.path for frames in self._frames)):
            path.unlink(missing_ok=True)


def array_name(feature: str) -> str:
    """Return the name of a feature's array: ``observation.images.front`` is ``obs.front``, ``action`` is ``actions``."""
    if feature == ACTION_KEY:
        return ACTIONS
    for prefix in (IMAGE_PREFIX, "observation."):
        if feature.startswith(prefix):
            return OBSERVATION + feature.removeprefix(prefix)
    return feature


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
    info.compress_type = archive.compression
    return archive.open(info, "w", force_zip64=True)


def _add(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    with _member(archive, name) as stream:
        np.lib.format.write_array(stream, values, allow_pickle=False)


def _copy(archive: zipfile.ZipFile, name: str, frames: _Frames) -> None:
    assert frames.dtype is not None
    header = {
        "descr": np.lib.format.dtype_to_descr(frames.dtype),
        "fortran_order": False,
        "shape": (frames.rows, *frames.shape),
    }
    with _member(archive, name) as stream, frames.path.open("rb") as source:
        np.lib.format.write_array_header_1_0(stream, header)
        shutil.copyfileobj(source, stream, _CHUNK)


class NpzDatasetWriter:
    """Numbers the files and writes the specification."""

    def __init__(self, root: Path, layout: Layout) -> None:
        """Begin a dataset."""
        self._root = root
        self._layout = layout
        self._lengths: list[int] = []
        (root / "episodes").mkdir(parents=True, exist_ok=True)

    def take_over(self) -> None:
        """Go on behind the episodes that the folder holds.

        Raises:
            DatasetError: They were made with another profile, rate or camera.
        """
        paths = find_npz(self._root)
        self._lengths = [NpzEpisode.open(path).arrays[TIMESTAMPS][0][0] for path in paths]
        there, here = asdict(load_spec(self._root / SPEC_FILE)), asdict(self._spec())
        if differing := [key for key in here if here[key] != there[key] and key not in ("name", "max_episode_steps")]:
            raise DatasetError(
                f"{self._root / SPEC_FILE}: the dataset differs from this conversion in {listing(differing)}; convert with "
                "the same options, or all bags again with --overwrite"
            )

    def add(self, episode: Episode) -> int:
        """Append an episode and return its index.

        Raises:
            DatasetError: Its columns do not fit, or its file lacks rows.
        """
        check_columns(self._layout, episode)
        index = len(self._lengths)
        path = episode.files[_FILE]
        _check_rows(path, [array_name(key) for key in self._layout.features], episode.length)
        path.rename(self._root / EPISODE_PATH.format(index=index))
        self._lengths.append(episode.length)
        return index

    def finish(self) -> None:
        """Write the specification; the dataset is complete afterwards.

        Raises:
            DatasetError: There is no episode.
        """
        if not self._lengths:
            raise DatasetError(f"{self._root}: no episode was converted, so there is no dataset to write")
        with replacing(self._root / SPEC_FILE) as new:
            new.write_text(self._spec().to_yaml(), encoding="utf-8")

    def _spec(self) -> Spec:
        return spec_of(
            self._layout.profile,
            name=self._layout.name,
            fps=self._layout.fps,
            cameras=[key.removeprefix(IMAGE_PREFIX) for key in self._layout.image_keys],
            longest=max(self._lengths),
        )


def _check_rows(path: Path, names: Sequence[str], length: int) -> None:
    """Prove by the headers that every array has the rows of the episode."""
    with zipfile.ZipFile(path) as archive:
        for name in names:
            with archive.open(f"{name}.npy") as stream:
                np.lib.format.read_magic(stream)
                rows = np.lib.format.read_array_header_1_0(stream)[0][0]
            if rows != length:
                raise DatasetError(f"{path}: '{name}' has {rows} rows, the episode has {length}")
