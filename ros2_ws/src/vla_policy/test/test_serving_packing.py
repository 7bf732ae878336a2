# SPDX-License-Identifier: Apache-2.0

import pickle

import msgpack
import numpy as np
import pytest
from vla_policy.serving.errors import WireError
from vla_policy.serving.packing import pack, unpack

# {"a": float32 array [1, 2]}, written by hand from the msgpack specification: no library takes part in these bytes.
BY_HAND = (
    b"\x81\xa1a"
    b"\x84\xc4\x0b__ndarray__\xc3"
    b"\xc4\x04data\xc4\x08\x00\x00\x80\x3f\x00\x00\x00\x40"
    b"\xc4\x05dtype\xa3<f4"
    b"\xc4\x05shape\x91\x02"
)
SCALAR_BY_HAND = b"\x83\xc4\x0d__npgeneric__\xc3\xc4\x04data\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xc4\x05dtype\xa3<f4"


def test_bytes_are_those_of_the_protocol():
    assert pack({"a": np.array([1, 2], np.float32)}) == BY_HAND
    assert pack(np.float32(1.5)) == SCALAR_BY_HAND


def test_bytes_by_hand_are_read():
    found = unpack(BY_HAND)
    assert found["a"].dtype == np.float32
    assert found["a"].tolist() == [1.0, 2.0]
    assert unpack(SCALAR_BY_HAND) == 1.5
    assert isinstance(unpack(SCALAR_BY_HAND), np.float32)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "|u1", "<i8", "|b1", "<U5", "|S4", "<f2", "<M8[ns]"])
def test_round_trip_keeps_every_bit(dtype):
    array = np.arange(12).astype(dtype).reshape(3, 4)
    found = unpack(pack([array, {"nested": array[:0]}]))
    assert found[0].dtype == array.dtype
    assert found[0].tobytes() == array.tobytes()
    assert found[1]["nested"].shape == (0, 4)


def test_arrays_of_no_order_in_memory_travel_in_order():
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)[:, ::-1].transpose(2, 0, 1)
    assert np.array_equal(unpack(pack(array)), array)


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.zeros(2, [("x", "f4")]), np.array([1j]), np.complex64(1), object(), {1, 2}]
)
def test_what_cannot_travel_is_refused(value):
    with pytest.raises(WireError, match="cannot travel"):
        pack({"x": value})


@pytest.mark.parametrize("dtype", ["|O", "O8", "<c16", "|V8", [["x", "<f4"]], "f4,O"])
def test_refused_dtypes_are_refused_when_they_come(dtype):
    data = msgpack.packb({b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": dtype, b"shape": [1]})
    with pytest.raises(WireError, match=r"cannot travel|without a dtype|unknown dtype"):
        unpack(data)


def test_a_pickle_is_never_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    evil = pickle.dumps(Evil())
    as_array = msgpack.packb({b"__ndarray__": True, b"data": evil, b"dtype": "|O", b"shape": [len(evil) // 8]})
    for data in (evil, as_array):
        with pytest.raises(WireError):
            unpack(data)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({b"shape": [3]}, "shape .3. and dtype float32 needs 12 bytes, got 8"),
        ({b"shape": [-2]}, "whole numbers from 0"),
        ({b"shape": [1] * 9}, "at most 8 numbers"),
        ({b"shape": 2}, "b'shape'"),
        ({b"data": "text"}, "b'data'"),
        ({b"dtype": "nonsense"}, "unknown dtype 'nonsense'"),
        ({b"dtype": 4}, "without a dtype"),
        ({b"shape": [1 << 62, 1 << 62]}, "bytes, got 8"),
    ],
)
def test_damaged_arrays_are_named(changed, says):
    array = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    with pytest.raises(WireError, match=says):
        unpack(msgpack.packb(array | changed))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        b"\xc1",
        BY_HAND[:-1],
        BY_HAND + b"\x00",
        b"\x91" * 5000,
        b"\xdd\x00\x01\x00\x01" + 65537 * b"\x80",
        b"\x81\x90\x01",
    ],
)
def test_damaged_messages_are_named(data):
    with pytest.raises(WireError, match="no msgpack message"):
        unpack(data)


def test_jpegs_are_refused_with_what_to_send_instead():
    with pytest.raises(WireError, match=r"compress_images: false.*uint8 arrays"):
        unpack(msgpack.packb({b"__jpeg__": True, b"frames": [b"\xff\xd8"], b"ndim": 3}))
