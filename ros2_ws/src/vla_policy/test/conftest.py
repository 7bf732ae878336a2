# SPDX-License-Identifier: Apache-2.0

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture
def cell(tmp_path):
    """Makes `Cell(...)` and closes it at the end."""
    from policy_cell import Cell

    made = []

    def make(**options):
        made.append(Cell(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
