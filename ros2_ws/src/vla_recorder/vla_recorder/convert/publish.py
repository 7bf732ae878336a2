# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder publish``: copy a finished dataset to where it is kept: a folder, the Hub, S3, any fsspec URL."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import S3FileSystem
from vla_core.errors import VlaError

from vla_recorder.convert.push import push

EXIT_OK, EXIT_FAILURE = 0, 1
HUB = "hf"
MARKERS = ("info.json", "dataset_info.json", "spec.yaml", "spec.json")
"""Files without which a reader takes no folder for a dataset; they come last."""

_EXAMPLE = """examples:
  ros2 run vla_recorder publish outputs/demo/dataset /mnt/share/ur5e_lift
  ros2 run vla_recorder publish outputs/demo/dataset hf://alice/ur5e_lift
  AWS_ENDPOINT_URL=http://minio.lab:9000 ros2 run vla_recorder publish outputs/demo/dataset s3://datasets/ur5e_lift

s3:// takes AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL, and the profile
files of AWS. hf:// takes the token of `hf auth login` or HF_TOKEN; a repository that does not exist is made private.
"""


class PublishError(VlaError):
    """The dataset is not, or not completely, where it should be."""


def publish(root: Path, url: str, *, overwrite: bool) -> None:
    """Copy a finished dataset and compare the size of every file; what marks it as complete comes last.

    Args:
        root: Folder of the dataset, or of several.
        url: Path, ``file://``, ``s3://bucket/prefix``, ``hf://user/name`` or what an installed fsspec driver knows. A
            repository of the Hub that does not exist is made private.
        overwrite: Replace what is there; files that the dataset does not have are deleted.

    Raises:
        PublishError: There is something already, the place cannot be reached, or a file did not arrive; names what is
            there now.
        PushError, DatasetError: As `vla_recorder.convert.push.push`, for ``hf://``.
    """
    if not root.is_dir():
        raise PublishError(f"{root}: is no folder; give a dataset")
    names = _names(root)
    if not names:
        raise PublishError(f"{root}: is empty, there is nothing to publish")
    if urlsplit(url).scheme == HUB:
        push(root, url.removeprefix(f"{HUB}://").strip("/"), private=True, overwrite=overwrite)
        return
    filesystem, base = _filesystem(url)
    _Upload(root, names, filesystem, base, url).run(overwrite=overwrite)


def _names(root: Path) -> list[str]:
    """Return all files, markers last and the outermost marker at the very end."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(names, key=lambda name: (_marks(name), -name.count("/") if _marks(name) else 0))


def _marks(name: str) -> bool:
    return PurePosixPath(name).name in MARKERS


def _filesystem(url: str) -> tuple[Any, str]:
    parts = urlsplit(url)
    try:
        if parts.scheme == "s3":
            return _s3(), f"{parts.netloc}{parts.path}".rstrip("/")
        filesystem, base = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise PublishError(f"{url}: cannot be opened ({error}); give a path, s3://, hf:// or an fsspec URL") from error
    except (OSError, pa.ArrowException) as error:
        raise PublishError(f"{url}: cannot be reached ({error})") from error
    return filesystem, str(base).rstrip("/")


def _s3() -> ArrowFSWrapper:
    """Return S3 by Arrow's client; credentials come from where AWS's own tools take them."""
    options: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint)
        if not parts.netloc:
            raise PublishError(f"AWS_ENDPOINT_URL={endpoint}: is no URL; give for example http://minio.lab:9000")
        options = {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        options["region"] = region
    return ArrowFSWrapper(S3FileSystem(**options))


class _Upload:
    """One dataset on its way to one place."""

    def __init__(self, root: Path, names: Sequence[str], filesystem: Any, base: str, url: str) -> None:
        self._root = root
        self._names = names
        self._fs = filesystem
        self._base = base
        self._url = url
        self._done: list[str] = []

    def run(self, *, overwrite: bool) -> None:
        current = "the list of what is there"
        try:
            there = self._there()
            if there and not overwrite:
                raise PublishError(
                    f"{self._url}: holds {len(there)} files already, for example {min(there)}; replace them with "
                    "--overwrite, or choose another place"
                )
            # From here on an interrupted replacement must not look like the old dataset.
            for name in sorted(there, key=lambda name: not _marks(name)):
                if _marks(name) or name not in self._names:
                    current = name
                    self._fs.rm_file(self._path(name))
            for name in self._names:
                current = name
                self._put(name)
                self._done.append(name)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise PublishError(self._failure(current, error)) from error

    def _there(self) -> set[str]:
        if not self._fs.exists(self._base):
            return set()
        self._fs.invalidate_cache()
        prefix = self._base.rstrip("/") + "/"
        return {str(path).removeprefix(prefix) for path in self._fs.find(self._base)}

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _put(self, name: str) -> None:
        source, target = self._root / name, self._path(name)
        if not isinstance(self._fs, ArrowFSWrapper):  # S3 has no folders
            self._fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        with source.open("rb") as reader, self._fs.open(target, "wb") as writer:
            while block := reader.read(1 << 22):
                writer.write(block)
        self._fs.invalidate_cache()
        arrived, size = int(self._fs.info(target)["size"]), source.stat().st_size
        if arrived != size:
            raise PublishError(self._failure(name, ValueError(f"{arrived} bytes arrived of {size}")))

    def _failure(self, name: str, error: Exception) -> str:
        there = f"; {len(self._done)} of {len(self._names)} files are there: {_shown(self._done)}" if self._done else ""
        return (
            f"{self._url}: {name}: {error}{there}. It is not complete, so nobody takes it for a dataset; repeat with "
            "--overwrite"
        )


def _shown(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="publish",
        description="Copy a finished dataset of any format to a folder, the Hub, S3 or another fsspec URL. The sizes are "
        "compared, and what marks the dataset as complete comes last.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset")
    result.add_argument("url", metavar="URL", help="path, file://, s3://bucket/prefix, hf://user/name, ...")
    result.add_argument("--overwrite", action="store_true", help="replace what is there")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    given = parser().parse_args(arguments)
    try:
        publish(given.dataset, given.url, overwrite=given.overwrite)
    except VlaError as error:
        print(f"publish: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILURE)
    print(given.url)


if __name__ == "__main__":
    main()
