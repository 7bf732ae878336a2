# SPDX-License-Identifier: Apache-2.0

"""The control thread of the teleop node: who has the arm, and one command per tick while a person drives.

A request (take the arm, give it back, go home, freedrive) is a procedure that lets ticks pass while it waits, so it reads
from top to bottom; every tick does the same: look at robot and device, say what was pressed, command. An arm is only
handed over while it stands still. Whatever goes wrong ends in FAULT with the arm at rest and a text that says what to do.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vla_common.ticks import Ticker
from vla_core.errors import VlaError
from vla_core.stamps import to_s
from vla_msgs.msg import TeleopState

from vla_teleop.devices.device import ENABLE, FREEDRIVE, HOME, INTERRUPT, REORIENT
from vla_teleop.motion.homing import Homing
from vla_teleop.node.teleop_hands import Hands
from vla_teleop.node.teleop_report import NAMES, Reporter
from vla_teleop.node.teleop_robot import Robot, RobotError

State = TeleopState
WAIT_S = 0.2  # of a tick, on the wall
SILENT_WAITS = 10  # so many without a tick, and a node that ends believes that the clock is gone
LONGEST_PERIOD_S = 0.05  # what a late tick may make up for
TAKEN = "is the robot free? A policy, a skill or a trajectory may drive it"
ADVICE = "The arm is at rest; call ~/enable with true to try again, with false to give the arm back"


class FaultError(RobotError):
    """The state is FAULT now; the text is that of the state."""


class BrokenOffError(VlaError):
    """A person, or the end of the node, broke a procedure off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Something to do for somebody: enable, home, reorient or freedrive; `done` takes success and a text."""

    kind: str
    value: bool
    done: Callable[[bool, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotOptions:
    """See the node's parameters of the same names."""

    own_buttons: bool
    enable_on_start: bool
    still_timeout_s: float
    answer_timeout_s: float


class Pilot:
    """Owns the ticker, the device and all commands. `request` and `stop` are called from other threads."""

    def __init__(
        self,
        robot: Robot,
        hands: Hands,
        homing: Homing,
        *,
        ticker: Ticker,
        report: Reporter,
        warn: Callable[[str], object],
        options: PilotOptions,
    ) -> None:
        """Prepare; nothing is sent."""
        self._robot, self._hands, self._homing = robot, hands, homing
        self._ticker, self._report, self._warn, self._options = ticker, report, warn, options
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._breaking = ""
        self._state: int = State.OFF
        self._text = ""
        self._controller = robot.spec.trajectory_controller
        self._borrowed = False  # whether another controller than the trajectory controller has the arm, or may have it
        self._t_ns: int | None = None
        self._silent = 0  # waits for a tick in a row that were in vain

    def request(self, request: Request) -> None:
        """Do it as soon as what runs is over; giving the arm back breaks off what runs. From any thread."""
        if request.kind == ENABLE and not request.value:
            self._breaking = "the arm is to be given back"
        self._requests.put(request)

    def stop(self) -> None:
        """End: bring the arm to rest and give it back. From any thread."""
        self._breaking = "the node ends"
        self._closing.set()

    def run(self) -> None:
        """Serve until `stop`."""
        with self._ticker.attached():
            self._robot.listen()
            asked = not self._options.enable_on_start
            while not self._closing.is_set():
                if not asked and self._robot.heard():
                    asked = True
                    self._requests.put(Request(kind=ENABLE, value=True, done=self._told))
                try:
                    request = self._requests.get_nowait()
                except queue.Empty:
                    self._tick()
                else:
                    self._serve(request)
            self._leave()
        while not self._requests.empty():
            self._requests.get().done(False, "the node ends")

    def _told(self, success: bool, text: str) -> None:
        if not success:
            self._warn(text)

    def _serve(self, request: Request) -> None:
        jobs = {ENABLE: self._enable, HOME: self._home, FREEDRIVE: self._freedrive, REORIENT: self._reorient}
        if request.kind == ENABLE and not request.value and not self._closing.is_set():
            self._breaking = ""
        try:
            text = jobs[request.kind](request.value)
        except VlaError as error:
            request.done(False, str(error))
        else:
            request.done(True, text)

    def _leave(self) -> None:
        """The node ends: the arm at rest, and back with its trajectory controller."""
        try:
            if self._borrowed:
                self._give_back()
        except VlaError as error:
            self._warn(f"the arm could not be given back at the end: {error}")

    # -- procedures -----------------------------------------------------------------------------------------------------

    def _enable(self, wanted: bool) -> str:
        if not wanted:
            return self._give_back()
        if self._state == State.ACTIVE:
            return "the person has the arm already"
        if self._hands.without_deadman:
            raise RobotError(
                f"require_deadman is set, but {self._hands.device.name} has no enabling button: name one with `deadman:` in "
                "its mapping, or set require_deadman:=false"
            )
        self._take()
        return f"the person drives with {self._hands.device.name}"

    def _take(self) -> None:
        """Wait for standstill, switch to streaming, begin where the arm is."""
        before = self._state
        self._require()
        if before == State.FREEDRIVE:
            self._robot.freedrive(False)
        if before == State.OFF and self._t_ns is not None:
            self._robot.take_targets(self._t_ns)
        self._enter(State.TAKING)
        self._switch(self._robot.spec.stream_controller, TAKEN, before)
        self._hands.begin()
        self._robot.drop_targets()
        self._enter(State.ACTIVE)

    def _give_back(self) -> str:
        if self._state == State.OFF:
            return "nobody drives by hand; the trajectory controller has the arm"
        if self._state == State.FREEDRIVE:
            self._robot.freedrive(False)
        streamed = self._state == State.ACTIVE
        if self._state != State.FAULT:
            self._enter(State.RETURNING)
        self._switch(self._robot.spec.trajectory_controller, "the arm does not come to rest", self._state)
        self._borrowed = False
        if streamed and self._t_ns is not None:
            self._robot.leave_targets(self._t_ns)
        self._enter(State.OFF)
        return f"{self._controller} has the arm again"

    def _freedrive(self, wanted: bool) -> str:
        controller = self._robot.spec.freedrive_controller
        if not wanted:
            return self._give_back() if self._state == State.FREEDRIVE else "freedrive is off already"
        if controller is None:
            raise RobotError(
                "this robot has no freedrive: its profile names no teleop.freedrive_controller. On a UR that is "
                "freedrive_mode_controller of ur_robot_driver"
            )
        if self._state == State.FREEDRIVE:
            return "the arm can be pushed already"
        before = self._state
        self._require()
        self._enter(State.RETURNING if before == State.ACTIVE else State.TAKING)
        self._switch(controller, TAKEN, before)
        self._enter(State.FREEDRIVE)
        return "the arm can be pushed by hand"

    def _reorient(self, _: bool) -> str:
        if self._state != State.ACTIVE:
            raise RobotError("reorient turns the tool only while the person drives; call ~/enable with true first")
        if not self._hands.driver.reorient():
            raise RobotError(f"reorient has to wait: {self._hands.driver.motion} is under way")
        return "the tool turns upright"

    def _home(self, _: bool) -> str:
        """Slowly to the ready pose; an arm that was not in the person's hands is given back after it."""
        borrowed = self._state != State.ACTIVE
        if borrowed:
            self._take()
        try:
            self._go_home()
        finally:
            self._hands.way = None
            if borrowed and self._state == State.ACTIVE:
                self._give_back()
        return "the arm is at its ready pose"

    def _go_home(self) -> None:
        hands = self._hands
        hands.driver.cancel()
        self._until(lambda: hands.driver.resting, "the arm does not come to rest", halt=True)
        way = self._homing.plan(hands.driver.positions, self._robot.others(self._t_ns or 0))
        hands.way, hands.way_ends = way, ""
        try:
            self._until(lambda: way.resting, "the way home takes too long", way.duration_s)
        except BrokenOffError:
            while self._state == State.ACTIVE and not way.resting:
                self._tick(halt=True)
            raise
        if not way.over:
            raise RobotError(f"the way home ended before the ready pose: {hands.way_ends}")
        if self._homing.gripper is not None:
            hands.grip(self._homing.gripper)
            self._tick()

    def _require(self) -> None:
        try:
            self._robot.require(self._options.answer_timeout_s)
        except RobotError as error:
            raise self._failed(str(error)) from error

    def _switch(self, controller: str, hint: str, before: int) -> None:
        """Hand the arm over, at rest.

        Args:
            controller: That is to have it.
            hint: What may keep the arm from standing still.
            before: State to return to when a person breaks it off.

        Raises:
            RobotError: it moves, or the controllers could not be switched; then the state is FAULT.
            BrokenOffError: a person broke it off.
        """
        try:
            self._robot.forget_rest()
            streams = controller == self._robot.spec.stream_controller
            self._until(lambda: self._at_rest() and (not streams or self._robot.unheard() is None), hint)
            self._borrowed = True
            self._give(controller)
        except BrokenOffError:
            self._enter(before)
            raise
        except FaultError:
            raise
        except VlaError as error:
            raise self._failed(f"{controller} did not get the arm: {error}") from error
        self._controller = controller

    def _give(self, controller: str) -> None:
        """Switch; on a clock, ticks go on meanwhile, so that the targets in force do not fall silent.

        Raises:
            VlaError: as `Robot.give`.
        """
        if self._robot.lockstep:
            self._robot.give(controller)
            return
        with ThreadPoolExecutor(1, "switch") as switcher:
            switched = switcher.submit(self._robot.give, controller)
            while not switched.done():
                self._tick(halt=True)
        problem = switched.exception()
        if problem is None:
            self._controller = controller
        if self._state == State.FAULT:  # which is why the controllers may not have been switched
            raise FaultError(self._text)
        if problem is not None:
            raise problem

    def _at_rest(self) -> bool:
        if self._t_ns is None or not self._hands.resting:
            return False
        return self._robot.why_not_still(self._t_ns) is None

    def _until(self, over: Callable[[], bool], hint: str, more_s: float = 0.0, *, halt: bool = False) -> None:
        """Let ticks pass until `over()`; with `halt` the arm comes to rest meanwhile.

        Raises:
            BrokenOffError: a person broke it off; giving back is not broken off.
            FaultError: a fault of the robot came between.
            RobotError: it took longer than `still_timeout_s` and `more_s`.
        """
        state, begun_ns = self._state, None
        while True:
            self._tick(halt=halt)
            if self._state == State.FAULT and state != State.FAULT:
                raise FaultError(self._text)
            if self._breaking and state in (State.TAKING, State.ACTIVE):
                broken, self._breaking = self._breaking, self._breaking if self._closing.is_set() else ""
                raise BrokenOffError(f"broken off: {broken}")
            if over():
                return
            begun_ns = self._t_ns if begun_ns is None else begun_ns
            if begun_ns is None or self._t_ns is None:
                continue
            waited_s = to_s(self._t_ns - begun_ns)
            if waited_s > self._options.still_timeout_s + more_s:
                why = self._robot.why_not_still(self._t_ns)
                detail = (
                    f"{why}; {hint}" if why else self._robot.unheard() or f"the state is {NAMES[self._state]}; {hint}"
                )
                raise RobotError(f"after {waited_s:.1f} s {detail}")

    def _failed(self, text: str) -> FaultError:
        """FAULT: the arm stays where it is."""
        self._hands.let_go()
        self._robot.drop_targets()
        self._enter(State.FAULT, f"{text}. {ADVICE}")
        return FaultError(self._text)

    def _enter(self, state: int, text: str = "") -> None:
        self._state, self._text = state, text
        if state != State.ACTIVE and state != State.RETURNING:
            self._hands.let_go()
        self._show()

    # -- one tick -------------------------------------------------------------------------------------------------------

    def _tick(self, *, halt: bool = False) -> None:
        """Wait for the next tick and do what every tick does."""
        t_ns = self._ticker.wait(timeout_s=WAIT_S)
        if t_ns is None:
            self._silent += 1
            if self._closing.is_set() and self._silent > SILENT_WAITS:
                raise RobotError("the clock stands still")
            return
        self._silent = 0
        dt = 0.0 if self._t_ns is None else min(max(to_s(t_ns - self._t_ns), 0.0), LONGEST_PERIOD_S)
        self._t_ns = t_ns
        self._robot.look(t_ns)
        for name in self._hands.read(t_ns):
            self._pressed(t_ns, name)
        if self._state != State.OFF and self._state != State.FAULT:
            self._watch(t_ns)
        streams = self._controller == self._robot.spec.stream_controller
        if dt > 0.0 and streams and self._state in (State.ACTIVE, State.RETURNING):
            self._hands.drive(t_ns, dt, halt=halt or self._state == State.RETURNING)
        elif self._state == State.FREEDRIVE:
            self._robot.freedrive(True)
        elif self._state in (State.OFF, State.TAKING):
            self._robot.keep_targets(t_ns, taking=self._state == State.TAKING)
        self._show()

    def _show(self) -> None:
        if self._t_ns is not None:
            active = self._state == State.ACTIVE
            now = self._hands.now(self._state, active=active, controller=self._controller, text=self._text)
            self._report.now(self._t_ns, now)

    def _pressed(self, t_ns: int, name: str) -> None:
        self._report.event(t_ns, name)
        if name == INTERRUPT and self._hands.way is not None:
            self._breaking = "the button interrupt was pressed"
        elif self._state == State.ACTIVE:
            self._hands.press(name)
        if self._options.own_buttons and name in (ENABLE, HOME, FREEDRIVE):
            wanted = self._state in (State.OFF, State.FAULT) if name == ENABLE else self._state != State.FREEDRIVE
            self.request(Request(kind=name, value=wanted, done=self._told))

    def _watch(self, t_ns: int) -> None:
        """Stop streaming when the robot is not as it should be."""
        target = self._hands.driver.positions if self._state == State.ACTIVE and not self._robot.servo else None
        fault = self._robot.fault(t_ns, target)
        if fault is None and self._state == State.ACTIVE:
            fault = self._robot.unheard()
        if fault is not None:
            self._failed(fault)
