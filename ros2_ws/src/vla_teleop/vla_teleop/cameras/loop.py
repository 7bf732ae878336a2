# SPDX-License-Identifier: Apache-2.0

"""The closed loop of a hand-eye calibration: where the points of all views should be seen, and how that changes.

The steps are ``X' = X · (exp(r), 0) + t`` and likewise for ``Z``: a turn about the frame's own axes and a shift in the
parent, 6 numbers each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import pose_matrix, rotation_from_vector

Array = NDArray[np.float64]
_SMALL = 1e-6


@dataclass(frozen=True)
class View:
    """A picture of the board from one standstill of the arm.

    Attributes:
        name: For messages.
        T_base_tool: Pose of the tool ``(4, 4)``.
        points: Points of the board ``(n, 3)`` that are seen [m].
        pixels: Where they are seen ``(n, 2)``.
    """

    name: str
    T_base_tool: Array
    points: Array
    pixels: Array


@dataclass(frozen=True)
class Lens:
    """Intrinsics as in sensor_msgs/CameraInfo: ``K`` (3, 3) and ``D`` (k,) of plumb_bob or rational_polynomial."""

    K: Array
    D: Array


def inverse_pose(T: Array) -> Array:
    """Return the inverse of a pose ``(4, 4)``."""
    return pose_matrix(-T[:3, :3].T @ T[:3, 3], T[:3, :3].T)


def arm_of(view: View, setup: str) -> Array:
    """Return what stands between ``inv(X)`` and ``Z`` in the loop of a view (see `vla_teleop.cameras.hand_eye`)."""
    return inverse_pose(view.T_base_tool) if setup == "eye_in_hand" else view.T_base_tool


class Loop:
    """All points of some views, and two poses from which steps count."""

    def __init__(self, views: Sequence[View], lens: Lens, setup: str, X: Array, Z: Array) -> None:
        self._lens, self._X, self._Z = lens, X, Z
        counts = [len(view.points) for view in views]
        arms = np.repeat(np.stack([arm_of(view, setup) for view in views]), counts, axis=0)
        self._turns, self._shifts = arms[:, :3, :3], arms[:, :3, 3]
        self._points = np.concatenate([view.points for view in views])
        self._pixels = np.concatenate([view.pixels for view in views])

    def poses(self, step: Array) -> tuple[Array, Array]:
        """Return both poses ``(4, 4)`` after a step ``(12,)``."""
        return _moved(self._X, step[:6]), _moved(self._Z, step[6:])

    def _in_camera(self, step: Array) -> tuple[Array, Array, Array]:
        """Points (N, 3) in the camera, and both poses."""
        X, Z = self.poses(step)
        on_board = self._points @ Z[:3, :3].T + Z[:3, 3]
        outside = np.einsum("nij,nj->ni", self._turns, on_board) + self._shifts
        inside: Array = (outside - X[:3, 3]) @ X[:3, :3]
        return inside, X, Z

    def seen(self) -> Array:
        """Return where all points should be seen ``(N, 2)``."""
        pixels: Array = self.residuals(np.zeros(12)).reshape(-1, 2) + self._pixels
        return pixels

    def residuals(self, step: Array) -> Array:
        """Return expected minus seen pixels ``(2N,)`` after a step."""
        inside, _, _ = self._in_camera(step)
        pixels, _ = cv2.projectPoints(inside, np.zeros(3), np.zeros(3), self._lens.K, self._lens.D)
        wrong: Array = (np.asarray(pixels, dtype=np.float64).reshape(-1, 2) - self._pixels).ravel()
        return wrong

    def jacobian(self, step: Array) -> Array:
        """Return the derivative ``(2N, 12)`` of the residuals."""
        inside, X, Z = self._in_camera(step)
        _, wide = cv2.projectPoints(inside, np.zeros(3), np.zeros(3), self._lens.K, self._lens.D)
        by_point = np.asarray(wide, dtype=np.float64)[:, 3:6].reshape(-1, 2, 3)  # the shift moves the points themselves
        back = X[:3, :3].T @ self._turns  # from the frame of Z's parent into the camera
        moves = np.concatenate(
            [
                _skew(inside) @ _right_jacobian(step[:3]),
                np.broadcast_to(-X[:3, :3].T, (len(inside), 3, 3)),
                -back @ Z[:3, :3] @ _skew(self._points) @ _right_jacobian(step[6:9]),
                back,
            ],
            axis=2,
        )
        rows: Array = (by_point @ moves).reshape(-1, 12)
        return rows


def _moved(T: Array, step: Array) -> Array:
    return pose_matrix(T[:3, 3] + step[3:], T[:3, :3] @ rotation_from_vector(step[:3]))


def _skew(v: Array) -> Array:
    """Cross product matrices (..., 3, 3) of vectors (..., 3)."""
    S = np.zeros((*v.shape[:-1], 3, 3))
    S[..., 0, 1], S[..., 0, 2], S[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    return S - np.swapaxes(S, -1, -2)


def _right_jacobian(r: Array) -> Array:
    """How exp(r) turns on when r changes (right Jacobian of SO(3); Sola et al. 2018, A micro Lie theory, eq. 143)."""
    angle, S = float(np.linalg.norm(r)), _skew(r)
    if angle < _SMALL:
        return np.eye(3) - S / 2.0
    J: Array = np.eye(3) - (1.0 - np.cos(angle)) / angle**2 * S + (angle - np.sin(angle)) / angle**3 * (S @ S)
    return J
