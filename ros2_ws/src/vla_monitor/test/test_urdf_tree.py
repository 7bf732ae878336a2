# SPDX-License-Identifier: Apache-2.0

"""Transforms out of a robot description, with MuJoCo's reader of URDF as the referee."""

import mujoco
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from vla_monitor.robot_state_node import transforms
from vla_monitor.urdf_tree import DescriptionError, read_tree

MASS = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
LINKS = ("base", "one", "two", "slider", "finger", "camera")


def urdf(*joints):
    links = "".join(f'<link name="{name}">{MASS}</link>' for name in LINKS)
    return f'<robot name="toy">{links}{"".join(joints)}</robot>'


def joint(name, kind, parent, child, inner=""):
    return f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>{inner}</joint>'


LIMIT = '<limit lower="-9" upper="9" velocity="1" effort="1"/>'
TOY = urdf(
    joint("a", "revolute", "base", "one", f'<origin xyz="0.1 -0.2 0.3" rpy="0.4 0.5 -1.1"/><axis xyz="0 0 1"/>{LIMIT}'),
    joint("b", "continuous", "one", "two", '<origin xyz="0 0 0.5" rpy="1.5707963 0 0"/><axis xyz="1 2 3"/>'),
    joint("c", "prismatic", "two", "slider", f'<origin xyz="0.3 0 0"/><axis xyz="0 -1 0"/>{LIMIT}'),
    joint(
        "d",
        "revolute",
        "slider",
        "finger",
        f'<axis xyz="0 1 0"/>{LIMIT}<mimic joint="c" multiplier="-2" offset="0.1"/>',
    ),
    joint("e", "fixed", "two", "camera", '<origin xyz="0 0.1 0" rpy="0 0 0.7"/>'),
)


def world(tree, positions):
    """Poses of all links in the base."""
    poses = {"base": np.eye(4)}
    edges = tree.poses(positions) | {edge.child: (edge.parent, edge.pose(0.0)) for edge in tree.fixed}
    while len(poses) <= len(edges):
        poses |= {child: poses[parent] @ T for child, (parent, T) in edges.items() if parent in poses}
    return poses


@pytest.mark.parametrize("seed", range(5))
def test_links_are_where_mujoco_has_them(seed):
    a, b, c = np.random.default_rng(seed).uniform(-2.0, 2.0, 3)
    compiler = '<mujoco><compiler fusestatic="false" strippath="false" autolimits="true"/></mujoco>'
    model = mujoco.MjModel.from_xml_string(TOY.replace('<robot name="toy">', f'<robot name="toy">{compiler}'))
    data = mujoco.MjData(model)
    for name, value in {"a": a, "b": b, "c": c, "d": -2.0 * c + 0.1}.items():  # MuJoCo knows no mimic joints
        data.joint(name).qpos[0] = value
    mujoco.mj_kinematics(model, data)
    poses = world(read_tree(TOY), {"a": a, "b": b, "c": c})
    for name in LINKS[1:]:
        np.testing.assert_allclose(poses[name][:3, 3], data.body(name).xpos, atol=1e-9)
        np.testing.assert_allclose(poses[name][:3, :3].ravel(), data.body(name).xmat, atol=1e-9)


def test_links_whose_joint_is_not_known_are_left_out():
    assert set(read_tree(TOY).poses({"c": 0.1})) == {"slider", "finger"}, "a mimic joint follows its source"


def test_a_message_has_the_same_pose():
    tree = read_tree(TOY)
    poses = tree.poses({"a": 1.0})
    edge = transforms(poses.items(), Time(sec=3)).transforms[0]
    assert (edge.header.frame_id, edge.child_frame_id, edge.header.stamp.sec) == ("base", "one", 3)
    t = edge.transform.translation
    assert [t.x, t.y, t.z] == pytest.approx([0.1, -0.2, 0.3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot", "is not XML"),
        ('<mujoco model="x"/>', "begins with <mujoco>, expected <robot>"),
        (urdf(joint("a", "planar", "base", "one")), "joint a has the type 'planar'"),
        (urdf(joint("a", "revolute", "base", "one", '<axis xyz="0 0 0"/>')), "axis of joint a has no direction"),
        (urdf(joint("a", "revolute", "base", "one", '<axis xyz="0 0"/>')), "xyz='0 0', expected 3 numbers"),
        (urdf(joint("a", "fixed", "base", "one"), joint("b", "fixed", "two", "one")), "two parents, base and two"),
        (urdf(joint("a", "revolute", "base", "one", '<mimic joint="z"/>')), "mimics z, which is no joint"),
        (urdf('<joint name="a" type="fixed"><parent link="base"/></joint>'), "joint a has no child link"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(text, message):
    with pytest.raises(DescriptionError, match=message.replace("(", r"\(")):
        read_tree(text)
