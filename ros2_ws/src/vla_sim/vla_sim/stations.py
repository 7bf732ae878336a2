# SPDX-License-Identifier: Apache-2.0

"""Which robots a profile means and where they stand: read from the names of its actions.

A command `left/scaled_joint_trajectory_controller/follow_joint_trajectory` belongs to the station `left`, whose joints
begin with `left_`, as the drivers' `tf_prefix` names them. Without a namespace there is one station.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from vla_core.profile import Profile
from vla_core.specs import ActionSpec

from vla_sim import constants as c
from vla_sim import mjcf
from vla_sim.errors import SceneError
from vla_sim.model import CAMERAS, Camera, look_at
from vla_sim.robot import SINGLE, UR5E, Robot, Station
from vla_sim.robot_so101 import SO101
from vla_sim.robot_widowx import WIDOWX_AI

ROBOTS: Final[Mapping[str, Robot]] = {robot.kind: robot for robot in (UR5E, SO101, WIDOWX_AI)}
_SPACING: Final = 0.9  # m between the bases of two UR5e
_TWO_ARM_VIEW: Final = ((1.75, 0.0, 1.05), (0.42, -0.05, 0.0))  # position and target of the front camera, in the world
_TWO_ARM_FOVY: Final = 0.78
_UP: Final = (0.0, 0.0, 1.0)
_FRONT_NAMES: Final = ("front", "base")  # of the camera that looks at the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The stations of a profile, and every camera that it can have."""

    stations: tuple[Station, ...]
    cameras: tuple[Camera, ...]


def stage_of(profile: Profile) -> Stage:
    """The robots and cameras that the cell simulates for a profile.

    Raises:
        SceneError: an action is of no robot that the cell knows, or names its joints or its controller otherwise.
    """
    arms = [spec for spec in profile.action if not spec.is_gripper]
    if not arms:
        raise SceneError(
            f"profile '{profile.robot}' ({profile.source}): no action drives an arm; the cell simulates one"
        )
    found = [_station(profile, spec) for spec in arms]
    names = [station.name for station in found]
    if len(set(names)) != len(names):
        raise SceneError(
            f"profile '{profile.robot}' ({profile.source}): two arms share the namespace '{names[0]}' of their commands; "
            "begin the command's name with another one for each, as in left/… and right/…"
        )
    for spec in profile.action:
        if spec.is_gripper:
            _check_gripper(profile, spec, found)
    stations = _placed(found)
    return Stage(stations=stations, cameras=_cameras(stations, profile.camera_names))


def _namespace(spec: ActionSpec) -> str:
    """What comes before the controller in the name of a command."""
    return "/".join(spec.command.name.strip("/").split("/")[:-2])


def _station(profile: Profile, spec: ActionSpec) -> Station:
    name = _namespace(spec)
    prefix = f"{name.replace('/', '_')}_" if name else ""
    for kind in ROBOTS.values():
        robot = kind.prefixed(prefix)
        if set(robot.joints) == set(spec.joints):
            _check_order(profile, spec, robot)
            return SINGLE if robot is UR5E else Station(name=name, prefix=prefix, robot=robot)
    known = "; ".join(f"{robot.kind}: {', '.join(robot.prefixed(prefix).joints)}" for robot in ROBOTS.values())
    raise SceneError(
        f"profile '{profile.robot}' ({profile.source}): action '{spec.name}' drives {', '.join(spec.joints)}, which is no "
        f"robot of the simulated cell. With the command '{spec.command.name}' it has {known}"
    )


def _check_order(profile: Profile, spec: ActionSpec, robot: Robot) -> None:
    """Streamed positions have no names, so their order must be the controller's."""
    if spec.command.interface == "joint_group_position" and spec.joints != robot.joints:
        raise SceneError(
            f"profile '{profile.robot}' ({profile.source}): action '{spec.name}' streams positions without names, in the "
            f"order {', '.join(spec.joints)}; the controller's order is {', '.join(robot.joints)}. Write 'joints' in "
            "that order"
        )


def _check_gripper(profile: Profile, spec: ActionSpec, stations: list[Station]) -> None:
    wanted = {s.topic(f"{s.robot.gripper.controller}/gripper_cmd"): s.robot.gripper.joint for s in stations}
    if wanted.get(spec.command.name.lstrip("/")) != spec.joints[0] or len(spec.joints) != 1:
        known = "; ".join(f"{name} with the joint {joint}" for name, joint in wanted.items())
        raise SceneError(
            f"profile '{profile.robot}' ({profile.source}): action '{spec.name}' commands {spec.command.name} with the "
            f"joints {', '.join(spec.joints)}; the simulated cell has {known}"
        )


def _placed(found: list[Station]) -> tuple[Station, ...]:
    """Side by side, the first one at the left hand of who looks along x."""
    if len(found) == 1:
        return tuple(found)
    spacing = _SPACING * max(station.robot.scale for station in found)
    middle = (len(found) - 1) / 2
    return tuple(replace(s, xyz=(0.0, spacing * (middle - index), 0.0)) for index, s in enumerate(found))


def _cameras(stations: tuple[Station, ...], wanted: tuple[str, ...]) -> tuple[Camera, ...]:
    front = next((name for name in _FRONT_NAMES if name in wanted), "front")
    carried = [camera for station in stations for camera in station.robot.cameras]
    if len(stations) > 1:
        position, target = _TWO_ARM_VIEW
        view = look_at(position, target, _UP)
        view[:3, 3] *= stations[0].robot.scale
        return Camera(name=front, parent=mjcf.WORLD, T_parent_optical=view, fovy=_TWO_ARM_FOVY), *carried
    robot = stations[0].robot
    view = CAMERAS["front"].T_parent_optical.copy()
    view[:3, 3] *= robot.scale
    return Camera(name=front, parent=robot.base, T_parent_optical=view, fovy=c.FRONT_CAMERA_FOVY), *carried
