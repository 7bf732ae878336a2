# SPDX-License-Identifier: Apache-2.0

"""The simulated cell as a node: same topics, services and actions as the drivers of the real one.

One thread runs the plant (and, in lockstep, the cameras); the executor's thread serves callbacks. Both hold the plant's
lock while they touch it. In lockstep each period goes: clock, 500 Hz cycles with their sensor messages, tick, wait for
the answers. The clock is published before the messages of its
period, so that no message is received before its own stamp.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from vla_common.params import ParameterError, declare
from vla_common.run import ManagedNode, run_node
from vla_core.boards import parse_board
from vla_core.profile import load_profile

from vla_sim import constants as c
from vla_sim.board import Plate
from vla_sim.cell import Cell
from vla_sim.cell_params import CellParams
from vla_sim.facade.arm import ArmFacade
from vla_sim.facade.cameras import CameraRig, camera_sizes
from vla_sim.facade.control import ControlFacade
from vla_sim.facade.faults import Driver, FaultFacade
from vla_sim.facade.gripper import GripperFacade
from vla_sim.facade.messages import set_stamp
from vla_sim.facade.scene import TaskFacade, TransformFacade
from vla_sim.facade.streams import DRIVER, RATE_HZ, Jobs
from vla_sim.lockstep import TickServer
from vla_sim.plant import Plant
from vla_sim.referee import Log, Referee
from vla_sim.tasks import BinMode, Pose

_STEP_S = c.STEP_NS * 1e-9
_PACED_TASK_HZ = 50
_LAG_LIMIT_S = 0.25  # a paced cell that is further behind lets its clock fall back instead of hurrying
_RESULT_TIMEOUT_S = 5.0


class CellNode(ManagedNode):
    """UR5e, gripper and cameras. See `CellParams` for the parameters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("cell", **kwargs)
        self.params = declare(self, CellParams)
        _check_rates(self, self.params)
        profile = load_profile(self.params.profile)
        self._lockstep = self.params.clock_mode == "lockstep"
        self.cell = Cell(
            camera_sizes(profile),
            self.params.seed,
            self.params.task,
            bin_mode=cast(BinMode, self.params.bin_mode),
            yaw_range=self.params.yaw_range,
            plate=Plate(parse_board(self.params.board), self.params.board_on) if self.params.board else None,
        )
        stop_s = self.params.protective_stop_at_s
        self.plant = Plant(
            self.cell,
            start_ns=round(self.params.start_time_s * 1e9),
            initial_controller=self.params.initial_joint_controller,
            protective_stop_after_ns=None if stop_s < 0.0 else round(stop_s * 1e9),
        )
        self._referee_log = Log(Path(self.params.log_file)) if self.params.log_file else None
        self._referee = Referee(self.cell, self.plant, self._referee_log) if self._referee_log is not None else None
        self._jobs = Jobs()
        self._ticks: TickServer | None = None
        self._clock_msg = Clock()
        self._clock_pub = self.create_publisher(Clock, "/clock", DRIVER)
        self._arm = ArmFacade(self, self.plant, self.params, self._jobs, self._published)
        self._gripper = GripperFacade(self, self.plant, self.params, self._jobs, self._published)
        self._control = ControlFacade(self, self.plant)
        self._transforms = TransformFacade(self, self.cell, self.plant, self.params, self._jobs)
        self._cameras = CameraRig(self, self.cell, profile, self.params, self._published)
        drivers: dict[str, Driver] = {"arm": self._arm, "gripper": self._gripper}
        self._faults = FaultFacade(self, self.plant, drivers, self._cameras, self._on_fault)
        self._task = TaskFacade(self, self.cell, self.plant, self._published, self._on_reset, self._on_displaced)
        if self._lockstep:
            self._ticks = TickServer(
                self,
                self.params.participants,
                timeout_s=self.params.participant_timeout_s,
                startup_timeout_s=self.params.startup_timeout_s,
            )
        self._step = 0
        self._ending = threading.Event()
        self._cameras.restart(self.plant.time_ns, self.params.seed)
        self._threads = [self.start_thread(self._run_lockstep if self._lockstep else self._run_paced, "simulation")]
        if not self._lockstep:
            self._threads.append(self.start_thread(self._cameras.render_loop, "cameras"))
        self.get_logger().info(
            f"cell ready: task {self.params.task}, cameras {', '.join(camera_sizes(profile)) or 'none'}, clock "
            f"{self.params.clock_mode}"
            + (f" with {', '.join(self.params.participants) or 'no participants'}" if self._lockstep else "")
        )

    def close(self) -> None:
        """Stop the simulation and camera threads."""
        self._ending.set()
        if self._ticks is not None:
            self._ticks.stop()
        self._cameras.stop()
        for thread in self._threads:
            thread.join(timeout=5.0)
        if self._referee_log is not None:
            self._referee_log.close()

    def _published(self, publisher: Publisher, stamp_ns: int) -> None:
        if self._ticks is not None:
            self._ticks.published(publisher, stamp_ns)

    def _on_reset(self, seed: int) -> None:
        self._cameras.restart(self.plant.time_ns, seed)
        self._faults.clear()
        self._control.publish_changes()
        if self._referee is not None:
            self._referee.reset(seed)

    def _on_displaced(self, pose: Pose) -> None:
        if self._referee is not None:
            self._referee.displaced(pose)

    def _on_fault(self, name: str, on: bool) -> None:
        if self._referee is not None:
            self._referee.fault(name, on)

    def _publish_clock(self, t_ns: int) -> None:
        set_stamp(self._clock_msg.clock, t_ns)
        self._clock_pub.publish(self._clock_msg)
        if self._ticks is not None:
            self._ticks.sent(self._clock_pub)

    def _cycle(self) -> list[Any]:
        """One control cycle with everything that is published after it; returns the events of ended goals."""
        self._arm.serve_cancels()
        self._gripper.serve_cancels()
        self.plant.step()
        self._step += 1
        t_ns = self.plant.time_ns
        self._jobs.run(self._step, t_ns)
        self._cameras.after_step(t_ns)
        self._control.publish_changes()
        if self._referee is not None:
            self._referee.step()
        if self.plant.trajectory.outcomes or self.plant.gripper.outcomes:
            return self._arm.finish_goals() + self._gripper.finish_goals()
        return []

    def _run_lockstep(self) -> None:
        assert self._ticks is not None
        steps = round(RATE_HZ / self.params.tick_rate_hz)
        self._publish_clock(self.plant.time_ns)
        self._ticks.exchange(self.plant.time_ns)
        while not self._ending.is_set():
            with self.plant.lock:
                end_ns = self.plant.time_ns + steps * c.STEP_NS
                self._publish_clock(end_ns)
                events = [event for _ in range(steps) for event in self._cycle()]
                self._task.send(end_ns)
            for event in events:
                event.wait(_RESULT_TIMEOUT_S)
            self._ticks.exchange(end_ns)
            self._ticks.wait_acknowledged()
        self.cell.close_renderer()

    def _run_paced(self) -> None:
        clock_steps = round(RATE_HZ / self.params.clock_rate_hz)
        task_steps = RATE_HZ // _PACED_TASK_HZ
        period = _STEP_S / self.params.real_time_factor
        due = time.monotonic()
        while not self._ending.is_set():
            due += period
            lag = time.monotonic() - due
            if lag < 0.0:
                time.sleep(-lag)
            elif lag > _LAG_LIMIT_S:
                due += lag
                self.get_logger().warning(
                    f"cannot hold real-time factor {self.params.real_time_factor:g}: {lag:.2f} s behind, simulated "
                    "time slows "
                    "down. Use smaller images, a smaller real_time_factor or clock_mode:=lockstep",
                    throttle_duration_sec=5.0,
                )
            with self.plant.lock:
                if (self._step + 1) % clock_steps == 0:
                    self._publish_clock(self.plant.time_ns + c.STEP_NS)
                self._cycle()
                if self._step % task_steps == 0:
                    self._task.send(self.plant.time_ns)


def _check_rates(node: Node, params: CellParams) -> None:
    names = [
        "tick_rate_hz",
        "joint_state_rate_hz",
        "gripper_state_rate_hz",
        "tcp_pose_rate_hz",
        "tf_rate_hz",
        "clock_rate_hz",
    ]
    for name in names:
        rate = getattr(params, name)
        if abs(RATE_HZ / rate - round(RATE_HZ / rate)) > 1e-9:
            raise ParameterError(
                f"{node.get_fully_qualified_name()}: parameter '{name}': {rate:g} does not divide the control rate of "
                f"{RATE_HZ} Hz; use for example 500, 250, 125, 100, 50, 25 or 10"
            )


def main(args: list[str] | None = None) -> int:
    """Run the cell until SIGINT, SIGTERM or a participant of the lockstep that does not answer."""
    return run_node(CellNode, args)


if __name__ == "__main__":
    sys.exit(main())
