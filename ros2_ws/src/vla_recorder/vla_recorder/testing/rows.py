# SPDX-License-Identifier: Apache-2.0

"""Rows of a six-joint arm with a gripper and two cameras, for tests of dataset formats. Needs no bag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.profile import parse_profile

from vla_recorder.formats.base import STATE64_KEY, DatasetFormat, Layout
from vla_recorder.media.video import VideoSettings

PROFILE = """\
robot: ur5e
fps: 10
base_frame: base_link
tool_frame: tool0
task: lift
cameras:
  front: {topic: front/image_raw, size: [64, 64], rate_hz: 20, max_age_s: 0.3}
  wrist: {topic: wrist/image_raw, size: [64, 64], rate_hz: 20, max_age_s: 0.3}
state:
  - {topic: joint_states, fields: [position.j0, position.j1, position.j2, position.j3, position.j4, position.j5],
     rate_hz: 50, max_age_s: 0.2}
  - {topic: joint_states, fields: [position.finger], rate_hz: 50, max_age_s: 0.2,
     scale: {from: [0.0, 0.8], to: [0.0, 1.0]}}
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 20, max_age_s: 0.5}
    command: {interface: none}
    joints: [j0, j1, j2, j3, j4, j5]
    limits: {lower: [-3, -3, -3, -3, -3, -3], upper: [3, 3, 3, 3, 3, 3]}
  - name: gripper
    record: {topic: command/gripper, rate_hz: 20, max_age_s: 0.5}
    command: {interface: parallel_gripper_command, name: gripper_cmd}
    joints: [finger]
    scale: {from: [0.0, 0.8], to: [0.0, 1.0]}
    limits: {lower: [0.0], upper: [0.8]}
"""


def layout(size: int = 64, target: str = "e2e", text: str = PROFILE, depth: bool = False) -> Layout:
    """Return what a conversion would say of the rows, with square images of `size` pixels."""
    profile = parse_profile(text, "ur5e.yaml")
    camera = {"dtype": "video", "shape": (size, size, 3), "names": ["height", "width", "channels"]}
    features: dict[str, dict[str, Any]] = {
        "observation.state": {"dtype": "float32", "shape": (7,), "names": list(profile.state_names)},
        "observation.images.front": camera,
        "observation.images.wrist": camera,
        "action": {"dtype": "float32", "shape": (7,), "names": list(profile.action_names)},
        "stamp_ns": {"dtype": "int64", "shape": (1,), "names": None},
        "synthetic": {"dtype": "bool", "shape": (1,), "names": None},
    }
    if depth:
        info = {"is_depth_map": True}
        features["observation.images.far"] = {**camera, "shape": (size, size, 1), "info": info}
    return Layout(profile=profile, fps=10, features=features, video=VideoSettings(), name="local/x", target=target)


def rows(
    length: int, seed: int = 0, size: int = 64, depth: Callable[[Any], NDArray[Any]] | None = None
) -> tuple[dict[str, NDArray[Any]], list[dict[str, NDArray[Any]]]]:
    """Return the columns of an episode and its images, row by row.

    Args:
        length: Number of rows.
        seed: Of the numbers.
        size: Of the images, in pixels.
        depth: Makes a depth image (size, size) of rising numbers; no depth camera if left out.
    """
    rng = np.random.default_rng(seed)
    state = np.concatenate([rng.normal(size=(length, 6)), rng.uniform(size=(length, 1))], axis=1)
    columns = {
        "observation.state": state.astype(np.float32),
        STATE64_KEY: state,
        "action": rng.normal(size=(length, 7)).astype(np.float32),
        "stamp_ns": 10**18 + np.arange(length) * 100_000_000,
        "synthetic": np.arange(length) == length - 1,
    }
    y, x = np.mgrid[0:size, 0:size]
    images: list[dict[str, NDArray[Any]]] = []
    for row in range(length):
        base = np.stack([x * 2 + row, y * 2, x + y], -1).astype(np.uint8)
        images.append({"observation.images.front": base, "observation.images.wrist": base[::-1].copy()})
        if depth is not None:
            images[-1]["observation.images.far"] = (depth(x + 64 * y + row)).astype(depth(0.0).dtype)
    return columns, images


def write_rows(root: Path, form: DatasetFormat, shape: Layout, episodes: Sequence[tuple[Any, ...]], work: Path) -> Any:
    """Write a whole dataset as a conversion does and return its writer.

    Args:
        root: Of the dataset.
        form: The format.
        shape: What the rows hold.
        episodes: (columns, images by row, task, about) of each.
        work: Where the episodes lie meanwhile.
    """
    writer = form.dataset_writer(root, shape)
    for number, (columns, images, task, about) in enumerate(episodes):
        one = form.episode_writer(shape, work / str(number))
        for row in images:
            one.add(row)
        assert writer.add(one.finish(columns, task, about)) == number
    writer.finish()
    return writer
