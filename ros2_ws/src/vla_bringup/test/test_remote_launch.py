# SPDX-License-Identifier: Apache-2.0

"""policy:=remote through infer.launch.py against a policy server of its own process, which dies in the middle of a run."""

import os
import signal
from pathlib import Path

import launches
import pytest
from fault_cell import FaultCell, Result
from vla_bringup.launch_util import share

STOP_S = 0.15  # from the decision to standstill
PROFILE = share() / "robots" / "sim_ur5e_tiny.yaml"


class Server:
    """`ros2 run vla_policy serve` with the scripted policy."""

    def __init__(self, folder, port=0):
        (folder / "checkpoints" / "1" / "pretrained_model").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "1" / "pretrained_model" / "config.json").write_text("{}")
        command = ["ros2", "run", "vla_policy", "serve", "--checkpoints_dir", str(folder), "--port", str(port)]
        command += ["--policy", "scripted", "--profile", str(PROFILE)]
        command += ["--policy-options", "chunk=10,period=3.0,amplitude=0.15"]
        self.process = launches.begin(command, launches.isolated(folder / "log"))
        said = []
        for line in self.process.stdout:
            said.append(line)
            if line.startswith("listening on 127.0.0.1:"):
                self.port = int(line.rpartition(":")[2])
                return
        launches.end(self.process)
        raise AssertionError("".join(said))

    def kill(self):
        """As a machine that loses its power: nobody is told."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)  # the server itself; `ros2 run` ends with it
        self.process.wait(10.0)


@pytest.fixture
def servers():
    made = []
    yield made
    for one in made:
        launches.end(one.process)


@pytest.fixture
def cell(tmp_path, servers):
    servers.append(Server(tmp_path / "run"))
    arguments = ["policy:=remote", f"port:={servers[0].port}", "policy_options:=reconnect_s=1.0", "clock:=lockstep"]
    made = FaultCell(tmp_path / "cell", *arguments)
    yield made
    print(made.table())
    made.close()


def test_a_server_that_is_killed_stops_the_arm_and_a_new_one_is_found(cell, servers, tmp_path):
    cell.reset()
    running = cell.moving()
    servers[0].kill()
    result = cell.result(running, "server killed")
    cell.until(lambda: cell.stopping_s is not None, 5.0, "the status STOPPING")
    text = f"the connection to ws://127.0.0.1:{servers[0].port}/api/v1/session was lost: no close frame received"
    cell.expect("server killed", result, cell.stopping_s, code=Result.SERVER_LOST, text=text, within_s=STOP_S)

    alone = cell.result(cell.goal(), "no server")
    assert alone.error_code == Result.SERVER_LOST, alone.error_msg
    assert "no policy server answers" in alone.error_msg
    assert alone.goals_sent == 0

    servers.append(Server(tmp_path / "run", servers[0].port))
    cell.serves("server killed")
