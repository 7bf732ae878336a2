# SPDX-License-Identifier: Apache-2.0

"""A function of tensors as a CUDA graph: recorded once per set of shapes, then replayed with one launch.

A small model on a fast GPU spends its time starting kernels; a graph starts them all at once. See the PyTorch notes on
CUDA graphs (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). Inputs and outputs live at fixed addresses, so
an output is valid until the next call.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from vla_core.errors import CheckpointError

WARM_UP_RUNS = 3
MAX_GRAPHS = 8
Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    inputs: Tensors
    outputs: Tensors


class CudaGraphFunction:
    """Calls of a function replayed from CUDA graphs."""

    def __init__(self, function: Callable[..., Tensors], copied: int | None = None) -> None:
        """Wrap a function.

        Args:
            function: Takes and gives CUDA tensors only; its work depends on nothing but their contents.
            copied: The first so many inputs are copied to the graph's own memory, the rest must live at the same addresses
                whenever they have the same shapes (outputs of another graph); None: all are copied.

        Raises:
            CheckpointError: torch sees no CUDA device.
        """
        if not torch.cuda.is_available():
            raise CheckpointError(
                "CUDA graphs were asked for, but torch sees no CUDA device. Leave cuda_graph at its default, which uses "
                "them where the policy is on a GPU."
            )
        self._function = function
        self._copied = copied
        self._recorded: OrderedDict[tuple[object, ...], _Recorded] = OrderedDict()

    def __call__(self, *given: Tensor) -> Tensors:
        """Run the function; the first call with new shapes records it, which takes several runs."""
        copied = len(given) if self._copied is None else self._copied
        key = (
            *((tuple(x.shape), x.dtype) for x in given[:copied]),
            *((x.data_ptr(), tuple(x.shape)) for x in given[copied:]),
        )
        recorded = self._recorded.get(key)
        if recorded is None:
            recorded = self._recorded[key] = self._record(given, copied)
            if len(self._recorded) > MAX_GRAPHS:
                self._recorded.popitem(last=False)
        else:
            self._recorded.move_to_end(key)
        for mine, yours in zip(recorded.inputs[:copied], given[:copied], strict=True):
            mine.copy_(yours)
        recorded.graph.replay()
        return recorded.outputs

    def _record(self, given: Tensors, copied: int) -> _Recorded:
        inputs = (*(x.clone() for x in given[:copied]), *given[copied:])
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                self._function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads (cameras, logging) may use the GPU meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = self._function(*inputs)
        return _Recorded(graph, inputs, outputs)
