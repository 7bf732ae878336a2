# SPDX-License-Identifier: Apache-2.0

import gc
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
        # A node is part of reference cycles. Until they are collected its DDS participant stays, and a client of the next
        # cell may send its request to a server of the same name that nobody serves any more: another domain each time.
        os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
        made.append(Cell(tmp_path, **options))
        return made[-1]

    yield make
    while made:
        made.pop().close()
    gc.collect()


@pytest.fixture
def serve(tmp_path):
    """Makes servers; closes them at the end."""
    from policy_fixtures import small_profile
    from serving_fixtures import ServerThread, run_folder

    made = []

    def make(*arguments, ids=("900", "10000", "20000"), **options):
        folder = run_folder(tmp_path / f"run{len(made)}", *ids)
        made.append(ServerThread(folder, small_profile(), *arguments, **options))
        return made[-1]

    yield make
    for server in made:
        for policy in server.loaded:
            policy.go.set()
        server.close()


@pytest.fixture
def server(serve):
    """A server as it is by default."""
    return serve()


@pytest.fixture
def made():
    """Things to close at the end, last first."""
    things = []
    yield things
    for thing in reversed(things):
        thing.close()


@pytest.fixture
def load(made):
    """Makes remote policies; closes them at the end."""
    from vla_policy.policies.registry import load_policy
    from vla_policy.policies.runner import LoadRequest

    def make(port, **request):
        loaded = load_policy("remote", LoadRequest(port=port, **request))
        made.append(loaded.runner)
        return loaded

    return make
