# SPDX-License-Identifier: Apache-2.0

"""The simulated cell, the skill node and a client in one process; skills are made from where the arm and the block are."""

import math
import time
from pathlib import Path

import numpy as np
import yaml
from controller_manager_msgs.srv import SwitchController
from geometry_msgs.msg import Pose
from rclpy.node import Node
from running_nodes import RunningNodes
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool
from vla_common.action_client import GoalClient
from vla_common.params import overrides
from vla_common.qos import COMMAND, EVENT, SENSOR
from vla_common.services import call_checked, call_service, send_goal
from vla_core.kinematics import forward, pose_matrix, rotation_from_vector
from vla_core.profile import load_profile
from vla_core.stamps import stamp_ns, time_ns
from vla_msgs.action import ExecuteSkill
from vla_msgs.msg import TaskState
from vla_msgs.srv import ResetCell, SetSpeed
from vla_sim.sim_node import CellNode
from vla_teleop.node.skill_node import SkillNode
from vla_teleop.skills.waypoints import Waypoint, save_waypoints

PROFILE = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"
TURNED = pose_matrix([0.3, -0.2, 0.1], rotation_from_vector([0.2, -0.1, 1.1]))  # where the skill was taught, say
FAST = {"linear_speed": 0.3, "linear_acceleration": 1.5, "angular_speed": 2.0, "angular_acceleration": 6.0}
OPEN, CLOSED, THRESHOLD = 3, 230, 200.0


class SkillBench(RunningNodes):
    """Time runs by itself, because only the skill node takes part in the ticks."""

    def __init__(self, folder, *, profile=PROFILE, cell=None, **params):
        super().__init__()
        self.folder = folder
        self.profile = load_profile(profile)
        self.arm, self.teleop = self.profile.kinematics, self.profile.teleop
        self.table = folder / "skills.yaml"
        self.write_table({"idle": {"file": "idle.csv", "relative_count": 0}})
        self.feedback, self.targets = [], {"command/arm": [], "command/gripper": []}
        self.visited, self.task, self.measured = [], None, {}
        self.helper = self.add(Node("helper", context=self.context))
        self.helper.create_subscription(TaskState, "sim/task_state", self._on_task, SENSOR)
        self.helper.create_subscription(JointState, "joint_states", self._on_joints, SENSOR)
        for topic, seen in self.targets.items():
            self.helper.create_subscription(JointState, topic, seen.append, COMMAND)
        self.hand = self.helper.create_publisher(Pose, "sim/displace", EVENT)
        self.client = GoalClient(self.helper, ExecuteSkill, "skills/execute")
        values = {"profile": str(profile), "clock_mode": "lockstep", "participants": ("skills",), **(cell or {})}
        self.cell = self.add(CellNode(context=self.context, parameter_overrides=overrides(values)))
        lockstep = values["clock_mode"] == "lockstep"
        values = {
            "profile": str(profile),
            "table": str(self.table),
            "lockstep": lockstep,
            "use_sim_time": True,
            **params,
        }
        self.skills = self.add(SkillNode(context=self.context, parameter_overrides=overrides(values)))

    def write_table(self, skills):
        self.table.write_text(yaml.safe_dump({"skills": skills}))

    def call(self, kind, name, **fields):
        client = self.helper.create_client(kind, name)
        response = call_service(client, kind.Request(**fields), timeout_s=30.0)
        self.helper.destroy_client(client)
        return response

    def reset(self, seed=3):
        client = self.helper.create_client(ResetCell, "sim/reset")
        call_checked(client, ResetCell.Request(seed=seed, task="lift"), timeout_s=30.0)
        self.measured = {}
        self.wait(lambda: self.task is not None and len(self.measured) == 7)
        settled_ns = time_ns(self.task.stamp) + 200_000_000  # messages from before the reset are still on their way
        self.wait(lambda: time_ns(self.task.stamp) > settled_ns)
        for seen in (self.visited, self.feedback, *self.targets.values()):
            seen.clear()

    def fault(self, name, on=True):
        return self.call(SetBool, f"sim/fault/{name}", data=on)

    def displace(self, y):
        """Take the block from where it is and put it beside [m]."""
        offset = Pose()
        offset.position.y, offset.orientation.w = y, 1.0
        self.hand.publish(offset)

    def speed(self, scale):
        return self.call(SetSpeed, "skills/set_speed", scale=scale)

    def switch(self, start, stop):
        kind = SwitchController
        assert self.call(kind, "controller_manager/switch_controller", activate_controllers=start,
                         deactivate_controllers=stop, strictness=kind.Request.STRICT).ok  # fmt: skip

    @staticmethod
    def wait(condition, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{condition} did not come true within {timeout_s} s"
            time.sleep(0.002)

    def start(self, skill, resume=False):
        goal = ExecuteSkill.Goal(skill=skill, resume=resume)
        return send_goal(self.client, goal, timeout_s=30.0, feedback=self.feedback.append)

    def run(self, skill, resume=False):
        """Run a skill to its end; returns its outcome."""
        return self.start(skill, resume).wait(60.0)

    def q(self):
        return np.array([self.measured[name] for name in self.arm.joints])

    def tcp(self):
        return forward(self.arm, self.q()) @ self.teleop.T_tool_tcp

    def skill(self, name, poses, grippers, *, relative=None, verify=None, **options):
        """Write a skill that leads through poses of the tool centre point (base_link) when triggered where the arm is."""
        relative = len(poses) if relative is None else relative
        rows = [
            Waypoint(
                T=TURNED @ T if i < relative else T,
                joints=np.zeros(6),
                gripper=gripper,
                verification=i == verify,
            )
            for i, (T, gripper) in enumerate(zip(poses, grippers, strict=True))
        ]
        save_waypoints(self.folder / f"{name}.csv", rows)
        known = yaml.safe_load(self.table.read_text())["skills"]
        spec = {"file": f"{name}.csv", "relative_count": relative, "frame": "base_link", **FAST, **options}
        self.write_table({**known, name: spec})
        return poses

    def take(self, name="take", beside=0.0, **options):
        """A skill that closes on the block, or `beside` it [m], lifts, verifies, carries it on and lets go."""
        start, block = self.tcp(), self.task.object_pose.position
        at = pose_matrix([block.x, block.y - math.copysign(beside, block.y), block.z], start[:3, :3])
        above, lifted = moved(at, z=0.06), moved(at, z=0.05)
        aside = moved(start, y=0.05)
        poses = [start, above, at, at, lifted, aside, moved(aside, z=-0.04), moved(aside, z=0.01)]
        grippers = [OPEN, OPEN, OPEN, CLOSED, CLOSED, CLOSED, CLOSED, OPEN]
        values = {"grasp_threshold": THRESHOLD, **options}
        return self.skill(name, poses, grippers, relative=5, verify=4, **values)

    def _on_task(self, msg):
        self.task = msg

    def _on_joints(self, msg):
        self.measured = {**self.measured, **dict(zip(msg.name, msg.position, strict=True))}
        if len(msg.name) == 6 and len(self.measured) == 7:
            self.visited.append((stamp_ns(msg), self.q(), self.measured["robotiq_85_left_knuckle_joint"]))


def moved(T, x=0.0, y=0.0, z=0.0):
    """A pose beside another one [m, base_link]."""
    return pose_matrix(T[:3, 3] + [x, y, z], T[:3, :3])
