# SPDX-License-Identifier: Apache-2.0

"""``metadata.yaml`` of a rosbag2 folder, read with mistrust: what it says is checked against the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from vla_core.errors import BagError

from vla_recorder.bags.writer import METADATA_FILE

ROOT = "rosbag2_bagfile_information"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What the file says.

    Attributes:
        storage: ``mcap`` or ``sqlite3``.
        files: Names of the files, in order.
        counts: Topic -> messages.
        types: Topic -> type.
        span_ns: First and last time of reception.
        custom: ``custom_data``; values that are no text as JSON.
    """

    storage: str
    files: tuple[str, ...]
    counts: Mapping[str, int]
    types: Mapping[str, str]
    span_ns: tuple[int, int]
    custom: Mapping[str, str]


def read_metadata(folder: Path) -> Metadata:
    """Read the file.

    Raises:
        BagError: It is absent, or not the metadata of a bag.
    """
    path = folder / METADATA_FILE
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise BagError(f"{folder}: no readable {METADATA_FILE} ({error.strerror or error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BagError(f"{path}: not readable as YAML ({error})") from error
    try:
        return _parse(content[ROOT])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BagError(f"{path}: not the metadata of a bag (missing {error}). Is it another program's file?") from error


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _parse(info: Any) -> Metadata:
    counts: dict[str, int] = {}
    types: dict[str, str] = {}
    for topic in info["topics_with_message_count"] or ():
        name = str(topic["topic_metadata"]["name"])
        counts[name] = counts.get(name, 0) + int(topic["message_count"])
        types[name] = str(topic["topic_metadata"]["type"])
    first = int(info["starting_time"]["nanoseconds_since_epoch"])
    return Metadata(
        storage=str(info["storage_identifier"]),
        files=tuple(Path(str(name)).name for name in info["relative_file_paths"] or ()),
        counts=counts,
        types=types,
        span_ns=(first, first + int(info["duration"]["nanoseconds"])) if any(counts.values()) else (0, 0),
        custom={str(key): _text(value) for key, value in (info.get("custom_data") or {}).items()},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
