# SPDX-License-Identifier: Apache-2.0

"""The targets that stand while an arm goes from hand to hand.

A trajectory or streaming controller holds its last target until somebody commands another one. Recordings learn from
targets that are fresh, so whoever had the arm last goes on saying what is in force, and whoever takes it says the same from
then on, until it commands something of its own. There are never two values at a time: the one that had it falls silent while
it hears another driver, and for good when that one says something new.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from vla_core.profile import Profile
from vla_core.stamps import stamp_ns, to_ns

from vla_common.qos import COMMAND
from vla_common.targets import TargetPublisher

Array = NDArray[np.float64]
QUIET_NS = to_ns(0.07)  # after another driver's message; targets are fresh for 0.1 s
LONGEST_NS = to_ns(5.0)  # a hand-over that takes longer is none
AWAY = 0.002  # [rad or m]; a joint that is further from its target is driven, or was moved, by somebody else
SAME = 1e-9  # [rad or m]


class StandingTargets:
    """Listens to the record topics of a profile's actions, and keeps a target standing.

    Messages come in the executor's thread, everything else is for the thread that publishes targets.
    """

    def __init__(self, node: Node, profile: Profile, targets: TargetPublisher, names: Sequence[str]) -> None:
        """Listen; nothing stands.

        Args:
            node: Whose `targets` are; messages that carry its name in `header.frame_id` are its own.
            profile: Robot profile.
            targets: Publishes for it.
            names: Of the actions; `targets` has them.
        """
        self._me = node.get_fully_qualified_name()
        self._targets = targets
        self._joints = {spec.name: spec.joints for spec in profile.action if spec.name in names}
        self._heard: dict[str, Array] = {}
        self._others: dict[str, tuple[int, Array]] = {}
        self._held: dict[str, Array] = {}
        self._since_ns = 0
        for spec in profile.action:
            if spec.name in names:
                node.create_subscription(JointState, spec.record.topic, partial(self._on_message, spec.name), COMMAND)

    def heard(self, name: str) -> Array | None:
        """The newest targets ``(k,)`` [rad or m] of an action, whoever published them; None: none yet."""
        return self._heard.get(name)

    @property
    def held(self) -> bool:
        """Whether targets stand."""
        return bool(self._held)

    def stand(self, t_ns: int, targets: Mapping[str, Array]) -> None:
        """From `t_ns` on these targets ``(k,)`` [rad or m] stand, by the names of their actions."""
        self._held = {name: np.array(values, dtype=np.float64) for name, values in targets.items()}
        self._since_ns = t_ns

    def release(self) -> None:
        """Nothing stands any more."""
        self._held = {}

    def publish(self, t_ns: int, measured: Mapping[str, Array], *, taking: bool = False) -> None:
        """Say once more what stands; to be called at every tick, does nothing where nothing stands.

        Args:
            t_ns: Time of the tick.
            measured: Joint positions ``(k,)`` [rad or m] of those actions that must be where their targets are.
            taking: This node takes the arm, so it speaks up beside the one that had it.
        """
        if not self._held:
            return
        others = [(name, *self._others[name]) for name in self._held if name in self._others]
        newer = [
            (stamp, np.abs(said - self._held[name]).max()) for name, stamp, said in others if stamp > self._since_ns
        ]
        moved = any(np.abs(q - self._held[name]).max() > AWAY for name, q in measured.items() if name in self._held)
        if moved or t_ns - self._since_ns > LONGEST_NS or any(difference > SAME for _, difference in newer):
            self.release()
        elif taking or not any(t_ns - stamp < QUIET_NS for stamp, _ in newer):
            for name, values in self._held.items():
                self._targets.publish(name, t_ns, values)

    def _on_message(self, name: str, msg: JointState) -> None:
        said = dict(zip(msg.name, msg.position, strict=False))
        if not said.keys() >= set(self._joints[name]):
            return
        values = np.array([said[joint] for joint in self._joints[name]])
        self._heard[name] = values
        if msg.header.frame_id != self._me:
            self._others[name] = (stamp_ns(msg), values)
