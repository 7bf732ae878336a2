# SPDX-License-Identifier: Apache-2.0

"""What every policy must do, as checks that a package with a policy of its own can run in its tests.

For example::

    import pytest
    from vla_policy.policies.conformance import CHECKS, Subject
    from vla_policy.policies.runner import LoadRequest

    @pytest.fixture(scope="module")
    def subject():
        with Subject("my_policy", LoadRequest(profile=PROFILE)) as made:
            yield made

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(subject, check):
        check(subject)

Each check raises AssertionError with what was expected and what came.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError
from vla_core.frames import Frame
from vla_core.profile import Profile

from vla_policy.policies.registry import find_policy, load_policy
from vla_policy.policies.runner import InferenceError, Loaded, LoadRequest, PolicyRunner, Prefix

STAGES = ("preprocess", "model", "postprocess")
TASKS = ("", "lift the block", "置く 🤖\n_under_score_", "word " * 400)
START_NS = 1_700_000_000_000_000_000


class Subject:
    """A policy under test; a context manager that loads it once and closes it."""

    def __init__(self, name: str, request: LoadRequest) -> None:
        """Args: name: of its entry point."""
        self.name = name
        self.request = request
        self._loaded: Loaded | None = None

    def __enter__(self) -> "Subject":
        """Load the policy."""
        self._loaded = load_policy(self.name, self.request)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.runner.close()

    @property
    def runner(self) -> PolicyRunner:
        """The loaded policy."""
        assert self._loaded is not None, "use Subject as a context manager: with Subject(…) as subject"
        return self._loaded.runner

    @property
    def profile(self) -> Profile:
        """The profile that it runs under."""
        assert self._loaded is not None, "use Subject as a context manager: with Subject(…) as subject"
        return self._loaded.profile

    def load(self, **changed: Any) -> Loaded:
        """Load it again with another request."""
        return find_policy(self.name)(dataclasses.replace(self.request, **changed))

    def frame(self, index: int = 0) -> Frame:
        """An observation as the node makes them: at a step of the profile's grid, its arrays read-only."""
        random = np.random.default_rng(index)
        profile = self.profile
        images = {c.name: random.integers(0, 256, c.frame_shape, dtype=np.uint8) for c in profile.cameras}
        joints = {
            part.name: np.clip(random.uniform(-0.2, 0.2, len(part.joints)), part.limits.lower, part.limits.upper)
            for part in profile.action
        }
        state64 = random.uniform(0.0, 0.2, len(profile.state_names))
        state = state64.astype(np.float32)
        arrays: list[NDArray[Any]] = [*images.values(), *joints.values(), state, state64]
        for array in arrays:
            array.setflags(write=False)
        t_ns = START_NS + round(index * 1e9 / profile.fps)
        return Frame(t_ns=t_ns, state=state, state64=state64, joints=joints, images=images, action=None, ages_s={})


def is_a_policy_runner(subject: Subject) -> None:
    """All members are there, and their numbers do not contradict each other."""
    runner = subject.runner
    assert isinstance(runner, PolicyRunner), f"{type(runner).__name__} lacks members of PolicyRunner"
    assert isinstance(runner.guidable, bool), f"guidable is {runner.guidable!r}, expected True or False"
    assert isinstance(runner.description, str), f"description is {runner.description!r}, expected a line of text"
    assert runner.description.strip(), "description is empty; people are to know from it what is loaded"
    assert "\n" not in runner.description, "description has several lines"
    assert 1 <= runner.n_action_steps <= runner.chunk_size, (
        f"n_action_steps {runner.n_action_steps} is not between 1 and chunk_size {runner.chunk_size}"
    )
    if getattr(runner, "history", 0):
        assert callable(getattr(runner, "observe", None)), "it has a history, but no observe(frame) to be shown it by"


def returns_chunks_of_the_stated_form(subject: Subject) -> None:
    """Shape, type, time of each chunk, and finite numbers."""
    subject.runner.reset()
    for index in range(3):
        frame = subject.frame(index)
        check_chunk(subject, frame, subject.runner.infer(frame, TASKS[1]))


def check_chunk(subject: Subject, frame: Frame, chunk: ActionChunk) -> None:
    """The form of one chunk that was computed from `frame`."""
    expected = (subject.runner.chunk_size, len(subject.profile.action_names))
    assert isinstance(chunk, ActionChunk), f"infer returned {type(chunk).__name__}, expected ActionChunk"
    assert chunk.values.shape == expected, f"values of shape {chunk.values.shape}, expected {expected}"
    assert chunk.values.dtype == np.float32, f"values of type {chunk.values.dtype}, expected float32"
    assert np.isfinite(chunk.values).all(), "values that are not finite; raise InferenceError instead"
    assert chunk.t0_ns == frame.t_ns, f"t0_ns {chunk.t0_ns}, expected the frame's {frame.t_ns}"
    dt_s = 1.0 / subject.profile.fps
    assert abs(chunk.dt_s - dt_s) < 1e-9, f"dt_s {chunk.dt_s}, expected one step of the profile, {dt_s}"


def begins_anew_after_reset(subject: Subject) -> None:
    """The same observations after a reset give the same chunks: an episode is reproducible by its seed."""

    def episode() -> list[NDArray[np.float32]]:
        subject.runner.reset()
        return [np.array(subject.runner.infer(subject.frame(index), TASKS[1]).values) for index in (0, 1)]

    first = episode()
    subject.runner.infer(subject.frame(7), TASKS[2])
    for index, (before, after) in enumerate(zip(first, episode(), strict=True)):
        same = np.array_equal(before, after, equal_nan=True)
        assert same, f"inference {index} after a reset differs from the same one before it"


def takes_any_task(subject: Subject) -> None:
    """No text, long text and foreign letters give a chunk or an InferenceError, nothing else."""
    for task in TASKS:
        frame = subject.frame(3)
        chunk = _chunk_or_inference_error(subject, frame, task)
        if chunk is not None:
            check_chunk(subject, frame, chunk)


def raises_inference_errors_only(subject: Subject) -> None:
    """Observations that do not fit the profile give a chunk or an InferenceError, and the policy goes on afterwards."""
    frame = subject.frame(4)
    state = np.zeros(len(frame.state) + 1, dtype=np.float32)
    wrong = [
        dataclasses.replace(frame, state=state, state64=state.astype(np.float64)),
        dataclasses.replace(frame, joints={}),
    ]
    if frame.images:
        small = {name: image[::2] for name, image in frame.images.items()}
        wrong += [dataclasses.replace(frame, images={}), dataclasses.replace(frame, images=small)]
    for one in wrong:
        _chunk_or_inference_error(subject, one, TASKS[1])
    subject.runner.reset()
    check_chunk(subject, frame, subject.runner.infer(frame, TASKS[1]))


def _chunk_or_inference_error(subject: Subject, frame: Frame, task: str) -> ActionChunk | None:
    try:
        return subject.runner.infer(frame, task)
    except InferenceError as error:
        refusal = str(error).strip()
    except Exception as error:
        raise AssertionError(f"infer raised {type(error).__name__}, expected InferenceError: {error}") from error
    assert refusal, "an InferenceError without a text"
    return None


def is_guided_or_says_that_it_cannot(subject: Subject) -> None:
    """A guidable policy takes prefixes of any length; another one cannot be loaded for guidance."""
    runner, frame = subject.runner, subject.frame(5)
    if not runner.guidable:
        try:
            loaded = subject.load(guided=True)
        except CheckpointError:
            return
        loaded.runner.close()
        raise AssertionError("guidable is False, yet a request with guided=True was not refused with a CheckpointError")
    runner.reset()
    values = runner.infer(frame, TASKS[1]).values
    for length in (1, max(1, runner.chunk_size // 2), runner.chunk_size):
        for frozen in (0, length):
            check_chunk(subject, frame, runner.infer(frame, TASKS[1], Prefix(values=values[:length], frozen=frozen)))


def executes_as_many_steps_as_asked(subject: Subject) -> None:
    """`n_action_steps` of the request is honoured, and refused beyond the chunk."""
    loaded = subject.load(n_action_steps=1)
    asked = loaded.runner.n_action_steps
    loaded.runner.close()
    assert asked == 1, f"n_action_steps 1 was asked for, the policy says {asked}"
    _expect_checkpoint_error(subject, "n_action_steps beyond the chunk", n_action_steps=subject.runner.chunk_size + 1)


def refuses_unknown_options(subject: Subject) -> None:
    """An option that is not honoured is not swallowed."""
    _expect_checkpoint_error(subject, "an unknown option", options={**subject.request.options, "no_such_option": "1"})


def _expect_checkpoint_error(subject: Subject, what: str, **changed: Any) -> None:
    try:
        subject.load(**changed).runner.close()
    except CheckpointError as error:
        refusal = str(error).strip()
    else:
        raise AssertionError(f"{what} was not refused with a CheckpointError")
    assert refusal, f"{what}: a CheckpointError without a text"


def tells_its_time(subject: Subject) -> None:
    """`last_timing`, where there is one, has the seconds of all stages."""
    timing = getattr(subject.runner, "last_timing", None)
    if timing is None:
        return
    subject.runner.infer(subject.frame(6), TASKS[1])
    timing = subject.runner.last_timing  # type: ignore[attr-defined]
    assert isinstance(timing, Mapping), f"last_timing is {type(timing).__name__}, expected a mapping"
    assert set(STAGES) <= set(timing), f"last_timing has {sorted(timing)}, expected {', '.join(STAGES)}"
    assert all(timing[stage] >= 0.0 for stage in STAGES), f"last_timing has negative seconds: {dict(timing)}"


def can_be_closed_twice(subject: Subject) -> None:
    """`close` gives everything back, whatever was given back before."""
    loaded = subject.load()
    loaded.runner.close()
    loaded.runner.close()


CHECKS: tuple[Callable[[Subject], None], ...] = (
    is_a_policy_runner,
    returns_chunks_of_the_stated_form,
    begins_anew_after_reset,
    takes_any_task,
    raises_inference_errors_only,
    is_guided_or_says_that_it_cannot,
    executes_as_many_steps_as_asked,
    refuses_unknown_options,
    tells_its_time,
    can_be_closed_twice,
)
