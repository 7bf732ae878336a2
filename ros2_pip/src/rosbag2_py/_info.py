# SPDX-License-Identifier: Apache-2.0

"""`Info` reads the metadata of a bag, `Reindexer` rebuilds it from the files."""

from __future__ import annotations

import re
from pathlib import Path

from rosbag2_py._checks import check_readable, check_storage_id
from rosbag2_py._file_metadata import file_metadata
from rosbag2_py._metadata import MetadataIo
from rosbag2_py._reader import single_file
from rosbag2_py._sqlite_read import open_file
from rosbag2_py._storage import NO_TIME_NS, BagMetadata, StorageOptions

_NUMBERED = re.compile(r".+_(\d+)\.mcap")


class Info:
    """Reads the metadata of a bag without reading its messages."""

    def read_metadata(self, uri: str, storage_id: str, /) -> BagMetadata:
        """Return the metadata of a folder or of a single file.

        Raises:
            RuntimeError: there is no such bag, or it cannot be read here.
        """
        check_readable(storage_id)
        if MetadataIo().metadata_file_exists(uri):
            return MetadataIo().read_metadata(uri)
        return _metadata_of(single_file(Path(uri)))


class Reindexer:
    """Rebuilds `metadata.yaml` from the files of a folder, also from one whose writer was killed."""

    def reindex(self, storage_options: StorageOptions, /) -> None:
        """Read all files named `<name>_<number>.mcap` and write `metadata.yaml` beside them.

        Raises:
            RuntimeError: the folder has no such file.
        """
        check_storage_id(storage_options.storage_id)
        folder = Path(storage_options.uri)
        numbered = sorted(
            (int(match.group(1)), path)
            for path in (folder.iterdir() if folder.is_dir() else ())
            if (match := _NUMBERED.fullmatch(path.name))
        )
        if not numbered:
            raise RuntimeError(f"{folder}: there is no file '<name>_<number>.mcap' to rebuild metadata.yaml from")
        whole = BagMetadata(storage_identifier="mcap")
        whole.starting_time_ns = NO_TIME_NS
        end_ns = 0
        for _, path in numbered:
            part = _metadata_of(path)
            part.files[0].path = path.name
            whole.relative_file_paths.append(path.name)
            whole.files += part.files
            whole.message_count += part.message_count
            whole.custom_data = part.custom_data or whole.custom_data
            whole.ros_distro = part.ros_distro or whole.ros_distro
            if part.message_count:
                whole.starting_time_ns = min(whole.starting_time_ns, part.starting_time_ns)
                end_ns = max(end_ns, part.starting_time_ns + part.duration_ns)
            _add_topics(whole, part)
        whole.duration_ns = max(0, end_ns - whole.starting_time_ns)
        MetadataIo().write_metadata(str(folder), whole)


def _metadata_of(path: Path) -> BagMetadata:
    file = open_file(path)
    try:
        return file_metadata(file)
    finally:
        file.close()


def _add_topics(whole: BagMetadata, part: BagMetadata) -> None:
    known = {info.topic_metadata.name: info for info in whole.topics_with_message_count}
    for info in part.topics_with_message_count:
        if info.topic_metadata.name in known:
            known[info.topic_metadata.name].message_count += info.message_count
        else:
            whole.topics_with_message_count.append(info)
