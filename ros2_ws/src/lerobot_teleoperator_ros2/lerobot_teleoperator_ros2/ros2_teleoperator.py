# SPDX-License-Identifier: Apache-2.0

"""A leader arm, or the targets of whoever drives, as LeRobot sees a teleoperator: named numbers out."""

import logging
import threading
import time
from functools import partial
from typing import Any

from lerobot.lerobot_types import RobotAction
from lerobot.teleoperators.teleoperator import Teleoperator
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError
from rosidl_runtime_py.utilities import get_message
from vla_common.background import LEROBOT_ROBOT, BackgroundNode
from vla_common.profiles import find_profile
from vla_common.qos import SENSOR, adapt
from vla_core.actions import ActionMap
from vla_core.errors import ProfileError, VlaError
from vla_core.fields import NONE
from vla_core.frame_sources import Missing
from vla_core.stamps import stamp_ns, to_ns, to_s
from vla_core.sync import OK

from lerobot_teleoperator_ros2.config_ros2 import LEADER, Ros2TeleoperatorConfig
from lerobot_teleoperator_ros2.sources import Array, Part, leader_parts, target_parts

log = logging.getLogger(__name__)
NODE = "lerobot_teleoperator"
USE_SIM_TIME = "--teleop.use_sim_time"
DISCOVERY_S = 0.5  # publishers that run already are known after this
_LOOK_S = 0.01


class TeleoperatorError(VlaError):
    """The leader is silent, or nobody drives; says what to do."""


class Ros2Teleoperator(Teleoperator):
    """See LeRobot's `Teleoperator`. The action has the names and order of the profile's action vector."""

    config_class = Ros2TeleoperatorConfig
    name = "ros2"

    def __init__(self, config: Ros2TeleoperatorConfig) -> None:
        """Read the profile; no connection is made.

        Raises:
            ProfileError: no such profile, or its actions cannot be read from this source.
        """
        self._profile = find_profile(config.profile)
        super().__init__(config)
        self.config = config
        self._map = ActionMap(self._profile)
        for spec in self._profile.action:
            if spec.space.startswith("delta"):
                raise ProfileError(
                    f"{self._profile.source}: action '{spec.name}' is in the space {spec.space}, which counts from an observation "
                    "that LeRobot does not show a teleoperator; use a profile with action_space: absolute_joint or absolute_eef"
                )
        self._parts = self._read_parts()
        self._lock = threading.Lock()
        self._back: BackgroundNode | None = None

    @property
    def action_features(self) -> dict[str, type]:
        """Each number of the action vector."""
        return dict.fromkeys(self._map.names, float)

    @property
    def feedback_features(self) -> dict[str, type]:
        """None: a leader gets no feedback."""
        return {}

    @property
    def is_connected(self) -> bool:
        """Whether actions can be read."""
        return self._back is not None

    @property
    def is_calibrated(self) -> bool:
        """Always: calibration is the business of the leader's driver."""
        return True

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def connect(self, calibrate: bool = True) -> None:
        """Wait for the first message of every part of the action.

        Raises:
            DeviceAlreadyConnectedError: called twice.
            VlaError: nobody sends, or not what the profile says.
        """
        if self._back is not None:
            raise DeviceAlreadyConnectedError(f"{self} is connected already")
        self._parts = self._read_parts()
        back = BackgroundNode(NODE, namespace=self.config.namespace, use_sim_time=self.config.use_sim_time)
        try:
            back.start()
            time.sleep(DISCOVERY_S)
            back.check_clock(USE_SIM_TIME)
            for topic, type_name in {p.source.stream.topic: p.source.stream.type for p in self._parts}.items():
                receive = partial(self._receive, back, topic)
                back.node.create_subscription(get_message(type_name), topic, receive, adapt(back.node, topic, SENSOR))
            self._targets(back, self.config.connect_timeout_s)
        except BaseException:
            back.close()
            raise
        self._back = back
        log.info("%s: connected to %s", self.name, self.config.source)

    def get_action(self) -> RobotAction:
        """Return the targets of now.

        Raises:
            DeviceNotConnectedError: not connected.
            VlaError: a message is older than its ``max_age_s`` and none came within ``safety.watchdog_s``.
        """
        if self._back is None:
            raise DeviceNotConnectedError("the teleoperator is not connected; call connect() first")
        targets = self._targets(self._back, self._profile.safety.watchdog_s)
        values = self._map.encode({name: row[None] for name, row in targets.items()})[0]
        return dict(zip(self._map.names, values.tolist(), strict=True))

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """Not supported.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a ROS 2 leader gets no feedback; leave smooth hand-over off")

    def disconnect(self) -> None:
        """Leave.

        Raises:
            DeviceNotConnectedError: not connected.
        """
        if self._back is None:
            raise DeviceNotConnectedError("the teleoperator is not connected")
        back, self._back = self._back, None
        back.close()

    def _read_parts(self) -> tuple[Part, ...]:
        config = self.config
        if config.source != LEADER:
            return target_parts(self._profile)
        return leader_parts(
            self._profile, topic=config.topic, joints=config.joints, factors=config.factors, offsets=config.offsets
        )

    def _receive(self, back: BackgroundNode, topic: str, msg: Any) -> None:
        driver = msg.header.frame_id.rpartition("/")[2] if hasattr(msg, "header") else ""
        if self.config.source != LEADER and driver == LEROBOT_ROBOT:
            return  # LeRobot's own robot: to follow it would be to follow oneself
        now_ns = back.now_ns()
        for part in self._parts:
            source = part.source
            if source.stream.topic != topic:
                continue
            if source.carries is not None and source.carries(msg) == NONE:
                source.ignored += 1
                source.last_ignored = msg
                continue
            t_ns = stamp_ns(msg) if source.by_header else now_ns
            if t_ns == 0:
                source.unstamped += 1
                continue
            with self._lock:
                source.push(t_ns, msg)

    def _targets(self, back: BackgroundNode, patience_s: float) -> dict[str, Array]:
        begun_s = time.monotonic()
        while True:
            if back.failed:
                raise TeleoperatorError(back.failed)
            found = self._read(back.now_ns())
            if not isinstance(found, Missing):
                return found
            waited_s = time.monotonic() - begun_s
            if found.lasting or waited_s >= patience_s:
                raise TeleoperatorError(self._why(found, waited_s))
            time.sleep(_LOOK_S)

    def _read(self, now_ns: int) -> dict[str, Array] | Missing:
        targets = {}
        for part in self._parts:
            source = part.source
            with self._lock:
                found = source.buffer.find(now_ns - to_ns(source.stream.lookahead_s))
            if found.status != OK:
                age = "" if found.item is None else f"; the last one is {to_s(found.age_ns):.2f} s old"
                why = source.why_silent() or f"no fresh message on {source.stream.topic}{age}"
                return Missing(source.stream.key, found.status, why)
            value = source.pick(found)
            if isinstance(value, Missing):
                return value
            targets[part.spec.name] = part.factors * value + part.offsets
        return targets

    def _why(self, missing: Missing, waited_s: float) -> str:
        what = f"{missing.stream}: {missing.detail}, after {waited_s:.1f} s"
        if self.config.source == LEADER:
            return f"{what}. Is the leader's driver running? Look with: ros2 topic echo --once TOPIC; name another with --teleop.topic="
        return (
            f"{what}. Does somebody drive the robot (vla_teleop, with its enable button held)? Targets of LeRobot's own robot do not "
            "count. For a leader arm: --teleop.source=leader --teleop.topic=TOPIC"
        )
