# SPDX-License-Identifier: Apache-2.0

import os
import random
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def isolated():
    """Environment with a DDS domain of this session's own."""
    return {**os.environ, "ROS_DOMAIN_ID": str(random.randint(1, 101)), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


@pytest.fixture(scope="session")
def quick_demo(tmp_path_factory, isolated):
    """Report folder of one `./demo --quick`, with its exit code and what it printed."""
    output = tmp_path_factory.mktemp("demo") / "quick"
    done = subprocess.run(
        [ROOT / "demo", "--quick", "--output", output],
        env=isolated,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    return output, done.returncode, done.stdout
