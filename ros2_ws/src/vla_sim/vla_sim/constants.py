# SPDX-License-Identifier: Apache-2.0

"""Numbers of the simulated cell; the only home of each of them, with `parts.py` for what is extracted.

Lengths in metres, angles in radians, masses in kilograms. The world frame is ``base_link``: x forward, y left, z up,
with the origin on the table top. Arm numbers are the published ones of the UR5e (manufacturer's article on DH
parameters and dynamics), gripper numbers those of the Robotiq 2F-85 data sheet.
"""

from math import pi
from typing import Final

TRAJECTORY_CONTROLLER: Final = "scaled_joint_trajectory_controller"
ARM_JOINTS: Final = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
)
GRIPPER_JOINT: Final = "robotiq_85_left_knuckle_joint"

# Standard DH table, frame "base" to frame "tool0".
DH_A: Final = (0.0, -0.425, -0.3922, 0.0, 0.0, 0.0)
DH_D: Final = (0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996)
DH_ALPHA: Final = (pi / 2, 0.0, 0.0, pi / 2, -pi / 2, 0.0)

JOINT_LIMIT: Final = 2 * pi  # either side
ELBOW_LIMIT: Final = pi  # planners use half the range so that the elbow never wraps
JOINT_MAX_VELOCITY: Final = pi  # rad/s
JOINT_MAX_EFFORT: Final = (150.0, 150.0, 150.0, 28.0, 28.0, 28.0)  # Nm

# Position servo of the simulated joints. Stiff, so that the arm lags a moving target by about 20 ms.
SERVO_STIFFNESS: Final = (20000.0, 20000.0, 15000.0, 4000.0, 2000.0, 1000.0)  # Nm/rad
SERVO_DAMPING: Final = (400.0, 400.0, 250.0, 60.0, 30.0, 15.0)  # Nm s/rad
JOINT_ARMATURE: Final = (0.5, 0.5, 0.3, 0.1, 0.1, 0.1)  # kg m2, rotor seen through the gear

STEP_NS: Final = 2_000_000  # one physics step, 500 Hz like the arm's controller

# Gripper: knuckle angle and finger travel are proportional, as position register and opening nearly are in reality.
KNUCKLE_CLOSED: Final = 0.7929  # rad; 0 is open
FINGER_TRAVEL: Final = 0.0425  # m per finger, half of the 85 mm stroke
GRIPPER_MAX_SPEED: Final = 0.150 / (2 * FINGER_TRAVEL) * KNUCKLE_CLOSED  # rad/s at 150 mm/s of stroke
GRIPPER_MIN_EFFORT: Final = 20.0  # N
GRIPPER_MAX_EFFORT: Final = 235.0  # N
GRIPPER_DEFAULT_EFFORT: Final = 40.0  # N
GRIPPER_NUMBERS: Final = (3.0, 230.0)  # what a 2F-85 reports of its 0 to 255 when it is open and closed
TCP_OFFSET: Final = 0.148  # m along z of tool0, middle of the finger pads; tips end 15 mm further

TABLE_HALF: Final = (0.50, 0.60, 0.02)
TABLE_CENTRE: Final = (0.40, 0.0, -0.02)

BLOCK_HALF: Final = 0.02
BLOCK_MASS: Final = 0.08
BLOCK_X: Final = (0.42, 0.56)
BLOCK_Y: Final = (-0.10, 0.12)

BIN_CENTRE: Final = (0.47, -0.29)
BIN_INNER_HALF: Final = 0.06
BIN_WALL_HALF: Final = 0.003
BIN_WALL_HEIGHT: Final = 0.025
BIN_FLOOR: Final = 0.004
BIN_SHIFT: Final = 0.05  # either side in x and y when the bin moves per episode
PICK_RADIUS: Final = 0.025  # of the pick tasks: block centre to bin centre
PICK_BIN_SHIFT: Final = 0.04  # of pick_rotated, either side in x and y
PICK_YAW: Final = 29 * pi / 180  # of pick_rotated, either side
BLOCK_GAP: Final = 0.09  # of pick_which: smallest distance of the two centres; an open finger fits between the blocks

SOCKET_X: Final = (0.43, 0.53)
SOCKET_Y: Final = (-0.06, 0.09)
SOCKET_YAW: Final = 0.30  # either side
PLACE_CENTRE: Final = (0.47, -0.26)

START_NOISE: Final = 0.02  # rad either side, on each joint of the home pose
HOME_TCP: Final = (0.44, 0.0, 0.24)  # tool centre point at home, fingers down

LIFT_HEIGHT: Final = 0.05  # clearance under the block that counts as lifted
LIFT_HOLD_NS: Final = 500_000_000
RETREAT_DISTANCE: Final = 0.08  # tool centre point to block centre that counts as retreated

FRONT_CAMERA_POSITION: Final = (1.05, -0.09, 0.62)
FRONT_CAMERA_TARGET: Final = (0.46, -0.10, 0.05)
FRONT_CAMERA_FOVY: Final = 0.68
WRIST_CAMERA_POSITION: Final = (0.0, 0.095, 0.055)  # in tool0
WRIST_CAMERA_TARGET: Final = (0.0, 0.035, 0.17)  # in tool0
WRIST_CAMERA_FOVY: Final = 1.20
