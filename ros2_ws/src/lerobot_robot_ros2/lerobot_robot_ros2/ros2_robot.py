# SPDX-License-Identifier: Apache-2.0

"""A robot with a ROS 2 profile as LeRobot sees it: named numbers and images in, named numbers out."""

import logging
from typing import Any

import numpy as np
from lerobot.lerobot_types import RobotAction, RobotObservation
from lerobot.robots.robot import Robot
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError
from vla_common.profiles import find_profile
from vla_core.errors import ActionError, listing, nearest_name
from vla_core.frames import Frame
from vla_core.specs import CameraSpec

from lerobot_robot_ros2.config_ros2 import Ros2RobotConfig
from lerobot_robot_ros2.link import RobotLink

log = logging.getLogger(__name__)
ROLLOUT_SUFFIXES = (".pos", ".vel")


class Ros2Robot(Robot):
    """See LeRobot's `Robot`. Features have the names, order and shapes of a converted recording of the same profile.

    Attributes:
        name: Name of the robot in its profile; ``robot_type`` in datasets.
    """

    config_class = Ros2RobotConfig
    name = "ros2"

    def __init__(self, config: Ros2RobotConfig) -> None:
        """Read the profile; no connection is made.

        Raises:
            ProfileError: there is no such profile, or it has an error.
        """
        self._profile = find_profile(config.profile)
        self.name = self._profile.robot
        super().__init__(config)
        self.config = config
        self._link: RobotLink | None = None

    @property
    def observation_features(self) -> dict[str, type | tuple[int, ...]]:
        """Each number of the state vector, and (H, W, C) of each camera; depth has one channel."""
        found: dict[str, type | tuple[int, ...]] = dict.fromkeys(self._profile.state_names, float)
        for camera in self._profile.cameras:
            found[camera.name] = (*camera.frame_size, 1 if camera.depth else 3)
        return found

    @property
    def action_features(self) -> dict[str, type]:
        """Each number of the action vector."""
        return dict.fromkeys(self._profile.action_names, float)

    @property
    def cameras(self) -> dict[str, CameraSpec]:
        """The profile's cameras; LeRobot counts them."""
        return {camera.name: camera for camera in self._profile.cameras}

    @property
    def is_connected(self) -> bool:
        """Whether observations and actions are possible."""
        return self._link is not None

    @property
    def is_calibrated(self) -> bool:
        """Always: calibration is the business of the robot's driver."""
        return True

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do: the driver configures the robot."""

    def connect(self, calibrate: bool = True) -> None:
        """Wait for streams, controllers and monitors of the profile; nothing moves.

        Raises:
            DeviceAlreadyConnectedError: called twice.
            VlaError: something is absent or not as the profile says.
        """
        if self._link is not None:
            raise DeviceAlreadyConnectedError(f"{self} is connected already")
        config = self.config
        link = RobotLink(
            self._profile,
            namespace=config.namespace,
            use_sim_time=config.use_sim_time,
            drive=config.drive,
            warn=log.warning,
        )
        try:
            link.connect(config.connect_timeout_s)
        except BaseException:
            link.close()
            raise
        self._link = link
        self._warn_of_rollouts()
        log.info("%s: connected; %s", self.name, "nothing moves yet" if config.drive else "another node drives")

    def get_observation(self) -> RobotObservation:
        """Return the frame of now, built as for recordings and policies.

        Raises:
            DeviceNotConnectedError: not connected.
            VlaError: a stream is silent or damaged.
        """
        frame = self._connected().observe()
        found: dict[str, Any] = dict(zip(self._profile.state_names, frame.state.tolist(), strict=True))
        return found | {camera.name: _image(camera, frame) for camera in self._profile.cameras}

    def send_action(self, action: RobotAction) -> RobotAction:
        """Check an action against the profile and command it; returns what was commanded.

        Raises:
            DeviceNotConnectedError: not connected.
            VlaError: it must not be sent; the arm was stopped.
        """
        link = self._connected()
        names = self._profile.action_names
        if set(action) != set(names):
            unknown = [f"'{name}'{nearest_name(name, names)}" for name in action if name not in names]
            text = (
                f"{self.name}: the action has {listing(action)}, but the profile wants {listing(names)}"
                f"{'; unknown: ' + listing(unknown) if unknown else ''}. Was it recorded or trained with another profile?"
            )
            link.halt(text)
            raise ActionError(text)
        sent = link.send(np.array([float(action[name]) for name in names]))
        return dict(zip(names, sent.tolist(), strict=True))

    def disconnect(self) -> None:
        """Stop the arm and leave.

        Raises:
            DeviceNotConnectedError: not connected.
        """
        link, self._link = self._connected(), None
        link.close()

    def _connected(self) -> RobotLink:
        if self._link is None:
            raise DeviceNotConnectedError(f"{self.name} is not connected; call connect() first")
        return self._link

    def _warn_of_rollouts(self) -> None:
        names = dict.fromkeys((*self._profile.state_names, *self._profile.action_names))
        left_out = [name for name in names if not name.endswith(ROLLOUT_SUFFIXES)]
        if left_out:
            log.warning(
                "%s: lerobot-rollout shows a policy only values whose names end in .pos or .vel, so it leaves out %s; record, "
                "replay and teleoperate take them all. Roll out such a policy with: ros2 launch vla_bringup infer.launch.py",
                self.name,
                listing(left_out),
            )


def _image(camera: CameraSpec, frame: Frame) -> Any:
    """The image of a camera ``(H, W, C)``."""
    image = frame.images[camera.name]
    return image[..., None] if camera.depth else image
