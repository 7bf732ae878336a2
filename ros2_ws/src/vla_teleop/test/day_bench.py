# SPDX-License-Identifier: Apache-2.0

"""A crew of the operator's day that does what a test says, and ways into each of its states."""

from vla_core.episode import CORRECTION, TELEOP
from vla_teleop.operator.day import Day
from vla_teleop.operator.desk import Desk
from vla_teleop.operator.intents import CancelSkill, Home, SkillEnd, Still, Teleop, TeleopView
from vla_teleop.operator.moves import DayOptions, State

FAILED_GRASP = {
    "grasp_verified": "false",
    "grasp_commanded": "165",
    "grasp_actual": "160",
    "grasp_threshold": "155",
}
GRASP = {**FAILED_GRASP, "grasp_verified": "true", "grasp_actual": "120"}
MISSED = SkillEnd(code=301, text="closed to 160, a part stops it below 155", waypoints=20, grasp=FAILED_GRASP)


class RefusedError(Exception):
    """What the bench's crew raises."""


class Held:
    """Something under way until the test ends it."""

    def __init__(self) -> None:
        self.problem: str | None = None

    def poll(self, t: float) -> str | None:
        """See `Pending`."""
        return self.problem


class Bench:
    """A day, its desk, and a crew that obeys at once unless told otherwise.

    Attributes:
        done: Every intent that reached the crew, in order.
        said: Every text that the operator read.
        refuse: Kind of intent -> why it fails.
        slow: Kinds that stay under way; `held` is the newest.
    """

    def __init__(self, **options: object) -> None:
        self.day = Day(DayOptions(**options))
        self.desk = Desk(self.day, self, (RefusedError,))
        self.t = 100.0
        self.done: list[object] = []
        self.said: list[str] = []
        self.refuse: dict[type, str] = {}
        self.slow: set[type] = set()
        self.held: Held | None = None

    def begin(self, intent, t):
        """See `Crew`."""
        self.done.append(intent)
        if type(intent) in self.refuse:
            raise RefusedError(self.refuse[type(intent)])
        if type(intent) in self.slow:
            self.held = Held()
            return self.held
        return None

    def cancel_skill(self):
        """See `Crew`."""
        self.done.append(CancelSkill())

    def still(self):
        """See `Crew`."""
        self.done.append(Still())

    def tell(self, text, *, warning):
        """See `Crew`."""
        self.said.append(text)

    def hear(self, plan):
        """Let the desk carry out what the day asks for; returns the state."""
        self.t += 0.1
        self.desk.take(plan)
        self.desk.poll(self.t)
        return self.day.state

    def press(self, name):
        """Press a button."""
        return self.hear(self.day.on_button(name, self.t))

    def phase(self, phase, **more):
        """Let the recorder say its phase."""
        return self.hear(self.day.on_phase(phase, self.t, **more))

    def skill(self, end):
        """Let the skill end."""
        return self.hear(self.day.on_skill(end, self.t))

    def last(self, kind):
        """The newest intent of a kind."""
        return [intent for intent in self.done if isinstance(intent, kind)][-1]

    def kinds(self):
        """Names of what reached the crew, in order."""
        return [type(intent).__name__ for intent in self.done]


def in_state(state: State, **options: object) -> Bench:
    """A bench in a state, with the crew's log emptied."""
    bench = Bench(**options)
    way = {
        State.IDLE: (),
        State.OPENING: ("slow", "record"),
        State.ARMED: ("record",),
        State.TELEOP: ("record", "move"),
        State.HANDOVER: ("record", "move", "slow", "skill/cpu"),
        State.SKILL: ("record", "move", "skill/cpu"),
        State.STOPPING: ("record", "move", "skill/cpu", "interrupt"),
        State.FAILED: ("record", "move", "skill/cpu", "miss"),
        State.CORRECTION: ("record", "move", "skill/cpu", "miss", "correct"),
        State.ENDING: ("slow home", "home"),
        State.TAKING: ("policy", "slow", "interrupt"),
        State.HELD: ("policy", "interrupt", "drives"),
        State.RETURNING: ("policy", "interrupt", "drives", "slow", "interrupt"),
    }[state]
    for step in way:
        take_step(bench, step)
    assert bench.day.state == state, bench.said
    bench.done.clear()
    bench.said.clear()
    return bench


def take_step(bench: Bench, step: str) -> None:
    """One step on the way into a state: a word of this list, or a button."""
    if step == "slow":
        bench.slow = {Teleop}
    elif step == "slow home":
        bench.slow = {Home}
    elif step == "move":
        bench.phase(TELEOP)
    elif step == "correct":
        bench.phase(CORRECTION)
    elif step == "miss":
        bench.skill(MISSED)
    elif step == "policy":
        bench.day.on_policy(running=True)
    elif step == "drives":
        bench.day.on_teleop(TeleopView(active=True), bench.t)
    else:
        bench.press(step)
