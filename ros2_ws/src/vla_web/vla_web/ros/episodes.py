# SPDX-License-Identifier: Apache-2.0

"""The list of recorded episodes: read-only, from each folder's ``metadata.yaml``, with the first picture of each.

Only the newest are read, a few at a time, and each once until its file changes.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import rosbag2_py
import yaml
from rclpy.serialization import deserialize_message
from rosidl_runtime_py.utilities import get_message
from vla_core.errors import CodecError
from vla_core.profile import Profile
from vla_core.specs import CameraSpec

from vla_web.ros.pictures import can_show, picture

METADATA = "metadata.yaml"
NEWEST = 24
_READ_AT_ONCE = 4
_LARGEST = 8 << 20  # [B]; a file of more is not one that a recorder has written
_MOST_THUMBNAILS = 200
_WIDTH, _QUALITY = 200, 70
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class EpisodeShelf:
    """The newest episodes of a folder. `scan` and `thumbnail` may be called from different threads."""

    def __init__(self, profile: Profile) -> None:
        """Args: profile: its first camera that can be shown gives the thumbnails."""
        self._camera = next((camera for camera in profile.cameras if can_show(camera) and not camera.depth), None)
        self._known: dict[Path, tuple[int, dict[str, Any] | None]] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._rows: list[dict[str, Any]] = []
        self._folders: dict[str, tuple[Path, dict[str, Any]]] = {}
        self._thumbnails: OrderedDict[str, bytes | None] = OrderedDict()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The episodes for the page, newest first."""
        with self._lock:
            return list(self._rows)

    def scan(self, folder: Path) -> None:
        """Look at the folder again; a folder that is not there has no episodes."""
        newest = _newest(folder)
        read = 0
        for path, changed in newest:
            known = self._known.get(path)
            if known is not None and known[0] == changed:
                continue
            if read == _READ_AT_ONCE:
                break
            read += 1
            self._known[path] = (changed, _entry(path))
        self._known = {path: self._known[path] for path, _ in newest if path in self._known}
        entries = [(path, self._known[path][1]) for path, _ in newest if path in self._known]
        good = [(path, entry) for path, entry in entries if entry is not None]
        with self._lock:
            self._rows = [entry["row"] for _, entry in good]
            self._folders = {entry["row"]["uuid"]: (path, entry) for path, entry in good}

    def thumbnail(self, uuid: str) -> bytes | None:
        """JPEG of the first picture of an episode; None if it is not known or has none. Made once."""
        with self._lock:
            if uuid in self._thumbnails:
                return self._thumbnails[uuid]
            found = self._folders.get(uuid)
        if found is None or self._camera is None:
            return None
        with self._reading:  # one at a time: the page asks for a dozen at once
            jpeg = first_picture(found[0], found[1]["types"], self._camera, found[1]["namespace"])
        with self._lock:
            self._thumbnails[uuid] = jpeg
            while len(self._thumbnails) > _MOST_THUMBNAILS:
                self._thumbnails.popitem(last=False)
        return jpeg


def first_picture(folder: Path, types: dict[str, str], camera: CameraSpec, namespace: str) -> bytes | None:
    """JPEG of the first picture of a camera in a bag; None if the bag has none that can be shown.

    Args:
        folder: The bag.
        types: Topic -> type, of the bag.
        camera: Of the profile.
        namespace: Of the recorder, in which the profile's topics lie.
    """
    name = camera.topic if camera.topic.startswith("/") else f"{namespace.rstrip('/')}/{camera.topic}"
    for topic in (name, f"{name}/compressed"):
        if topic not in types:
            continue
        shown = replace(camera, type=types[topic])
        try:
            if not can_show(shown):
                return None
            reader = rosbag2_py.SequentialReader()
            reader.open(rosbag2_py.StorageOptions(uri=str(folder)), rosbag2_py.ConverterOptions("", ""))
            reader.set_filter(rosbag2_py.StorageFilter(topics=[topic]))
            if not reader.has_next():
                continue
            _, data, _ = reader.read_next()
            message = deserialize_message(data, get_message(types[topic]))
            return picture(shown, message, width=_WIDTH, quality=_QUALITY)
        except (CodecError, RuntimeError, OSError, ValueError):  # a damaged bag has no thumbnail; tools say why
            return None
    return None


def _newest(folder: Path) -> list[tuple[Path, int]]:
    """Folders of episodes and when their metadata changed [ns], newest first: their names begin with their time."""
    found = []
    try:
        folders = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name, reverse=True)
    except OSError:
        return []
    for path in folders:
        try:
            status = (path / METADATA).stat()
        except OSError:
            continue
        if path.name.startswith(".") or status.st_size > _LARGEST:
            continue
        found.append((path, status.st_mtime_ns))
        if len(found) == NEWEST:
            break
    return found


def _entry(path: Path) -> dict[str, Any] | None:
    """What the page shows of an episode; None if its metadata cannot be read, or are no recorder's."""
    try:
        content = yaml.load((path / METADATA).read_text(encoding="utf-8"), Loader=_LOADER)
        info = content["rosbag2_bagfile_information"]
        custom = {str(key): str(value) for key, value in (info.get("custom_data") or {}).items()}
        uuid, recorded = custom["episode_uuid"], datetime.fromisoformat(custom["recorded_at"]).timestamp()
        topics = [topic["topic_metadata"] for topic in info["topics_with_message_count"]]
        duration = float(custom.get("duration_s") or info["duration"]["nanoseconds"] * 1e-9)
        types = {topic["name"]: topic["type"] for topic in topics}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    row = {
        "uuid": uuid,
        "name": path.name,
        "recorded": recorded,
        "duration": duration,
        "outcome": custom.get("outcome") or "unknown",
        "task": custom.get("task", ""),
        "note": _note(custom),
    }
    return {"row": row, "types": types, "namespace": custom.get("namespace", "/")}


def _note(custom: dict[str, str]) -> str:
    """What is worth a second look: an episode that broke off, warnings."""
    if custom.get("error"):
        return "error"
    try:
        warnings, lost = json.loads(custom.get("warnings") or "[]"), json.loads(custom.get("lost") or "{}")
    except ValueError:
        return ""
    count = len(warnings) + len(lost)
    return f"{count} warning{'s' * (count > 1)}" if count else ""
