# SPDX-License-Identifier: Apache-2.0

"""Packets of Feetech's serial protocol (STS servos): two bytes 0xFF, id, length, instruction or error, parameters, checksum.

Source: Feetech, "SMS/STS communication protocol manual"; little endian, checksum is the inverted sum after the header.
"""

from __future__ import annotations

from dataclasses import dataclass

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 0x01, 0x02, 0x03, 0x82, 0x83
BROADCAST = 0xFE
_HEADER = b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: `code` is the instruction of a request, or the error bits of an answer."""

    id: int
    code: int
    parameters: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes."""
        body = bytes([self.id, len(self.parameters) + 2, self.code]) + self.parameters
        return _HEADER + body + bytes([~sum(body) & 0xFF])


def take(buffer: bytearray) -> Packet | None:
    """Remove the first whole packet from a buffer and return it; None where there is none yet. Damaged bytes are skipped."""
    while True:
        start = buffer.find(_HEADER)
        if start < 0:
            del buffer[: max(0, len(buffer) - 1)]
            return None
        del buffer[:start]
        if len(buffer) < 4:
            return None
        if buffer[2] == 0xFF:  # a third 0xFF: the header begins one byte later
            del buffer[0]
            continue
        end = buffer[3] + 4
        if len(buffer) < end:
            return None
        body = bytes(buffer[2 : end - 1])
        if buffer[3] >= 2 and ~sum(body) & 0xFF == buffer[end - 1]:
            del buffer[:end]
            return Packet(body[0], body[2], body[3:])
        del buffer[:2]
