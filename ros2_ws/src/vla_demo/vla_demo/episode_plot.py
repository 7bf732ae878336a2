# SPDX-License-Identifier: Apache-2.0

"""One recorded episode as a picture and an animation: phase bands over joint and gripper curves.

ros2 run vla_demo plot_episode outputs/bags/episode_20260101_120000 --output episode.png --gif episode.gif
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")  # no display

from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageDraw
from vla_core.episode import CORRECTION, PHASES, POLICY, SKILL, SKILL_RESUME, TELEOP
from vla_core.errors import VlaError
from vla_core.frames import Frame
from vla_core.profile import Profile, parse_profile
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import EpisodeBag, open_episode

# Okabe-Ito palette: told apart with any colour vision
COLOURS = {TELEOP: "#56B4E9", SKILL: "#009E73", CORRECTION: "#E69F00", SKILL_RESUME: "#CC79A7", POLICY: "#999999"}
CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_WIDTH, _STRIP, _GAP = 656, 330, 4  # px
_NAMED = 0.03  # a shorter part of an episode gets no name over its band


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """An episode on its frame grid.

    Attributes:
        name: Of its folder.
        profile: That it was recorded with.
        t_s: (T,) seconds since its first frame.
        phase: (T,) phase constants.
        state: (T, n) measured [units of the profile].
        action: (T, m) in force.
        pauses: Begin and end [s] of the times in which nothing was recorded.
        images: Camera -> T pictures (H, W, 3) RGB; empty unless asked for.
        notes: Skill, outcome and grasp, for the title.
    """

    name: str
    profile: Profile
    t_s: npt.NDArray[np.float64]
    phase: npt.NDArray[np.int64]
    state: npt.NDArray[np.float32]
    action: npt.NDArray[np.float32]
    pauses: tuple[tuple[float, float], ...]
    images: dict[str, list[npt.NDArray[np.uint8]]]
    notes: str


def read_story(folder: Path, *, every: int = 1, images: bool = False) -> Story:
    """Read one bag.

    Args:
        folder: Of the episode.
        every: Keep the pictures of every n-th frame only (the others' places repeat the last one).
        images: Whether to keep pictures.

    Raises:
        VlaError: it cannot be read, carries no profile, or no frame can be built from it.
    """
    bag = open_episode(folder)
    profile = parse_profile(bag.get("profile"), f"{folder.name}: custom_data.profile")
    source = BagFrames(bag, profile, profile.fps)
    frames: list[Frame] = []
    phases: list[int] = []
    pictures: dict[str, list[npt.NDArray[np.uint8]]] = {name: [] for name in profile.camera_names} if images else {}
    for frame in source:
        if not isinstance(frame, Frame):
            continue
        for name, kept in pictures.items():
            kept.append(np.asarray(frame.images[name]) if len(frames) % every == 0 else kept[-1])
        frame.images.clear()
        frames.append(frame)
        phases.append(source.phase_at(frame.t_ns))
    if not frames:
        raise VlaError(f"{folder}: no frame can be built from this episode, so there is nothing to draw")
    t_s = np.array([(frame.t_ns - frames[0].t_ns) / 1e9 for frame in frames])
    holes = np.flatnonzero(np.diff(t_s) > 2.5 / profile.fps)
    return Story(
        name=folder.name,
        profile=profile,
        t_s=t_s,
        phase=np.array(phases),
        state=np.stack([frame.state for frame in frames]),
        action=np.stack([cast(npt.NDArray[np.float32], frame.action) for frame in frames]),
        pauses=tuple((float(t_s[i]), float(t_s[i + 1])) for i in holes),
        images=pictures,
        notes=_notes(bag),
    )


def _notes(bag: EpisodeBag) -> str:
    parts = [bag.get("skill_name"), bag.get("skill_outcome").replace("_", " "), f"outcome {bag.get('outcome')}"]
    if bag.get("grasp_actual"):
        sign = "<" if bag.get("grasp_verified") == "true" else "not <"
        parts.append(f"grasp {bag.get('grasp_actual')} {sign} {bag.get('grasp_threshold')}")
    return ", ".join(part for part in parts if part)


def bands(phase: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Runs of equal phases (T,): the phase, its first index, and the index after its last."""
    edges = [0, *(np.flatnonzero(np.diff(phase)) + 1).tolist(), len(phase)]
    return [(int(phase[a]), a, b) for a, b in pairwise(edges)]


def draw(story: Story, width_in: float = 11.0, height_in: float = 6.0) -> Any:
    """Return a figure: joints above, gripper below, phases as bands over both."""
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(width_in, height_in), sharex=True, height_ratios=(3, 1.3), layout="constrained"
    )
    grippers = _gripper_columns(story.profile)
    arm = [i for i in range(story.action.shape[1]) if i not in grippers]
    for colour, index in zip(CURVES * (1 + len(arm) // len(CURVES)), arm, strict=False):
        _curve(upper, story, index, colour, _label(story.profile.action_names[index]))
    for index in grippers:
        _curve(lower, story, index, CURVES[0], "gripper")
    for axis in (upper, lower):
        for phase, a, b in bands(story.phase):
            end = story.t_s[min(b, len(story.t_s) - 1)]
            axis.axvspan(story.t_s[a], end, color=COLOURS.get(phase, "#dddddd"), alpha=0.22, linewidth=0)
        for a_s, b_s in story.pauses:
            axis.axvspan(a_s, b_s, facecolor="white", hatch="///", edgecolor="#999999", linewidth=0)
        axis.grid(alpha=0.3)
    for phase, a, b in bands(story.phase):
        if b - a < _NAMED * len(story.phase):
            continue
        middle = (story.t_s[a] + story.t_s[b - 1]) / 2
        upper.text(
            middle, 1.01, PHASES[phase].lower().replace("_", " "), transform=upper.get_xaxis_transform(),
            ha="center", va="bottom", fontsize=9,
        )  # fmt: skip
    upper.set_ylabel("joint angle [rad]")
    lower.set_ylabel("closing [0 to 1]")
    lower.set_xlabel("time [s]   measured: solid, in force: dashed" + ("; hatched: paused" if story.pauses else ""))
    upper.legend(fontsize=7, ncols=2, loc="upper right")
    upper.set_xlim(0.0, float(story.t_s[-1]))
    figure.suptitle(f"{story.name}: {story.notes}", fontsize=11)
    return figure


def _label(name: str) -> str:
    return name.removesuffix(".pos").removesuffix("_joint").replace("_", " ")


def _gripper_columns(profile: Profile) -> list[int]:
    columns, first = [], 0
    for action in profile.action:
        count = len(action.joints)
        columns += list(range(first, first + count)) if action.is_gripper else []
        first += count
    return columns


def _curve(axis: Any, story: Story, index: int, colour: str, label: str) -> None:
    measured, wanted = story.state[:, index].astype(float), story.action[:, index].astype(float)
    t_s = story.t_s
    if story.pauses:  # no line across a time in which nothing was recorded
        after = [int(np.searchsorted(t_s, b)) for _, b in story.pauses]
        t_s, measured, wanted = (np.insert(values, after, np.nan) for values in (t_s, measured, wanted))
    axis.plot(t_s, measured, color=colour, linewidth=1.2, label=label)
    axis.plot(t_s, wanted, color=colour, linewidth=1.0, linestyle="--")


def write_png(story: Story, path: Path) -> None:
    """Write the picture of an episode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = draw(story)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def write_gif(story: Story, path: Path, *, fps: float, speed: float) -> int:
    """Write an animation: the cameras, and the curves with a cursor.

    Args:
        story: With pictures.
        path: GIF to write.
        fps: Pictures per second of the animation.
        speed: Episode seconds per second.

    Returns:
        The number of its pictures.
    """
    strip, box = _strip(story)
    step = speed / fps
    times = np.arange(0.0, story.t_s[-1] + step, step)
    frames = []
    for t in times:
        index = min(int(np.searchsorted(story.t_s, t)), len(story.t_s) - 1)
        x = box[0] + (box[2] - box[0]) * min(t / story.t_s[-1], 1.0)
        frames.append(_canvas(story, strip, index, (x, box[1], x, box[3])))
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)
    return len(frames)


def _strip(story: Story) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """The curves as a picture, and the box of its axes: left, top, right, bottom [px]."""
    dpi = 72
    figure = draw(story, _WIDTH / dpi, _STRIP / dpi)
    figure.set_dpi(dpi)
    figure.suptitle(story.notes, fontsize=10)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    upper, lower = (axis.get_position() for axis in figure.axes)  # fractions, from the lower left
    plt.close(figure)
    wide, tall = picture.size
    return picture, (upper.x0 * wide, (1.0 - upper.y1) * tall, upper.x1 * wide, (1.0 - lower.y0) * tall)


def _canvas(story: Story, strip: Image.Image, index: int, cursor: tuple[float, float, float, float]) -> Image.Image:
    names = list(story.images)
    width = (_WIDTH - _GAP * (len(names) - 1)) // len(names)
    tall, wide = story.images[names[0]][0].shape[:2]
    height = round(width * tall / wide)
    canvas = Image.new("RGB", (_WIDTH, height + _GAP + strip.height), "white")
    draw_on = ImageDraw.Draw(canvas)
    phase = int(story.phase[index])
    for column, name in enumerate(names):
        picture = Image.fromarray(story.images[name][index]).resize((width, height), Image.Resampling.BICUBIC)
        canvas.paste(picture, (column * (width + _GAP), 0))
    label = f"{PHASES[phase].lower().replace('_', ' ')}  {story.t_s[index]:.1f} s"
    draw_on.rectangle((0, 0, 130, 18), fill=COLOURS.get(phase, "#dddddd"))
    draw_on.text((6, 3), label, fill="black")
    top = height + _GAP
    canvas.paste(strip, (0, top))
    draw_on.line((cursor[0], top + cursor[1], cursor[2], top + cursor[3]), fill="black", width=2)
    return canvas.quantize(96, method=Image.Quantize.FASTOCTREE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw one episode; exit code 0, or 2 where it cannot be read."""
    parser = argparse.ArgumentParser(
        prog="plot_episode",
        description="Draw one recorded episode: phase bands over joint and gripper curves.",
        epilog="example: ros2 run vla_demo plot_episode outputs/bags/episode_20260101_120000 --output episode.png",
    )
    parser.add_argument("bag", type=Path, help="folder of one episode")
    parser.add_argument("--output", type=Path, default=Path("episode.png"), help="PNG to write (default: %(default)s)")
    parser.add_argument("--gif", type=Path, help="also write an animation with the cameras")
    parser.add_argument("--gif-fps", type=float, default=5.0, help="its pictures per second (default: %(default)s)")
    parser.add_argument(
        "--speed", type=float, default=2.0, help="its episode seconds per second (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="also write the phases: [name, begin s, end s, frames]")
    options = parser.parse_args(arguments)
    try:
        story = read_story(options.bag, images=options.gif is not None, every=2)
    except VlaError as error:
        print(error, file=sys.stderr)
        return 2
    write_png(story, options.output)
    print(f"{options.output}: {len(story.t_s)} frames, {story.t_s[-1]:.1f} s, {story.notes}")
    if options.json:
        rows = [[PHASES[p], float(story.t_s[a]), float(story.t_s[b - 1]), b - a] for p, a, b in bands(story.phase)]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.gif:
        count = write_gif(story, options.gif, fps=options.gif_fps, speed=options.speed)
        print(f"{options.gif}: {count} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
