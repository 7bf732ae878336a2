# SPDX-License-Identifier: Apache-2.0

"""What a robot profile says about a camera beside its images: its driver's node and where the camera sits."""

from __future__ import annotations

from vla_core.profile_words import topic_name, triple
from vla_core.specs import CAMERA_SETTINGS, MountSpec
from vla_core.yamltree import Section

MOUNT_KEYS = ("parent", "child", "xyz", "rpy")

# Stream names under which the drivers publish colour below their node: realsense2_camera and depthai_ros_driver.
_STREAMS = {"color": "realsense", "rgb": "depthai"}


def camera_driver(section: Section, topic: str) -> tuple[str, str]:
    """Return the node of a camera's driver and the kind of its settings.

    Drivers publish below their node: ``camera/wrist/color/image_raw`` comes from ``camera/wrist``. Where the topic says
    nothing the node is empty and the kind ``none``.

    Raises:
        ProfileError: the kind of settings is given, but neither a node nor a topic that names one.
    """
    words = topic.split("/")
    stem = "/".join(words[:-2])
    node = topic_name(section, "node") if "node" in section else stem.rstrip("/")
    guess = _STREAMS.get(words[-2], "none") if node and len(words) > 1 else "none"
    settings = section.choice("settings", CAMERA_SETTINGS, guess)
    if settings != "none" and not node:
        raise section.error("node", f"missing key: the topic '{topic}' does not tell the node of the camera's driver")
    return node, settings


def camera_mount(section: Section) -> MountSpec | None:
    """Return where the camera sits, if the profile says so."""
    if "mount" not in section:
        return None
    inner = Section(section.child("mount"), MOUNT_KEYS)
    return MountSpec(
        parent=inner.text("parent"),
        child=inner.text("child"),
        xyz=triple(inner, "xyz"),
        rpy=triple(inner, "rpy", (0.0, 0.0, 0.0)),
    )
