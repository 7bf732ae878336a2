# SPDX-License-Identifier: Apache-2.0

"""Pictures of a demo run, drawn from its bags through the same frame path that training and inference use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from vla_core.errors import VlaError
from vla_core.frames import Frame
from vla_core.profile import Profile, parse_profile
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import find_episodes, open_episode

from vla_demo.plots import action_against_state, latency_histogram, side_by_side

SHOWN = 3  # episodes of each kind in the animation


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One episode as frames.

    Attributes:
        profile: that it was recorded with.
        t_s: (T,) seconds since the first frame.
        state: (T, n) measured, in the profile's units.
        action: (T, m) in force.
        images: camera name -> T images (H, W, 3) RGB.
    """

    profile: Profile
    t_s: npt.NDArray[np.float32]
    state: npt.NDArray[np.float32]
    action: npt.NDArray[np.float32]
    images: dict[str, list[npt.NDArray[np.uint8]]]


def read_episode(folder: Path) -> Episode:
    """Read one bag on the frame grid of the profile that it carries.

    Raises:
        VlaError: no frame can be built from it.
    """
    bag = open_episode(folder)
    profile = parse_profile(bag.get("profile"), f"{folder.name}: custom_data.profile")
    frames = [frame for frame in BagFrames(bag, profile, profile.fps) if isinstance(frame, Frame)]
    if not frames:
        raise VlaError(f"{folder}: no frame can be built from this episode, so there is nothing to draw")
    return Episode(
        profile=profile,
        t_s=np.array([(frame.t_ns - frames[0].t_ns) / 1e9 for frame in frames], dtype=np.float32),
        state=np.stack([frame.state for frame in frames]),
        action=np.stack([frame.action for frame in frames if frame.action is not None]),
        images={name: [frame.images[name] for frame in frames] for name in frames[0].images},
    )


def draw(output: Path, inference_ms: Sequence[float], obs_to_action_ms: Sequence[float]) -> None:
    """Draw all pictures of a run into its report folder.

    Args:
        output: report folder with `bags/` and `rollouts/`.
        inference_ms: wall time of each inference.
        obs_to_action_ms: age of each observation when its first command was sent.

    Raises:
        VlaError: there are no bags, or no frames in them.
    """
    demonstrations = [read_episode(folder) for folder in find_episodes(output / "bags")[:SHOWN]]
    rollouts = [read_episode(folder) for folder in find_episodes(output / "rollouts")[:SHOWN]]
    profile = demonstrations[0].profile
    for name, episode in (("demonstration", demonstrations[0]), ("rollout", rollouts[0])):
        path = output / f"action_vs_state_{name}.png"
        action_against_state(path, episode.t_s, episode.state, episode.action, profile.action_names, f"first {name}")
    latency_histogram(output / "latency.png", inference_ms, obs_to_action_ms, 1000.0 / profile.fps)
    camera = profile.camera_names[0]
    columns = {
        "demonstrations": [episode.images[camera] for episode in demonstrations],
        "policy, unseen seeds": [episode.images[camera] for episode in rollouts],
    }
    side_by_side(output / "rollouts.gif", columns, profile.fps)
