# SPDX-License-Identifier: Apache-2.0

"""The arms of a profile whose tool can be computed from their joints."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import forward, pose_matrix, rotation_from_rpy
from vla_core.profile import Profile
from vla_core.specs import Kinematics

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm: the name of its action, its kinematics, and the pose (4, 4) of its base in the profile's base_frame [m]."""

    name: str
    kinematics: Kinematics
    mount: Array

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of its joints, in the order of the kinematics."""
        return self.kinematics.joints

    def tool(self, values: Mapping[str, float]) -> Array | None:
        """Where the tool is (3,) [m, base_frame] at these joints [rad]; None while one of them is not known."""
        if any(joint not in values for joint in self.joints):
            return None
        return np.asarray((self.mount @ forward(self.kinematics, [values[joint] for joint in self.joints]))[:3, 3])

    def path(self, names: list[str], rows: Array) -> Array | None:
        """Where the tool is (T, 3) [m, base_frame] along rows (T, k) of the joints `names`; None where one is absent."""
        if any(joint not in names for joint in self.joints):
            return None
        columns = [names.index(joint) for joint in self.joints]
        return np.asarray((self.mount @ forward(self.kinematics, rows[:, columns]))[:, :3, 3])


def find_arms(profile: Profile) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """Return the arms that can be drawn, and the names of the actions that cannot: they have no kinematics.

    Joints are matched by name, so their order in an action does not matter.
    """
    found = tuple(
        Arm(arm.name, arm.kinematics, pose_matrix(arm.mount_xyz, rotation_from_rpy(arm.mount_rpy)))
        for arm in profile.arms
    )
    known = {arm.name for arm in found}
    arms = (spec for spec in profile.action if not spec.is_gripper and len(spec.joints) > 1)
    return found, tuple(spec.name for spec in arms if spec.name not in known)
