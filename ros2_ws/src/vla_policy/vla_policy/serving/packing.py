# SPDX-License-Identifier: Apache-2.0

"""Messages as msgpack, with NumPy arrays as maps with byte-string keys.

An array travels as ``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [..]}``, a NumPy scalar as
``{b"__npgeneric__": True, b"data": value, b"dtype": "<f4"}``: the form of lebedov/msgpack-numpy that openpi and
Positronic both speak. Object, void and complex dtypes are refused in both directions, and nothing here can construct
anything but numbers, text, bytes, lists and maps: there is no pickle.
"""

from math import prod
from typing import Any

import msgpack
import numpy as np

from vla_policy.serving.errors import WireError

ARRAY, SCALAR, JPEG = b"__ndarray__", b"__npgeneric__", b"__jpeg__"
_DATA, _DTYPE, _SHAPE = b"data", b"dtype", b"shape"
REFUSED_KINDS = "OVc"
MAX_DIMENSIONS = 8
# One byte on the wire can become an object of a hundred in memory.
MAX_ITEMS, MAX_KEYS = 1 << 16, 1 << 12


def pack(message: Any) -> bytes:
    """Return a message of numbers, text, bytes, lists, maps and arrays as msgpack.

    Raises:
        WireError: it holds something else, or an array of objects, structures or complex numbers.
    """
    try:
        packed: bytes = msgpack.packb(message, default=_pack_value)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"cannot pack the message: {error}") from error
    return packed


def unpack(data: bytes) -> Any:
    """Return the message in `data`; arrays are read-only views of it.

    Raises:
        WireError: it is no complete msgpack message, or an array in it is of a refused dtype or has not as many bytes
            as its shape needs.
    """
    try:
        return msgpack.unpackb(
            data, object_hook=_unpack_map, strict_map_key=False, max_array_len=MAX_ITEMS, max_map_len=MAX_KEYS
        )
    except WireError:
        raise
    # msgpack raises ValueError and its subclasses for damage, TypeError for unhashable keys, RecursionError for depth.
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise WireError(f"{len(data)} bytes that are no msgpack message: {reason}") from error


def _pack_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        _check_kind(value.dtype)
        return {ARRAY: True, _DATA: value.tobytes(), _DTYPE: value.dtype.str, _SHAPE: value.shape}
    if isinstance(value, np.generic):
        _check_kind(value.dtype)
        return {SCALAR: True, _DATA: value.item(), _DTYPE: value.dtype.str}
    raise WireError(f"a {type(value).__name__} cannot travel; send numbers, text, lists, maps or arrays")


def _unpack_map(found: dict[Any, Any]) -> Any:
    if ARRAY in found:
        return _array(found)
    if SCALAR in found:
        dtype = _dtype(found)
        try:
            return dtype.type(found[_DATA])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise WireError(f"a NumPy scalar of dtype {dtype} with unusable data: {error}") from error
    if JPEG in found:
        raise WireError(
            "the message holds a JPEG image; this server says compress_images: false in its metadata and takes (H, W, 3) "
            "uint8 arrays"
        )
    return found


def _array(found: dict[Any, Any]) -> np.ndarray:
    dtype = _dtype(found)
    data, shape = found.get(_DATA), found.get(_SHAPE)
    if not isinstance(data, bytes) or not isinstance(shape, list | tuple) or len(shape) > MAX_DIMENSIONS:
        raise WireError(f"an array needs b'data' (bytes) and b'shape' (at most {MAX_DIMENSIONS} numbers)")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise WireError(f"an array of shape {list(shape)}; its sides must be whole numbers from 0")
    if prod(shape) * dtype.itemsize != len(data):
        raise WireError(
            f"an array of shape {list(shape)} and dtype {dtype} needs {prod(shape) * dtype.itemsize} bytes, got {len(data)}"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _dtype(found: dict[Any, Any]) -> np.dtype:
    name = found.get(_DTYPE)
    if not isinstance(name, str | bytes):
        raise WireError("an array or NumPy scalar without a dtype")
    try:
        dtype = np.dtype(name.decode("ascii") if isinstance(name, bytes) else name)
    except (TypeError, ValueError, SyntaxError) as error:
        raise WireError(f"unknown dtype {name!r}") from error
    _check_kind(dtype)
    return dtype


def _check_kind(dtype: np.dtype) -> None:
    if dtype.kind in REFUSED_KINDS or dtype.hasobject:
        raise WireError(f"dtype {dtype} cannot travel: objects, structures and complex numbers are refused")
