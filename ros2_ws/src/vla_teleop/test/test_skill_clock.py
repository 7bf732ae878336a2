# SPDX-License-Identifier: Apache-2.0

"""Skills on a running clock, as on a robot: nobody waits for the skill node, and it may be told to end at any time."""

import threading

import numpy as np
import pytest
from skill_bench import OPEN, SkillBench, moved
from vla_msgs.action import ExecuteSkill


@pytest.fixture
def bench(tmp_path):
    bench = SkillBench(tmp_path, cell={"clock_mode": "paced", "participants": ()})
    yield bench
    bench.close()


def test_a_skill_on_a_running_clock_and_a_node_that_ends_in_the_middle_of_one(bench):
    bench.reset()
    start = bench.tcp()
    places = bench.skill("short", [start, moved(start, y=0.05), moved(start, z=-0.05)], [OPEN] * 3)
    done = bench.run("short")
    assert done.succeeded, done.result.error_msg
    assert np.linalg.norm(bench.tcp()[:3, 3] - places[-1][:3, 3]) < 0.002
    bench.skill("far", [bench.tcp(), moved(start, y=0.25)], [OPEN] * 2, linear_speed=0.1)
    run, begin = bench.start("far"), bench.tcp()
    bench.wait(lambda: np.linalg.norm(bench.tcp() - begin) > 0.02)
    ending = threading.Thread(target=bench.skills.close)
    ending.start()
    ended = run.wait(10.0).result
    ending.join(10.0)
    assert (ended.error_code, ended.error_msg) == (
        ExecuteSkill.Result.INTERRUPTED,
        "the skill was interrupted; the arm stands still",
    )
    stood, count = bench.q(), len(bench.visited)
    bench.wait(lambda: len(bench.visited) > count + 100)
    assert np.abs(bench.q() - stood).max() < 1e-3
