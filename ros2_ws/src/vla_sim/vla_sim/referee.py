# SPDX-License-Identifier: Apache-2.0

"""The simulator's own log: what really happened in the cell, as JSON lines in simulated time.

Every line has `t` [s] and `event`, and `station` where there are several arms:

| event | fields |
|---|---|
| `reset` | `seed`, `task`: the scene was put into a start state; `sentence`, where it depends on the seed |
| `displaced` | `xyz`: the part was put there from outside [m, base_link] |
| `controller` | `active`: who has the arm now; empty: nobody |
| `goal_started`, `goal_ended` | `controller`, `goal` (number), and at the end `status`, `code`, `text` |
| `streaming_begins`, `streaming_ends` | `controller`: commands come, or none has come for 0.1 s |
| `arm_moves`, `arm_rests` | `controller`: the set-point changes, or has not changed for 0.1 s |
| `gripper_goal`, `gripper_ended` | `goal`, `target`, and at the end `status`, `reached`, `stalled`, `reading`: numbers of skill files |
| `grasped`, `lost` | `reading`: both fingers touch the block or part, or no longer do, for 50 ms |
| `left_socket`, `in_socket` | the part is 1 cm from where it began, or back there |
| `placed`, `unplaced` | the task's success condition holds, or no longer does |
| `other_grasped`, `other_lost`, `other_placed`, `other_unplaced` | the same of the block that the sentence does not name |
| `program`, `safety` | `running`; `mode` (3 is a protective stop) |
| `fault` | `name`, `on`: a fault on demand |
"""

import json
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from vla_sim import skills, tasks
from vla_sim.cell import Cell
from vla_sim.plant import FORWARD_CONTROLLER, Plant

Array = NDArray[np.float64]

_PAUSE_NS: Final = 100_000_000
_TOUCH_NS: Final = 50_000_000
_SCENE_EVERY: Final = 5  # control cycles
_STEP_RAD: Final = 2e-6  # of a set-point in one cycle; smaller is not motion
_OUT_OF_SOCKET: Final = 0.01  # m


class Log:
    """JSON lines in a file. Every line is complete on the disk before the next one is made.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("w", encoding="utf-8", buffering=1)

    def write(self, t_ns: int, event: str, **fields: Any) -> None:
        """Add a line."""
        self._file.write(json.dumps({"t": round(t_ns * 1e-9, 3), "event": event, **fields}) + "\n")

    def of(self, station: str) -> "Log":
        """The same log for one of several stations, whose name each line then has as `station`."""
        return _StationLog(self, station) if station else self

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()


class _StationLog(Log):
    """Writes into the log of another."""

    def __init__(self, log: Log, station: str) -> None:
        self._log, self._station = log, station

    def write(self, t_ns: int, event: str, **fields: Any) -> None:
        """Add a line."""
        self._log.write(t_ns, event, station=self._station, **fields)

    def close(self) -> None:
        """The log that it writes into is closed by who has opened it."""


class _Settled:
    """A yes or no that counts once it has been the same for a while."""

    def __init__(self, hold_ns: int) -> None:
        self._hold_ns = hold_ns
        self._since_ns: int | None = None
        self.value = False

    def update(self, value: bool, t_ns: int) -> bool:
        """True when the settled value has just changed."""
        if value == self.value:
            self._since_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = t_ns
        if t_ns - self._since_ns < self._hold_ns:
            return False
        self.value, self._since_ns = value, None
        return True


class _Goals:
    """Numbers the goals of one controller and notices where they begin and end."""

    def __init__(self) -> None:
        self._count = 0
        self._running: Any = None

    def news(self, goal: Any, outcomes: list[Any]) -> list[tuple[int, Any]]:
        """What has happened since the last look, in order: number of the goal, and its outcome or None for its begin."""
        news: list[tuple[int, Any]] = []
        for outcome in outcomes:
            if outcome.token is not self._running:  # accepted and ended between two looks
                news.append(self._begin(outcome.token))
            news.append((self._count, outcome))
            self._running = None
        if goal is not None and goal is not self._running:
            news.append(self._begin(goal))
        return news

    def _begin(self, goal: Any) -> tuple[int, None]:
        self._count, self._running = self._count + 1, goal
        return self._count, None


class Referee:
    """Watches a cell and its plant and writes what changes; the caller holds the plant's lock."""

    def __init__(self, cell: Cell, plant: Plant, log: Log) -> None:
        self._cell, self._plant, self._log = cell, plant, log
        self._arm, self._gripper = _Goals(), _Goals()
        self._owner: str | None = None
        self._robot: tuple[bool, int] = (plant.robot.program_running, plant.robot.safety_mode)
        self._forget()

    def _forget(self) -> None:
        self._command: Array | None = None  # None: the next one is no motion, wherever it is
        self._moved_ns: int | None = None
        self._streams = False
        self._touched, self._other_touched = _Settled(_TOUCH_NS), _Settled(_TOUCH_NS)
        self._out = self._placed = self._other_placed = False
        self._cycle = 0

    def step(self) -> None:
        """Look after a control cycle, before the outcomes of goals are taken away."""
        t_ns = self._plant.time_ns
        self._goals(t_ns)
        self._control(t_ns)
        self._motion(t_ns)
        self._cycle += 1
        if self._cycle % _SCENE_EVERY == 0:
            self._scene(t_ns)

    def reset(self, seed: int) -> None:
        """The scene was reset."""
        sentence = {"sentence": tasks.instruction(self._cell.task, seed)} if self._cell.two_blocks else {}
        self._log.write(self._plant.time_ns, "reset", seed=seed, task=self._cell.task, **sentence)
        self._forget()

    def displaced(self, pose: tasks.Pose) -> None:
        """The part was put somewhere from outside."""
        self._log.write(self._plant.time_ns, "displaced", xyz=[round(v, 4) for v in pose.xyz])

    def fault(self, name: str, on: bool) -> None:
        """A fault on demand was switched."""
        self._log.write(self._plant.time_ns, "fault", name=name, on=on)

    def _goals(self, t_ns: int) -> None:
        plant = self._plant
        for number, outcome in self._arm.news(plant.trajectory.goal, plant.trajectory.outcomes):
            goal = {"controller": plant.trajectory_name, "goal": number}
            if outcome is None:
                self._log.write(t_ns, "goal_started", **goal)
            else:
                status = outcome.status.name.lower()
                self._log.write(t_ns, "goal_ended", **goal, status=status, code=outcome.code, text=outcome.text)
        for number, outcome in self._gripper.news(plant.gripper.goal, plant.gripper.outcomes):
            if outcome is None:
                target = round(skills.grip_number(plant.kind.gripper.knuckle(plant.gripper.target)), 1)
                self._log.write(t_ns, "gripper_goal", goal=number, target=target)
            else:
                self._log.write(
                    t_ns, "gripper_ended", goal=number, status=outcome.status.name.lower(), reached=outcome.reached,
                    stalled=outcome.stalled, reading=self._reading(),
                )  # fmt: skip

    def _control(self, t_ns: int) -> None:
        plant = self._plant
        owner = plant.motion_controller
        if owner != self._owner:
            self._owner, self._command = owner, None
            self._log.write(t_ns, "controller", active=owner)
        robot = (plant.robot.program_running, plant.robot.safety_mode)
        if robot[0] != self._robot[0]:
            self._log.write(t_ns, "program", running=robot[0])
        if robot[1] != self._robot[1]:
            self._log.write(t_ns, "safety", mode=robot[1])
        self._robot = robot

    def _motion(self, t_ns: int) -> None:
        plant = self._plant
        last = plant.forward.last_command_ns if plant.forward.active else None
        streams = last is not None and t_ns - last < _PAUSE_NS
        if streams != self._streams:
            self._streams = streams
            name = "streaming_begins" if streams else "streaming_ends"
            self._log.write(t_ns, name, controller=FORWARD_CONTROLLER)
        if self._command is not None and np.abs(plant.command - self._command).max() > _STEP_RAD:
            if self._moved_ns is None:
                self._log.write(t_ns, "arm_moves", controller=plant.motion_controller)
            self._moved_ns = t_ns
        elif self._moved_ns is not None and t_ns - self._moved_ns >= _PAUSE_NS:
            self._moved_ns = None
            self._log.write(t_ns, "arm_rests", controller=plant.motion_controller)
        self._command = plant.command

    def _scene(self, t_ns: int) -> None:
        state = self._cell.task_state()
        if self._touched.update(bool(state.grasped), t_ns):
            self._log.write(t_ns, "grasped" if self._touched.value else "lost", reading=self._reading())
        out = float(np.linalg.norm(np.subtract(state.object_pose.xyz, self._cell.seat.xyz))) > _OUT_OF_SOCKET
        if out != self._out:
            self._out = out
            self._log.write(t_ns, "left_socket" if out else "in_socket")
        if state.success != self._placed:
            self._placed = state.success
            self._log.write(t_ns, "placed" if state.success else "unplaced")
        other = self._cell.other_state()
        if other is None:
            return
        if self._other_touched.update(bool(other.grasped), t_ns):
            self._log.write(
                t_ns, "other_grasped" if self._other_touched.value else "other_lost", reading=self._reading()
            )
        if other.success != self._other_placed:
            self._other_placed = other.success
            self._log.write(t_ns, "other_placed" if other.success else "other_unplaced")

    def _reading(self) -> float:
        return round(skills.grip_number(self._plant.kind.gripper.knuckle(self._plant.knuckle[0])), 1)
