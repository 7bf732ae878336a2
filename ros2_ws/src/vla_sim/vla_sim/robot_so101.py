# SPDX-License-Identifier: Apache-2.0

"""An SO-101 follower arm of primitives.

Joint origins, axes, limits and masses are those of TheRobotStudio's SO-ARM100 `Simulation/SO101/so101_new_calib.urdf`, in
which zero is the middle of each joint's range, as LeRobot calibrates it. Jaws and links are simplified; the servos are
stiffer than the STS3215, so that the arm lags a moving target by about 30 ms.
"""

from math import pi
from typing import Final

from vla_sim.model import BLACK, GREY, Camera, Joint, Link, Rgba, Shape, Vec3, look_at
from vla_sim.robot import Gripper, Robot

JOINTS: Final = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
_YELLOW: Rgba = (0.95, 0.78, 0.15, 1.0)
_SPEED: Final = 4.8  # rad/s, of an STS3215 at 12 V without load
_TORQUE: Final = 2.9  # Nm, its stall torque
_TOOL: Vec3 = (0.0005, 0.0, -0.090)  # between the jaws, in gripper_link


def _joint(name: str, lower: float, upper: float) -> Joint:
    return Joint(name=name, kind="revolute", lower=lower, upper=upper, velocity=_SPEED, effort=_TORQUE)


def _box(half: Vec3, xyz: Vec3, rpy: Vec3 = (0.0, 0.0, 0.0), rgba: Rgba = _YELLOW, collides: bool = False) -> Shape:
    return Shape(kind="box", size=half, xyz=xyz, rpy=rpy, rgba=rgba, collides=collides)


LINKS: Final[tuple[Link, ...]] = (
    Link(
        name="shoulder_stand", parent="base_link",
        shapes=(_box((0.045, 0.035, 0.027), (0.02, 0.0, 0.027)), _box((0.02, 0.014, 0.012), (0.03, 0.0, 0.05), rgba=BLACK)),
    ),
    Link(
        name="shoulder_link", parent="base_link", xyz=(0.0388353, 0.0, 0.0624), rpy=(pi, 0.0, -pi),
        joint=_joint("shoulder_pan", -1.91986, 1.91986), mass=0.100, com=(-0.0308, 0.0, -0.0253),
        inertia=(8.4e-5, 8.1e-5, 2.4e-5), shapes=(_box((0.025, 0.020, 0.028), (-0.018, 0.0, -0.035)),),
    ),
    Link(
        name="upper_arm_link", parent="shoulder_link", xyz=(-0.0303992, -0.0182778, -0.0542),
        rpy=(-pi / 2, -pi / 2, 0.0), joint=_joint("shoulder_lift", -1.74533, 1.74533), mass=0.103,
        com=(-0.0898, -0.0084, 0.0184), inertia=(4.1e-5, 1.47e-4, 1.42e-4),
        shapes=(_box((0.062, 0.013, 0.014), (-0.056, -0.006, 0.0182)), _box((0.012, 0.02, 0.016), (-0.1126, -0.02, 0.0182), rgba=BLACK)),
    ),
    Link(
        name="lower_arm_link", parent="upper_arm_link", xyz=(-0.11257, -0.028, 0.0), rpy=(0.0, 0.0, pi / 2),
        joint=_joint("elbow_flex", -1.69, 1.69), mass=0.104, com=(-0.0981, 0.0032, 0.0183),
        inertia=(2.9e-5, 1.6e-4, 1.45e-4),
        shapes=(_box((0.062, 0.012, 0.013), (-0.065, 0.003, 0.0182)), _box((0.012, 0.016, 0.016), (-0.13, 0.005, 0.0182), rgba=BLACK)),
    ),
    Link(
        name="wrist_link", parent="lower_arm_link", xyz=(-0.1349, 0.0052, 0.0), rpy=(0.0, 0.0, -pi / 2),
        joint=_joint("wrist_flex", -1.65806, 1.65806), mass=0.079, com=(0.0, -0.0386, 0.0281),
        inertia=(3.7e-5, 2.5e-5, 2.1e-5), shapes=(_box((0.016, 0.026, 0.014), (0.0, -0.030, 0.0182)),),
    ),
    Link(
        name="gripper_link", parent="wrist_link", xyz=(0.0, -0.0611, 0.0181), rpy=(pi / 2, 0.0, pi),
        joint=_joint("wrist_roll", -2.74385, 2.84121), mass=0.087, com=(0.0002, 0.0002, -0.0252),
        inertia=(2.8e-5, 4.3e-5, 3.5e-5),
        shapes=(
            _box((0.003, 0.012, 0.030), (-0.0165, 0.0, -0.072), rgba=GREY, collides=True),  # the fixed jaw
            _box((0.020, 0.018, 0.018), (0.0, 0.0, -0.020)),
        ),
    ),
    Link(
        name="moving_jaw_link", parent="gripper_link", xyz=(0.0202, 0.0188, -0.0234), rpy=(pi / 2, 0.0, 0.0),
        joint=_joint("gripper", -0.174533, 1.74533), mass=0.012, com=(-0.0016, -0.03, 0.0193),
        inertia=(6.6e-6, 1.9e-6, 5.3e-6),
        shapes=(_box((0.003, 0.034, 0.012), (-0.0135, -0.040, 0.0188), (0.0, 0.0, -0.40), rgba=GREY, collides=True),),
    ),
    Link(name="gripper_frame_link", parent="gripper_link", xyz=_TOOL, rpy=(pi, 0.0, 0.0)),
)  # fmt: skip

SO101: Final = Robot(
    kind="so101",
    links=LINKS,
    base="base_link",
    tool="gripper_frame_link",
    tcp=0.0,
    joints=JOINTS,
    stiffness=(60.0, 60.0, 60.0, 30.0, 20.0, 8.0),
    damping=(1.8, 1.8, 1.8, 0.9, 0.6, 0.25),
    effort=(_TORQUE,) * 6,
    armature=(0.028, 0.028, 0.028, 0.028, 0.028, 0.01),
    max_velocity=_SPEED,
    home=(-0.0016, -0.6897, 0.6255, 1.6350, -0.0016, 1.0),
    gripper=Gripper(
        joint="gripper",
        unit="rad",
        open=1.0,
        closed=0.0,
        speed=_SPEED,
        efforts=(0.2, _TORQUE, _TORQUE),
        slides=("gripper",),
        per_slide=1.0,
        stiffness=0.0,
        damping=0.0,
        fingers=("gripper_link", "moving_jaw_link"),
        controller="",
    ),
    cameras=(
        Camera(
            name="wrist",
            parent="gripper_link",
            T_parent_optical=look_at((0.0, -0.055, 0.01), (0.0, 0.0, -0.095), (0.0, 1.0, 0.0)),
            fovy=1.2,
        ),
    ),
    scale=0.35,
    trajectory_controller="joint_trajectory_controller",
    dashboard=False,
)
