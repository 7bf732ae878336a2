# SPDX-License-Identifier: Apache-2.0

"""Carries out what the operator's day asks for, one thing after the other, and tells it how that went. Knows no ROS."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from vla_teleop.operator.day import Day
from vla_teleop.operator.intents import AT_ONCE, CancelSkill, Forget, Intent, Still, Tell
from vla_teleop.operator.moves import Plan


class Pending(Protocol):
    """Something under way that takes time."""

    def poll(self, t: float) -> str | None:
        """None while it is under way, an empty text when it is done, else what went wrong."""


class Crew(Protocol):
    """The other nodes."""

    def begin(self, intent: Intent, t: float) -> Pending | None:
        """Carry out an intent; None if it is done already.

        Raises:
            CallError: it was refused or not answered.
        """

    def cancel_skill(self) -> None:
        """Ask the running skill to end, without waiting."""

    def still(self) -> None:
        """Cancel every goal of the arm's controllers, without waiting."""

    def tell(self, text: str, *, warning: bool) -> None:
        """Say something to the operator."""


class Desk:
    """The queue between the day and the crew. Used by one thread.

    Attributes:
        errors: What a crew raises when something is refused.
    """

    def __init__(self, day: Day, crew: Crew, errors: tuple[type[Exception], ...]) -> None:
        self._day = day
        self._crew = crew
        self.errors = errors
        self._queue: deque[Intent] = deque()
        self._under_way: tuple[Intent, Pending] | None = None

    @property
    def busy(self) -> bool:
        """Whether something waits or is under way."""
        return bool(self._queue) or self._under_way is not None

    def take(self, plan: Plan) -> None:
        """Take what the day asks for; what must be done at once is."""
        for intent in plan:
            if isinstance(intent, AT_ONCE):
                self._at_once(intent)
            else:
                self._queue.append(intent)

    def poll(self, t: float) -> None:
        """Go on as far as nothing takes time."""
        while self._under_way is not None or self._queue:
            if self._under_way is None:
                self._begin(self._queue.popleft(), t)
                continue
            intent, pending = self._under_way
            problem = pending.poll(t)
            if problem is None:
                return
            self._under_way = None
            self._settle(intent, problem, t)

    def _begin(self, intent: Intent, t: float) -> None:
        try:
            pending = self._crew.begin(intent, t)
        except self.errors as error:
            self._settle(intent, str(error), t)
            return
        if pending is None:
            self._settle(intent, "", t)
        else:
            self._under_way = (intent, pending)

    def _settle(self, intent: Intent, problem: str, t: float) -> None:
        if not problem:
            self.take(self._day.on_done(intent, t))
        elif intent.soft:
            self._crew.tell(problem, warning=True)
        else:
            self._queue.clear()
            self.take(self._day.on_failed(intent, problem, t))

    def _at_once(self, intent: Intent) -> None:
        if isinstance(intent, Tell):
            self._crew.tell(intent.text, warning=intent.warning)
        elif isinstance(intent, CancelSkill):
            self._crew.cancel_skill()
        elif isinstance(intent, Still):
            self._crew.still()
        elif isinstance(intent, Forget):
            self._queue.clear()
            self._under_way = None
