# SPDX-License-Identifier: Apache-2.0

"""Judging the robot of a running graph: nodes, recorders, interfaces of commands, controllers, monitors, joints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from vla_core.codecs import reader
from vla_core.errors import SafetyError, listing, nearest_name
from vla_core.fields import joint_of
from vla_core.profile import Profile
from vla_core.safety_urdf import tighten, urdf_limits
from vla_core.specs import ActionSpec, MonitorSpec

from vla_bringup.doctor.findings import Finding, green, red, yellow
from vla_bringup.doctor.live_streams import carrying, joint_names
from vla_bringup.doctor.samples import Graph

ACTION_TYPES = {
    "follow_joint_trajectory": "control_msgs/action/FollowJointTrajectory",
    "parallel_gripper_command": "control_msgs/action/ParallelGripperCommand",
    "gripper_command": "control_msgs/action/GripperCommand",
}
"""What a command interface of a profile speaks."""
_SLACK = 1e-3  # rad or m; encoders and limits are rounded


def judge_nodes(graph: Graph) -> list[Finding]:
    """Return what is found about names of nodes and about recorders."""
    found = []
    twice = [name for name, count in Counter(graph.nodes).items() if count > 1]
    if twice:
        found.append(
            red(
                "nodes",
                f"{listing(twice)} runs more than once; services and parameters then reach either of them",
                "end one (a launch that was left running? `ps aux | grep ros`), or give each launch its own namespace:=",
            )
        )
    else:
        found.append(green("nodes", f"{len(graph.nodes)} nodes, each name once"))
    if len(graph.recorders) > 1:
        found.append(
            red(
                "recorders",
                f"{listing(graph.recorders)} record the same topics",
                "end all but one; they load the machine twice, and each counts its own episodes",
            )
        )
    elif graph.recorders:
        found.append(green("recorders", f"{graph.recorders[0]} alone records these topics"))
    return found


def judge_commands(profile: Profile, graph: Graph) -> list[Finding]:
    """Return what is found about where commands go, and about controllers."""
    found = [finding for spec in profile.action for finding in _interface(spec, graph)]
    if graph.controllers is None:
        served = "the driver serves its commands itself" if profile.action else ""
        found.append(green("controllers", f"no controller manager answers; {served}"))
        return found
    for spec in profile.action:
        found += _controller(profile, spec, graph)
    return found


def _interface(spec: ActionSpec, graph: Graph) -> list[Finding]:
    command = spec.command
    where = f"action '{spec.name}'"
    if command.interface == "none":
        return [green(where, "nothing is commanded (interface none)")]
    name = graph.resolve(command.name)
    if command.interface == "joint_group_position":
        return _streamed(spec, graph, where)
    wanted = ACTION_TYPES[command.interface]
    servers = graph.servers.get(name, ())
    kinds = {kind.removesuffix("_SendGoal") for kind in graph.services.get(f"{name}/_action/send_goal", ())}
    if not servers:
        near = nearest_name(name, graph.servers)
        remedy = f"start the driver or load the controller: ros2 control list_controllers; ros2 action list{near}"
        return [red(where, f"nobody serves {name} ({wanted})", remedy)]
    if kinds and wanted not in kinds:
        remedy = "correct `command.interface` of the profile: the type differs between versions of the gripper's driver"
        return [red(where, f"{name} is {listing(kinds)}, but {command.interface} speaks {wanted}", remedy)]
    if len(servers) > 1:
        return [red(where, f"{name} is served by {listing(servers)}", "end one of the two drivers")]
    return [green(where, f"{name} is served by {servers[0]}")]


def _streamed(spec: ActionSpec, graph: Graph, where: str) -> list[Finding]:
    tap = graph.taps[spec.command.name]
    if not tap.subscriptions:
        return [
            red(where, f"nobody listens to {tap.topic}", f"load and start the controller {spec.command.controller}")
        ]
    order = graph.joint_orders.get(spec.name)
    if order and order != spec.joints:
        return [
            red(
                where,
                f"{spec.command.controller} takes {listing(order)}, but the profile sends {listing(spec.joints)}: numbers "
                "without names, so joints would be swapped",
                "write the joints of the profile in the order of the controller's parameter `joints`",
            )
        ]
    known = f" in the order {listing(order)}" if order else ""
    return [green(where, f"{tap.topic} is taken by {listing([end.node for end in tap.subscriptions])}{known}")]


def _controller(profile: Profile, spec: ActionSpec, graph: Graph) -> Iterator[Finding]:
    states, name = graph.controllers or {}, spec.command.controller
    if not name or spec.command.interface == "none":
        return
    full = _full_name(spec, graph)
    where = f"controller {full}"
    if full not in states:
        if not spec.is_gripper:  # a gripper's driver often has a controller manager of its own, or none
            yield red(
                where,
                f"{graph.manager} knows no such controller; it has {listing(sorted(states))}{nearest_name(full, states)}",
                "correct `command.controller` of the profile, or load it: ros2 control load_controller --set-state "
                f"active {name}",
            )
    elif states[full] == "active":
        yield green(where, "active")
    else:
        yield _inactive(profile, spec, full, states)


def _full_name(spec: ActionSpec, graph: Graph) -> str:
    """Full name of the controller of an action: two arms have controllers of the same name in two namespaces."""
    name = spec.command.controller
    before, found, _ = graph.resolve(spec.command.name).partition(f"/{name}/")
    full = f"{before}/{name}" if found else graph.resolve(name)
    alike = [known for known in graph.controllers or {} if known.endswith(f"/{name}")]
    return alike[0] if full not in (graph.controllers or {}) and len(alike) == 1 else full


def _inactive(profile: Profile, spec: ActionSpec, full: str, known: Mapping[str, str]) -> Finding:
    name = spec.command.controller
    teleop = next((one for one in profile.teleops if one.arm == spec.name), None)
    where, space = f"controller {full}", full.rpartition("/")[0]
    if teleop and known.get(f"{space}/{teleop.stream_controller}") == "active":
        text = f"{known[full]}: {teleop.stream_controller} has the arm, so a person drives now"
        return yellow(where, text, "policies and skills wait; switch teleoperation off to give the arm back")
    return red(
        where,
        f"is {known[full]}, so every goal is rejected",
        "start the program on the teach pendant (it switches the controllers on), or: ros2 control "
        f"set_controller_state {name} active",
    )


def judge_monitors(profile: Profile, graph: Graph) -> list[Finding]:
    """Return what the monitors of a profile say: running program, protective stop, safety mode."""
    if graph.unwatched:
        return [red("monitors", graph.unwatched, "see there")]
    return [_monitor(spec, graph) for spec in profile.monitors]


def _monitor(spec: MonitorSpec, graph: Graph) -> Finding:
    where = f"monitor '{spec.name}' {graph.resolve(spec.topic)}"
    if spec.name not in graph.monitors:
        remedy = f"is the robot's driver running? Until it speaks nothing may move; {spec.hint}"
        return red(where, "nothing was received", remedy) if spec.required else green(where, "silent, which is allowed")
    value = graph.monitors[spec.name]
    if value in spec.allowed:
        return green(where, f"{spec.field} = {value}")
    allowed = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in spec.allowed)
    return red(where, f"{spec.field} = {value}, allowed: {allowed}", spec.hint)


def judge_joints(profile: Profile, graph: Graph) -> list[Finding]:
    """Return what is found about names and positions of joints, and about limits of the robot descriptions."""
    found = [*_names(profile, graph), *_positions(profile, graph)]
    return [*found, *_described(profile, graph.descriptions)] if graph.descriptions else found


def _described(profile: Profile, descriptions: Mapping[str, str]) -> list[Finding]:
    """The profile's limits against those of the descriptions; of two arms each publishes its own."""
    found, where = [], listing(descriptions)
    for topic, text in descriptions.items():
        try:
            joints = urdf_limits(text).keys()
        except SafetyError as error:
            found.append(red(topic, str(error), "correct the description"))
            continue
        found += _foreign(profile, topic, joints)
    if found:
        return found
    try:
        tightened = tighten(profile, *descriptions.values())
    except SafetyError as error:
        return [red(where, str(error), "correct the description or the limits of the profile")]
    grippers = tuple(f"{joint}:" for spec in profile.action if spec.is_gripper for joint in spec.joints)
    notes = [note for note in tightened.notes if not note.startswith(grippers)] if grippers else tightened.notes
    if notes:
        found.append(
            yellow(
                "limits",
                f"the robot's own are tighter than the profile's, and count: {'; '.join(notes)}",
                "write the robot's limits into the profile, so that data and policies know them",
            )
        )
    if tightened.unknown:
        found.append(
            yellow(
                where,
                f"has no joint {listing(tightened.unknown)}",
                "compare the names with the profile's; for a gripper with a driver of its own this is usual",
            )
        )
    if not notes and not tightened.unknown:
        found.append(green("limits", f"the profile's lie within those of {where}"))
    return found


def _foreign(profile: Profile, topic: str, joints: Collection[str]) -> list[Finding]:
    """A description that has no joint of the arms in its namespace: the driver's prefix is another one."""
    space = topic.rpartition("/")[0]
    arms = [
        spec
        for spec in profile.action
        if not spec.is_gripper and f"/{spec.command.name.lstrip('/')}".startswith(f"{space}/{spec.command.controller}/")
    ]
    wanted = [joint for spec in arms for joint in spec.joints]
    if not wanted or set(wanted) & set(joints):
        return []
    return [
        red(
            topic,
            f"has no joint of {listing([spec.name for spec in arms])} ({listing(wanted[:2])}, …); it has {listing(sorted(joints))}",
            "give the arm's driver the prefix that the profile's joints have (tf_prefix), or correct the profile",
        )
    ]


def _names(profile: Profile, graph: Graph) -> list[Finding]:
    used: dict[str, set[str]] = {}
    for spec in profile.state:
        joints = {joint for field in spec.fields if (joint := joint_of(field))}
        used.setdefault(spec.topic, set()).update(joints)
    found = []
    for topic, wanted in used.items():
        sets = dict.fromkeys(joint_names(sample) for sample in graph.taps[topic].samples)
        known = tuple(dict.fromkeys(name for names in sets for name in names))
        if not wanted or not known:
            continue
        extra = [name for name in known if name not in wanted]
        more = f"; not read: {listing(extra)}" if extra else ""
        text = f"the messages name {listing(known)}; read by name, so the order does not matter{more}"
        found.append(green(f"joints of {graph.taps[topic].topic}", text))
    return found


def _positions(profile: Profile, graph: Graph) -> list[Finding]:
    positions: dict[str, float] = {}
    for spec in profile.state:
        samples, _ = carrying(graph.taps[spec.topic], spec)
        if not samples:
            continue
        values = reader(spec.type, spec.fields, spec.point).read(samples[-1].msg)
        positions |= {joint: float(v) for f, v in zip(spec.fields, values, strict=True) if (joint := joint_of(f))}
    found = []
    for action in profile.action:
        limits = action.limits
        for joint, low, high in zip(action.joints, limits.lower, limits.upper, strict=True):
            value = positions.get(joint)
            if value is None or (math.isfinite(value) and low - _SLACK <= value <= high + _SLACK):
                continue
            text = f"stands at {value:.4g}, outside its limits {low:g} to {high:g}"
            remedy = (
                "move it inside by hand or by the pendant; if it is where it should be, correct the limits, and look "
                "for degrees instead of radians"
            )
            found.append(red(f"joint {joint}", text, remedy))
    if positions and not found:
        found.append(green("joints", f"{len(positions)} positions within their limits"))
    return found
