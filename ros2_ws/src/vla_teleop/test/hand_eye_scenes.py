# SPDX-License-Identifier: Apache-2.0

"""Views for hand-eye calibrations: computed ones with noise, and ones rendered by the simulated cell."""

import mujoco
import numpy as np
from vla_core.boards import parse_board
from vla_core.kinematics import forward, inverse, pose_matrix, rotation_from_rpy, rotation_from_vector
from vla_sim.board import Plate
from vla_sim.cell import Cell
from vla_teleop.cameras.loop import Lens, Loop, View

LENS = Lens(
    np.array([[600.0, 0.0, 319.5], [0.0, 600.0, 239.5], [0.0, 0.0, 1.0]]), np.array([0.05, -0.1, 1e-3, -1e-3, 0.02])
)
X = pose_matrix([0.02, 0.08, 0.05], rotation_from_rpy([0.1, -0.2, 1.6]))
BOARD = parse_board("charuco:5x7:0.04:0.03")
POINTS = np.array([[x, y, 0.0] for y in np.arange(1, 7) * 0.04 for x in np.arange(1, 5) * 0.04])
CENTRE = np.array([0.1, 0.14, 0.0])


def synthetic(setup, count=14, noise=0.2, seed=0, tilt=0.5, axes=(1.0, 1.0, 1.0)):
    """Views (list) and the board's true pose; `axes` scales the tool's turns about its x, y and z."""
    rng = np.random.default_rng(seed)
    # a camera 0.45 m from the middle of the board, looking at it
    facing = pose_matrix(CENTRE, np.eye(3)) @ pose_matrix([0.0, 0.0, -0.45], np.eye(3))
    camera_board = np.linalg.inv(facing)
    T0 = pose_matrix([0.4, 0.1, 0.4], rotation_from_rpy([3.0, 0.1, 0.3]))
    arm = np.linalg.inv(T0) if setup == "eye_in_hand" else T0
    Z = np.linalg.inv(arm) @ X @ camera_board
    pivot = (X if setup == "eye_in_hand" else np.eye(4)) @ np.array(
        [0.0, 0.0, 0.45 if setup == "eye_in_hand" else 0.0, 1.0]
    )
    views = []
    for i in range(count):
        turn = rotation_from_vector(rng.uniform(-tilt, tilt, 3) * np.asarray(axes))
        move = pose_matrix(pivot[:3] - turn @ pivot[:3] + rng.uniform(-0.03, 0.03, 3), turn)
        view = View(f"view {i + 1}", T0 @ move, POINTS, np.zeros((len(POINTS), 2)))
        pixels = Loop([view], LENS, setup, X, Z).seen() + rng.normal(0.0, noise, (len(POINTS), 2))
        views.append(View(view.name, view.T_base_tool, POINTS, pixels))
    return views, Z


def facing(position, target, roll):
    """Pose of a tool that points at a target."""
    z = np.subtract(target, position)
    z = z / np.linalg.norm(z)
    x = np.cross([0.0, 1.0, 0.0], z)
    x = x / np.linalg.norm(x)
    return pose_matrix(position, np.stack([x, np.cross(z, x), z], axis=1) @ rotation_from_vector([0.0, 0.0, roll]))


def rendered(profile, setup, count, board=BOARD, size=(480, 640)):
    """Views that the simulated cell renders, lens, true camera pose and true board pose."""
    in_hand = setup == "eye_in_hand"
    camera, plate = ("wrist", Plate(board, "table")) if in_hand else ("front", Plate(board, "tool"))
    cell = Cell({camera: size}, plate=plate)
    info = cell.camera_info(camera)
    rng, views, q = np.random.default_rng(3), [], np.array(profile.ready["arm"])
    while len(views) < count:
        if in_hand:
            target = np.array([0.45, 0.22, 0.0]) + rng.uniform(-0.03, 0.03, 3) * [1, 1, 0]
            position = target + rng.uniform([-0.15, -0.15, 0.28], [0.15, 0.10, 0.42])
            pose = facing(position, target, rng.uniform(-0.6, 0.6) - np.pi / 2)
        else:
            position = np.array([0.45, -0.1, 0.22]) + rng.uniform(-0.06, 0.06, 3)
            target = np.array([1.05, -0.09, 0.62]) + rng.uniform(-0.25, 0.25, 3)
            pose = facing(position, target, rng.uniform(-0.6, 0.6))
        goal = inverse(profile.kinematics, pose, q)
        cell._data.qpos[cell._arm_q] = goal
        mujoco.mj_forward(cell._model, cell._data)
        points, pixels = board.detect(cell.render(camera))
        if len(points) >= 8:
            views.append(View(f"view {len(views) + 1}", forward(profile.kinematics, goal), points, pixels))
    cell.close_renderer()
    return views, Lens(np.array(info["k"]).reshape(3, 3), np.array(info["d"])), info["T_parent"], plate.T_parent_board
