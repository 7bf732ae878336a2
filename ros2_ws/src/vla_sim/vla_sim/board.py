# SPDX-License-Identifier: Apache-2.0

"""A calibration board as a thing of the scene: a thin plate with the printed pattern, on the table or in the gripper.

Nothing collides with it.
"""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from vla_core.boards import Board

from vla_sim import model

Array = NDArray[np.float64]

PLACES = ("table", "tool")
IMAGE_FILE: Final = "calibration_board.png"
_PLATE = 0.003  # m, half thickness
_MARGIN = 0.015  # m of white around the pattern, without which the outer markers are not found
_TABLE_CENTRE = (0.45, 0.22)  # beside the block and the bin, where the wrist camera reaches over it
_TOOL_DISTANCE = 0.175  # m along z of tool0, just beyond the finger tips
_TEXTURE_PIXELS = 1400  # of the longer side
# The plate's z axis leaves the printed face; a board's own z axis goes into it, with y down (`vla_core.boards`).
_FACE_BOARD: Final = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Plate:
    """A board and where it is fixed."""

    board: Board
    place: str

    @property
    def parent(self) -> str:
        """Frame that carries the plate."""
        return "base_link" if self.place == "table" else "tool0"

    @property
    def T_parent_face(self) -> Array:  # noqa: N802  (a transform is named by its frames)
        """Pose (4, 4) of the middle of the printed face, z away from it."""
        if self.place == "table":
            return model.transform((*_TABLE_CENTRE, 2 * _PLATE), (0.0, 0.0, 0.0))
        return model.transform((0.0, 0.0, _TOOL_DISTANCE), (0.0, 0.0, 0.0))

    @property
    def T_parent_board(self) -> Array:  # noqa: N802
        """Pose (4, 4) of the board's frame: upper left corner of the pattern, x right, y down, z into the board."""
        width, height = self.board.extent_m
        corner = np.eye(4)
        corner[:3, 3] = (-width / 2, height / 2, 0.0)
        pose: Array = self.T_parent_face @ corner @ _FACE_BOARD
        return pose

    def assets(self) -> dict[str, bytes]:
        """Files that the model refers to: the pattern as PNG."""
        grey = self.board.image(_TEXTURE_PIXELS / max(self.board.extent_m))
        done, data = cv2.imencode(".png", cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
        assert done
        return {IMAGE_FILE: data.tobytes()}

    def geoms(self) -> str:
        """MJCF of the plate inside its parent: the pattern on a white plate that is a little larger."""
        x, y, z = self.T_parent_face[:3, 3]
        width, height = self.board.extent_m
        free = 'contype="0" conaffinity="0" mass="0"'
        half = _PLATE / 2
        return (
            f'<geom type="box" size="{width / 2} {height / 2} {half}" pos="{x} {y} {z - half}" '
            f'material="calibration_board" {free}/>'
            f'<geom type="box" size="{width / 2 + _MARGIN} {height / 2 + _MARGIN} {half}" '
            f'pos="{x} {y} {z - half - 0.0005}" rgba="1 1 1 1" {free}/>'
        )


def texture(plate: Plate | None) -> str:
    """MJCF of the pattern as a material."""
    if plate is None:
        return ""
    return (
        f'<texture name="calibration_board" type="2d" file="{IMAGE_FILE}"/>'
        '<material name="calibration_board" texture="calibration_board" specular="0" shininess="0"/>'
    )


def truth(plate: Plate) -> dict[str, Any]:
    """Parent frame and pose (4, 4) of the board, for tests and measurements."""
    return {"parent": plate.parent, "T_parent": plate.T_parent_board}
