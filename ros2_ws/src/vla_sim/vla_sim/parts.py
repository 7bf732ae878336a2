# SPDX-License-Identifier: Apache-2.0

"""The parts of the extraction tasks: what is taken out of a socket, the socket, and the place it is put into.

Everything is a box. A socket's and a place's frame has its origin on the table top in the middle, z up; the gripper
opens along its x axis. A part's frame is the centre of its box, with the socket's axes while it sits there.
"""

from dataclasses import dataclass
from typing import Final

Vec3 = tuple[float, float, float]
Rgba = tuple[float, float, float, float]

_BOARD: Rgba = (0.06, 0.22, 0.14, 1.0)
_FRAME: Rgba = (0.10, 0.10, 0.12, 1.0)
_FLOOR: Rgba = (0.30, 0.30, 0.33, 1.0)
_PLACE: Rgba = (0.20, 0.40, 0.85, 1.0)
_PLACE_FLOOR: Rgba = (0.12, 0.22, 0.50, 1.0)
_TIP: Final = 0.015  # finger tips beyond the tool centre point
_FLOOR_HEIGHT: Final = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box: half sizes and centre [m] in its owner's frame; without `collides` it is only seen."""

    half: Vec3
    xyz: Vec3
    rgba: Rgba
    collides: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part with its socket and its place.

    Attributes:
        half: half sizes of the part [m].
        mass: [kg].
        rgba: colour of the part.
        marks: boxes on the part that are only seen.
        socket: boxes of the socket.
        place: boxes of the place.
        seat_z: height of the part's centre above the table while it rests in socket or place [m].
        grasp_z: height of the tool centre point above the part's centre where the fingers hold it [m].
        drop: how far above its seat the part is let go [m].
        tolerance: largest distance of the part's centre from its seat that counts as placed, along each axis of the
            place [m].
    """

    half: Vec3
    mass: float
    rgba: Rgba
    marks: tuple[Box, ...]
    socket: tuple[Box, ...]
    place: tuple[Box, ...]
    seat_z: float
    grasp_z: float
    drop: float
    tolerance: Vec3


def _recess(inner_x: float, inner_y: float, wall: float, height: float, floor: Rgba, frame: Rgba) -> tuple[Box, ...]:
    """A floor inside four walls; `inner_x`, `inner_y` are half the inner sizes [m]."""
    middle = height / 2
    along_x, along_y = (inner_x + wall, wall / 2, middle), (wall / 2, inner_y, middle)
    return (
        Box(half=(inner_x, inner_y, _FLOOR_HEIGHT / 2), xyz=(0.0, 0.0, _FLOOR_HEIGHT / 2), rgba=floor),
        Box(half=along_x, xyz=(0.0, inner_y + wall / 2, middle), rgba=frame),
        Box(half=along_x, xyz=(0.0, -inner_y - wall / 2, middle), rgba=frame),
        Box(half=along_y, xyz=(inner_x + wall / 2, 0.0, middle), rgba=frame),
        Box(half=along_y, xyz=(-inner_x - wall / 2, 0.0, middle), rgba=frame),
    )


def _board(half_x: float, half_y: float) -> Box:
    return Box(half=(half_x, half_y, 0.0004), xyz=(0.0, 0.0, 0.0004), rgba=_BOARD, collides=False)


def _part(
    *, half: Vec3, mass: float, rgba: Rgba, marks: tuple[Box, ...], socket: tuple[Box, ...], place: tuple[Box, ...],
    height: float, clearance: float, tolerance: Vec3,
) -> Part:  # fmt: skip
    """Put the numbers together; in the grasp the tips are `clearance` above the socket's walls of `height` [m]."""
    seat_z = _FLOOR_HEIGHT + half[2]
    return Part(
        half=half, mass=mass, rgba=rgba, marks=marks, socket=socket, place=place, seat_z=seat_z,
        grasp_z=height + clearance + _TIP - seat_z, drop=0.003, tolerance=tolerance,
    )  # fmt: skip


def _cpu() -> Part:
    height, clearance = 0.008, 0.004
    return _part(
        half=(0.020, 0.020, 0.008),
        mass=0.06,
        rgba=(0.95, 0.70, 0.08, 1.0),
        marks=(
            Box(half=(0.014, 0.014, 0.0004), xyz=(0.0, 0.0, 0.0082), rgba=(0.85, 0.85, 0.88, 1.0), collides=False),
            Box(half=(0.003, 0.003, 0.0006), xyz=(0.016, 0.016, 0.0082), rgba=(0.8, 0.1, 0.1, 1.0), collides=False),
        ),
        socket=(_board(0.065, 0.085), *_recess(0.0235, 0.0235, 0.008, height, _FLOOR, _FRAME)),
        place=_recess(0.032, 0.032, 0.006, height, _PLACE_FLOOR, _PLACE),
        height=height,
        clearance=clearance,
        tolerance=(0.013, 0.013, 0.004),
    )


def _ram() -> Part:
    height, clearance = 0.012, 0.005
    return _part(
        half=(0.006, 0.025, 0.020),
        mass=0.04,
        rgba=(0.10, 0.75, 0.25, 1.0),
        marks=(Box(half=(0.0062, 0.020, 0.004), xyz=(0.0, 0.0, 0.008), rgba=(0.08, 0.08, 0.08, 1.0), collides=False),),
        socket=(_board(0.05, 0.11), *_recess(0.009, 0.072, 0.006, height, _FLOOR, _FRAME)),
        place=_recess(0.012, 0.045, 0.006, 0.014, _PLACE_FLOOR, _PLACE),
        height=height,
        clearance=clearance,
        tolerance=(0.008, 0.022, 0.004),
    )


PARTS: Final = {"extract_cpu": _cpu(), "extract_ram": _ram()}
"""By task."""
