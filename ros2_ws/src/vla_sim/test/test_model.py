# SPDX-License-Identifier: Apache-2.0

"""The URDF, the static transforms and the physics model are one description."""

import xml.etree.ElementTree as ET

import mujoco
import numpy as np
import pytest
from vla_sim import constants as c
from vla_sim import mjcf, model, urdf
from vla_sim.model import CAMERAS, ROBOT_LINKS, camera_links

LINKS = [*ROBOT_LINKS, *camera_links(CAMERAS.values())]


@pytest.fixture(scope="module")
def robot():
    return ET.fromstring(urdf.build_urdf(LINKS))


def vector(text):
    return tuple(float(v) for v in text.split())


def urdf_poses(robot, joints):
    """Pose of every link in base_link for joint values by name, with mimic joints followed."""
    poses = {"base_link": np.eye(4)}
    edges = list(robot.iter("joint"))
    while edges:
        edge = next(e for e in edges if e.find("parent").get("link") in poses)
        edges.remove(edge)
        origin = edge.find("origin")
        pose = poses[edge.find("parent").get("link")] @ model.transform(
            vector(origin.get("xyz")), vector(origin.get("rpy"))
        )
        if edge.get("type") != "fixed":
            mimic, axis = edge.find("mimic"), np.array(vector(edge.find("axis").get("xyz")))
            name = edge.get("name") if mimic is None else mimic.get("joint")
            value = joints[name] * (1.0 if mimic is None else float(mimic.get("multiplier")))
            motion = np.eye(4)
            if edge.get("type") == "prismatic":
                motion[:3, 3] = axis * value
            else:
                K = np.cross(axis, np.eye(3)).T
                motion[:3, :3] += np.sin(value) * K + (1 - np.cos(value)) * K @ K
            pose = pose @ motion
        poses[edge.find("child").get("link")] = pose
    return poses


def test_urdf_is_one_tree_with_the_names_of_the_real_drivers(robot):
    links = [link.get("name") for link in robot.iter("link")]
    children = [joint.find("child").get("link") for joint in robot.iter("joint")]
    assert len(set(links)) == len(links)
    assert sorted([*children, "base_link"]) == sorted(links)
    assert {"base", "base_link_inertia", "shoulder_link", "wrist_3_link", "flange", "tool0"} <= set(links)
    assert {"front_camera_color_optical_frame", "wrist_camera_color_optical_frame"} <= set(links)
    moving = [j.get("name") for j in robot.iter("joint") if j.get("type") != "fixed" and j.find("mimic") is None]
    assert moving == [*c.ARM_JOINTS, c.GRIPPER_JOINT]


def test_urdf_limits_are_the_published_ones(robot):
    limits = {j.get("name"): j.find("limit") for j in robot.iter("joint") if j.find("limit") is not None}
    assert [float(limits[name].get("effort")) for name in c.ARM_JOINTS] == [150, 150, 150, 28, 28, 28]
    assert {round(float(limits[name].get("velocity")), 4) for name in c.ARM_JOINTS} == {3.1416}
    assert float(limits[c.GRIPPER_JOINT].get("upper")) == pytest.approx(0.7929)


def test_urdf_and_physics_agree_on_every_link(robot):
    physics = mujoco.MjModel.from_xml_string(mjcf.build_mjcf())
    data = mujoco.MjData(physics)
    rng = np.random.default_rng(3)
    for _ in range(20):
        joints = dict(zip(c.ARM_JOINTS, rng.uniform(-3, 3, 6), strict=True))
        joints[c.GRIPPER_JOINT] = rng.uniform(0, c.KNUCKLE_CLOSED)
        for name in c.ARM_JOINTS:
            data.joint(name).qpos = joints[name]
        for side in ("left", "right"):
            finger = joints[c.GRIPPER_JOINT] * c.FINGER_TRAVEL / c.KNUCKLE_CLOSED
            data.joint(f"robotiq_85_{side}_finger_tip_joint").qpos = finger
        mujoco.mj_kinematics(physics, data)
        for name, pose in urdf_poses(robot, joints).items():
            if name == "robotiq_85_left_knuckle_link":
                continue  # an angle without a body in the physics
            np.testing.assert_allclose(data.body(name).xpos, pose[:3, 3], atol=1e-8, err_msg=name)
            np.testing.assert_allclose(data.body(name).xmat.reshape(3, 3), pose[:3, :3], atol=1e-8, err_msg=name)


def test_static_transforms_are_the_fixed_edges(robot):
    fixed = {(j.find("parent").get("link"), j.find("child").get("link"))
             for j in robot.iter("joint") if j.get("type") == "fixed"}  # fmt: skip
    edges = model.static_transforms(LINKS)
    assert {(parent, child) for parent, child, _ in edges} == fixed
    base = next(pose for _, child, pose in edges if child == "base")
    np.testing.assert_allclose(base, np.diag([-1.0, -1.0, 1.0, 1.0]), atol=1e-12)


def test_rotations_convert_both_ways():
    rng = np.random.default_rng(5)
    for _ in range(50):
        R = model.rotation(tuple(rng.uniform(-1.5, 1.5, 3)))
        np.testing.assert_allclose(model.rotation(model.roll_pitch_yaw(R)), R, atol=1e-12)
        x, y, z, w = model.quaternion(R)
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, np.array([w, x, y, z]))
        np.testing.assert_allclose(matrix.reshape(3, 3), R, atol=1e-12)
