# SPDX-License-Identifier: Apache-2.0

"""The simulated cell as a node: same topics, services and actions as the drivers of the real one.

It has one `Side` per arm of the profile, in one world with one clock. One thread runs the plants (and, in lockstep, the cameras); the executor's thread serves callbacks. Both hold the plants'
lock while they touch them. In lockstep each period goes: clock, 500 Hz cycles with their sensor messages, tick, wait for
the answers. The clock is published before the messages of its
period, so that no message is received before its own stamp.
"""

import sys
import threading
import time
from collections.abc import Sequence
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
from vla_sim.facade.scene import ResetService, TaskFacade, TransformFacade
from vla_sim.facade.streams import DRIVER, RATE_HZ, Jobs
from vla_sim.lockstep import TickServer
from vla_sim.plant import FORWARD_CONTROLLER, Plant
from vla_sim.referee import Log, Referee
from vla_sim.robot import Station
from vla_sim.stations import stage_of
from vla_sim.tasks import BinMode, Pose, station_seed
from vla_sim.world import World

_STEP_S = c.STEP_NS * 1e-9
_PACED_TASK_HZ = 50
_LAG_LIMIT_S = 0.25  # a paced cell that is further behind lets its clock fall back instead of hurrying
_RESULT_TIMEOUT_S = 5.0


class Side:
    """One station with its drivers: physics, controllers and topics."""

    def __init__(self, node: "CellNode", station: Station, index: int, lock: threading.RLock) -> None:
        params, jobs, world = node.params, node.jobs, node.world
        self.cell = Cell(
            {},
            station_seed(params.seed, index),
            params.task,
            bin_mode=cast(BinMode, params.bin_mode),
            yaw_range=params.yaw_range,
            world=world,
            station=station,
        )
        stop_s, initial = params.protective_stop_at_s, params.initial_joint_controller
        self.plant = Plant(
            self.cell,
            robot=station.robot,
            lock=lock,
            start_ns=round(params.start_time_s * 1e9),
            initial_controller=initial if initial == FORWARD_CONTROLLER else station.robot.trajectory_controller,
            protective_stop_after_ns=None if stop_s < 0.0 else round(stop_s * 1e9),
        )
        log = node.referee_log
        self._referee = Referee(self.cell, self.plant, log.of(station.name)) if log is not None else None
        published = node.published
        self._arm = ArmFacade(node, station, self.plant, params, jobs, published)
        drivers: dict[str, Driver] = {"arm": self._arm}
        self._gripper: GripperFacade | None = None
        if not station.robot.gripper.in_arm:
            self._gripper = GripperFacade(node, station, self.plant, params, jobs, published)
            drivers["gripper"] = self._gripper
        self._control = ControlFacade(node, station, self.plant)
        self._transforms = TransformFacade(node, station, self.cell, self.plant, params, jobs)
        cameras = node.cameras if index == 0 else None
        self._faults = FaultFacade(node, station, self.plant, drivers, cameras, self._on_fault)
        self.task = TaskFacade(node, self.cell, self.plant, published, self._on_displaced)

    def control(self) -> None:
        """Before a step of physics."""
        self._arm.serve_cancels()
        if self._gripper is not None:
            self._gripper.serve_cancels()
        self.plant.control()

    def after_step(self) -> list[Any]:
        """After a step of physics and its measurement; returns the events of ended goals."""
        self._control.publish_changes()
        if self._referee is not None:
            self._referee.step()
        events = self._arm.finish_goals() if self.plant.trajectory.outcomes else []
        if self._gripper is not None and self.plant.gripper.outcomes:
            events += self._gripper.finish_goals()
        return events

    def on_reset(self, seed: int) -> None:
        """The station was reset."""
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


class CellNode(ManagedNode):
    """Arms, grippers and cameras of a profile. See `CellParams` for the parameters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("cell", **kwargs)
        self.params = declare(self, CellParams)
        _check_rates(self, self.params)
        profile = load_profile(self.params.profile)
        self._lockstep = self.params.clock_mode == "lockstep"
        stage = stage_of(profile)
        plate = Plate(parse_board(self.params.board), self.params.board_on) if self.params.board else None
        self.world = World(
            camera_sizes(profile), self.params.task, stations=stage.stations, cameras=stage.cameras, plate=plate
        )
        self.referee_log = Log(Path(self.params.log_file)) if self.params.log_file else None
        self.jobs = Jobs()
        self._ticks: TickServer | None = None
        self._clock_msg = Clock()
        self._clock_pub = self.create_publisher(Clock, "/clock", DRIVER)
        self.cameras = CameraRig(self, self.world, profile, self.params, self.published)
        self._sides: list[Side] = []
        lock = threading.RLock()
        for index, station in enumerate(stage.stations):
            self._sides.append(Side(self, station, index, lock))
        self.cell, self.plant = self._sides[0].cell, self._sides[0].plant
        self._reset = ResetService(self, [side.plant for side in self._sides], self._on_reset)
        if self._lockstep:
            self._ticks = TickServer(
                self,
                self.params.participants,
                timeout_s=self.params.participant_timeout_s,
                startup_timeout_s=self.params.startup_timeout_s,
            )
        self._step = 0
        self._ending = threading.Event()
        self.cameras.restart(self.plant.time_ns, self.params.seed)
        self._threads = [self.start_thread(self._run_lockstep if self._lockstep else self._run_paced, "simulation")]
        if not self._lockstep:
            self._threads.append(self.start_thread(self.cameras.render_loop, "cameras"))
        self.get_logger().info(
            f"cell ready: {_robots(stage.stations)}, task {self.params.task}, cameras {', '.join(camera_sizes(profile)) or 'none'}, clock "
            f"{self.params.clock_mode}"
            + (f" with {', '.join(self.params.participants) or 'no participants'}" if self._lockstep else "")
        )

    def close(self) -> None:
        """Stop the simulation and camera threads."""
        self._ending.set()
        if self._ticks is not None:
            self._ticks.stop()
        self.cameras.stop()
        for thread in self._threads:
            thread.join(timeout=5.0)
        if self.referee_log is not None:
            self.referee_log.close()

    def published(self, publisher: Publisher, stamp_ns: int) -> None:
        """A sensor message was published; in lockstep it must reach everybody."""
        if self._ticks is not None:
            self._ticks.published(publisher, stamp_ns)

    def _on_reset(self, seed: int) -> None:
        self.cameras.restart(self.plant.time_ns, seed)
        for index, side in enumerate(self._sides):
            side.on_reset(station_seed(seed, index))

    def _publish_clock(self, t_ns: int) -> None:
        set_stamp(self._clock_msg.clock, t_ns)
        self._clock_pub.publish(self._clock_msg)
        if self._ticks is not None:
            self._ticks.sent(self._clock_pub)

    def _cycle(self) -> list[Any]:
        """One control cycle with everything that is published after it; returns the events of ended goals."""
        for side in self._sides:
            side.control()
        self.world.step()
        self._step += 1
        for side in self._sides:
            side.plant.measure()
        t_ns = self.plant.time_ns
        self.jobs.run(self._step, t_ns)
        self.cameras.after_step(t_ns)
        return [event for side in self._sides for event in side.after_step()]

    def _send_truth(self, t_ns: int) -> None:
        for side in self._sides:
            side.task.send(t_ns)

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
                self._send_truth(end_ns)
            for event in events:
                event.wait(_RESULT_TIMEOUT_S)
            self._ticks.exchange(end_ns)
            self._ticks.wait_acknowledged()
        self.world.close_renderer()

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
                    self._send_truth(self.plant.time_ns)


def _robots(stations: Sequence[Station]) -> str:
    return ", ".join(f"{s.name} {s.robot.kind}".strip() for s in stations)


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
