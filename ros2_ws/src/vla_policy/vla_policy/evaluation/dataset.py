# SPDX-License-Identifier: Apache-2.0

"""A dataset as an evaluation reads it: through LeRobot's own reader, as observations of the policy node."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, Frame
from vla_core.profile import Profile

from vla_policy.evaluation.run_folder import EvaluationError

UINT8_MAX = 255.0
REPOSITORY = "local/evaluated"  # LeRobot wants a name; with a root folder it is not looked up


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """One observation and what was recorded from then on.

    Attributes:
        episode: Its episode.
        step: Its frame within the episode, at least 1.
        frame: The observation.
        history: Earlier observations, oldest first, as many as the policy reads and the episode has.
        task: Instruction.
        previous: (m,) the action of the frame before, counted from the present observation.
        truth: (T, m) the recorded actions from the observation on, counted from it; rows past the episode's end repeat.
        valid: (T,) whether the row was recorded.
    """

    episode: int
    step: int
    frame: Frame
    history: tuple[Frame, ...]
    task: str
    previous: NDArray[np.float32]
    truth: NDArray[np.float32]
    valid: NDArray[np.bool_]


class RecordedWindows:
    """Windows over the episodes of a LeRobot dataset, each `stride` frames after the one before.

    An episode's first frame is no window: no action comes before it, which the baseline that holds the last action needs.

    Attributes:
        relative: Whether actions are differences, so that each chunk counts from a state of its own.
    """

    def __init__(
        self,
        root: Path,
        profile: Profile,
        *,
        episodes: Sequence[int],
        steps: int,
        stride: int,
        history: int = 0,
        video_backend: str | None = None,
    ) -> None:
        """Open the dataset.

        Args:
            root: Its folder.
            profile: What its numbers mean; `checks.check_fit` has compared both.
            episodes: Which episodes.
            steps: Steps T of a chunk.
            stride: Frames from one window to the next.
            history: Earlier observations that the policy reads.
            video_backend: LeRobot's name of the video decoder; None: its default.

        Raises:
            EvaluationError: LeRobot cannot open it, or no episode has two frames.
        """
        self._profile = profile
        self._map = ActionMap(profile)
        self.relative = any(spec.space.startswith("delta") for spec in profile.action)
        self._cameras = {camera.name: IMAGE_PREFIX + camera.name for camera in profile.cameras}
        self._history = history
        self._back = max(1, history)
        self._dataset = _open(root, profile, episodes, self._deltas(steps, history), video_backend)
        self._rows = self._choose_rows(stride)
        if not self._rows:
            raise EvaluationError(
                f"{root}: no chosen episode has two frames or more, so there is nothing to evaluate on."
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Window]:
        """The windows, episode by episode, in the order of time.

        Raises:
            EvaluationError: a picture cannot be decoded.
        """
        for row in self._rows:
            try:
                item = self._dataset[row]
            except (RuntimeError, OSError, ValueError, AssertionError) as error:
                raise EvaluationError(
                    f"{self._dataset.root}: row {row} cannot be read: {type(error).__name__}: {error}. Check the dataset: "
                    f"ros2 run vla_recorder validate {self._dataset.root}"
                ) from error
            yield self._window(item)

    def statistics(self) -> dict[str, NDArray[np.float64]]:
        """`mean` and `std` (m,) of the action over the whole dataset, from its `meta/stats.json`.

        Raises:
            EvaluationError: the dataset has none.
        """
        stats = (self._dataset.meta.stats or {}).get(ACTION_KEY)
        if stats is None:
            raise EvaluationError(
                f"{self._dataset.root}: meta/stats.json says nothing of '{ACTION_KEY}'; convert it again."
            )
        return {name: np.asarray(stats[name], dtype=np.float64).reshape(-1) for name in ("mean", "std")}

    def stop_frames(self) -> dict[int, int]:
        """Episode to its first stop frame (column `synthetic`); episodes without one are absent."""
        table = self._dataset.hf_dataset.data
        if "synthetic" not in table.column_names:
            return {}
        marked = np.flatnonzero(table.column("synthetic").to_numpy())
        episodes, frames = (table.column(name).to_numpy()[marked] for name in ("episode_index", "frame_index"))
        return {int(one): int(frames[episodes == one].min()) for one in np.unique(episodes)}

    def _deltas(self, steps: int, history: int) -> dict[str, list[float]]:
        """LeRobot's `delta_timestamps`: times around the present frame at which it reads each feature [s]."""
        dt_s = 1.0 / self._profile.fps
        deltas = {ACTION_KEY: [k * dt_s for k in range(-1, steps)]}
        if self._profile.state_names:
            deltas[STATE_KEY] = [k * dt_s for k in range(-self._back, steps)]
        if history:
            deltas |= {key: [k * dt_s for k in range(-history, 1)] for key in self._cameras.values()}
        return deltas

    def _choose_rows(self, stride: int) -> list[int]:
        """Row numbers of the windows."""
        table = self._dataset.hf_dataset.data
        frames = table.column("frame_index").to_numpy()
        chosen = np.flatnonzero((frames >= 1) & ((frames - 1) % stride == 0))
        episodes = table.column("episode_index").to_numpy()
        return [int(row) for row in sorted(chosen, key=lambda row: (episodes[row], frames[row]))]

    def _window(self, item: dict[str, Any]) -> Window:
        t_ns = round(float(item["timestamp"]) * 1e9)
        dt_ns = round(1e9 / self._profile.fps)
        states = item[STATE_KEY].numpy() if STATE_KEY in item else np.zeros((self._back + 1, 0), dtype=np.float32)
        images = {name: _pictures(item[key]) for name, key in self._cameras.items()}
        seen = [
            self._frame(t_ns - back * dt_ns, states[self._back - back], {n: i[-1 - back] for n, i in images.items()})
            for back in range(min(self._history, int(item["frame_index"])), -1, -1)
        ]
        actions = item[ACTION_KEY].numpy()
        padded = item[f"{ACTION_KEY}_is_pad"].numpy()
        previous, truth = actions[0], actions[1:]
        if self.relative:
            truth = self._map.rebase(truth, states[self._back :])
            previous = self._map.rebase(actions[[1, 0]], states[[self._back, self._back - 1]])[1]
        return Window(
            episode=int(item["episode_index"]),
            step=int(item["frame_index"]),
            frame=seen[-1],
            history=tuple(seen[:-1]),
            task=str(item["task"]),
            previous=previous,
            truth=truth,
            valid=~padded[1:],
        )

    def _frame(self, t_ns: int, state: NDArray[np.float32], images: dict[str, NDArray[np.uint8]]) -> Frame:
        return Frame(
            t_ns=t_ns,
            state=state,
            state64=state.astype(np.float64),
            joints=self._map.current_joints(state) if len(state) else {},
            images=images,
            action=None,
            ages_s={},
        )


def _open(
    root: Path, profile: Profile, episodes: Sequence[int], deltas: dict[str, list[float]], video_backend: str | None
) -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        return LeRobotDataset(
            REPOSITORY,
            root=root,
            episodes=sorted(episodes),
            delta_timestamps=deltas,
            video_backend=video_backend,
            return_uint8=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise EvaluationError(
            f"{root}: LeRobot cannot open the dataset: {type(error).__name__}: {error}. Check it: ros2 run vla_recorder "
            f"validate {root}"
        ) from error


def _pictures(images: torch.Tensor) -> NDArray[np.uint8]:
    """(n, H, W, 3) uint8 of one or several pictures (…, 3, H, W), uint8 or float between 0 and 1."""
    stack = images if images.ndim == 4 else images[None]
    if stack.dtype != torch.uint8:
        stack = (stack * UINT8_MAX).round().to(torch.uint8)
    return np.ascontiguousarray(stack.permute(0, 2, 3, 1).numpy())
