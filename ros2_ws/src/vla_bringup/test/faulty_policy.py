# SPDX-License-Identifier: Apache-2.0

"""A policy that fails on command: the task says how. It moves like `policy:=scripted` until its second chunk."""

import numpy as np
from vla_core.chunks import ActionChunk
from vla_policy.policies.runner import Loaded, ServerLostError
from vla_policy.policies.scripted import load as load_scripted


class FaultyRunner:
    """See the module. Tasks: move, nan, jump, raise, lost."""

    guidable = False

    def __init__(self, inner):
        self._inner = inner
        self.n_action_steps, self.chunk_size = inner.n_action_steps, inner.chunk_size
        self.description = "faulty"
        self._count = 0

    def reset(self):
        self._inner.reset()
        self._count = 0

    def infer(self, frame, task, prefix=None):
        chunk = self._inner.infer(frame, task)
        self._count += 1
        if self._count < 3 or task == "move":
            return chunk
        values = np.array(chunk.values)
        if task == "nan":
            values[3, 1] = np.nan
        elif task == "jump":
            values[:, 2] += 10.0
        elif task == "raise":
            raise RuntimeError("the camera lens is dirty")
        elif task == "lost":
            raise ServerLostError("policy server ws://gpu:8000: the connection was lost")
        return ActionChunk(t0_ns=chunk.t0_ns, dt_s=chunk.dt_s, values=values)

    def close(self):
        self._inner.close()


def load(request):
    """Factory of `policy:=faulty`."""
    loaded = load_scripted(request)
    return Loaded(runner=FaultyRunner(loaded.runner), profile=loaded.profile, source="faulty")
