# SPDX-License-Identifier: Apache-2.0

"""Hand-eye calibration: where a camera sits, from views of a board at known poses of the arm.

Two unknown poses close the loop of every view. With the camera on the arm (eye in hand) ``X`` is the camera in the tool
and ``Z`` the board in the base; with the camera beside the arm (eye to hand) ``X`` is the camera in the base and ``Z``
the board in the tool::

    eye in hand:  T_camera_board = inv(X) · inv(T_base_tool) · Z
    eye to hand:  T_camera_board = inv(X) · T_base_tool · Z

OpenCV's closed forms (`cv2.calibrateHandEye`, `cv2.calibrateRobotWorldHandEye`) give a start; both poses are then refined
together by least squares over the reprojection errors of all points of all views, with a robust loss. Cameras' frames
are optical (x right, y down, z ahead; REP-103). Lengths in metres, angles in radians, pixels with centres at whole
numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from vla_core.kinematics import pose_matrix, rotation_from_vector, rotation_vector

from vla_teleop.cameras.errors import CalibrationError
from vla_teleop.cameras.loop import Lens, Loop, View, arm_of, inverse_pose

Array = NDArray[np.float64]
SETUPS = ("eye_in_hand", "eye_to_hand")
MIN_VIEWS = 6
MIN_POINTS = 8
MIN_TURN_RAD = np.radians(20.0)
"""Least rotation between the two most different views."""
MIN_SECOND_RAD = np.radians(8.0)
"""Least rotation (standard deviation) about the second axis; about one axis alone the position along it is unknown."""
_OUTLIER_FACTOR, _OUTLIER_PIXELS = 4.0, 1.0
_ROBUST_PIXELS = 0.5
_CLOSED_FORMS = (cv2.CALIB_HAND_EYE_PARK, cv2.CALIB_HAND_EYE_DANIILIDIS, cv2.CALIB_HAND_EYE_TSAI)


@dataclass(frozen=True)
class HandEye:
    """A calibration.

    Attributes:
        X: Pose of the camera's optical frame ``(4, 4)``: in the tool (eye in hand) or in the base (eye to hand).
        Z: Pose of the board ``(4, 4)``: in the base (eye in hand) or in the tool (eye to hand).
        rms: Reprojection error of all used points [pixels].
        view_rms: The same per view, of the views that were left out too.
        outliers: Names of the views that were left out.
        spread_m: Largest change of the position of `X` when one view is left out [m].
        spread_rad: The same of its orientation [rad].
    """

    X: Array
    Z: Array
    rms: float
    view_rms: dict[str, float]
    outliers: tuple[str, ...]
    spread_m: float
    spread_rad: float


def calibrate(views: Sequence[View], lens: Lens, setup: str) -> HandEye:
    """Return the hand-eye calibration of some views.

    Raises:
        CalibrationError: too few views, a view with too few points, too little rotation, or views that contradict each
            other; the text says which motion is missing or what to look at.
    """
    if setup not in SETUPS:
        raise CalibrationError(f"setup '{setup}' is not one of {', '.join(SETUPS)}")
    check_motion(views)
    kept, outliers = list(views), []
    X, Z = _start(kept, lens, setup)
    X, Z = _refine(kept, lens, setup, X, Z)
    while (worst := _worst(kept, lens, setup, X, Z)) is not None:
        outliers.append(kept.pop(worst).name)
        if len(outliers) > len(views) // 3:
            raise CalibrationError(
                f"{len(outliers)} of {len(views)} views contradict the others ({', '.join(outliers)}). Was the board or "
                "the camera moved, did the arm move during a picture, or is the size of the board wrong? Check and "
                "collect the views anew"
            )
        check_motion(kept)
        X, Z = _refine(kept, lens, setup, X, Z)
    _check_plausible(kept, lens, setup, X, Z)
    spread = _leave_one_out(kept, lens, setup, X, Z)
    errors = _errors(kept, lens, setup, X, Z)
    return HandEye(
        X=X,
        Z=Z,
        rms=_rms(np.concatenate(errors)),
        view_rms={view.name: _rms(_errors([view], lens, setup, X, Z)[0]) for view in views},
        outliers=tuple(outliers),
        spread_m=max(far for far, _ in spread),
        spread_rad=max(turn for _, turn in spread),
    )


def check_motion(views: Sequence[View]) -> None:
    """Refuse views from which the pose does not follow.

    Raises:
        CalibrationError: see `calibrate`.
    """
    poor = [view.name for view in views if len(view.points) < MIN_POINTS]
    if poor:
        raise CalibrationError(
            f"fewer than {MIN_POINTS} points of the board are seen in {', '.join(poor)}; leave them out"
        )
    if len(views) < MIN_VIEWS:
        raise CalibrationError(
            f"{len(views)} views are too few; at least {MIN_VIEWS} are needed, and 12 to 20 are good. Turn the tool about "
            "two axes by 20 degrees or more between them"
        )
    first = views[0].T_base_tool[:3, :3]
    turns = np.array([rotation_vector(first.T @ view.T_base_tool[:3, :3]) for view in views])
    largest = max(
        float(np.linalg.norm(rotation_vector(a.T_base_tool[:3, :3].T @ b.T_base_tool[:3, :3])))
        for i, a in enumerate(views)
        for b in views[i + 1 :]
    )
    if largest < MIN_TURN_RAD:
        raise CalibrationError(
            f"the tool turns by {np.degrees(largest):.1f} degrees at most between the views; at least "
            f"{np.degrees(MIN_TURN_RAD):.0f} are needed. Motion without rotation says nothing about where the camera sits: "
            "tilt the tool about x and about y"
        )
    _, sizes, axes = np.linalg.svd(turns - turns.mean(axis=0))
    second = sizes[1] / np.sqrt(len(views))
    if second < MIN_SECOND_RAD:
        axis = axes[0]
        missing = "xyz"[int(np.argmin(np.abs(axis)))]
        raise CalibrationError(
            f"the tool turns about one axis only ({axis[0]:+.2f} {axis[1]:+.2f} {axis[2]:+.2f} in its own frame; "
            f"{np.degrees(second):.1f} degrees about any other), so the camera's place along that axis stays unknown. Add "
            f"views with the tool tilted about its {missing} axis by 20 degrees or more"
        )


def _board_in_camera(view: View, lens: Lens) -> Array:
    """Pose of the board in one picture: the one of the two planar solutions that fits better, refined."""
    found, turns, shifts, _ = cv2.solvePnPGeneric(view.points, view.pixels, lens.K, lens.D, flags=cv2.SOLVEPNP_IPPE)
    if not found:
        raise CalibrationError(f"the board's pose cannot be computed in {view.name}; leave it out")
    turn, shift = cv2.solvePnPRefineLM(view.points, view.pixels, lens.K, lens.D, turns[0], shifts[0])
    return pose_matrix(shift.ravel(), rotation_from_vector(turn.ravel()))


def _start(views: Sequence[View], lens: Lens, setup: str) -> tuple[Array, Array]:
    """The closed form that fits best."""
    arms, boards = [arm_of(view, setup) for view in views], [_board_in_camera(view, lens) for view in views]
    # calibrateHandEye wants the frame on the moving side in the fixed one: T_fixed_moving · X · T_camera_board = Z.
    hands = [inverse_pose(T) for T in arms]
    turns, shifts = [T[:3, :3] for T in boards], [T[:3, 3] for T in boards]
    candidates: list[tuple[Array, Array]] = []
    for method in _CLOSED_FORMS:
        found = cv2.calibrateHandEye(
            [T[:3, :3] for T in hands], [T[:3, 3] for T in hands], turns, shifts, method=method
        )
        X = _finite_pose(*found)
        if X is not None:
            Z = _mean_pose([hand @ X @ board for hand, board in zip(hands, boards, strict=True)])
            candidates.append((X, Z))
    # calibrateRobotWorldHandEye solves T_camera_board · (base in board) = (gripper in camera) · T_gripper_base.
    R_board, t_board, R_tool, t_tool = cv2.calibrateRobotWorldHandEye(
        turns, shifts, [T[:3, :3] for T in arms], [T[:3, 3] for T in arms]
    )
    tool_in_camera, fixed_in_board = _finite_pose(R_tool, t_tool), _finite_pose(R_board, t_board)
    if tool_in_camera is not None and fixed_in_board is not None:
        candidates.append((inverse_pose(tool_in_camera), inverse_pose(fixed_in_board)))
    if not candidates:
        raise CalibrationError("no closed form finds a start; add views with the tool tilted about x and about y")
    return min(candidates, key=lambda pair: float(np.median(np.concatenate(_errors(views, lens, setup, *pair)))))


def _finite_pose(rotation: Any, translation: Any) -> Array | None:
    R, t = np.asarray(rotation, dtype=np.float64), np.asarray(translation, dtype=np.float64).ravel()
    return pose_matrix(t, R) if np.isfinite(R).all() and np.isfinite(t).all() else None


def _mean_pose(poses: Sequence[Array]) -> Array:
    U, _, Vt = np.linalg.svd(np.sum([T[:3, :3] for T in poses], axis=0))
    R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    return pose_matrix(np.median([T[:3, 3] for T in poses], axis=0), R)


def _errors(views: Sequence[View], lens: Lens, setup: str, X: Array, Z: Array) -> list[Array]:
    """Distance of each point (n,) from where it should be, per view [pixels]."""
    problem = Loop(views, lens, setup, X, Z)
    far = np.linalg.norm(problem.residuals(np.zeros(12)).reshape(-1, 2), axis=1)
    return np.split(far, np.cumsum([len(view.points) for view in views])[:-1])


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _refine(views: Sequence[View], lens: Lens, setup: str, X: Array, Z: Array) -> tuple[Array, Array]:
    """Both poses by least squares over all points, with a loss that grows linearly for bad ones."""
    loop = Loop(views, lens, setup, X, Z)
    found = least_squares(
        loop.residuals, np.zeros(12), loop.jacobian, loss="soft_l1", f_scale=_ROBUST_PIXELS, x_scale="jac", max_nfev=60
    )
    return loop.poses(found.x)


def _worst(views: Sequence[View], lens: Lens, setup: str, X: Array, Z: Array) -> int | None:
    """Index of the view that fits far worse than the median view, if there is one."""
    rms = np.array([_rms(errors) for errors in _errors(views, lens, setup, X, Z)])
    worst = int(np.argmax(rms))
    return worst if rms[worst] > max(_OUTLIER_PIXELS, _OUTLIER_FACTOR * float(np.median(rms))) else None


def _check_plausible(views: Sequence[View], lens: Lens, setup: str, X: Array, Z: Array) -> None:
    rms = _rms(np.concatenate(_errors(views, lens, setup, X, Z)))
    if rms > 5.0:
        raise CalibrationError(
            f"the views do not fit together: {rms:.1f} pixels of reprojection error remain. Check the size of the board, "
            f"camera_info, the setup ({setup}) and that the arm's kinematics are those of the profile"
        )


def _leave_one_out(views: Sequence[View], lens: Lens, setup: str, X: Array, Z: Array) -> list[tuple[float, float]]:
    changes = []
    for i in range(len(views)):
        other, _ = _refine([*views[:i], *views[i + 1 :]], lens, setup, X, Z)
        changes.append(pose_distance(X, other))
    return changes


def pose_distance(a: Array, b: Array) -> tuple[float, float]:
    """Return distance [m] and geodesic angle [rad] between two poses ``(4, 4)``."""
    turn = float(np.linalg.norm(rotation_vector(a[:3, :3].T @ b[:3, :3])))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), turn
