# SPDX-License-Identifier: Apache-2.0

"""URDF of the robot, gripper and camera mounts, written from `vla_sim.model` for robot_state_publisher and rviz."""

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import quoteattr

from vla_sim.model import Joint, Link, Shape


def _nums(values: Iterable[float]) -> str:
    return " ".join(f"{float(v):.12g}" for v in values)


def _geometry(shape: Shape) -> str:
    if shape.kind == "box":
        body = f'<box size="{_nums(2 * v for v in shape.size)}"/>'
    else:
        body = f'<cylinder radius="{shape.size[0]}" length="{2 * shape.size[1]}"/>'
    return f'<origin xyz="{_nums(shape.xyz)}" rpy="{_nums(shape.rpy)}"/><geometry>{body}</geometry>'


def _link(link: Link) -> str:
    parts = []
    if link.mass > 0.0:
        ixx, iyy, izz = link.inertia
        parts.append(
            f'<inertial><origin xyz="{_nums(link.com)}"/><mass value="{link.mass}"/>'
            f'<inertia ixx="{ixx:.9g}" iyy="{iyy:.9g}" izz="{izz:.9g}" ixy="0" ixz="0" iyz="0"/></inertial>'
        )
    for shape in link.shapes:
        colour = f'<material name="rgba_{_nums(shape.rgba).replace(" ", "_")}"><color rgba="{_nums(shape.rgba)}"/>'
        parts.append(f"<visual>{_geometry(shape)}{colour}</material></visual>")
        if shape.collides:
            parts.append(f"<collision>{_geometry(shape)}</collision>")
    return f"  <link name={quoteattr(link.name)}>{''.join(parts)}</link>"


def _limits(joint: Joint) -> str:
    mimic = ""
    if joint.mimic is not None:
        mimic = f'<mimic joint="{joint.mimic[0]}" multiplier="{joint.mimic[1]:.12g}"/>'
    return (
        f'<axis xyz="{_nums(joint.axis)}"/><limit lower="{joint.lower:.9f}" upper="{joint.upper:.9f}" '
        f'velocity="{joint.velocity:.6g}" effort="{joint.effort:.6g}"/>{mimic}'
    )


def _edge(link: Link) -> str:
    name = link.joint.name if link.joint else f"{link.parent}-{link.name}"
    kind = link.joint.kind if link.joint else "fixed"
    return (
        f'  <joint name={quoteattr(name)} type="{kind}"><parent link={quoteattr(link.parent)}/>'
        f'<child link={quoteattr(link.name)}/><origin xyz="{_nums(link.xyz)}" rpy="{_nums(link.rpy)}"/>'
        f"{_limits(link.joint) if link.joint else ''}</joint>"
    )


def build_urdf(links: Sequence[Link], base: str = "base_link", name: str = "ur5e") -> str:
    """URDF text with the root link `base`; the finger tips mimic the joint that the gripper's driver publishes."""
    lines = [f"<robot name={quoteattr(name)}>", f"  <link name={quoteattr(base)}/>"]
    lines += [_link(link) for link in links]
    lines += [_edge(link) for link in links]
    return '<?xml version="1.0"?>\n' + "\n".join([*lines, "</robot>"]) + "\n"
