# SPDX-License-Identifier: Apache-2.0

"""Checks of a robot profile that need no robot: placeholders, serials, drivers, limits, workspace; its resolved vectors."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import numpy as np
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from numpy.typing import NDArray
from rosidl_runtime_py.utilities import get_message
from vla_core.errors import listing
from vla_core.fields import joint_of
from vla_core.kinematics import forward
from vla_core.profile import Profile
from vla_core.report import table
from vla_core.specs import ActionSpec, ArmSpec, DriverSpec, Scale

from vla_bringup.doctor.findings import Finding, green, red, yellow
from vla_bringup.doctor.samples import streams

URSIM_IP = "192.168.56.101"
"""Address of URSim in Universal Robots' documentation of its containers."""
_UR_SPEED = {
    "ur3": (180, 180, 180, 360, 360, 360),
    "ur3e": (180, 180, 180, 360, 360, 360),
    "ur5": (180,) * 6,
    "ur5e": (180,) * 6,
    "ur10": (120, 120, 180, 180, 180, 180),
    "ur10e": (120, 120, 180, 180, 180, 180),
}
"""Largest speed of each joint [deg/s]; ur_description, config/<type>/joint_limits.yaml."""
_PLACEHOLDER = re.compile(r"^$|^_?0+$|[<>?]|x{3,}|your|change|serial", re.IGNORECASE)
_SAMPLES = 4000
_FULL_TURN = 2.0 * np.pi + 1e-3
_SLACK = 1e-3
Triple = tuple[float, float, float]


def judge_profile(profile: Profile, *, needs_drivers: bool) -> list[Finding]:
    """Return what is found about a profile that loads.

    Args:
        profile: Of the robot.
        needs_drivers: Whether its drivers must be installed here.
    """
    found = [
        *_types(profile),
        *_drivers(profile, needs_drivers=needs_drivers),
        *_serials(profile),
        *_limits(profile),
        *_workspace(profile),
        *_safety(profile),
        *_rates(profile),
    ]
    return found or [green(profile.robot, "nothing to object to")]


def _types(profile: Profile) -> Iterator[Finding]:
    kinds = {spec.type for spec in streams(profile)} | {topic.type for topic in profile.record_topics}
    kinds |= {monitor.type for monitor in profile.monitors}
    missing = []
    for kind in sorted(kinds):
        try:
            get_message(kind)
        except (ImportError, AttributeError, ValueError):
            missing.append(kind)
    if missing:
        packages = dict.fromkeys(f"ros-jazzy-{kind.partition('/')[0].replace('_', '-')}" for kind in missing)
        text = f"{listing(missing)} {'are' if len(missing) > 1 else 'is'} not installed"
        yield red("message types", text, f"sudo apt-get install {' '.join(packages)}")
    else:
        yield green("message types", f"{len(kinds)} types, all installed")


def _drivers(profile: Profile, *, needs_drivers: bool) -> Iterator[Finding]:
    for driver in profile.drivers:
        where = f"drivers.{driver.name}"
        if not installed(driver.package):
            apt = f"sudo apt-get install ros-jazzy-{driver.package.replace('_', '-')}"
            text, remedy = f"{driver.package} is not installed", f"{apt}; or try it with sim:=true"
            yield red(where, text, remedy) if needs_drivers else yellow(where, text, remedy)
        yield from _address(driver)


def installed(package: str) -> bool:
    """Return whether a ROS package is installed."""
    try:
        get_package_share_directory(package)
    except (PackageNotFoundError, ValueError):
        return False
    return True


def _address(driver: DriverSpec) -> Iterator[Finding]:
    for key, given in driver.args.items():
        if not (key == "ip" or key.endswith("_ip")) or driver.args.get("use_mock_hardware") == "true":
            continue
        where = f"drivers.{driver.name}.args.{key}"
        try:
            address = ipaddress.ip_address(given)
        except ValueError:
            if _PLACEHOLDER.search(given):
                yield yellow(where, f"'{given}' is a placeholder", f"give the robot's address: {key}:=…")
            continue  # a host name
        if given == URSIM_IP:
            yield yellow(where, f"{given} is where URSim's containers are", f"give the robot's address: {key}:=…")
        elif address.is_unspecified or address.is_multicast:
            yield red(where, f"{given} is no robot's address", f"give the robot's address: {key}:=…")


def _serials(profile: Profile) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for driver in profile.drivers:
        for key, given in driver.args.items():
            if "serial" not in key and key not in ("i_mx_id", "usb_port_id"):
                continue
            where = f"drivers.{driver.name}.args.{key}"
            if _PLACEHOLDER.search(given):
                remedy = "write the serial number of this camera (rs-enumerate-devices -s; with a '_' before it)"
                yield yellow(where, f"'{given}' is a placeholder", remedy)
            elif given in seen:
                yield red(
                    where, f"{given} is also that of {seen[given]}", "one serial number is one device: correct one"
                )
            seen.setdefault(given, where)


def _limits(profile: Profile) -> Iterator[Finding]:
    kinds = [driver.args["ur_type"] for driver in profile.drivers if "ur_type" in driver.args]
    speeds = _UR_SPEED.get(kinds[0]) if kinds else None
    for spec in profile.action:
        where = f"action '{spec.name}'"
        if not spec.is_gripper and spec.limits.max_velocity is None:
            yield yellow(where, "has no limits.max_velocity", "give one: it is what keeps a bad policy slow")
        if spec.is_gripper or speeds is None or len(spec.joints) != len(speeds):
            continue
        wide = [
            joint
            for joint, low, high in zip(spec.joints, spec.limits.lower, spec.limits.upper, strict=True)
            if low < -_FULL_TURN or high > _FULL_TURN
        ]
        if wide:
            text = f"{listing(wide)} may turn further than the {kinds[0]} can (2 pi)"
            yield yellow(where, text, "correct limits.lower and limits.upper")
        fast = [
            f"{joint} {np.degrees(value):.0f} deg/s, the robot {limit}"
            for joint, value, limit in zip(spec.joints, spec.limits.max_velocity or (), speeds, strict=False)
            if value > np.radians(limit) + _SLACK
        ]
        if fast:
            yield yellow(where, f"limits.max_velocity is beyond the robot's: {listing(fast)}", "lower it")


def _workspace(profile: Profile) -> Iterator[Finding]:
    specs = {spec.name: spec for spec in profile.action}
    for arm in profile.arms:
        where = "safety.workspace" if profile.kinematics else f"safety.workspace.{arm.name}"
        if arm.workspace is not None:
            yield _box(where, arm, arm.workspace, _tools(arm, specs[arm.name]))


def _box(where: str, arm: ArmSpec, box: tuple[Triple, Triple], tools: NDArray[np.float64]) -> Finding:
    """What a box means for an arm whose tool comes to `tools` (n, 3) [m, its base_frame]."""
    low, high = np.array(box[0]), np.array(box[1])
    inside = float(((tools >= low) & (tools <= high)).all(axis=1).mean())
    reach = f"the tool reaches {_corner(tools.min(axis=0))} to {_corner(tools.max(axis=0))} m"
    if inside == 0.0:
        text = f"no joint position of {_SAMPLES} brings the tool into it; {reach} in {arm.base_frame}"
        return red(where, text, "correct the box, `kinematics.base`, or the units (metres)")
    if ((low > tools.min(axis=0)) | (high < tools.max(axis=0))).any():
        return green(where, f"{inside:.0%} of all joint positions are inside")
    return yellow(
        where, f"the box limits nothing: {reach}", "make it as large as the task needs, and keep it off the table"
    )


def _tools(arm: ArmSpec, spec: ActionSpec) -> NDArray[np.float64]:
    """Positions (n, 3) of the tool [m] at random joint positions within the limits."""
    columns = [spec.joints.index(joint) for joint in arm.kinematics.joints]
    low, high = (np.array(values)[columns] for values in (spec.limits.lower, spec.limits.upper))
    joints = np.random.default_rng(0).uniform(low, high, (_SAMPLES, len(columns)))
    tools: NDArray[np.float64] = forward(arm.kinematics, joints)[:, :3, 3]
    return tools


def _corner(values: NDArray[np.float64]) -> str:
    return f"[{', '.join(f'{value:.2f}' for value in values)}]"


def _safety(profile: Profile) -> Iterator[Finding]:
    if profile.ready is None:
        yield yellow("ready", "the profile has no ready pose", "give one: policies and skills start from it")
    if profile.drivers and not profile.monitors:
        text = "nothing tells whether the robot is stopped"
        yield yellow("monitors", text, "name the topics of its safety mode and running program, if the driver has them")
    if profile.drivers and not profile.estop:
        text = "an emergency stop only cancels goals"
        yield yellow("estop", text, "name the services that stop the robot, if the driver has them")
    arms, boxes = [spec.name for spec in profile.action if len(spec.joints) > 1], profile.arms
    free = [name for name in arms if not any(arm.name == name and arm.workspace for arm in boxes)]
    if free or not arms:
        what = "the profile has none" if len(arms) < 2 else f"the profile has none for {listing(free)}"
        yield yellow("safety.workspace", what, "give a box: only joint limits hold the tool now")
    if len(arms) > 1 and profile.safety.arms_min_distance_m is None:
        text = "nothing keeps the arms from each other"
        yield yellow("safety.arms_min_distance_m", text, "give `kinematics.<arm>.mount` and `links`, and a distance")


def _rates(profile: Profile) -> Iterator[Finding]:
    for camera in profile.cameras:
        if camera.rate_hz < profile.fps:
            text = f"{camera.rate_hz:g} Hz, fewer than the {profile.fps:g} frames per second: frames repeat images"
            yield yellow(f"cameras.{camera.name}", text, "lower fps, or let the camera run faster")


def vectors(profile: Profile) -> str:
    """Return the resolved state and action vectors as text tables."""
    states = []
    for spec in profile.state:
        states += [
            (name, field, spec.topic, unit(field, spec.scale))
            for name, field in zip(spec.names, spec.fields, strict=True)
        ]
    if profile.state_space == "eef":
        states = [(name, "pose of the tool", "", "m, and the rotation's") for name in profile.state_names]
    states += [(name, f"{value:g}", "", "") for spec in profile.constants for name, value in _pairs(spec)]
    actions = []
    for action in profile.action:
        speeds = action.limits.max_velocity or (float("inf"),) * len(action.joints)
        for joint, low, high, speed in zip(
            action.joints, action.limits.lower, action.limits.upper, speeds, strict=True
        ):
            scale = unit(f"position.{joint}", action.scale)
            actions.append((joint, action.name, action.space, scale, low, high, speed, action.command.interface))
    cameras = [
        (c.name, c.topic, f"{c.size[1]}x{c.size[0]}", f"{c.frame_size[1]}x{c.frame_size[0]}", c.rate_hz)
        for c in profile.cameras
    ]
    return "\n\n".join(
        (
            f"state ({len(profile.state_names)} values)\n" + table(("name", "from", "topic", "unit"), states),
            f"action ({len(profile.action_names)} values: {listing(profile.action_names)})\n"
            + table(("joint", "part", "space", "unit", "lower", "upper", "max/s", "interface"), actions),
            "cameras\n" + table(("name", "topic", "image", "frame", "Hz"), cameras),
        )
    )


def _pairs(spec: object) -> list[tuple[str, float]]:
    return list(zip(getattr(spec, "names", ()), getattr(spec, "values", ()), strict=True))


def unit(field: str, scale: Scale | None) -> str:
    """Return the unit of a field of a message, as it is in the dataset."""
    if scale is not None:
        return f"{scale.target[0]:g} to {scale.target[1]:g} (message: {scale.source[0]:g} to {scale.source[1]:g})"
    group = field.partition(".")[0]
    if joint_of(field):
        return "rad or m"
    if group in ("velocity", "effort"):
        return {"velocity": "rad/s (m/s)", "effort": "as the driver says"}[group]
    if field.startswith("pose.position"):
        return "m"
    return {"pose": "quaternion", "twist": "m/s, rad/s"}.get(group, "as the sender says")
