# SPDX-License-Identifier: Apache-2.0

"""Strict comparison of a weight file with the model that is to read it.

Model libraries load what fits and warn about the rest, or fall back to random weights; an arm must not move on that.
Here the file's table of contents is read first (safetensors: an 8-byte little-endian length, a JSON header, the data;
see https://github.com/huggingface/safetensors), so a cut file and a foreign model are told apart before anything loads.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from vla_core.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000
MAX_NAMED = 6
_LENGTH_BYTES = 8
Shape = tuple[int, ...]


def read_shapes(path: Path) -> dict[str, Shape]:
    """Names and shapes of all tensors in a safetensors file, after checking that the file is complete.

    Raises:
        CheckpointError: the file is missing, cut short, or not a safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if size < _LENGTH_BYTES or header_bytes > min(size - _LENGTH_BYTES, MAX_HEADER_BYTES):
                raise CheckpointError(
                    f"{path}: the weight file is cut short or not safetensors: {size} bytes cannot hold its header of "
                    f"{header_bytes} bytes. Copy the checkpoint again, or choose an earlier step."
                )
            header = json.loads(file.read(header_bytes))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot read the weights ({error.strerror}). Copy the checkpoint again, or choose another step."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not a safetensors file (unreadable header: {error}).") from error
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    expected = _LENGTH_BYTES + header_bytes + end
    if size != expected:
        raise CheckpointError(
            f"{path}: the weight file is {'cut short' if size < expected else 'too long'}: {size} bytes of {expected}. "
            f"Copy the checkpoint again, or choose an earlier step."
        )
    return {name: tuple(entry["shape"]) for name, entry in tensors.items()}


def check_shapes(path: Path, stored: Mapping[str, Shape], model: Mapping[str, Shape]) -> None:
    """Compare a file's tensors with the model's parameters and buffers.

    Args:
        path: The file, for the message.
        stored: Name to shape in the file.
        model: Name to shape in the model.

    Raises:
        CheckpointError: a tensor is missing, left over, or of another shape; the message names them.
    """
    problems = []
    missing = sorted(set(model) - set(stored))
    extra = sorted(set(stored) - set(model))
    if missing:
        problems.append(f"missing in the file ({len(missing)}): {_some(missing)}")
    if extra:
        problems.append(f"unknown to the model ({len(extra)}): {_some(extra)}")
    both = [name for name in stored if name in model]
    wrong = [f"{name} file {stored[name]}, model {model[name]}" for name in both if stored[name] != model[name]]
    if wrong:
        problems.append(f"other shape ({len(wrong)}): {_some(wrong)}")
    if problems:
        raise CheckpointError(
            f"{path}: the weights do not fit the model described by config.json beside them:\n  "
            + "\n  ".join(problems)
            + "\nThe policy would run with untrained parts, so it is refused. Use the config.json of the same training."
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    return shown if len(names) <= MAX_NAMED else f"{shown}, … and {len(names) - MAX_NAMED} more"
