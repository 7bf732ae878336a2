# SPDX-License-Identifier: Apache-2.0

"""A waypoint file that grows while a skill is taught. Every change is in the file before it is confirmed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vla_teleop.skills.errors import SkillFileError
from vla_teleop.skills.waypoints import Waypoint, load_waypoints, save_waypoints


class Lesson:
    """The waypoints taught so far. Not thread-safe.

    Attributes:
        path: The file.
        waypoints: In order.
        paused: Whether waypoints are refused for now.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        """Begin a file, or go on with one.

        Args:
            path: Of the waypoint file (CSV).
            append: Go on with an existing file.

        Raises:
            SkillFileError: the file exists and is not to be continued, does not exist and is, cannot be read, or its folder
                does not exist.
        """
        self.path = path
        self.paused = False
        self.waypoints: list[Waypoint] = []
        if path.exists() and not append:
            raise SkillFileError(f"{path} exists already; add --append to go on with it, or choose another --output")
        if append:
            self.waypoints = list(load_waypoints(path))
        elif not path.parent.is_dir():
            raise SkillFileError(f"{path}: the folder {path.parent} does not exist; make it first")

    @property
    def pictures(self) -> Path:
        """Folder of the pictures, beside the file."""
        return self.path.with_name(f"{self.path.stem}_images")

    def add(self, make: Callable[[int], Waypoint]) -> str:
        """Append a waypoint; returns what to tell the person.

        Args:
            make: makes it, given its number; called unless paused.

        Raises:
            SkillFileError: it could not be written; the waypoints are as before.
        """
        if self.paused:
            return "paused: no waypoint was added; press pause again to go on"
        number = len(self.waypoints)
        waypoint = make(number)
        self._change([*self.waypoints, waypoint])
        x, y, z = waypoint.T[:3, 3]
        picture = f", picture {waypoint.image}" if waypoint.image else ""
        return f"waypoint {number}: x y z = {x:.4f} {y:.4f} {z:.4f} m, gripper {waypoint.gripper}{picture}"

    def undo(self) -> str:
        """Remove the last waypoint and its picture."""
        if not self.waypoints:
            return "there is no waypoint to remove"
        last = self.waypoints[-1]
        self._change(self.waypoints[:-1])
        if last.image:
            (self.path.parent / last.image).unlink(missing_ok=True)
        return f"waypoint {len(self.waypoints)} was removed; {len(self.waypoints)} left"

    def mark(self) -> str:
        """Make the last waypoint the one where the grasp is verified, or take that back."""
        if not self.waypoints:
            return "there is no waypoint to mark; add one first"
        last = len(self.waypoints) - 1
        marked = not self.waypoints[last].verification
        before = next((i for i, waypoint in enumerate(self.waypoints) if waypoint.verification and i != last), None)
        self._change(
            [replace(waypoint, verification=marked and i == last) for i, waypoint in enumerate(self.waypoints)]
        )
        if not marked:
            return f"the grasp is verified nowhere: waypoint {last} is not marked any more"
        moved = "" if before is None else f" (and no more at waypoint {before})"
        return f"the grasp is verified at waypoint {last}{moved}"

    def pause(self) -> str:
        """Refuse waypoints from now on, or take them again."""
        self.paused = not self.paused
        return "paused; waypoints are not added" if self.paused else "waypoints are added again"

    def _change(self, waypoints: list[Waypoint]) -> None:
        if waypoints:
            save_waypoints(self.path, waypoints)
        else:
            self.path.unlink(missing_ok=True)  # a file without rows is no waypoint file
        self.waypoints = waypoints
