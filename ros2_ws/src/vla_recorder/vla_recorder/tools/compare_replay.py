# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder compare_replay``: what a policy would have done on a recorded episode, beside what was done.

The policy ran on the played bag in dry run and wrote a log (`replay.launch.py log_file:=…`). Each frame of the bag is compared
with the joint target that the policy had in force at that instant. The arm of the bag never followed the policy: every chunk
begins at a recorded observation, so the error says how well the policy imitates, not how it would fare in closed loop.
"""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no display is needed  # isort: split

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.errors import VlaError
from vla_core.frames import Missing
from vla_core.profile import Profile, parse_profile
from vla_core.stamps import to_ns, to_s

from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import EpisodeBag, open_episode

Array = NDArray[np.float64]
EXIT_OK, EXIT_FAILURE = 0, 1
RECORDED, PREDICTED = "#444444", "#D55E00"
_EXAMPLE = """example:
  ros2 launch vla_bringup replay.launch.py bag:=recordings/episode_… checkpoint:=outputs/train log_file:=replay.jsonl
  ros2 run vla_recorder compare_replay --bag recordings/episode_… --log replay.jsonl --plot replay.png
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Recorded and predicted joint targets of one episode.

    Attributes:
        names: Of the joints, ``part.joint``.
        t_s: (N,) time of each compared frame since the first frame of the episode [s].
        recorded: (N, k) targets that were in force when the episode was recorded [rad or m].
        predicted: (N, k) targets that the policy had in force at the same instants [rad or m].
        frames: Frames of the episode, compared or not.
    """

    names: tuple[str, ...]
    t_s: Array
    recorded: Array
    predicted: Array
    frames: int

    @property
    def error(self) -> Array:
        """(N, k) predicted minus recorded."""
        return self.predicted - self.recorded

    def summary(self) -> dict[str, Any]:
        """Numbers of the comparison, per joint and in all; ``rmse`` and ``max`` in rad or m."""
        joints = {
            name: {
                "rmse": float(np.sqrt(np.mean(column**2))),
                "max": float(np.abs(column).max()),
                "range": float(np.ptp(recorded)),
            }
            for name, column, recorded in zip(self.names, self.error.T, self.recorded.T, strict=True)
        }
        return {"frames": self.frames, "compared": len(self.t_s), "joints": joints}


def read_ticks(path: Path) -> tuple[tuple[str, ...], NDArray[np.int64], Array]:
    """Joint names, times (T,) [ns] and joints in force (T, k) of the last run of a policy node's log.

    Ticks at which the policy had no chunk yet, or waited for one, are left out: nothing new was in force then.

    Raises:
        VlaError: no file, no log, or no tick with a chunk in force.
    """
    hint = "Give the file of the launch argument log_file"
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise VlaError(f"{path}: cannot be read as the log of a policy node: {error}. {hint}") from error
    begins = [number for number, line in enumerate(lines) if isinstance(line, dict) and line.get("kind") == "run"]
    if not begins:
        raise VlaError(f"{path}: no run in it. {hint}")
    begin = lines[begins[-1]]
    names = (*begin["joints"], *begin["grippers"])
    ticks = [line for line in lines[begins[-1] :] if line.get("kind") == "tick" and line["q"] and not line["h"]]
    if not ticks:
        raise VlaError(f"{path}: in its last run no chunk came into force; was the bag long enough for the policy?")
    return (
        names,
        np.array([tick["t"] for tick in ticks]),
        np.array([tick["q"] + tick["g"] for tick in ticks], dtype=np.float64),
    )


def _targets(actions: ActionMap, names: Sequence[str], frame: Any) -> Array:
    found = actions.to_joint_targets(frame.action[None], state=frame.state, joints=frame.joints)
    values = {
        f"{group.spec.name}.{joint}": found[group.spec.name][0, i]
        for group in actions.groups
        for i, joint in enumerate(group.spec.joints)
    }
    lacking = [name for name in names if name not in values]
    if lacking:
        raise VlaError(
            f"the log names joints that the bag's profile does not command: {', '.join(lacking)}; it has "
            f"{', '.join(values)}. Was the policy trained on another robot?"
        )
    return np.array([values[name] for name in names])


def compare(bag: EpisodeBag, profile: Profile, log: Path) -> Comparison:
    """Compare an episode with the log of a policy that ran on it.

    Args:
        bag: The episode.
        profile: What its topics mean.
        log: File of the policy node's parameter `log_file`.

    Raises:
        VlaError: the log cannot be used, names other joints, or holds no instant of the episode.
    """
    names, times, joints = read_ticks(log)
    actions, period = ActionMap(profile), to_ns(1.5 / profile.fps)
    t_ns: list[int] = []
    rows: list[tuple[Array, Array]] = []
    frames, first = 0, 0
    for frame in BagFrames(bag, profile, profile.fps):
        if isinstance(frame, Missing) or frame.action is None:
            continue
        first = first or frame.t_ns
        frames += 1
        at = int(np.searchsorted(times, frame.t_ns, side="right")) - 1
        if at < 0 or frame.t_ns - times[at] > period:
            continue
        t_ns.append(frame.t_ns)
        rows.append((_targets(actions, names, frame), joints[at]))
    if not rows:
        raise VlaError(
            f"{log}: none of its ticks falls into {bag.folder}; the log must come from a replay of this very bag"
        )
    recorded, predicted = (np.stack(part) for part in zip(*rows, strict=True))
    t_s = np.array([to_s(t - first) for t in t_ns])
    return Comparison(names=names, t_s=t_s, recorded=recorded, predicted=predicted, frames=frames)


def draw(found: Comparison, path: Path, title: str) -> None:
    """Recorded over predicted, one panel per joint, into a picture."""
    columns = 2 if len(found.names) > 3 else 1
    rows = -(-len(found.names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5.6 * columns, 1.9 * rows + 0.5), sharex=True, layout="constrained", squeeze=False
    )
    for panel, name, recorded, predicted in zip(
        axes.ravel(), found.names, found.recorded.T, found.predicted.T, strict=False
    ):
        panel.plot(found.t_s, recorded, color=RECORDED, lw=2.2, alpha=0.6, label="recorded")
        panel.plot(found.t_s, predicted, color=PREDICTED, lw=1.2, label="predicted")
        panel.set_title(name, fontsize=9)
        panel.set_ylabel("target [rad]", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    for panel in axes.ravel()[len(found.names) :]:
        panel.set_axis_off()
    for panel in axes[-1]:
        panel.set_xlabel("time [s]", fontsize=8)
    axes[0][0].legend(fontsize=8, loc="best")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def table(found: Comparison) -> str:
    """The numbers as text."""
    summary = found.summary()
    width = max(len(name) for name in found.names)
    lines = [f"{'joint':<{width}} {'RMSE':>9} {'largest':>9} {'moved over':>11}"]
    lines += [
        f"{name:<{width}} {row['rmse']:>9.4f} {row['max']:>9.4f} {row['range']:>11.4f}"
        for name, row in summary["joints"].items()
    ]
    return "\n".join([*lines, f"{summary['compared']} of {summary['frames']} frames compared; rad"])


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="compare_replay",
        description="Compare the targets of a policy that ran on a played bag with the recorded ones.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--bag", type=Path, required=True, help="the recorded episode that was played")
    result.add_argument("--log", type=Path, required=True, help="log of the policy node; its last run counts")
    result.add_argument("--profile", type=Path, help="robot profile for a bag that carries none")
    result.add_argument("--plot", type=Path, metavar="FILE", help="draw all joints into a picture (.png, .svg)")
    result.add_argument("--json", type=Path, metavar="FILE", help="write the numbers for a program")
    return result


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 with the reason on standard error.
    """
    given = parser().parse_args(args)
    try:
        bag = open_episode(given.bag)
        text = given.profile.read_text(encoding="utf-8") if given.profile else bag.get("profile")
        if not text:
            raise VlaError(f"{given.bag}: the bag carries no robot profile; give one with --profile")
        found = compare(bag, parse_profile(text, f"profile of {bag.name}"), given.log)
        if given.plot:
            draw(found, given.plot, f"{bag.name}: recorded and predicted targets")
        if given.json:
            given.json.write_text(json.dumps(found.summary(), indent=1) + "\n", encoding="utf-8")
    except (VlaError, OSError) as error:
        print(f"compare_replay: {error}", file=sys.stderr)
        return EXIT_FAILURE
    print(table(found))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
