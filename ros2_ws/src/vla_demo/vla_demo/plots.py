# SPDX-License-Identifier: Apache-2.0

"""The demo's pictures: action against state per joint, latency histogram, rollouts beside demonstrations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")  # no display

from matplotlib import pyplot as plt
from PIL import Image, ImageDraw

FloatArray = npt.NDArray[np.float32]
ImageArray = npt.NDArray[np.uint8]
# Okabe-Ito palette: told apart with any colour vision
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"


def action_against_state(
    path: Path, t_s: FloatArray, state: FloatArray, action: FloatArray, names: Sequence[str], title: str
) -> None:
    """Plot what was commanded over what was measured, one panel per joint.

    Args:
        path: PNG to write.
        t_s: (T,) seconds since the start of the episode.
        state: (T, n) measured joint positions [rad]; the last column is the gripper, 0 open to 1 closed.
        action: (T, n) commanded, same order and units.
        names: n joint names.
        title: of the figure.
    """
    columns = 2
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(10, 1.9 * rows), sharex=True, squeeze=False)
    for index, name in enumerate(names):
        axis = axes[index // columns][index % columns]
        axis.plot(t_s, state[:, index], color=BLUE, label="state (measured)")
        axis.plot(t_s, action[:, index], color=ORANGE, linestyle="--", label="action (in force)")
        axis.set_title(name, fontsize=9)
        axis.set_ylabel("closing [0 to 1]" if index == len(names) - 1 else "position [rad]", fontsize=8)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("time [s]")
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    axes[0][0].legend(fontsize=8)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def latency_histogram(
    path: Path, inference_ms: Sequence[float], obs_to_action_ms: Sequence[float], period_ms: float
) -> None:
    """Histogram of inference time and of the age of the observation when its first command is sent, both in ms.

    Args:
        path: PNG to write.
        inference_ms: wall time of each inference.
        obs_to_action_ms: observation stamp to first goal, on the node clock.
        period_ms: one action step, drawn as a line: a latency beyond it costs a step.
    """
    figure, axis = plt.subplots(figsize=(7, 3.5))
    for values, label, colour in (
        (inference_ms, "inference (wall clock)", BLUE),
        (obs_to_action_ms, "observation to action (node clock)", ORANGE),
    ):
        if len(values):
            axis.hist(
                values,
                bins=30,
                alpha=0.6,
                color=colour,
                label=f"{label}, n = {len(values)}, p95 = {np.percentile(values, 95):.0f} ms",
            )
    axis.axvline(period_ms, color=GREY, linestyle="--", label=f"one action step, {period_ms:.0f} ms")
    axis.set_xlabel("time [ms]")
    axis.set_ylabel("count")
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def side_by_side(path: Path, columns: Mapping[str, Sequence[Sequence[ImageArray]]], fps: float, size: int = 224) -> int:
    """Write an animation: one column per heading, one row per episode; an episode that ended keeps its last image.

    Args:
        path: GIF to write.
        columns: heading -> episodes -> (H, W, 3) RGB images.
        fps: of the images.
        size: edge of one picture in the animation [px].

    Returns:
        The number of animation frames.
    """
    rows = max(len(episodes) for episodes in columns.values())
    length = max(len(images) for episodes in columns.values() for images in episodes)
    bar, gap = 22, 4
    canvas_size = (len(columns) * (size + gap) + gap, rows * (size + gap) + gap + bar)
    frames: list[Image.Image] = []
    for step in range(length):
        canvas = Image.new("RGB", canvas_size, "white")
        draw = ImageDraw.Draw(canvas)
        for column, (heading, episodes) in enumerate(columns.items()):
            x = gap + column * (size + gap)
            draw.text((x + 4, 5), heading, fill="black")
            for row, images in enumerate(episodes):
                picture = Image.fromarray(images[min(step, len(images) - 1)]).resize(
                    (size, size), Image.Resampling.BICUBIC
                )
                canvas.paste(picture, (x, bar + row * (size + gap)))
        frames.append(canvas.quantize(128, method=Image.Quantize.FASTOCTREE))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)
    return len(frames)
