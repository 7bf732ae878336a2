# SPDX-License-Identifier: Apache-2.0

"""Whether the arm can drive a planned path: every sample against joint limits, workspace and singular poses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import forward, jacobian
from vla_core.specs import ActionSpec, Kinematics, Limits

from vla_teleop.skills.errors import PlanError
from vla_teleop.skills.ur_ik import is_ur

Array = NDArray[np.float64]
Box = tuple[Sequence[float], Sequence[float]]
# Smallest singular value of the Jacobian [m or 1, per rad]; a UR5e in the middle of its reach has about 0.1. At this one,
# 0.1 m/s of the tool may ask for 10 rad/s of a joint.
SINGULAR = 0.01
_NEAR_SINGULAR = 0.05
_JUMP_RAD = 0.02  # a step between two samples may differ this much from what the velocities say
_SLACK = 1e-6  # rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a path is checked against.

    Attributes:
        arm: Kinematics of the arm.
        limits: Limits of its joints, in the order of ``arm.joints``.
        workspace: Lower and upper corner of the box that the profile's tool_frame must stay in [m, base_frame]; None: no
            box.
    """

    arm: Kinematics
    limits: Limits
    workspace: Box | None


def limits_in_order(arm: ActionSpec, joints: Sequence[str]) -> Limits:
    """Return the limits of an action with its joints in another order."""
    order = [arm.joints.index(name) for name in joints]

    def sorted_like(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(values[i] for i in order)

    limits = arm.limits
    return replace(
        limits,
        lower=tuple(limits.lower[i] for i in order),
        upper=tuple(limits.upper[i] for i in order),
        max_velocity=sorted_like(limits.max_velocity),
        max_step=sorted_like(limits.max_step),
        max_acceleration=sorted_like(limits.max_acceleration),
    )


def joint_velocities(arm: Kinematics, q: Array, twists: Array) -> tuple[Array, Array]:
    """Return joint velocities and how far from singular the arm is.

    Args:
        arm: Denavit-Hartenberg table.
        q: ``(K, n)`` joints [rad].
        twists: ``(K, 6)`` of the tool frame, in the base frame [m/s, rad/s].

    Returns:
        ``(K, n)`` joint velocities [rad/s] and ``(K,)`` smallest singular values of the Jacobian.
    """
    jacobians = jacobian(arm, q)
    smallest: Array = np.linalg.svd(jacobians, compute_uv=False)[:, -1].astype(np.float64)
    velocities: Array = (np.linalg.pinv(jacobians) @ twists[:, :, None])[:, :, 0]
    return velocities, smallest


def check_path(
    bounds: Bounds, times: Array, q: Array, velocities: Array, smallest: Array, where: Callable[[int], str]
) -> None:
    """Refuse a path that the arm cannot drive.

    Args:
        bounds: Limits, workspace and kinematics.
        times: ``(K,)`` [s].
        q: ``(K, n)`` joints [rad].
        velocities: ``(K, n)`` [rad/s].
        smallest: ``(K,)`` smallest singular values, of `joint_velocities`.
        where: Gives the words for a sample, such as ``skill 'cpu', on the way to waypoint 3``.

    Raises:
        PlanError: names waypoint, joint or axis, value and limit.
    """
    _check_positions(bounds, q, where)
    _check_singular(bounds, q, smallest, where)
    _check_velocities(bounds, velocities, smallest, where)
    _check_steps(bounds, times, q, velocities, where)
    _check_workspace(bounds, q, where)


def _check_positions(bounds: Bounds, q: Array, where: Callable[[int], str]) -> None:
    lower, upper = np.array(bounds.limits.lower), np.array(bounds.limits.upper)
    over = np.maximum(q - upper, lower - q)
    k, joint = _worst(over)
    if over[k, joint] <= _SLACK:
        return
    value = q[k, joint]
    limit = upper[joint] if value > upper[joint] else lower[joint]
    raise PlanError(
        f"{where(k)}: {bounds.arm.joints[joint]} would stand at {value:.4f} rad, the limit is {limit:.4f} rad. "
        "Trigger the skill from another pose, or unwind this joint by a whole turn first"
    )


def _check_singular(bounds: Bounds, q: Array, smallest: Array, where: Callable[[int], str]) -> None:
    k = int(np.argmin(smallest))
    if smallest[k] >= SINGULAR:
        return
    raise PlanError(
        f"{where(k)}: the arm is at a singular pose, {_which(bounds.arm, q[k])} (smallest singular value of the Jacobian "
        f"{smallest[k]:.4f}, the limit is {SINGULAR:g}); it cannot hold a straight line there. Trigger the skill from "
        "another pose, or move the waypoint"
    )


def _which(arm: Kinematics, q: Array) -> str:
    if not is_ur(arm):
        return f"joints {np.round(q, 3).tolist()} rad"
    elbow, wrist = abs(np.sin(q[2] + arm.theta[2])), abs(np.sin(q[4] + arm.theta[4]))
    if min(elbow, wrist) > 0.1:
        return "with the wrist above the axis of the base"
    if wrist < elbow:
        return f"with the wrist in line: {arm.joints[4]} at {q[4]:.3f} rad"
    return f"with the arm stretched or folded: {arm.joints[2]} at {q[2]:.3f} rad"


def _check_velocities(bounds: Bounds, velocities: Array, smallest: Array, where: Callable[[int], str]) -> None:
    if bounds.limits.max_velocity is None:
        return
    limit = np.array(bounds.limits.max_velocity)
    over = np.abs(velocities) - limit
    k, joint = _worst(over)
    if over[k, joint] <= _SLACK:
        return
    advice = "the path comes near a singular pose; move the waypoint" if smallest[k] < _NEAR_SINGULAR else "lower it"
    raise PlanError(
        f"{where(k)}: {bounds.arm.joints[joint]} would turn at {abs(velocities[k, joint]):.3f} rad/s, the limit is "
        f"{limit[joint]:.3f} rad/s. The speed follows from linear_speed and angular_speed of the skill: {advice}"
    )


def _check_steps(bounds: Bounds, times: Array, q: Array, velocities: Array, where: Callable[[int], str]) -> None:
    if len(times) < 2:
        return
    dt = np.diff(times)[:, None]
    expected = (velocities[1:] + velocities[:-1]) / 2.0 * dt
    strange = np.abs(np.diff(q, axis=0) - expected)
    k, joint = _worst(strange)
    if strange[k, joint] > _JUMP_RAD:
        raise PlanError(
            f"{where(k + 1)}: {bounds.arm.joints[joint]} would jump by {np.diff(q, axis=0)[k, joint]:.3f} rad in "
            f"{dt[k, 0]:.3f} s, because the arm would have to change between elbow, wrist or shoulder configurations; the "
            f"limit is {_JUMP_RAD:g} rad. Trigger the skill from another pose"
        )
    if bounds.limits.max_acceleration is None:
        return
    limit = np.array(bounds.limits.max_acceleration)
    rates = np.abs(np.diff(velocities, axis=0) / dt)
    k, joint = _worst(rates - limit)
    if rates[k, joint] > limit[joint] + _SLACK:
        raise PlanError(
            f"{where(k + 1)}: {bounds.arm.joints[joint]} would accelerate by {rates[k, joint]:.3f} rad/s^2, the limit is "
            f"{limit[joint]:.3f} rad/s^2. Lower linear_acceleration of the skill"
        )


def _check_workspace(bounds: Bounds, q: Array, where: Callable[[int], str]) -> None:
    if bounds.workspace is None:
        return
    low, high = np.array(bounds.workspace[0]), np.array(bounds.workspace[1])
    tool = forward(bounds.arm, q)[:, :3, 3]
    over = np.maximum(tool - high, low - tool)
    k, axis = _worst(over)
    if over[k, axis] <= _SLACK:
        return
    value = tool[k, axis]
    limit = high[axis] if value > high[axis] else low[axis]
    raise PlanError(
        f"{where(k)}: {'xyz'[axis]} of the tool frame would be {value:.4f} m, the limit of the workspace is {limit:.4f} m. "
        "Trigger the skill from another pose, or widen safety.workspace of the profile"
    )


def _worst(over: Array) -> tuple[int, int]:
    k, column = np.unravel_index(int(np.argmax(over)), over.shape)
    return int(k), int(column)
