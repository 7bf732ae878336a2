# SPDX-License-Identifier: Apache-2.0

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def own_domain(monkeypatch, tmp_path):
    """No other test's nodes are heard, and nothing is written to the user's home."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
