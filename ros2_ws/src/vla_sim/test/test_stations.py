# SPDX-License-Identifier: Apache-2.0

"""Several arms in one world, and arms other than the UR5e: physics, names, controllers and the expert, without ROS."""

import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace as Ns

import numpy as np
import pytest
from vla_core.errors import KinematicsError
from vla_core.profile import load_profile, parse_profile
from vla_sim import constants as c
from vla_sim import drive, kinematics
from vla_sim.cell import Cell
from vla_sim.errors import SceneError
from vla_sim.expert import Expert
from vla_sim.plant import Plant
from vla_sim.reach import Reach
from vla_sim.referee import Log
from vla_sim.robot import UR5E, Station
from vla_sim.robot_so101 import SO101
from vla_sim.robot_widowx import WIDOWX_AI
from vla_sim.scene_client import arm_and_gripper, driven_by
from vla_sim.stations import stage_of
from vla_sim.tasks import station_seed
from vla_sim.world import World

ROBOTS = Path(__file__).parents[2] / "vla_bringup" / "robots"


def profile_of(name):
    return load_profile(ROBOTS / f"{name}.yaml")


def changed(name, old, new):
    text = (ROBOTS / f"{name}.yaml").read_text()
    assert old in text
    return parse_profile(text.replace(old, new), str(ROBOTS / "changed.yaml"))


def cells_of(name, seed=0, task="lift"):
    stage = stage_of(profile_of(name))
    world = World({}, task, stations=stage.stations, cameras=stage.cameras)
    seeds = [station_seed(seed, index) for index in range(len(stage.stations))]
    return [Cell({}, s, task, world=world, station=v) for s, v in zip(seeds, stage.stations, strict=True)]


def lift(cells, seed):
    """Let every arm follow its expert at once; returns which have lifted their block."""
    plans = []
    for index, cell in enumerate(cells):
        q = cell.arm_state()[0][: len(cell.robot.arm_joints)]
        state = cell.task_state()
        expert = Expert("lift", station_seed(seed, index), True, cell.robot)
        plans.append(expert.plan(q, state.object_pose, state.target_pose))
    done = [False] * len(cells)
    for step in range(round(500 * max(plan.duration_s for plan in plans)) + 100):
        for cell, plan in zip(cells, plans, strict=True):
            t, robot = step / 500, cell.robot
            cell.set_arm_target(np.array(drive.targets(plan, t, robot, robot.joints, executed=True)))
            if not robot.gripper.in_arm and step % 50 == 0:
                cell.set_gripper_target(robot.gripper.joint_position(plan.gripper(t)))
        cells[0].world.step()
        done = [before or cell.task_state().success for before, cell in zip(done, cells, strict=True)]
    return done


@pytest.mark.parametrize(
    ("name", "seed"), [("sim_ur5e_bimanual", 3), ("sim_tatbot_bimanual", 0), ("sim_so101", 0), ("sim_so101", 2)]
)
def test_every_arm_lifts_its_block(name, seed):
    cells = cells_of(name, seed)
    assert lift(cells, seed) == [True] * len(cells)


def test_two_arms_share_a_clock_and_nothing_else():
    left, right = cells_of("sim_ur5e_bimanual")
    assert left.world is right.world
    before, block = right.arm_state()[0], right.task_state().object_pose
    left.set_arm_target(left.arm_state()[0] + 0.2)
    left.world.step(200)
    assert left.time_ns == right.time_ns == 200 * c.STEP_NS
    assert np.abs(left.arm_state()[0] - UR5E.home).max() > 0.1
    np.testing.assert_allclose(right.arm_state()[0], before, atol=1e-3)
    np.testing.assert_allclose(right.task_state().object_pose.xyz, block.xyz, atol=1e-3)
    assert left.task_state().object_pose != right.task_state().object_pose, "each has a scene of its own"


def test_poses_are_seen_from_the_base_of_each_arm():
    for cell in cells_of("sim_ur5e_bimanual"):
        np.testing.assert_allclose(cell.tool_centre(), kinematics.tcp(cell.arm_state()[0]), atol=1e-6)
    left, right = cells_of("sim_ur5e_bimanual")
    edges = {child: pose for parent, child, pose in left.static_transforms() if parent == "world"}
    assert set(edges) == {"left_base_link", "right_base_link", "front_camera_link"}
    assert edges["left_base_link"][1, 3] == -edges["right_base_link"][1, 3] == 0.45
    assert all(parent != "world" for parent, _, _ in right.static_transforms()), "said once"


def test_a_reset_of_all_is_the_same_whatever_was_before():
    cells = cells_of("sim_ur5e_bimanual")
    lift(cells, 0)
    for index, cell in enumerate(cells):
        cell.reset(station_seed(5, index))
    fresh = cells_of("sim_ur5e_bimanual", 5)
    np.testing.assert_array_equal(cells[0].world.data.qpos, fresh[0].world.data.qpos)
    assert not cells[0].world.data.qvel.any()


@pytest.mark.parametrize("robot", [UR5E, SO101, WIDOWX_AI], ids=lambda robot: robot.kind)
def test_the_urdf_has_every_joint_under_its_prefix_and_one_root(robot):
    station = Station(name="left", prefix="left_", robot=robot.prefixed("left_"))
    world = World({}, "lift", stations=(station,), cameras=())
    tree = ET.fromstring(Cell({}, 0, world=world, station=station).urdf())
    links, children = ({e.get(k) for e in tree.iter(tag)} for tag, k in (("link", "name"), ("child", "link")))
    assert links - children == {"left_base_link"}
    assert all(name.startswith("left_") for name in links)
    joints = {joint.get("name") for joint in tree.iter("joint") if joint.get("type") != "fixed"}
    assert {*station.robot.joints, station.robot.gripper.joint} <= joints


@pytest.mark.parametrize("robot", [SO101, WIDOWX_AI], ids=lambda robot: robot.kind)
def test_the_solver_agrees_with_the_physics_and_says_what_it_cannot_reach(robot):
    station = Station(name="", prefix="", robot=robot)
    world = World({}, "lift", stations=(station,), cameras=())
    cell, reach = Cell({}, 0, world=world, station=station), Reach(robot)
    home = np.array(robot.home)[: reach.count]
    for xyz in ((0.45, 0.05, 0.05), (0.5, -0.08, 0.15)):
        goal = robot.scale * np.array(xyz)
        q = reach.down(goal, 0.1, home)
        np.testing.assert_allclose(reach.tcp(q), goal, atol=1e-3)
        index = [world.model.joint(joint).qposadr[0] for joint in robot.arm_joints]
        world.data.qpos[index] = q
        world.settle()
        np.testing.assert_allclose(cell.tool_centre(), reach.tcp(q), atol=1e-6)
    with pytest.raises(KinematicsError, match=f"the {robot.kind} does not reach"):
        reach.down((2.0, 0.0, 0.2), 0.0, home)


def test_a_gripper_in_the_arm_may_press_without_ending_the_trajectory():
    (cell,) = cells_of("sim_so101")
    plant = Plant(cell, robot=cell.robot)
    joints = list(cell.robot.joints)
    point = Ns(
        positions=[*plant.q[:5], 0.0], velocities=[], accelerations=[], effort=[], time_from_start=Ns(sec=1, nanosec=0)
    )
    stamp = Ns(stamp=Ns(sec=0, nanosec=0))
    goal = Ns(header=stamp, joint_names=joints, points=[point])
    free = plant.trajectory.check(goal, plant.time_ns)
    plant.trajectory.accept(free, "close")
    cell._model.jnt_range[cell._model.joint("gripper").id] = (0.6, 1.8)  # something is between the jaws
    for _ in range(700):
        plant.step()
    (outcome,) = plant.trajectory.outcomes
    assert outcome.status.name == "SUCCEEDED", outcome.text
    assert plant.knuckle[0] > 0.5


def test_what_a_profile_means_is_found_by_name():
    stage = stage_of(profile_of("sim_tatbot_bimanual"))
    assert [(s.name, s.robot.kind) for s in stage.stations] == [("left", "widowx_ai"), ("right", "widowx_ai")]
    shuffled = changed(
        "sim_so101", "[shoulder_pan, shoulder_lift, elbow_flex", "[elbow_flex, shoulder_lift, shoulder_pan"
    )
    assert stage_of(shuffled).stations[0].robot is SO101, "a trajectory names its joints, so their order is free"
    left, right = driven_by(profile_of("sim_ur5e_bimanual"))
    assert (left.arm.name, left.gripper.name, right.arm.name) == ("left_arm", "left_gripper", "right_arm")
    assert driven_by(profile_of("sim_so101"))[0].gripper is None


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("sim_so101", "joints: [shoulder_pan,", "joints: [pan,", "drives pan, shoulder_lift"),
        ("sim_ur5e_bimanual", "left/scaled_joint", "links/scaled_joint", "links_shoulder_pan_joint"),
        ("sim_ur5e_bimanual", "robotiq_gripper_controller/gripper_cmd", "hand/gripper_cmd", "left/robotiq_gripper_controller/gripper_cmd"),
    ],
)  # fmt: skip
def test_other_names_are_refused_with_those_that_are_expected(name, old, new, text):
    with pytest.raises(SceneError, match="profile 'sim_") as caught:
        stage_of(changed(name, old, new))
    assert text in str(caught.value)


def test_what_needs_one_ur5e_says_so():
    with pytest.raises(SceneError, match="needs one UR5e"):
        arm_and_gripper(profile_of("sim_ur5e_bimanual"))
    with pytest.raises(SceneError, match="task 'extract_cpu' is for one UR5e"):
        cells_of("sim_ur5e_bimanual", task="extract_cpu")


def test_the_log_says_whose_line_it_is(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.of("left").write(10**9, "grasped", reading=3)
    log.of("").write(10**9, "lost")
    log.close()
    first, second = (tmp_path / "log.jsonl").read_text().splitlines()
    assert '"station": "left"' in first
    assert "station" not in second
