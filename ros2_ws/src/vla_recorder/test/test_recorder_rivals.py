# SPDX-License-Identifier: Apache-2.0

"""A second recorder of the same topics: no episode is started, and the refusal says what to do."""

import threading
from contextlib import contextmanager

import pytest
from rclpy.executors import SingleThreadedExecutor
from vla_common.params import overrides
from vla_msgs.srv import StartEpisode, StopEpisode
from vla_recorder.capture.recorder_node import RecorderNode
from vla_recorder.testing import wait_for, write_profile


@contextmanager
def second_recorder(folder, *remaps):
    arguments = [word for remap in remaps for word in ("-r", remap)]
    values = {"profile": str(write_profile(folder)), "output_dir": str(folder / "other"), "min_free_gb": 0.0}
    node = RecorderNode(parameter_overrides=overrides(values), cli_args=["--ros-args", *arguments])
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(2.0)
        node.destroy_node()


@pytest.mark.parametrize(("remaps", "name"), [(("__node:=recorder_2",), "/recorder_2"), ((), "/recorder")])
def test_no_episode_is_started_beside_another_recorder(bench, tmp_path, remaps, name):
    bench.ready()
    with second_recorder(tmp_path, *remaps):
        wait_for(lambda: bench.recorder._rival_names, what="the other recorder")
        if not remaps:
            assert bench.recorder._rival_names == [name]
        refused = bench.recorder._rivals.names(bench.recorder._observed())
        assert refused == [name]
        if remaps:  # a service of nodes of the same name may be answered by either
            started = bench.call(StartEpisode, "start")
            assert not started.success
            for part in ("another recorder listens to the same topics: /recorder_2. End one of them", "namespace:="):
                assert part in started.message
            assert not (tmp_path / "bags").exists()
    wait_for(lambda: not bench.recorder._rivals.names(bench.recorder._observed()), what="its end")
    started = bench.call(StartEpisode, "start")
    assert started.success, started.message
    assert bench.call(StopEpisode, "stop").success


def test_a_recorder_of_another_namespace_is_no_rival(bench, tmp_path):
    bench.ready()
    heard = bench.recorder._rivals._heard_s
    with second_recorder(tmp_path, "__ns:=/cell_2"):
        wait_for(lambda: any(topic.startswith("/cell_2/") for topic in heard), what="its status")
        assert bench.call(StartEpisode, "start").success
    assert bench.call(StopEpisode, "stop").success


def test_a_recorder_that_was_killed_is_no_rival_though_it_is_still_in_the_graph(bench):
    rivals = bench.recorder._rivals
    rivals._heard_s["/recorder/status"] = rivals._clock() - 3.5
    assert rivals.names(bench.recorder._observed()) == []
