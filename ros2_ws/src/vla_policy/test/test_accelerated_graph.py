# SPDX-License-Identifier: Apache-2.0

"""The logic of CUDA graphs without a GPU: a stand-in records a stage's operations and repeats them at the same addresses.

What a recording forbids is forbidden here too: reading a number from a tensor, and shapes that depend on contents.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from torch.utils._python_dispatch import TorchDispatchMode
from vla_policy.policies.accelerated import accelerate
from vla_policy.policies.accelerated_graph import MAX_GRAPHS, CudaGraphFunction
from vla_policy.testing.random_policies import make_noise, make_observation, make_policy

FORBIDDEN = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal")


class Recording(TorchDispatchMode):
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name() not in FORBIDDEN, f"{func.name()} cannot be recorded in a CUDA graph"
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.done.append((func, args, kwargs or {}, result))
        return result

    def replay(self):
        for func, args, kwargs, result in self.done:
            again = func(*args, **kwargs)
            for old, new in zip(flat(result), flat(again), strict=True):
                if old is not new:
                    old.copy_(new)


def flat(result):
    parts = result if isinstance(result, (tuple, list)) else (result,)
    return [part for part in parts if isinstance(part, torch.Tensor)]


@contextmanager
def record(graph, capture_error_mode):
    assert capture_error_mode == "thread_local"
    with graph:
        yield


@pytest.fixture
def recorded(monkeypatch):
    class Stream:
        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
    monkeypatch.setattr(torch.cuda, "graph", record)


@pytest.mark.parametrize("kind", ["smolvla", "pi0", "pi05"])
def test_stages_can_be_recorded_and_repeated(kind, recorded, tmp_path):
    policy = make_policy(kind, tmp_path, full=False, rtc_config=RTCConfig(enabled=True))
    fast = accelerate(policy, cuda_graph=True)
    assert fast.description == "accelerated (float32, CUDA graphs)"
    left_over = torch.randn(7, policy.config.max_action_dim)
    for seed, tokens, guidance in (
        (0, 12, {}),
        (1, 12, {}),
        (2, 30, {}),
        (3, 12, {}),
        (4, 12, {"prev_chunk_left_over": left_over, "inference_delay": 2}),
        (5, 12, {"prev_chunk_left_over": left_over, "inference_delay": 1}),
    ):
        seen, noise = make_observation(policy, seed, tokens=tokens), make_noise(policy, seed)
        expected = policy.predict_action_chunk(dict(seen), noise=noise, **guidance)
        assert (fast.predict_action_chunk(seen, noise=noise, **guidance) - expected).abs().max() <= 1e-4
    assert len(fast.stages["vision"]._recorded) == 1
    assert len(fast.stages["prefix"]._recorded) == len(fast.stages["denoise"]._recorded) == 2
    assert len(fast.stages["step"]._recorded) == 1


def test_inputs_are_copied_or_pinned(recorded):
    calls = []

    def add(x, pinned):
        calls.append(1)
        return (x + pinned,)

    function = CudaGraphFunction(add, copied=1)
    pinned = torch.ones(3)
    first = function(torch.tensor([1.0, 2.0, 3.0]), pinned)[0]
    assert first.tolist() == [2.0, 3.0, 4.0]
    runs = len(calls)
    pinned.fill_(10.0)
    second = function(torch.zeros(3), pinned)[0]
    assert second.tolist() == [10.0, 10.0, 10.0]
    assert second is first
    assert len(calls) == runs
    function(torch.zeros(3), torch.ones(3))
    assert len(calls) > runs


def test_old_shapes_are_forgotten(recorded):
    function = CudaGraphFunction(lambda x: (x + 1,))
    for length in range(1, MAX_GRAPHS + 3):
        function(torch.zeros(length))
    assert len(function._recorded) == MAX_GRAPHS
