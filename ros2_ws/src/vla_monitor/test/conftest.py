# SPDX-License-Identifier: Apache-2.0

import os
import random
import sys
from pathlib import Path

import pytest
import rclpy

sys.path.insert(0, str(Path(__file__).parent))

from monitor_fixtures import KINEMATICS, PROFILE, Graph


@pytest.fixture(scope="session", autouse=True)
def domain():
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


@pytest.fixture
def profile_file(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(PROFILE + KINEMATICS)
    return path


@pytest.fixture
def graph():
    rclpy.init()
    made = Graph()
    try:
        yield made
    finally:
        for node in made.nodes:
            node.destroy_node()
        rclpy.try_shutdown()
