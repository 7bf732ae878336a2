# SPDX-License-Identifier: Apache-2.0

"""TFRecord files: checksums against published values, framing, the wire format of tf.train.Example, damage."""

import io
import struct

import numpy as np
import pytest
from vla_recorder.formats.crc32c import combine, crc32c
from vla_recorder.formats.tfrecord import FilePart, TfrecordError, count_records, masked, read_records, write_record
from vla_recorder.formats.tfrecord_example import (
    bytes_values,
    example,
    floats,
    ints,
    parse_example,
    spooled,
    spooled_floats,
    texts,
    varint,
)


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720 B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_checksums(data, crc):
    assert crc32c(data) == crc


def by_the_bit(data):
    """CRC-32C as its definition says."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 513, 1024, 5000, 40_001])
def test_lanes_give_what_bits_give(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    want = by_the_bit(data)
    assert crc32c(data) == want
    cut = size // 3
    assert crc32c(data[cut:], crc32c(data[:cut])) == want
    assert combine(crc32c(data[:cut]), crc32c(data[cut:]), size - cut) == want


def test_blocks_of_a_megabyte_join():
    data = np.random.default_rng(0).integers(0, 256, 2_300_001, np.uint8).tobytes()
    crc = 0
    for start in range(0, len(data), 7_000):
        crc = crc32c(data[start : start + 7_000], crc)
    assert crc32c(data) == crc


def test_a_record_is_framed_as_tensorflow_does():
    stream = io.BytesIO()
    assert write_record(stream, [b"1234", b"56789"]) == 9
    head = struct.pack("<Q", 9)
    want = head + struct.pack("<I", masked(crc32c(head))) + b"123456789" + struct.pack("<I", masked(0xE3069283))
    assert stream.getvalue() == want
    assert masked(0xE3069283) == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32


def test_files_and_bytes_make_one_record(tmp_path):
    piece = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
    spool, target = tmp_path / "spool", tmp_path / "out"
    spool.write_bytes(piece)
    with target.open("wb") as stream:
        write_record(stream, [b"head", FilePart(spool, len(piece), crc32c(piece)), b"tail"])
        write_record(stream, [])
    assert list(read_records(target)) == [b"head" + piece + b"tail", b""]
    assert count_records(target) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d[:-1], "ends within record 1"),
        (lambda d: d[:20], "ends within record 0"),
        (lambda d: d[:30], "ends within record 1"),
        (lambda d: d[:3] + b"\x01" + d[4:], "length of record 0 does not match"),
        (lambda d: d[:14] + b"?" + d[15:], "data of record 0 do not match"),
        (lambda d: d[:-1] + b"?", "data of record 1 do not match"),
    ],
)
def test_damage_is_found_and_placed(tmp_path, change, reason):
    path = tmp_path / "f"
    with path.open("wb") as stream:
        write_record(stream, [b"first"])
        write_record(stream, [b"second"])
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(TfrecordError, match=reason):
        count_records(path)
    with pytest.raises(TfrecordError, match=reason):
        list(read_records(path))


def joined(parts):
    """The bytes of pieces in memory or in files."""
    return b"".join(part.path.read_bytes() if isinstance(part, FilePart) else part for part in parts)


def test_the_wire_format_byte_by_byte():
    """protoc --encode of: features { feature { key: "a" value { int64_list { value: [1, 300] } } } }."""
    want = bytes.fromhex("0a0e0a0c0a016112071a050a0301ac02")
    assert joined(example([ints("a", [1, 300])])) == want


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**31, 2**63 - 1, -1, -(2**63)])
def test_whole_numbers_of_all_sizes(value):
    assert parse_example(joined(example([ints("x", [value])])))["x"].tolist() == [value]


def test_numbers_as_varints():
    assert [varint(v).hex() for v in (1, 300, -1)] == ["01", "ac02", "ff" * 9 + "01"]


def test_everything_comes_back(tmp_path):
    images = [b"one", b"", b"three" * 100]
    spool, numbers = tmp_path / "spool", tmp_path / "numbers"
    spool.write_bytes(bytes_values(images))
    numbers.write_bytes(np.arange(5, dtype="<f4").tobytes())
    size = spool.stat().st_size
    data = joined(
        example(
            [
                texts("text", ["hé", ""]),
                floats("state", np.array([[1.5, -2.0], [np.pi, 1e-30]])),
                ints("flags", np.array([True, False])),
                spooled("images", FilePart(spool, size, 0)),
                spooled_floats("depth", FilePart(numbers, 20, 0)),
                ints("none", []),
            ]
        )
    )
    found = parse_example(data)
    assert list(found) == sorted(found)
    assert found["text"] == ["hé".encode(), b""]
    np.testing.assert_array_equal(found["state"], np.float32([1.5, -2.0, np.pi, 1e-30]))
    assert found["flags"].tolist() == [1, 0]
    assert found["images"] == images
    assert found["depth"].tolist() == [0, 1, 2, 3, 4]
    assert found["none"].size == 0


@pytest.mark.parametrize(
    ("data", "reason"), [(b"\x08\x01", "wire type 0"), (b"\x0a\x05ab", "goes past the end"), (b"\x8a", "does not end")]
)
def test_bytes_that_are_no_example(data, reason):
    with pytest.raises(TfrecordError, match=reason):
        parse_example(data)
