# SPDX-License-Identifier: Apache-2.0

"""Inference beside the control loop: one thread owns the model; the loop hands it a frame and looks for the answer."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

from vla_core.chunks import ActionChunk
from vla_core.frames import Frame

from vla_policy.policies.runner import InferenceError, PolicyRunner, Prefix

LOAD_THREAD = "inference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One inference.

    Attributes:
        frame: What was observed.
        chunk: What the policy wants to do.
        seconds: Wall time of the inference.
        timing: Seconds of its parts preprocess, model and postprocess, where the policy tells them (`last_timing`).
    """

    frame: Frame
    chunk: ActionChunk
    seconds: float
    timing: Mapping[str, float] = field(default_factory=dict)


class Inference:
    """One policy on one thread. Loading happens there too, so all of the model's work shares its thread settings.

    Attributes:
        on_answer: Called on that thread when an inference has ended.
    """

    def __init__(self, load: Callable[[], PolicyRunner]) -> None:
        """Load the policy.

        Args:
            load: Makes the runner; its errors are raised here.
        """
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=LOAD_THREAD)
        self._pending: Future[Answer] | None = None
        self._reset: Future[None] | None = None
        self.on_answer: Callable[[], None] = lambda: None
        try:
            self._runner = self._pool.submit(load).result()
        except BaseException:
            self._pool.shutdown(wait=False)
            raise

    @property
    def runner(self) -> PolicyRunner:
        """The loaded policy."""
        return self._runner

    @property
    def busy(self) -> bool:
        """Whether an inference was started whose answer has not been taken."""
        return self._pending is not None

    def reset(self) -> None:
        """Forget a running inference and the policy's past; before each run."""
        self._pending = None
        self._pool.submit(self._runner.reset).result()

    def discard(self) -> None:
        """Forget a running inference and the policy's past without waiting; the next inference begins after that.

        An error of the policy's reset becomes one of the next inference.
        """
        self._pending = None
        self._reset = self._pool.submit(self._runner.reset)

    def start(self, frame: Frame, task: str, prefix: Prefix | None = None, earlier: Sequence[Frame] = ()) -> None:
        """Begin an inference; one at a time.

        Args:
            frame: The observation.
            task: Instruction.
            prefix: What the chunk is to continue; only for policies that can be guided.
            earlier: Observations before it, oldest first, for policies that look back (`history`).
        """
        assert self._pending is None
        self._pending = self._pool.submit(self._infer, frame, task, prefix, self._reset, earlier)
        self._pending.add_done_callback(lambda _: self.on_answer())
        self._reset = None

    def take(self, wait_s: float) -> Answer | None:
        """The answer if it is there, waiting for it up to `wait_s` wall seconds.

        Raises:
            InferenceError: the policy raised.
        """
        if self._pending is None:
            return None
        try:
            answer = self._pending.result(timeout=wait_s)
        except FutureTimeoutError:
            return None
        except InferenceError:
            self._pending = None
            raise
        self._pending = None
        return answer

    def close(self) -> None:
        """Wait for a running inference and give the model back."""
        self._pool.submit(self._runner.close).result()
        self._pool.shutdown(wait=True)

    def _infer(
        self, frame: Frame, task: str, prefix: Prefix | None, reset: Future[None] | None, earlier: Sequence[Frame]
    ) -> Answer:
        started_s = time.perf_counter()
        try:
            if reset is not None:
                reset.result()  # done: it was queued before this on the one thread
            for one in earlier:
                self._runner.observe(one)  # type: ignore[attr-defined]
            chunk = self._runner.infer(frame, task) if prefix is None else self._runner.infer(frame, task, prefix)
        except InferenceError:
            raise
        except Exception as error:
            raise InferenceError(f"the policy raised {type(error).__name__}: {error}") from error
        seconds = time.perf_counter() - started_s
        return Answer(frame=frame, chunk=chunk, seconds=seconds, timing=getattr(self._runner, "last_timing", {}))
