# SPDX-License-Identifier: Apache-2.0

"""A person takes the arm over from a running policy, drives it, and hands it back. Knows no ROS.

The policy lets go first and says so, then teleoperation borrows the arm; the other way round when it is handed back. Where
one of the two refuses, the policy stays stopped and the arm stands still: nobody but the person makes it move again.
"""

from __future__ import annotations

from vla_teleop.operator.intents import Intent, Takeover, Teleop, TeleopView, Tell
from vla_teleop.operator.moves import Moves, Plan, State, refuse, warn

POLICY_HELD = (State.TAKING, State.HELD, State.RETURNING)
_OVER = "the policy's run is over"


class TakeoverMoves(Moves):
    """What happens between a person and a policy."""

    @property
    def shown(self) -> bool:
        """Whether the operator needs the status line."""
        return self.open or self.state in POLICY_HELD

    @property
    def advice(self) -> str:
        """What to do next."""
        if self.state == State.HELD and (self._teleop.stale or not self._teleop.active):
            return "the policy is stopped, and you cannot drive; press interrupt to drive, or enable to hand back"
        if self.state != State.IDLE:
            return str(self.state.value)
        if self._policy_runs:
            return "a policy drives; " + (
                "press interrupt to take over" if self.options.takeover else "wait for its end"
            )
        return (
            self.state.value
            if self.options.recorder
            else "no policy runs; start one, then press interrupt to take over"
        )

    def on_policy(self, running: bool) -> Plan:
        """A policy has begun or ended its run."""
        before, self._policy_runs = self._policy_runs, running
        if running and not before and self.state == State.IDLE and self._teleop.active:
            text = "a policy begins while you have the arm, so the robot refuses its motion; press interrupt to stop it"
            return (warn(f"{text}, and again to hand the arm over"),)
        if running or not before or self.state not in POLICY_HELD:
            return ()
        returning = self.state == State.RETURNING
        self.state = State.IDLE
        if returning:
            return (Tell(text=f"{_OVER}; the arm is given back"),)
        return (Tell(text=f"{_OVER}; you have the arm. Press interrupt to give it back"),)

    def _interrupt_policy(self) -> Plan:
        """The button interrupt, where a policy runs or the arm was left with the person after its run."""
        if self.state == State.TAKING:
            return refuse("interrupt", self.state.value)
        if self.state == State.HELD and self._teleop.active:
            return self._hand_back()
        if self.state == State.IDLE and not self._policy_runs:
            return (Teleop(enable=False), Tell(text="the arm is given back"))
        return self._take_over()

    def _take_over(self) -> Plan:
        """Stop the policy in any case; a person whose device is silent gets no arm that he could not drive."""
        if self._teleop.stale:
            self.state = State.HELD
            return (Takeover(enable=True), self._refused(f"the device is silent ({self._teleop.line})"))
        self.state = State.TAKING
        return (
            Tell(text="takeover: the policy lets go, the arm comes to rest"),
            Takeover(enable=True),
            Teleop(enable=True),
        )

    def _hand_back(self) -> Plan:
        self.state = State.RETURNING
        return (Teleop(enable=False), Takeover(enable=False))

    def _takeover_done(self, intent: Intent) -> Plan:
        """A step of the way was done."""
        if isinstance(intent, Teleop) and intent.enable and self.state == State.TAKING:
            self.state = State.HELD
            return (Tell(text=self.state.value),)
        if isinstance(intent, Takeover) and not intent.enable and self.state == State.RETURNING:
            self.state = State.IDLE
            return (Tell(text="handed back: the policy goes on from where the arm is"),)
        return ()

    def _takeover_failed(self, intent: Intent, text: str) -> Plan:
        """A step of the way was refused: only a policy that was not stopped at all goes on."""
        if self.state == State.RETURNING:
            self.state = State.HELD
            return (warn(f"not handed back: {text}. The policy stays stopped; press enable to try again"),)
        if isinstance(intent, Takeover):
            self.state = State.IDLE
            return (warn(f"not taken over: {text}"),)
        self.state = State.HELD
        return (self._refused(text),)

    def _refused(self, why: str) -> Tell:
        stopped = "the policy is stopped and the arm stands still, but you cannot drive it"
        return warn(f"{stopped}: {why}. Mend that, then press interrupt to drive, or enable to hand back")

    def _held_fault(self, view: TeleopView) -> Plan:
        """Teleoperation is gone while the policy is held; a step that is under way tells it by itself."""
        if self.state != State.HELD:
            return ()
        return (self._refused(f"teleoperation has stopped: {view.line}"),)
