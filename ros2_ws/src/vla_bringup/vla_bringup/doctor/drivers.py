# SPDX-License-Identifier: Apache-2.0

"""Which driver of a profile publishes a topic, as far as names tell."""

from __future__ import annotations

from collections.abc import Iterator

from vla_core.profile import Profile
from vla_core.specs import DriverSpec


def drivers_of_topic(profile: Profile, topic: str) -> tuple[DriverSpec, ...]:
    """Return the drivers that may publish a topic; none where names tell nothing.

    A camera's driver is known by a word of the topic that is its name or one of its arguments (`camera_name`). What is no
    camera's comes from one of the other drivers, of several arms from those in the topic's namespace.
    """
    cameras = {driver.name: driver for camera in profile.cameras for driver in _named(profile, camera.topic)}
    if any(topic in (camera.topic, camera.info_topic) for camera in profile.cameras):
        return tuple(_named(profile, topic))
    others = [driver for driver in profile.drivers if driver.name not in cameras]
    space = topic.strip("/").partition("/")[0]
    inside = [driver for driver in others if space in (driver.namespace, driver.args.get("namespace"))]
    return tuple(inside or others)


def _named(profile: Profile, topic: str) -> Iterator[DriverSpec]:
    words = set(topic.strip("/").split("/"))
    for driver in profile.drivers:
        if words & {driver.name, *driver.args.values()}:
            yield driver


def start_it(profile: Profile, topic: str) -> str:
    """Return what to do where a topic is silent: the driver by name, where there is one."""
    found = drivers_of_topic(profile, topic)
    if not found:
        return "start its driver"
    names = " or ".join(f"'{driver.name}' ({driver.package})" for driver in found)
    device = "plugged in, powered and held by no other program"
    return f"start its driver {names}; if it runs, its log says more: is the device {device}?"
