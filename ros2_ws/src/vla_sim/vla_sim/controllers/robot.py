# SPDX-License-Identifier: Apache-2.0

"""The robot's program, safety and speed state, as the control box would report it."""

from dataclasses import dataclass, field

ROBOT_MODE_RUNNING = 7
SAFETY_NORMAL = 1
SAFETY_PROTECTIVE_STOP = 3
MIN_SLIDER = 0.01


@dataclass(slots=True)
class RobotState:
    """Not thread-safe: the caller holds one lock around all calls.

    Attributes:
        program_running: motion is only possible while the external-control program runs.
        safety_mode: SAFETY_NORMAL or SAFETY_PROTECTIVE_STOP.
        slider: speed slider, 0.01 to 1.
        changes: counts changes of program and safety, for publishers that publish on change.
    """

    program_running: bool = True
    safety_mode: int = SAFETY_NORMAL
    slider: float = 1.0
    changes: int = field(default=0)

    @property
    def speed_scaling(self) -> float:
        """Share of the programmed speed; 0 while the program does not run."""
        return self.slider if self.program_running else 0.0

    def set_slider(self, fraction: float) -> tuple[bool, str]:
        """Set the speed slider; refused outside 0.01 to 1."""
        if not MIN_SLIDER <= fraction <= 1.0:
            return False, f"speed slider {fraction} is outside [{MIN_SLIDER}, 1]"
        self.slider = fraction
        return True, ""

    def stop_program(self) -> None:
        """Stop or pause the program; idempotent."""
        if self.program_running:
            self.program_running = False
            self.changes += 1

    def start_program(self) -> tuple[bool, str]:
        """Start the program; refused during a protective stop."""
        if self.safety_mode != SAFETY_NORMAL:
            return False, "the robot is in a protective stop; call unlock_protective_stop first"
        if not self.program_running:
            self.program_running = True
            self.changes += 1
        return True, "Starting program"

    def protective_stop(self) -> None:
        """Stop at once, as after a collision or an impossible command."""
        self.program_running = False
        self.safety_mode = SAFETY_PROTECTIVE_STOP
        self.changes += 1

    def unlock(self) -> tuple[bool, str]:
        """Leave the protective stop; the program stays stopped."""
        if self.safety_mode != SAFETY_PROTECTIVE_STOP:
            return False, "the robot is not in a protective stop"
        self.safety_mode = SAFETY_NORMAL
        self.changes += 1
        return True, "Protective stop releasing"

    def reset(self) -> None:
        """Back to running at full speed."""
        self.program_running, self.safety_mode, self.slider = True, SAFETY_NORMAL, 1.0
        self.changes += 1
