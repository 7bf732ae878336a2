# SPDX-License-Identifier: Apache-2.0

"""What an arm may do while a person drives it, and how a motion ends at a border: smoothly, and with a reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.specs import ActionSpec, ArmSpec

Array = NDArray[np.float64]
AXES = "xyz"
ACCELERATION = 8.0  # [rad/s^2] of a joint where the profile limits none
FREE = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmLimits:
    """Limits per joint (n,), in the order of `joints`.

    Attributes:
        joints: Names.
        lower: [rad].
        upper: [rad].
        velocity: [rad/s].
        acceleration: When speeding up [rad/s^2].
        stop_s: A joint may brake from `velocity` to rest in this time [s].
    """

    joints: tuple[str, ...]
    lower: Array
    upper: Array
    velocity: Array
    acceleration: Array
    stop_s: float

    @property
    def brake(self) -> Array:
        """Deceleration (n,) when slowing down [rad/s^2]."""
        return np.maximum(self.acceleration, self.velocity / self.stop_s)


def arm_limits(spec: ActionSpec, *, max_joint_speed: float, stop_s: float) -> ArmLimits:
    """Return the limits of an action of the profile while a person drives.

    Args:
        spec: With limits.max_velocity.
        max_joint_speed: No joint is faster [rad/s], whatever the profile allows.
        stop_s: See `ArmLimits`.
    """
    n, limits = len(spec.joints), spec.limits
    velocity = np.full(n, max_joint_speed)
    if limits.max_velocity is not None:
        velocity = np.minimum(velocity, limits.max_velocity)
    acceleration = np.full(n, ACCELERATION) if limits.max_acceleration is None else np.array(limits.max_acceleration)
    return ArmLimits(
        joints=spec.joints,
        lower=np.array(limits.lower),
        upper=np.array(limits.upper),
        velocity=velocity,
        acceleration=acceleration,
        stop_s=stop_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much of a wanted motion is allowed: `share` 0 to 1, and why it is not all of it."""

    share: float = 1.0
    reason: str = ""

    def tightest(self, other: Bound) -> Bound:
        """The smaller of two."""
        return other if other.share < self.share else self


def joint_bound(limits: ArmLimits, q: Array, dq: Array, dt: float) -> Bound:
    """Return how much of the joint velocities `dq` (n,) [rad/s] the limits allow at `q` (n,) [rad].

    Towards a position limit a joint is never faster than it can brake in front of it.
    """
    speed = np.abs(dq)
    bound = Bound()
    fastest = int(np.argmax(speed / limits.velocity))
    if speed[fastest] > limits.velocity[fastest]:
        bound = Bound(
            share=float(limits.velocity[fastest] / speed[fastest]),
            reason=f"{limits.joints[fastest]} is at its speed limit of {limits.velocity[fastest]:.2f} rad/s",
        )
    room = np.where(dq > 0.0, limits.upper - q, q - limits.lower)
    allowed = _approach(room, limits.acceleration, dt)
    shares = np.divide(allowed, speed, out=np.full(len(q), FREE), where=speed > 0.0)
    nearest = int(np.argmin(shares))
    if shares[nearest] < 1.0:
        end = limits.upper[nearest] if dq[nearest] > 0.0 else limits.lower[nearest]
        reason = f"{limits.joints[nearest]} is at its limit of {end:.3f} rad; move it the other way"
        bound = bound.tightest(Bound(share=float(shares[nearest]), reason=reason))
    return bound


def _approach(room: Array, deceleration: Array | float, dt: float) -> Array:
    """Fastest speed from which one still stops within `room`, and that does not jump over it in one period."""
    left = np.maximum(room, 0.0)
    speeds: Array = np.minimum(np.sqrt(2.0 * deceleration * left), left / dt)
    return speeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The box that the tool must stay in [m, base frame].

    Attributes:
        low: Lower corner.
        high: Upper corner.
        deceleration: In front of the border [m/s^2].
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    deceleration: float

    def bound(self, position: Array, velocity: Array, dt: float) -> Bound:
        """Return how much of a velocity (3,) [m/s] is allowed at a position (3,) [m]; inwards is always free."""
        room = np.where(velocity > 0.0, np.array(self.high) - position, position - np.array(self.low))
        speed = np.abs(velocity)
        allowed = _approach(room, self.deceleration, dt)
        shares = np.divide(allowed, speed, out=np.full(3, FREE), where=speed > 1e-12)
        axis = int(np.argmin(shares))
        if shares[axis] >= 1.0:
            return Bound()
        border = self.high[axis] if velocity[axis] > 0.0 else self.low[axis]
        return Bound(
            share=float(shares[axis]),
            reason=f"the tool is at the border of the workspace ({AXES[axis]} = {border:g} m, safety.workspace of the "
            "profile); move it back",
        )


def workspace_of(arm: ArmSpec | None, deceleration: float) -> Workspace | None:
    """Return an arm's workspace box, or None where it has none."""
    if arm is None or arm.workspace is None:
        return None
    return Workspace(low=arm.workspace[0], high=arm.workspace[1], deceleration=deceleration)
