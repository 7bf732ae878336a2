# SPDX-License-Identifier: Apache-2.0

"""The policy node against the simulated cell in lockstep, all nodes in one process."""

import os
import random
import threading
from pathlib import Path

import rclpy
from policy_cell import wait_until
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_common.action_client import GoalClient
from vla_common.params import overrides
from vla_common.qos import SENSOR
from vla_common.services import call_checked, send_goal
from vla_core.profile import load_profile
from vla_core.stamps import time_ns
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus, TaskState
from vla_msgs.srv import ResetCell
from vla_policy.node.policy_node import PolicyNode
from vla_policy.policies.runner import Loaded
from vla_sim.sim_node import CellNode

PROFILE = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"


class Stage:
    """Nodes with an executor thread each."""

    def __init__(self):
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.randint(1, 200))
        self.running = []
        self.closing = threading.Event()
        self.helper = self.add(Node("helper", context=self.context))
        self.task, self.states = None, []
        self.helper.create_subscription(TaskState, "sim/task_state", self._on_task, SENSOR)
        self.helper.create_subscription(PolicyStatus, "policy/status", self._on_status, 50)

    def _on_task(self, msg):
        self.task = msg

    def _on_status(self, msg):
        if not self.states or self.states[-1][0] != msg.state:
            self.states.append((msg.state, time_ns(msg.stamp)))

    def now_ns(self):
        """Simulated time."""
        return time_ns(self.task.stamp)

    def wait(self, condition):
        """Until `condition()` is true; a minute at most."""
        wait_until(condition, 60.0)

    def pass_time(self, seconds):
        """Until so much simulated time has passed."""
        until = self.now_ns() + seconds * 1e9
        self.wait(lambda: self.now_ns() >= until)

    def spin(self, executor):
        while not self.closing.is_set():
            executor.spin_once(timeout_sec=0.1)

    def add(self, node):
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)
        thread = threading.Thread(target=self.spin, args=(executor,), daemon=True)
        thread.start()
        self.running.append((node, executor, thread))
        return node

    def start(self, cls, factory=None, **params):
        values = {"profile": str(PROFILE), "use_sim_time": cls is not CellNode, **params}
        options = {} if factory is None else {"factory": factory}
        return self.add(cls(context=self.context, parameter_overrides=overrides(values), **options))

    def begin(self, runners, participants, *, seed, goal=None, **params):
        """Start cell and policy node and send a goal; returns the run.

        Args:
            runners: Name of a checkpoint to the class of its policy, made of profile and name.
            participants: Names of the nodes that time waits for.
            seed: Of the scene.
            goal: Fields of the goal.
            params: Of the policy node.
        """
        profile = load_profile(PROFILE)

        def factory(request):
            name = request.checkpoint
            return Loaded(runner=runners[name](profile, name), profile=profile, source=name)

        self.start(CellNode, clock_mode="lockstep", participants=participants)
        reset = self.helper.create_client(ResetCell, "sim/reset")
        call_checked(reset, ResetCell.Request(seed=seed, task="lift"), timeout_s=30.0)
        self.start(PolicyNode, factory, lockstep=True, dry_run=False, inference_latency_s=0.1, **params)
        self.wait(lambda: self.task is not None and self.now_ns() > 1_000_000_000)  # every stream has sent something
        client = GoalClient(self.helper, RunPolicy, "policy/run")
        return send_goal(client, RunPolicy.Goal(**{"max_duration": 40.0, **(goal or {})}), timeout_s=30.0)

    def close(self):
        for node, _, _ in reversed(self.running):
            if hasattr(node, "close"):
                node.close()
        self.closing.set()
        for _, executor, thread in self.running:
            thread.join()  # an executor that is shut down while it turns may raise
            executor.shutdown()
        for node, _, _ in self.running:
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)
