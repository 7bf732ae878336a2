# SPDX-License-Identifier: Apache-2.0

"""One decoder for every storage: the definition in the bag, else the installed one, else that of a known ROS release."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcap.exceptions import McapError
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_typestore
from vla_core.errors import BagError

from vla_recorder.bags.joint_states import JointStateDecoder, text_is_joint_state
from vla_recorder.bags.message_definitions import full_definition
from vla_recorder.bags.source import CDR, ROS2MSG, Connection

Decode = Callable[[bytes], Any]


def definition_of(connection: Connection) -> str:
    """Return the ``ros2msg`` text of a topic's type.

    Raises:
        BagError: Neither the bag nor this machine knows the type.
    """
    if connection.definition and connection.definition_encoding == ROS2MSG:
        return connection.definition
    if connection.definition and connection.definition_encoding == "ros2idl":
        return _from_idl(connection)
    try:
        return full_definition(connection.type)
    except BagError as error:
        store = get_typestore(Stores.ROS2_JAZZY)
        if connection.type not in store.fielddefs:
            raise BagError(
                f"{connection.topic}: the bag does not hold the definition of its type {connection.type!r}, and it is "
                "not installed here. Source the workspace that has the package, or record with mcap storage"
            ) from error
        return str(store.generate_msgdef(connection.type, ros_version=2)[0])


def _from_idl(connection: Connection) -> str:
    store = get_typestore(Stores.EMPTY)
    try:
        store.register(get_types_from_idl(connection.definition))
        return str(store.generate_msgdef(connection.type, ros_version=2)[0])
    except (TypesysError, KeyError) as error:
        raise BagError(f"{connection.topic}: the IDL of {connection.type!r} cannot be read ({error})") from error


class Decoders:
    """Decoders of one bag, made at the first message of each topic."""

    def __init__(self, where: Path) -> None:
        """Begin without any; `where` is named in messages."""
        self._where = where
        self._factory = DecoderFactory()
        self._known: dict[int, tuple[Connection, Decode]] = {}
        self._schemas: dict[tuple[str, str], Schema] = {}

    def decode(self, connection: Connection, data: bytes) -> Any:
        """Return a message.

        Raises:
            BagError: Its type is not known, or the content does not fit the type.
        """
        known = self._known.get(id(connection))
        if known is None:
            # The connection is kept, so that its id cannot become that of another.
            known = self._known[id(connection)] = (connection, self._make(connection))
        try:
            return known[1](data)
        except (struct.error, ValueError, EOFError, IndexError, TypeError, UnicodeDecodeError) as error:
            raise BagError(
                f"{self._where}: a message on {connection.topic} is no {connection.type} ({type(error).__name__}: {error})"
            ) from error

    def _make(self, connection: Connection) -> Decode:
        if connection.encoding != CDR:
            raise BagError(
                f"{self._where}: {connection.topic} has {connection.encoding or 'unnamed'} messages of type "
                f"{connection.type or 'unknown'}; only cdr can be read. Was it recorded by another tool?"
            )
        try:
            text = definition_of(connection)
            key = (connection.type, text)
            schema = self._schemas.setdefault(
                key, Schema(id=len(self._schemas) + 1, name=connection.type, encoding=ROS2MSG, data=text.encode())
            )
            found = self._factory.decoder_for(CDR, schema)
        except BagError as error:
            raise BagError(f"{self._where}: {error}") from error
        except (McapError, ValueError, KeyError) as error:
            raise BagError(
                f"{self._where}: the definition of {connection.type!r} on {connection.topic} cannot be read ({error})"
            ) from error
        if found is None:
            raise BagError(f"{self._where}: {connection.topic}: no decoder for {connection.type!r}")
        return JointStateDecoder(found) if text_is_joint_state(connection.type, text) else found
