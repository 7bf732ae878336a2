# SPDX-License-Identifier: Apache-2.0

"""From a robot description (URDF) and joint positions to the transforms of its links, as robot_state_publisher gives them.

URDF (ros.org, urdf/XML/joint): the origin of a joint places the child's frame in the parent's while the joint is at zero; a
revolute or continuous joint then turns about its axis, a prismatic one slides along it. A mimic joint follows another one:
``multiplier * other + offset``. Lengths in metres, angles in radians, rpy about fixed axes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError
from vla_core.kinematics import pose_matrix, rotation_from_rpy, rotation_from_vector

Array = NDArray[np.float64]
TURNING, SLIDING, FIXED = ("revolute", "continuous"), "prismatic", "fixed"


class DescriptionError(VlaError):
    """A robot description cannot be used."""


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """One joint of a description.

    Attributes:
        parent: Frame of the link before it.
        child: Frame of the link after it.
        origin: Pose (4, 4) of the child in the parent at zero.
        kind: fixed, revolute, continuous or prismatic.
        axis: Unit axis (3,) in the child's frame.
        source: Joint that moves it: its own name, or the one that it mimics.
        gain: Factor of that joint's position.
        offset: Added to it [rad or m].
    """

    parent: str
    child: str
    origin: Array
    kind: str
    axis: Array
    source: str
    gain: float = 1.0
    offset: float = 0.0

    def pose(self, position: float) -> Array:
        """Pose (4, 4) of the child in the parent at a position [rad or m] of the source joint."""
        value = self.gain * position + self.offset
        if self.kind in TURNING:
            return self.origin @ pose_matrix((0.0, 0.0, 0.0), rotation_from_vector(value * self.axis))
        if self.kind == SLIDING:
            return self.origin @ pose_matrix(value * self.axis, np.eye(3))
        return self.origin


@dataclass(frozen=True, slots=True, eq=False)
class LinkTree:
    """The joints of a description: those that never move, and those that do."""

    robot: str
    fixed: tuple[Edge, ...]
    moving: tuple[Edge, ...]

    def poses(self, positions: Mapping[str, float]) -> dict[str, tuple[str, Array]]:
        """Child frame to its parent and its pose (4, 4) there, of the moving joints whose position is known."""
        return {
            edge.child: (edge.parent, edge.pose(positions[edge.source]))
            for edge in self.moving
            if edge.source in positions
        }

    @property
    def frames(self) -> frozenset[str]:
        """The children of moving joints."""
        return frozenset(edge.child for edge in self.moving)


def read_tree(text: str) -> LinkTree:
    """Return the joints of a URDF.

    Raises:
        DescriptionError: it is no URDF, a link has two parents, or a joint has a kind that is not known, mimics a joint that
            is absent, or has a number that is none.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DescriptionError(f"the robot description is not XML: {error}") from None
    if root.tag != "robot":
        raise DescriptionError(f"the robot description begins with <{root.tag}>, expected <robot>; is it a xacro file?")
    edges = [_edge(element) for element in root.findall("joint")]
    parents: dict[str, str] = {}
    for edge in edges:
        if parents.setdefault(edge.child, edge.parent) != edge.parent:
            raise DescriptionError(
                f"the robot description gives the link {edge.child} two parents, {parents[edge.child]} and {edge.parent}"
            )
    names = {element.get("name", "") for element in root.findall("joint")}
    for edge in edges:
        if edge.source not in names:
            raise DescriptionError(
                f"the robot description: the link {edge.child} mimics {edge.source}, which is no joint"
            )
    return LinkTree(
        robot=root.get("name", ""),
        fixed=tuple(edge for edge in edges if edge.kind == FIXED),
        moving=tuple(edge for edge in edges if edge.kind != FIXED),
    )


def _edge(element: ElementTree.Element) -> Edge:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in (*TURNING, SLIDING, FIXED):
        raise DescriptionError(
            f"the robot description: joint {name} has the type '{kind}'; this program knows fixed, revolute, continuous "
            "and prismatic, so let robot_state_publisher do it"
        )
    origin, mimic = element.find("origin"), element.find("mimic")
    axis = np.array(_numbers(element.find("axis"), "xyz", (1.0, 0.0, 0.0), name))
    length = float(np.linalg.norm(axis))
    if kind != FIXED and length == 0.0:
        raise DescriptionError(f"the robot description: the axis of joint {name} has no direction")
    return Edge(
        parent=_link(element, "parent", name),
        child=_link(element, "child", name),
        origin=pose_matrix(
            _numbers(origin, "xyz", (0.0, 0.0, 0.0), name),
            rotation_from_rpy(_numbers(origin, "rpy", (0.0, 0.0, 0.0), name)),
        ),
        kind=kind,
        axis=axis / (length or 1.0),
        source=name if mimic is None else mimic.get("joint", ""),
        gain=_numbers(mimic, "multiplier", (1.0,), name)[0],
        offset=_numbers(mimic, "offset", (0.0,), name)[0],
    )


def _link(element: ElementTree.Element, which: str, joint: str) -> str:
    found = element.find(which)
    name = "" if found is None else found.get("link", "")
    if not name:
        raise DescriptionError(f"the robot description: joint {joint} has no {which} link")
    return name


def _numbers(
    element: ElementTree.Element | None, key: str, default: tuple[float, ...], joint: str
) -> tuple[float, ...]:
    text = None if element is None else element.get(key)
    if text is None:
        return default
    try:
        values = tuple(float(part) for part in text.split())
    except ValueError:
        values = ()
    if len(values) != len(default) or not np.isfinite(values).all():
        raise DescriptionError(f"the robot description: joint {joint}: {key}='{text}', expected {len(default)} numbers")
    return values
