# SPDX-License-Identifier: Apache-2.0

"""A robot whose policy runs on a server: runs, the server's end, and the next run."""

from policy_cell import wait_until
from policy_fixtures import small_profile
from serving_fixtures import ServerThread, run_folder
from vla_msgs.action import RunPolicy
from vla_policy.policies.registry import load_policy
from vla_policy.policies.runner import LoadRequest

Result = RunPolicy.Result


def test_a_lost_server_stops_the_arm_and_the_next_run_finds_it_again(cell, tmp_path):
    servers = [ServerThread(run_folder(tmp_path / "server", "1"), small_profile())]
    port = servers[0].port
    remote = load_policy("remote", LoadRequest(port=port, timeout_s=10.0, options={"reconnect_s": "1"}))
    c = cell(runner=remote.runner, profile=remote.profile)
    try:
        handle = c.send(max_duration=60.0)
        wait_until(lambda: len(c.robot.arm_goals) > 1, what="the second trajectory")
        servers[0].close()
        _, result = c.result(handle)
        assert result.error_code == Result.SERVER_LOST, result.error_msg
        assert f"ws://127.0.0.1:{port}/api/v1/session" in result.error_msg
        wait_until(lambda: c.robot.cancelled > 0, what="the cancellation of the arm's goal")

        _, result = c.result(c.send(max_duration=60.0))
        assert result.error_code == Result.SERVER_LOST, result.error_msg
        assert "no policy server answers" in result.error_msg

        servers.append(ServerThread(tmp_path / "server", small_profile(), "--port", str(port)))
        c.robot.arm_goals.clear()
        handle = c.send(max_duration=60.0)
        wait_until(lambda: c.robot.arm_goals, what="a trajectory of the new server's policy")
        handle.cancel_goal_async()
        assert c.result(handle)[1].error_code != Result.SERVER_LOST
    finally:
        for server in servers:
            server.close()
