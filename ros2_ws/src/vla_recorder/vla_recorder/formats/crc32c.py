# SPDX-License-Identifier: Apache-2.0

"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of TFRecord files, over arrays instead of byte by byte.

A CRC register is linear over GF(2): that of two pieces is the first one's, moved on by the length of the second, xor the
second one's. So a block is cut into equal lanes that NumPy advances together, and the lanes are joined in pairs.
"""

from __future__ import annotations

from collections.abc import Buffer
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
_ALL = 0xFFFFFFFF
_LANE = 512
_BLOCK = 1 << 20
_SMALL = 256

Registers = NDArray[np.uint32]


def _byte_table() -> Registers:
    table: Registers = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


_BYTES = _byte_table()
_BYTES_LIST = [int(value) for value in _BYTES]


def _zero_byte(registers: Registers) -> Registers:
    """Return registers after one zero byte."""
    after: Registers = _BYTES[registers & 0xFF] ^ (registers >> 8)
    return after


_WORDS = _zero_byte(_zero_byte(np.arange(65536, dtype=np.uint32)))


@lru_cache(maxsize=64)
def _zeros_table(power: int) -> Registers:
    """Return (4, 256): what 2**power zero bytes do to each byte of a register."""
    if power == 0:
        positions = np.arange(256, dtype=np.uint32)[None, :] << np.array([[0], [8], [16], [24]], np.uint32)
        return _zero_byte(positions)
    half = _zeros_table(power - 1)
    return _through(half, half)


def _through(table: Registers, registers: Registers) -> Registers:
    """Return what a table makes of registers, byte by byte."""
    low = table[0][registers & 0xFF] ^ table[1][(registers >> 8) & 0xFF]
    after: Registers = low ^ table[2][(registers >> 16) & 0xFF] ^ table[3][registers >> 24]
    return after


def _advanced(register: int, length: int) -> int:
    """Return a register after `length` zero bytes."""
    value = np.array([register], np.uint32)
    power = 0
    while length:
        if length & 1:
            value = _through(_zeros_table(power), value)
        length >>= 1
        power += 1
    return int(value[0])


def _block(data: NDArray[np.uint8]) -> int:
    """Return the register of a block, begun at 0."""
    lanes = 1 << max(0, (-(-data.size // _LANE) - 1).bit_length())
    padded = np.zeros(lanes * _LANE, np.uint8)  # zeros in front leave a register of 0 alone
    padded[padded.size - data.size :] = data
    columns = np.ascontiguousarray(padded.view("<u2").reshape(lanes, -1).T)
    registers: Registers = np.zeros(lanes, np.uint32)
    for column in columns:
        registers = _WORDS[(registers ^ column) & 0xFFFF] ^ (registers >> 16)
    power = _LANE.bit_length() - 1
    while registers.size > 1:
        registers = _through(_zeros_table(power), registers[0::2]) ^ registers[1::2]
        power += 1
    return int(registers[0])


def crc32c(data: Buffer, crc: int = 0) -> int:
    """Return the CRC-32C of bytes.

    Args:
        data: Anything with the buffer protocol.
        crc: That of the bytes before, to go on.
    """
    values = np.frombuffer(data, np.uint8)
    register = crc ^ _ALL
    if values.size < _SMALL:
        for byte in values.tolist():
            register = _BYTES_LIST[(register ^ byte) & 0xFF] ^ (register >> 8)
        return register ^ _ALL
    for start in range(0, values.size, _BLOCK):
        part = values[start : start + _BLOCK]
        register = _advanced(register, part.size) ^ _block(part)
    return register ^ _ALL


def combine(first: int, second: int, second_length: int) -> int:
    """Return the CRC-32C of two pieces, one after the other, from that of each and the length of the second [bytes]."""
    return _advanced(first, second_length) ^ second
