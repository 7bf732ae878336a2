# SPDX-License-Identifier: Apache-2.0

"""Nodes of one process and one DDS domain, each with an executor on a thread of its own."""

import gc
import os
import random
import threading

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor


class RunningNodes:
    """Make nodes with `context=self.context`, `add` them, `close` at the end."""

    def __init__(self):
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.SystemRandom().randint(1, 200))
        self.running, self.closing = [], threading.Event()

    def add(self, node):
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)
        thread = threading.Thread(target=self._spin, args=(executor,), daemon=True)
        thread.start()
        self.running.append((node, executor, thread))
        return node

    def _spin(self, executor):
        while not self.closing.is_set():
            executor.spin_once(timeout_sec=0.1)

    def close(self):
        for node, _, _ in reversed(self.running):
            if hasattr(node, "close"):
                node.close()
        self.closing.set()
        for _, executor, thread in self.running:
            thread.join()  # an executor that is shut down while it turns may raise
            executor.shutdown()
        while self.running:
            self.running.pop()[0].destroy_node()
        rclpy.try_shutdown(context=self.context)
        gc.collect()  # nodes are part of reference cycles, and their DDS participant stays until these are collected
