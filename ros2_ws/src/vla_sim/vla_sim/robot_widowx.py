# SPDX-License-Identifier: Apache-2.0

"""A Trossen WidowX AI follower arm of primitives.

Joint origins, axes, limits, masses, collision boxes and torques are those of Trossen Robotics' `trossen_arm_mujoco`
(`assets/wxai/wxai_follower.xml`); names of joints and controllers those of `trossen_arm_ros`. The servos are stiffer, so
that the arm lags a moving target by about 30 ms.
"""

from math import pi
from typing import Final

from vla_sim.model import BLACK, DARK, Camera, Joint, Link, Rgba, Shape, Vec3, look_at
from vla_sim.robot import Gripper, Robot

JOINTS: Final = ("joint_0", "joint_1", "joint_2", "joint_3", "joint_4", "joint_5")
TRAVEL: Final = 0.044  # m of each finger
_EDGE: Rgba = (0.30, 0.30, 0.33, 1.0)
_FORCES: Final = (27.0, 27.0, 27.0, 7.0, 7.0, 7.0)
_X: Vec3 = (0.0, pi / 2, 0.0)  # a cylinder along x
_Y: Vec3 = (pi / 2, 0.0, 0.0)


def _joint(index: int, axis: Vec3, lower: float, upper: float) -> Joint:
    return Joint(
        name=JOINTS[index], kind="revolute", axis=axis, lower=lower, upper=upper, velocity=pi, effort=_FORCES[index]
    )


def _tube(radius: float, length: float, xyz: Vec3, rpy: Vec3 = (0.0, 0.0, 0.0)) -> Shape:
    return Shape(kind="cylinder", size=(radius, length / 2, 0.0), xyz=xyz, rpy=rpy, rgba=DARK, collides=False)


def _box(half: Vec3, xyz: Vec3, rgba: Rgba = _EDGE, collides: bool = True) -> Shape:
    return Shape(kind="box", size=half, xyz=xyz, rgba=rgba, collides=collides)


def _finger(side: str, sign: float) -> Link:
    joint = Joint(
        name=f"{side}_carriage_joint", kind="prismatic", axis=(0.0, sign, 0.0), lower=0.0, upper=TRAVEL, velocity=0.2,
        effort=60.0, mimic=None if side == "left" else ("left_carriage_joint", 1.0),
    )  # fmt: skip
    # The inner faces of the fingers meet where the carriages are closed.
    pad = _box((0.034, 0.006, 0.010), (0.036, -sign * (0.023 - 0.006), 0.0), BLACK)
    return Link(
        name=f"carriage_{side}", parent="link_6", xyz=(0.0865, sign * 0.023, 0.0), joint=joint, mass=0.081,
        inertia=(4.2e-5, 3.7e-5, 2.3e-5), shapes=(pad,),
    )  # fmt: skip


LINKS: Final[tuple[Link, ...]] = (
    Link(name="foot", parent="base_link", shapes=(_tube(0.045, 0.065, (0.0, 0.0, 0.0325)),)),
    Link(
        name="link_1", parent="base_link", xyz=(0.0, 0.0, 0.05725), joint=_joint(0, (0.0, 0.0, 1.0), -3.05433, 3.05433),
        mass=0.153, com=(0.0, 0.0017, 0.0204), inertia=(2.0e-4, 1.7e-4, 8.4e-5),
        shapes=(_box((0.025, 0.03, 0.022), (0.01, 0.0, 0.024), collides=False),),
    ),
    Link(
        name="link_2", parent="link_1", xyz=(0.02, 0.0, 0.04625), joint=_joint(1, (0.0, 1.0, 0.0), 0.0, pi), mass=1.153,
        com=(-0.1312, -0.0029, 0.0002), inertia=(0.00103, 0.01736, 0.01794),
        shapes=(_tube(0.031, 0.07, (0.0, 0.0, 0.0), _Y), _box((0.1275, 0.02, 0.02), (-0.1325, 0.0, 0.0), collides=False)),
    ),
    Link(
        name="link_3", parent="link_2", xyz=(-0.264, 0.0, 0.0), joint=_joint(2, (0.0, -1.0, 0.0), 0.0, 2.35619),
        mass=0.687, com=(0.1808, -0.0009, 0.0555), inertia=(0.0006, 0.0055, 0.0057),
        shapes=(_tube(0.031, 0.07, (0.0, 0.0, 0.0), _Y), _box((0.115, 0.02, 0.02), (0.13, 0.0, 0.06), collides=False)),
    ),
    Link(
        name="link_4", parent="link_3", xyz=(0.245, 0.0, 0.06), joint=_joint(3, (0.0, -1.0, 0.0), -pi / 2, pi / 2),
        mass=0.458, com=(0.058, 0.0003, 0.0588), inertia=(0.0003, 0.00066, 0.00067),
        shapes=(_tube(0.031, 0.06, (0.0, 0.0, 0.0), _Y), _box((0.03, 0.018, 0.018), (0.04, 0.0, 0.045), collides=False)),
    ),
    Link(
        name="link_5", parent="link_4", xyz=(0.06775, 0.0, 0.0455), joint=_joint(4, (0.0, 0.0, -1.0), -pi / 2, pi / 2),
        mass=0.367, com=(0.0041, 0.0, -0.0428), inertia=(0.00019, 0.00027, 0.00032),
        shapes=(_tube(0.031, 0.075, (0.0, 0.0, -0.03)),),
    ),
    Link(
        name="link_6", parent="link_5", xyz=(0.02895, 0.0, -0.0455), joint=_joint(5, (1.0, 0.0, 0.0), -pi, pi), mass=0.672,
        com=(0.0468, 0.0015, 0.009), inertia=(0.00078, 0.0011, 0.00118),
        shapes=(_tube(0.029, 0.07, (0.03, 0.0, 0.0), _X), _box((0.0125, 0.075, 0.025), (0.072, 0.0, 0.0), DARK, False)),
    ),
    _finger("left", 1.0),
    _finger("right", -1.0),
    # z out of the gripper, x along its opening
    Link(name="ee_gripper_link", parent="link_6", xyz=(0.140, 0.0, 0.0), rpy=(pi / 2, 0.0, pi / 2)),
)  # fmt: skip

WIDOWX_AI: Final = Robot(
    kind="widowx_ai",
    links=LINKS,
    base="base_link",
    tool="ee_gripper_link",
    tcp=0.0,
    joints=JOINTS,
    stiffness=(1500.0, 1500.0, 1500.0, 400.0, 250.0, 150.0),
    damping=(45.0, 45.0, 45.0, 12.0, 7.5, 4.5),
    effort=_FORCES,
    armature=(0.032, 0.032, 0.032, 0.0018, 0.0018, 0.0018),
    max_velocity=pi,
    home=(0.0, 1.6279, 1.4895, -1.4324, 0.0, 1.5708),
    gripper=Gripper(
        joint="left_carriage_joint",
        unit="m",
        open=TRAVEL,
        closed=0.0,
        speed=0.1,
        efforts=(5.0, 60.0, 30.0),
        slides=("left_carriage_joint", "right_carriage_joint"),
        per_slide=1.0,
        stiffness=20000.0,
        damping=400.0,
        fingers=("carriage_left", "carriage_right"),
        controller="gripper_controller",
    ),
    cameras=(
        Camera(
            name="wrist",
            parent="link_6",
            T_parent_optical=look_at((0.05, 0.0, 0.075), (0.155, 0.0, 0.0), (1.0, 0.0, 0.0)),
            fovy=1.2,
        ),
    ),
    scale=0.65,
    trajectory_controller="arm_controller",
    dashboard=False,
)
