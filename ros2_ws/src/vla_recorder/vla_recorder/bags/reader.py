# SPDX-License-Identifier: Apache-2.0

"""Read recorded episodes without ROS: folders, metadata, decoded messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from vla_core.errors import BagError

from vla_recorder.bags.writer import METADATA_FILE

_DAMAGE = (McapError, EOFError, ValueError, struct.error, UnicodeDecodeError)


class Received(NamedTuple):
    """One message of a bag: its topic, when the recorder received it [ns, node clock], the decoded message."""

    topic: str
    log_ns: int
    message: Any


@dataclass(frozen=True, slots=True)
class EpisodeBag:
    """A closed episode.

    Attributes:
        folder: Folder with ``metadata.yaml``.
        file: The MCAP file.
        custom: Metadata of the episode (``custom_data``).
        counts: Topic -> number of messages.
    """

    folder: Path
    file: Path
    custom: Mapping[str, str]
    counts: Mapping[str, int]

    @property
    def name(self) -> str:
        """Folder name."""
        return self.folder.name

    def get(self, key: str, default: str = "") -> str:
        """Return one value of the metadata."""
        return str(self.custom.get(key, default))

    def structured(self, key: str) -> Any:
        """Return a value of the metadata that is stored as JSON; None if absent.

        Raises:
            BagError: It is no JSON.
        """
        text = self.custom.get(key)
        if not text:
            return None
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise BagError(
                f"{self.folder / METADATA_FILE}: custom_data.{key} is no JSON ({error}); was it edited by hand?"
            ) from error

    def messages(self, topics: set[str]) -> Iterator[Received]:
        """Yield the messages of some topics, decoded, in the order in which they were received.

        Raises:
            BagError: The file is damaged or a topic cannot be decoded.
        """
        factory = DecoderFactory()
        try:
            with self.file.open("rb") as stream:
                reader = make_reader(stream, validate_crcs=True)
                for schema, channel, message in reader.iter_messages(topics=topics, log_time_order=False):
                    decode = factory.decoder_for(channel.message_encoding, schema)
                    if decode is None:
                        kind = "no schema" if schema is None else f"a schema in {schema.encoding}"
                        raise BagError(
                            f"{self.file}: {channel.topic} has {channel.message_encoding} messages with {kind}; only "
                            "cdr with ros2msg can be read. Was it recorded by another tool?"
                        )
                    yield Received(channel.topic, message.log_time, decode(message.data))
        except OSError as error:
            raise BagError(f"{self.file}: cannot be read ({error.strerror or error})") from error
        except _DAMAGE as error:
            raise BagError(
                f"{self.file}: the bag is damaged ({type(error).__name__}: {error}). Copy it again from its source, or "
                "leave it out with --skip-bad"
            ) from error


def open_episode(folder: Path) -> EpisodeBag:
    """Read the metadata of one episode.

    Raises:
        BagError: There is no readable ``metadata.yaml`` with one MCAP file.
    """
    path = folder / METADATA_FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BagError(
            f"{folder}: no readable {METADATA_FILE} ({error.strerror or error}); a closed episode has one. Was it copied "
            "completely?"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BagError(f"{path}: not readable as YAML ({error})") from error
    try:
        info = content["rosbag2_bagfile_information"]
        storage, files = info["storage_identifier"], info["relative_file_paths"]
        counts = {
            topic["topic_metadata"]["name"]: int(topic["message_count"]) for topic in info["topics_with_message_count"]
        }
        custom = {str(key): str(value) for key, value in (info.get("custom_data") or {}).items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise BagError(f"{path}: not the metadata of a bag (missing {error}). Is it another program's file?") from error
    if storage != "mcap" or len(files) != 1:
        raise BagError(
            f"{path}: {len(files)} files stored as {storage!r}; an episode is one MCAP file. Convert it with "
            "`ros2 bag convert` to unsplit mcap first"
        )
    file = folder / files[0]
    if not file.is_file():
        raise BagError(f"{file}: named in {METADATA_FILE}, but it is not there. Was the folder copied completely?")
    return EpisodeBag(folder, file, custom, counts)


def find_episodes(folder: Path) -> list[Path]:
    """Return the folders of closed episodes in (or at) a folder, oldest first by name.

    Raises:
        BagError: The folder does not exist or holds no episode.
    """
    if not folder.is_dir():
        raise BagError(f"{folder}: no such folder; give the recorder's output_dir with --bags")
    if (folder / METADATA_FILE).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{METADATA_FILE}") if path.parent.suffix != ".open")
    if not found:
        raise BagError(
            f"{folder}: no episode in it (a folder with {METADATA_FILE} and an MCAP file). Record one with "
            "`ros2 launch vla_bringup record.launch.py output_dir:=...`, or give another folder with --bags"
        )
    return found
