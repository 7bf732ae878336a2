# SPDX-License-Identifier: Apache-2.0

"""Joints of a leader arm become joint angles of the robot. Pure; messages and time come in as arguments."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vla_core.errors import listing, nearest_name

from vla_teleop.devices.device import NEVER, Command
from vla_teleop.devices.settings import Common

_NS = 1_000_000_000
RADIANS, DEGREES = "rad", "deg"
UNITS = (RADIANS, DEGREES)


@dataclass(frozen=True, slots=True, kw_only=True)
class JointSpec:
    """One joint: ``robot = sign * (leader - offset)``.

    Attributes:
        leader: Name of the joint in the leader's messages.
        robot: Name of the joint of the robot.
        sign: 1 or -1.
        offset: In the leader's unit.
    """

    leader: str
    robot: str
    sign: float
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GripperSpec:
    """The leader's gripper.

    Attributes:
        joint: Its name in the leader's messages; empty when it comes on a topic of its own.
        topic: Topic of `std_msgs/Float32`; empty when it is a joint.
        open: Value when open, as in the message.
        closed: Value when closed.
    """

    joint: str
    topic: str
    open: float
    closed: float

    def closing(self, value: float) -> float:
        """Return 0 (open) to 1 (closed), clamped."""
        return min(max((value - self.open) / (self.closed - self.open), 0.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderSpec:
    """A leader arm.

    Attributes:
        common: Name, frame (unused), time-out.
        topic: Topic of `sensor_msgs/JointState`.
        driver: Command that starts its driver, for messages; empty when unknown.
        unit: Of the joints in the messages, one of `UNITS`.
        joints: Which joint drives which.
        gripper: The gripper, or None.
        window_s: Time over which motion is looked for [s].
        distance: A joint that moves further than this within the window moves [rad].
        gripper_distance: The same of the gripper, of its travel.
    """

    common: Common
    topic: str
    driver: str
    unit: str
    joints: tuple[JointSpec, ...]
    gripper: GripperSpec | None
    window_s: float
    distance: float
    gripper_distance: float


class LeaderCore:
    """Feed it messages, read commands. Thread-safe."""

    def __init__(self, spec: LeaderSpec) -> None:
        self.spec = spec
        self._lock = threading.Lock()
        self._t_ns: int | None = None
        self._raw: dict[str, float] = {}
        self._joints: dict[str, float] = {}
        self._gripper: float | None = None
        self._gripper_ns: int | None = None
        self._problem = ""
        # Within the window: time, angles [rad] and gripper (0 when unknown).
        self._past: deque[tuple[int, tuple[float, ...], float]] = deque()

    def feed(self, t_ns: int, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take the joints of the leader, in its unit, that came at `t_ns` on the node clock."""
        with self._lock:
            self._t_ns = t_ns
            self._raw |= dict(zip(names, (float(value) for value in positions), strict=False))
            self._problem = self._fault(names, positions)
            if self._problem:
                return
            factor = math.pi / 180.0 if self.spec.unit == DEGREES else 1.0
            given = dict(zip(names, positions, strict=True))
            self._joints = {
                one.robot: one.sign * (float(given[one.leader]) - one.offset) * factor for one in self.spec.joints
            }
            gripper = self.spec.gripper
            if gripper is not None and gripper.joint:
                self._gripper, self._gripper_ns = gripper.closing(float(given[gripper.joint])), t_ns
            self._remember(t_ns)

    def feed_gripper(self, t_ns: int, value: float) -> None:
        """Take the value of a gripper with its own topic."""
        with self._lock:
            self._raw["gripper"] = value
            if self.spec.gripper is not None and math.isfinite(value):
                self._gripper, self._gripper_ns = self.spec.gripper.closing(value), t_ns

    def read(self, now_ns: int) -> Command | None:
        """See `Device.read`."""
        with self._lock:
            if self._t_ns is None or (self._problem and not self._joints):
                return None
            frame = self.spec.common.frame
            if self._trouble(now_ns):
                return Command(t_ns=self._t_ns, frame=frame)
            return Command(
                t_ns=self._t_ns,
                frame=frame,
                joints=dict(self._joints),
                gripper=self._gripper if self._fresh(self._gripper_ns, now_ns) else None,
                moving=self._moves(now_ns),
            )

    def age_s(self, now_ns: int) -> float:
        """See `Device.age_s`."""
        with self._lock:
            return self._age_s(now_ns)

    def raw(self) -> Mapping[str, float]:
        """See `Device.raw`."""
        with self._lock:
            return dict(self._raw)

    def lost(self, now_ns: int) -> str | None:
        """See `Device.lost`."""
        with self._lock:
            return self._trouble(now_ns) or None

    def _age_s(self, now_ns: int) -> float:
        return NEVER if self._t_ns is None else max(0.0, (now_ns - self._t_ns) / _NS)

    def _fresh(self, t_ns: int | None, now_ns: int) -> bool:
        return t_ns is not None and (now_ns - t_ns) / _NS <= self.spec.common.timeout_s

    def _trouble(self, now_ns: int) -> str:
        spec = self.spec
        if self._t_ns is None:
            return f"leader arm: no message on {spec.topic} yet. Is its driver running? {spec.driver}".rstrip()
        if self._problem:
            return self._problem
        if self._age_s(now_ns) > spec.common.timeout_s:
            return (
                f"leader arm: silent for {self._age_s(now_ns):.2f} s on {spec.topic} (limit {spec.common.timeout_s:g} s). "
                f"Is it plugged in, is its driver running? {spec.driver}"
            ).rstrip()
        return ""

    def _fault(self, names: Sequence[str], positions: Sequence[float]) -> str:
        topic = self.spec.topic
        if len(names) != len(positions):
            return f"leader arm: {len(names)} names but {len(positions)} positions on {topic}; its driver is at fault"
        needed = [one.leader for one in self.spec.joints]
        if self.spec.gripper is not None and self.spec.gripper.joint:
            needed.append(self.spec.gripper.joint)
        for name in needed:
            if name not in names:
                return (
                    f"leader arm: the messages on {topic} have no joint '{name}', only {listing(names)}"
                    f"{nearest_name(name, names)}; correct 'from' in the mapping"
                )
            if not math.isfinite(positions[list(names).index(name)]):
                return f"leader arm: joint '{name}' on {topic} is not finite; restart its driver {self.spec.driver}".rstrip()
        return ""

    def _remember(self, t_ns: int) -> None:
        self._past.append((t_ns, tuple(self._joints.values()), self._gripper or 0.0))
        while t_ns - self._past[0][0] > self.spec.window_s * _NS:
            self._past.popleft()

    def _moves(self, now_ns: int) -> bool:
        recent = [entry for entry in self._past if now_ns - entry[0] <= self.spec.window_s * _NS]
        if len(recent) < 2:
            return False
        joints = zip(*(entry[1] for entry in recent), strict=True)
        gripper = [entry[2] for entry in recent]
        return (
            any(max(angles) - min(angles) > self.spec.distance for angles in joints)
            or max(gripper) - min(gripper) > self.spec.gripper_distance
        )
