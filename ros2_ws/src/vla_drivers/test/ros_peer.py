# SPDX-License-Identifier: Apache-2.0

"""A node under test and a client of it, each served by a thread of its own."""

import contextlib
import threading
import time

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import JointState
from vla_common.action_client import GoalClient
from vla_common.executor import ExecutorThread
from vla_common.params import overrides
from vla_common.qos import SENSOR
from vla_common.services import call_service

LONG_S = 60.0


class Peer:
    """Starts a driver node, listens to its joint states and talks to it."""

    def __init__(self, factory, **parameters):
        rclpy.init()
        try:
            self.driver = factory(parameter_overrides=overrides(parameters))
        except BaseException:
            rclpy.try_shutdown()
            raise
        self.client = Node("client")
        self._condition = threading.Condition()
        self.states = []
        self._clients = {}
        self.client.create_subscription(JointState, "joint_states", self._heard, SENSOR)
        self._executors = [ExecutorThread(self.driver), ExecutorThread(self.client)]
        self._closed = False

    def _heard(self, message):
        with self._condition:
            self.states.append(message)
            self._condition.notify_all()

    def next_state(self, condition=lambda _: True, fresh=True):
        """Wait for a joint state that was not heard before, and return it."""
        with self._condition:
            if fresh:
                self.states.clear()
            assert self._condition.wait_for(lambda: any(map(condition, self.states)), LONG_S), "no such joint state"
            return next(filter(condition, self.states))

    def goal(self, kind, name, goal):
        """Send a goal; returns the future of its status and result, None if it was rejected."""
        if name not in self._clients:
            self._clients[name] = GoalClient(self.client, kind, name)
        client = self._clients[name]
        assert client.wait_for_server(timeout_sec=LONG_S)
        handle = wait(client.send_goal_async(goal))
        return handle.get_result_async() if handle.accepted else None

    def call(self, kind, name, request):
        """Call a service."""
        return call_service(self.client.create_client(kind, name), request, LONG_S)

    def close(self):
        """Close the driver as `run_node` does."""
        if self._closed:
            return
        self._closed = True
        self.driver.close()
        for executor in self._executors:
            executor.close()
        for node in (self.driver, self.client):
            node.destroy_node()
        rclpy.try_shutdown()


def wait(future):
    """Return the result of a future that another thread completes."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(LONG_S), "no answer"
    return future.result()


def until(condition):
    """Wait until a condition holds."""
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@contextlib.contextmanager
def peer(factory, **parameters):
    """A `Peer` for a while."""
    made = Peer(factory, **parameters)
    try:
        yield made
    finally:
        made.close()
