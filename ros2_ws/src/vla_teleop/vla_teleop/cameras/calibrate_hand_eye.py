# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop calibrate_hand_eye``: find where a camera sits, from views of a board."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vla_common.services import CallError
from vla_core.boards import FORM, Board, parse_board
from vla_core.errors import VlaError
from vla_core.profile import Profile, load_profile

from vla_teleop.cameras.collect import Collector
from vla_teleop.cameras.errors import CalibrationError, CameraError
from vla_teleop.cameras.hand_eye import MIN_POINTS, SETUPS, HandEye, calibrate, check_motion
from vla_teleop.cameras.loop import View
from vla_teleop.cameras.poses import Reach, around
from vla_teleop.cameras.session import colour_cameras, session
from vla_teleop.cameras.transforms import mount_from_optical, write_profile, write_transforms

Array = NDArray[np.float64]
EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
_EXAMPLE = """examples:
  ros2 run vla_teleop calibrate_hand_eye --profile robot.yaml --camera wrist --board charuco:5x7:0.04:0.03
  ros2 run vla_teleop calibrate_hand_eye --profile robot.yaml --camera front --setup eye_to_hand \\
      --board charuco:5x7:0.04:0.03 --auto-poses 15
then start with: ros2 launch vla_bringup record.launch.py camera_transforms:=camera_transforms.yaml

exit codes: 0 written, 1 the calibration failed or was left, 2 wrong arguments or files
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="calibrate_hand_eye",
        description="Find the pose of a camera: on the arm (eye_in_hand, board fixed beside the robot) or beside it "
        "(eye_to_hand, board fixed to the tool).",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--profile", type=Path, required=True, help="robot profile (YAML) with camera and kinematics")
    result.add_argument("--camera", required=True, help="name of the camera in the profile")
    result.add_argument("--board", required=True, help=FORM)
    result.add_argument("--setup", choices=SETUPS, default="eye_in_hand", help="where the camera is (eye_in_hand)")
    result.add_argument(
        "--output", type=Path, default=Path("camera_transforms.yaml"), help="file of transforms to write"
    )
    result.add_argument(
        "--profile-output", type=Path, metavar="FILE", help="also write a profile with the camera's mount"
    )
    result.add_argument(
        "--auto-poses", type=int, default=0, metavar="N", help="drive the arm through N poses around the present one"
    )
    result.add_argument("--yes", action="store_true", help="--auto-poses: do not ask before the arm moves")
    result.add_argument(
        "--wait", type=float, default=10.0, metavar="S", help="how long to wait for data and rest [s] (10)"
    )
    return result


def _describe(view: View, board: Board) -> str:
    return f"{view.name}: {len(view.points)} of {board.points} points"


def by_hand(collector: Collector, board: Board, ask: Callable[[str], str] = input) -> list[View]:
    """Take a view per ENTER until the person says c; q leaves.

    Raises:
        CalibrationError: the person left.
    """
    print(
        "Move the arm (teleop or freedrive) so that the board is seen; tilt the tool about x and about y between views."
    )
    views: list[View] = []
    while True:
        answer = ask("ENTER takes a view, u removes the last one, c computes, q leaves: ").strip().lower()
        if answer == "q":
            raise CalibrationError("left without a calibration")
        if answer == "c":
            return views
        if answer == "u":
            print(f"removed {views.pop().name}" if views else "there is no view")
            continue
        try:
            view = collector.take()
        except CameraError as error:
            print(error)
            continue
        good = len(view.points) >= MIN_POINTS
        print(_describe(view, board) + ("" if good else f"; at least {MIN_POINTS} are needed, so it is not kept"))
        views += [view] if good else []
        print(f"{len(views)} views. {_advice(views)}")


def _advice(views: Sequence[View]) -> str:
    try:
        check_motion(views)
    except CalibrationError as error:
        return str(error)
    return "Enough to compute; more views make it better."


def by_robot(collector: Collector, board: Board, profile: Profile, setup: str, count: int) -> list[View]:
    """Drive the arm through poses around the present one and take a view at each; back to the start at the end.

    Raises:
        CalibrationError: the board is not seen at the start, or the arm fails.
        CameraError: silence, or the arm does not come to rest.
    """
    reach, move, start = Reach(profile), collector.mover(), collector.joints()
    first = collector.take()
    if len(first.points) < MIN_POINTS:
        raise CalibrationError(
            f"the board is not seen where the arm is now ({len(first.points)} of {board.points} points of "
            f"{_kind_of(board)}); move the arm so that the board fills about half of the image, or use larger images"
        )
    views, q = [first], start
    for i, pose in enumerate(around(first.T_base_tool, _pivot(first, collector, setup), count), start=1):
        goal = reach.joints_for(pose, q)
        if goal is None:
            print(f"pose {i} of {count}: out of reach or outside the workspace; skipped", flush=True)
            continue
        move(goal)
        q = goal
        view = collector.take()
        seen = len(view.points) >= MIN_POINTS
        print(f"pose {i} of {count}: {_describe(view, board)}{'' if seen else '; skipped'}", flush=True)
        views += [view] if seen else []
    if reach.inside(q, start):
        move(start)
    else:
        print("the way back to the start leaves the workspace; the arm stays where it is")
    return views


def _kind_of(board: Board) -> str:
    """A board as people name it."""
    return f"{board.kind} {board.columns}x{board.rows}"


def _pivot(view: View, collector: Collector, setup: str) -> Array:
    """Point (3,) of the tool frame about which the arm turns so that the board stays in view.

    On the arm, a camera looks roughly along the tool's z axis, and the board's distance follows from its size in the
    image; beside the arm, the board is on the tool itself.
    """
    if setup == "eye_to_hand":
        return np.zeros(3)
    lens = collector.lens()
    spread = np.linalg.norm(view.pixels - view.pixels.mean(axis=0), axis=1).max()
    size = np.linalg.norm(view.points - view.points.mean(axis=0), axis=1).max()
    return np.array([0.0, 0.0, float(lens.K[0, 0] * size / max(spread, 1.0))])


def _report(found: HandEye, views: Sequence[View], setup: str) -> None:
    print(f"{len(views)} views, {len(found.outliers)} left out, reprojection error {found.rms:.3f} pixels")
    for name, rms in found.view_rms.items():
        print(f"  {name}: {rms:.3f} pixels{'  LEFT OUT: contradicts the others' if name in found.outliers else ''}")
    print(
        f"leaving one view out moves the camera by at most {found.spread_m * 1e3:.2f} mm and "
        f"{np.degrees(found.spread_rad):.3f} degrees"
    )
    x, y, z = found.X[:3, 3]
    print(
        f"camera in the {'tool' if setup == 'eye_in_hand' else 'base'}: x y z = {x:.4f} {y:.4f} {z:.4f} m (optical frame)"
    )


def _write(arguments: argparse.Namespace, profile: Profile, collector: Collector, found: HandEye) -> None:
    parent = profile.tool_frame if arguments.setup == "eye_in_hand" else profile.base_frame
    mount, published = mount_from_optical(parent, collector.frame_id, found.X, collector.static_frames())
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    note = (
        f"hand-eye calibration of {stamp}: {arguments.board}, {arguments.setup}, {found.rms:.3f} pixels; pose of child in "
        "parent, m and rad"
    )
    write_transforms(arguments.output, {arguments.camera: mount}, note)
    print(
        f"wrote {arguments.output}: {mount.child} in {mount.parent}; start with camera_transforms:={arguments.output}"
    )
    if published:
        print(
            f"note: somebody publishes {mount.child} in {mount.parent} already (robot description or simulated cell). Two "
            "publishers of one frame contradict each other: change it there, or remove it there before the launch"
        )
    if arguments.profile_output:
        write_profile(arguments.profile_output, arguments.profile, {arguments.camera: mount})
        print(f"wrote {arguments.profile_output}")


def _calibrate(
    arguments: argparse.Namespace, ros: Sequence[str], domain_id: int | None, ask: Callable[[str], str]
) -> int:
    profile, board = load_profile(arguments.profile), parse_board(arguments.board)
    (camera,) = colour_cameras(profile, [arguments.camera])
    with session("calibrate_hand_eye", ros, domain_id=domain_id) as node:
        collector = Collector(node, profile, camera, board, arguments.wait)
        lens = collector.lens()
        if arguments.auto_poses:
            agreed = arguments.yes or ask(
                f"The arm will move to {arguments.auto_poses} poses around the present one, up to 26 degrees tilted. Is the "
                "space around it free and a hand at the emergency stop? Type yes: "
            )
            if agreed is not True and str(agreed).strip().lower() != "yes":
                raise CalibrationError("not confirmed; nothing was moved")
            views = by_robot(collector, board, profile, arguments.setup, arguments.auto_poses)
        else:
            views = by_hand(collector, board, ask)
        found = calibrate(views, lens, arguments.setup)
        _report(found, views, arguments.setup)
        _write(arguments, profile, collector, found)
    return EXIT_OK


def main(args: Sequence[str] | None = None, *, domain_id: int | None = None, ask: Callable[[str], str] = input) -> int:
    """Run the command and return its exit code."""
    arguments, ros = parser().parse_known_args(args)
    try:
        return _calibrate(arguments, ros, domain_id, ask)
    except (CameraError, CallError) as error:
        print(f"calibrate_hand_eye: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except VlaError as error:
        print(f"calibrate_hand_eye: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (KeyboardInterrupt, EOFError):
        print("interrupted; nothing was written", file=sys.stderr)
        return EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main())
