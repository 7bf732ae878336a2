# SPDX-License-Identifier: Apache-2.0

"""Opens a bag file by what it begins with, not by its name; files compressed as a whole are unpacked to a temporary one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard
from vla_core.errors import BagError

from vla_recorder.bags import mcap_records, ros1_source, sqlite_source
from vla_recorder.bags.mcap_source import McapSource
from vla_recorder.bags.source import BagSource, DamagedError, RawMessage

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SUFFIXES = (".mcap", ".db3", ".bag", ".mcap.zstd", ".db3.zstd")
_NUMBER = re.compile(r"(.*?)(?:_(\d+))?$")
_BLOCK = 1 << 20


def is_bag_file(path: Path) -> bool:
    """Whether the name is that of a bag file."""
    return path.name.endswith(SUFFIXES) and path.is_file()


def stem(path: Path) -> str:
    """Return the name without its suffixes."""
    return next(
        (path.name.removesuffix(suffix) for suffix in reversed(SUFFIXES) if path.name.endswith(suffix)), path.name
    )


def split_key(path: Path) -> tuple[str, int]:
    """Return the name that the parts of a split bag share, and the number of the part."""
    match = _NUMBER.fullmatch(stem(path))
    if match is None:
        return path.name, 0
    return match.group(1), int(match.group(2) or 0)


def bag_files(folder: Path) -> list[Path]:
    """Return the bag files in a folder, parts in order."""
    found = [path for path in folder.iterdir() if is_bag_file(path)]
    return sorted(found, key=lambda path: (split_key(path), path.name))


def magic(path: Path) -> bytes:
    """Return how a file begins.

    Raises:
        BagError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(16)
    except OSError as error:
        raise BagError(f"{path}: cannot be read ({error.strerror or error})") from error


def storage_of(path: Path) -> str:
    """Return what rosbag2 calls the storage of a file; empty where it cannot be seen from the beginning.

    Raises:
        BagError: It cannot be read.
    """
    begin = magic(path)
    known = {mcap_records.MAGIC: "mcap", sqlite_source.MAGIC: "sqlite3", ros1_source.MAGIC: "rosbag_v2"}
    return next((name for sign, name in known.items() if begin.startswith(sign)), "")


def is_compressed(path: Path) -> bool:
    """Whether the whole file is compressed.

    Raises:
        BagError: It cannot be read.
    """
    return magic(path).startswith(ZSTD_MAGIC)


def open_source(path: Path, *, salvage: bool = False) -> BagSource:
    """Open one file of a bag.

    Args:
        path: The file.
        salvage: Pass over damaged chunks of an MCAP file instead of stopping at the first.

    Raises:
        DamagedError: Nothing in it can be read.
        BagError: It cannot be opened.
    """
    if not is_compressed(path):
        return _by_content(path, path, magic(path), salvage=salvage)
    descriptor, name = tempfile.mkstemp(prefix="vla_bag_", suffix=f"_{stem(path)}")
    unpacked = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as target:
            damage = _unpack(path, target)
        source = _by_content(path, unpacked, magic(unpacked), salvage=salvage)
    finally:
        # An open file lives on without its name, and nothing is left behind if this process is killed.
        unpacked.unlink()
    if damage:
        source.note(damage)
    return source


def plain(source: BagSource, messages: Iterator[RawMessage]) -> Iterator[RawMessage]:
    """Unpack messages of a source that are compressed one by one; up to the first that cannot be.

    A serialized message cannot begin like a compressed one, so no word of ``metadata.yaml`` is needed.
    """
    engine = zstandard.ZstdDecompressor()
    for message in messages:
        if message.data[:4] != ZSTD_MAGIC:
            yield message
            continue
        try:
            yield message._replace(data=engine.decompressobj().decompress(message.data))
        except zstandard.ZstdError as error:
            source.note(f"a message on {message.topic} cannot be unpacked ({error}); those before it are read")
            return


def _by_content(path: Path, file: Path, begin: bytes, *, salvage: bool) -> BagSource:
    if not begin:
        raise DamagedError("the file is empty")
    if begin.startswith(mcap_records.MAGIC):
        return McapSource(path, file.open("rb"), salvage=salvage)
    if begin.startswith(sqlite_source.MAGIC):
        return sqlite_source.SqliteSource(path, file)
    if begin.startswith(ros1_source.MAGIC):
        return ros1_source.Ros1Source(path, file)
    raise DamagedError("it begins like no bag (MCAP, sqlite3, ROS 1)")


def _unpack(path: Path, target: BinaryIO) -> str:
    """Write the content of a compressed file; returns what is wrong with it."""
    engine = zstandard.ZstdDecompressor().decompressobj()
    with path.open("rb") as stream:
        try:
            while block := stream.read(_BLOCK):
                target.write(engine.decompress(block))
        except zstandard.ZstdError as error:
            return f"the compression is damaged within its first {stream.tell()} bytes ({error})"
    return "" if engine.eof else "the compressed file is cut off"
