# SPDX-License-Identifier: Apache-2.0

"""Just enough of H.264, H.265 and AV1 to know what one packet is, without decoding it.

Sources: ITU-T H.264 7.3.1 and 7.3.3 (NAL units, slice header), ITU-T H.265 7.3.1.2 and table 7-1, AV1 specification 5.3
(OBU header) and 5.9.2 (frame header).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_START = b"\x00\x00\x01"
_H264_SLICE, _H264_IDR, _H264_SPS, _H264_PPS = 1, 5, 7, 8
_H264_B_SLICES = (1, 6)
_HEVC_IRAP = range(16, 22)
_HEVC_LEADING = range(6, 10)  # RADL and RASL pictures are shown before the key frame that they follow
_HEVC_VPS, _HEVC_SPS, _HEVC_PPS = 32, 33, 34
_AV1_SEQUENCE, _AV1_FRAME_HEADER, _AV1_FRAME = 1, 3, 6


@dataclass(frozen=True, slots=True)
class PacketKind:
    """What a packet is.

    Attributes:
        pictures: Whether it holds picture data at all.
        key: Decoding can begin here: a key frame together with its parameter sets.
        reordered: It is shown at another place than it is sent (B frame, leading picture).
    """

    pictures: bool
    key: bool
    reordered: bool


def packet_kind(codec: str, data: bytes) -> PacketKind:
    """Return what a packet is.

    Args:
        codec: ``h264`` or ``hevc`` (Annex B byte stream), or ``av1`` (low-overhead OBU stream).
        data: The packet.

    Raises:
        ValueError: The codec is another one, or the data do not follow its format.
    """
    if codec == "h264":
        return _h264(data)
    if codec == "hevc":
        return _hevc(data)
    if codec == "av1":
        return _av1(data)
    raise ValueError(f"{codec!r} packets cannot be read; known: h264, hevc, av1")


def _units(data: bytes) -> Iterator[bytes]:
    """Yield the first bytes of every NAL unit."""
    position = data.find(_START)
    if position not in (0, 1):
        raise ValueError("does not begin with a start code (00 00 01), so it is no Annex B stream")
    while position >= 0:
        begin = position + len(_START)
        yield data[begin : begin + 16]
        position = data.find(_START, begin)


def _h264(data: bytes) -> PacketKind:
    kinds: set[int] = set()
    reordered = False
    for unit in _units(data):
        kind = unit[0] & 31 if unit else 0
        kinds.add(kind)
        if kind == _H264_SLICE:
            bits = _Bits(unit[1:])
            bits.exp_golomb()  # first_mb_in_slice
            reordered |= bits.exp_golomb() in _H264_B_SLICES
    return PacketKind(bool(kinds & {_H264_SLICE, _H264_IDR}), kinds >= {_H264_IDR, _H264_SPS, _H264_PPS}, reordered)


def _hevc(data: bytes) -> PacketKind:
    kinds = {(unit[0] >> 1) & 63 for unit in _units(data) if unit}
    pictures = {kind for kind in kinds if kind < _HEVC_VPS}
    key = any(kind in _HEVC_IRAP for kind in pictures) and kinds >= {_HEVC_VPS, _HEVC_SPS, _HEVC_PPS}
    return PacketKind(bool(pictures), key, any(kind in _HEVC_LEADING for kind in pictures))


def _av1(data: bytes) -> PacketKind:
    sequence = pictures = key = False
    position = 0
    while position < len(data):
        head = data[position]
        kind, extension, sized = (head >> 3) & 15, (head >> 2) & 1, (head >> 1) & 1
        if head & 0x80:
            raise ValueError("does not begin with an OBU, so it is no AV1 low-overhead stream")
        position += 1 + extension
        size, length = _leb128(data, position) if sized else (len(data) - position, 0)
        position += length
        sequence |= kind == _AV1_SEQUENCE
        if kind in (_AV1_FRAME_HEADER, _AV1_FRAME):
            pictures = True
            # show_existing_frame (1 bit) = 0 and frame_type (2 bits) = KEY_FRAME; position is in the data for size > 0.
            key |= size > 0 and position < len(data) and data[position] >> 5 == 0
        position += size
    return PacketKind(pictures, key and sequence, reordered=False)


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        if position + index >= len(data):
            raise ValueError("ends within the size of an OBU")
        byte = data[position + index]
        value |= (byte & 127) << (7 * index)
        if not byte & 128:
            return value, index + 1
    raise ValueError("has an OBU size of more than eight bytes")


class _Bits:
    """Reads exp-Golomb codes (H.264 9.1) from the beginning of a payload."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data)
        self._position = 0

    def exp_golomb(self) -> int:
        one = self._bits.find("1", self._position)
        if one < 0:
            raise ValueError("has a slice header that is cut short")
        zeros = one - self._position
        end = one + zeros + 1
        if end > len(self._bits):
            raise ValueError("has a slice header that is cut short")
        self._position = end
        return int(self._bits[one:end], 2) - 1
