# SPDX-License-Identifier: Apache-2.0

"""The rviz2 configuration of a robot, written from the shipped one and the robot's profile."""

import copy
from typing import Any

import yaml
from vla_core.codecs import COMPRESSED_IMAGE, IMAGE
from vla_core.frames import resolve_topic
from vla_core.profile import Profile
from vla_core.specs import CameraSpec

from vla_bringup.launch_util import share

TEMPLATE = "vla.rviz"
MARKERS = "monitor/markers"
DESCRIPTION = "robot_description"
IMAGE_DISPLAY, MODEL_DISPLAY = "rviz_default_plugins/Image", "rviz_default_plugins/RobotModel"
MARKER_DISPLAY = "rviz_default_plugins/MarkerArray"


def shown(camera: CameraSpec) -> bool:
    """Whether rviz2 can show this camera: raw images, and compressed ones, which it knows by the end of the topic's name."""
    return camera.type == IMAGE or (camera.type == COMPRESSED_IMAGE and camera.topic.endswith("/compressed"))


def rviz_config(profile: Profile, namespace: str = "") -> str:
    """The configuration (YAML): robot model, frames, one image per camera, path, chunk and phase.

    Args:
        profile: Robot profile.
        namespace: In which its relative topics live.
    """
    inside = "/" + namespace.strip("/")
    config: dict[str, Any] = yaml.safe_load((share() / "rviz" / TEMPLATE).read_text(encoding="utf-8"))
    manager = config["Visualization Manager"]
    manager["Global Options"]["Fixed Frame"] = profile.base_frame
    displays, image = [], next(display for display in manager["Displays"] if display["Class"] == IMAGE_DISPLAY)
    for display in manager["Displays"]:
        if display["Class"] == MODEL_DISPLAY:
            display["Description Topic"]["Value"] = resolve_topic(DESCRIPTION, inside)
        elif display["Class"] == MARKER_DISPLAY:
            display["Topic"]["Value"] = resolve_topic(MARKERS, inside)
        if display["Class"] != IMAGE_DISPLAY:
            displays.append(display)
    for camera in filter(shown, profile.cameras):
        one = copy.deepcopy(image)
        one["Name"], one["Topic"]["Value"] = camera.name, resolve_topic(camera.topic, inside)
        displays.append(one)
    manager["Displays"] = displays
    return yaml.safe_dump(config, sort_keys=False, width=120)
