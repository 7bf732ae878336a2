# SPDX-License-Identifier: Apache-2.0

"""A simulated UR5e and a small skill for the tests of skills, and where the recorded files lie."""

import os
from pathlib import Path

import numpy as np
import pytest
from vla_core.kinematics import forward, pose_matrix, rotation_from_rpy
from vla_core.profile import load_profile
from vla_teleop.skills.table import SkillSpec
from vla_teleop.skills.waypoints import Waypoint

SOURCE = Path(__file__).resolve().parents[2]
PROFILE_FILE = SOURCE / "vla_bringup" / "robots" / "sim_ur5e.yaml"
PROFILE = load_profile(PROFILE_FILE)
ARM = PROFILE.kinematics
assert ARM is not None
LIMITS = next(spec.limits for spec in PROFILE.action if spec.joints == ARM.joints)
WORKSPACE = (PROFILE.safety.workspace_min, PROFILE.safety.workspace_max)
READY = np.array(PROFILE.ready["arm"])
BASE = pose_matrix(ARM.base_xyz, rotation_from_rpy(ARM.base_rpy))
TCP = pose_matrix([0.0, 0.0, 0.1792], np.eye(3))

RECORDED = Path(os.environ.get("VLA_TEST_DATA") or SOURCE.parents[2] / "shared" / "data") / "skills"
needs_recorded = pytest.mark.skipif(
    not (RECORDED / "CPU_Skills.csv").is_file(), reason=f"no recorded skills: {RECORDED} is absent (set VLA_TEST_DATA)"
)


def spec(**values) -> SkillSpec:
    """A skill of two relative and one absolute waypoint, with some values changed."""
    return SkillSpec(**{"name": "pick", "file": Path("pick.csv"), "folders": (), "relative_count": 4} | values)


def at_ready() -> np.ndarray:
    """Pose of the tool centre point at the ready pose, in the base frame of the profile."""
    return forward(ARM, READY) @ TCP


def moved(T: np.ndarray, x: float = 0.0, y: float = 0.0, z: float = 0.0, turn_z: float = 0.0) -> np.ndarray:
    """A pose moved and turned in the axes of the base."""
    step = pose_matrix([0.0, 0.0, 0.0], rotation_from_rpy([0.0, 0.0, turn_z]))
    result = T.copy()
    result[:3, :3] = step[:3, :3] @ T[:3, :3]
    result[:3, 3] += [x, y, z]
    return result


def waypoint(T_base_tcp: np.ndarray, gripper: int = 3, *, verification: bool = False) -> Waypoint:
    """A row of a file whose poses are in the UR's own base frame."""
    return Waypoint(T=np.linalg.inv(BASE) @ T_base_tcp, joints=np.zeros(6), gripper=gripper, verification=verification)


def pick(start: np.ndarray | None = None) -> tuple[Waypoint, ...]:
    """Approach in an arc, close, lift and verify, put aside, open."""
    T = at_ready() if start is None else start
    return (
        waypoint(T),
        waypoint(moved(T, x=0.02)),
        waypoint(moved(T, x=0.02, z=-0.05, turn_z=0.3)),
        waypoint(moved(T, x=0.02, y=0.03, z=-0.06)),
        waypoint(moved(T, x=0.02, y=0.03, z=-0.06), 230),
        waypoint(moved(T, x=0.02, y=0.03, z=-0.01), 230, verification=True),
        waypoint(moved(T, x=0.1, y=0.15, z=0.05), 230),
        waypoint(moved(T, x=0.1, y=0.15, z=0.0), 3),
    )
