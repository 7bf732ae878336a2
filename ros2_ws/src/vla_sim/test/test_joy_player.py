# SPDX-License-Identifier: Apache-2.0

"""The played person: sticks against the shipped mapping, and complete episodes at a stand-in of the operator's day.

The stand-in knows the mapping file, not the player: it turns published axes into a velocity of the tool, buttons into
phases, and runs skills in the physics.
"""

from pathlib import Path
from types import SimpleNamespace as Ns

import numpy as np
import pytest
import yaml
from vla_core.kinematics import jacobian, rotation_from_rpy
from vla_msgs.msg import EpisodeEvent
from vla_sim import joy_pilot, kinematics, skills
from vla_sim.cell import Cell
from vla_sim.errors import SceneError, SimError
from vla_sim.joy_episode import Diary, JoyEpisode
from vla_sim.joy_hands import Hands
from vla_sim.rehearsal import Rehearsal

MAPPING = Path(__file__).parents[2] / "vla_teleop" / "config" / "devices" / "sol_r2.yaml"
SOL_R2 = yaml.safe_load(MAPPING.read_text())
AXES = ("vx", "vy", "vz", "wx", "wy", "wz")
TICK_S = 0.02


def mapped(term, axes):
    """Value of a term such as -left.1 for published axes by stick."""
    sign, (stick, axis) = (-1.0 if term[0] == "-" else 1.0), term.lstrip("+-").split(".")
    return sign * SOL_R2["inputs"][stick]["sign"] * axes[stick][int(axis)]


def deflections(axes):
    return np.array([mapped(SOL_R2["twist"][name], axes) for name in AXES]), mapped(SOL_R2["gripper"], axes)


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_one_stick_axis_moves_one_direction_of_the_shipped_mapping(axis, sign):
    wanted = np.zeros(6)
    wanted[axis] = 0.7 * sign
    left, right = joy_pilot.sticks(wanted)
    seen, gripper = deflections({"left": left, "right": right})
    np.testing.assert_allclose(seen, wanted, atol=1e-12)
    assert gripper == 0.0
    assert np.count_nonzero([*left, *right]) == 2  # the axis and the slider


def test_gripper_slider_and_buttons_are_those_of_the_shipped_mapping():
    left, right = joy_pilot.sticks(np.zeros(6), 0.5)
    axes = {"left": left, "right": right}
    assert deflections(axes)[1] == 0.5
    assert mapped(SOL_R2["gain"]["slider"], axes) == SOL_R2["gain"]["full"]
    shipped = {entry["event"]: entry["press"] for entry in SOL_R2["buttons"]}
    for event, (stick, index) in joy_pilot.BUTTON.items():
        names = [shipped[event]] if isinstance(shipped[event], str) else shipped[event]
        assert f"{('left', 'right')[stick]}.button{index}" in names
        buttons = joy_pilot.pressed(event)
        assert (sum(buttons[0]) + sum(buttons[1]), buttons[stick][index]) == (1, 1)
    assert not any(map(any, joy_pilot.pressed(None)))
    speeds = [SOL_R2["speed"]["linear"]] * 3 + SOL_R2["speed"]["angular"]
    np.testing.assert_allclose(joy_pilot.FULL_SPEED, speeds)


def test_error_counts_in_the_axes_of_the_arms_base():
    T = skills.tool_pose(Cell({}, 0, "extract_cpu").seat)
    goal = T.copy()
    goal[:3, 3] += (0.1, 0.02, 0.03)
    goal[:3, :3] = rotation_from_rpy((0.0, 0.2, 0.0)) @ T[:3, :3]
    np.testing.assert_allclose(joy_pilot.pose_error(T, goal), (-0.1, -0.02, 0.03, 0.0, -0.2, 0.0), atol=1e-12)


def test_hand_lets_go_only_where_it_is_near_enough():
    hand = joy_pilot.Hand(3)
    error = np.array([0.001, 0.002, -0.1, 0.0, 0.011, -0.013])
    deflection = hand.deflection(error)
    assert (deflection[[0, 3, 4]] == 0.0).all()
    assert (np.abs(deflection[[1, 2, 5]]) > 0.05).all()  # beyond the dead zone
    assert (np.sign(deflection[[1, 2, 5]]) == (1, -1, -1)).all()


class FakeDay(Hands):
    """Hands whose sticks drive a cell directly; skills begin 1.5 s after their button, when nobody interrupts."""

    def __init__(self, task="extract_cpu"):
        self.cell = Cell({}, 0, task)
        self.rehearsal = Rehearsal(self.cell)
        self.now_ns, self.plugged, self.phases = 0, True, []
        self.number = EpisodeEvent.IDLE
        self._timeout_s, self._seen = 20.0, Ns()
        self._sticks, self._button, self._held = joy_pilot.sticks(np.zeros(6)), None, None
        self._skill_ns = None
        self.resumes, self.failures, self.silent_ns, self.moved_unplugged = 0, 0, 0, 0.0
        self.grip = 0.0
        self.q = self.cell.arm_state()[0]

    task = property(lambda self: self.cell.task_state())
    item = property(lambda self: self.cell.task_state().object_pose)
    tool = property(lambda self: self.rehearsal.tcp())
    still = returned = property(lambda self: not self._drives)
    phase = property(lambda self: self.number)
    event = property(lambda self: Ns(label="fake"))
    teleop_line = property(lambda self: "fake")
    _drives = property(lambda self: self.number in (EpisodeEvent.ARMED, EpisodeEvent.TELEOP, EpisodeEvent.CORRECTION))
    drives = property(lambda self: self._drives and self.plugged)

    def reset(self, seed, task):
        self.cell.reset(seed, task)
        self.q = self.cell.arm_state()[0]
        self.enter(EpisodeEvent.IDLE)

    def displace(self, offset):
        self.cell.displace(offset)

    def enter(self, phase):
        self.number = phase
        self.phases.append((1e-9 * self.now_ns, phase, ""))

    def tick(self):
        pressed = self._button if self.plugged and self._button != self._held else None
        self._held = self._button
        if pressed is not None:
            self.press(pressed)
        if self._skill_ns is not None and self.now_ns >= self._skill_ns:
            self.run_skill()
        axes = {"left": self._sticks[0], "right": self._sticks[1]}
        twist, gripper = deflections(axes) if self.plugged else (np.zeros(6), 0.0)
        if self._drives:
            self.drive(np.where(np.abs(twist) < SOL_R2["deadzone"], 0.0, twist), gripper)
        self.cell.step(10)
        self.now_ns += round(TICK_S * 1e9)
        return self.now_ns

    def drive(self, twist, gripper):
        if (twist.any() or gripper) and self.number == EpisodeEvent.ARMED:
            self.enter(EpisodeEvent.CORRECTION if self.failures else EpisodeEvent.TELEOP)
        velocity = twist * ([SOL_R2["speed"]["linear"]] * 3 + SOL_R2["speed"]["angular"])
        R = np.diag([-1.0, -1.0, 1.0])
        linear, angular = R @ velocity[:3], R @ velocity[3:]
        arm = self.tool[:3, 3] - kinematics.forward(self.q)[:3, 3]
        J = jacobian(kinematics.ARM, self.q)
        self.q = self.q + TICK_S * np.linalg.solve(J, np.concatenate([linear - np.cross(angular, arm), angular]))
        self.cell.set_arm_target(self.q)
        if gripper:
            self.grip = min(max(self.grip + gripper * TICK_S * SOL_R2["speed"]["gripper"] / 255.0, 0.0), 1.0)
            self.cell.set_gripper_target(self.grip * skills.knuckle(230))

    def press(self, button):
        if button == "record" and self.number == EpisodeEvent.IDLE:
            self.failures = 0
            self.enter(EpisodeEvent.ARMED)
        elif button == "home":
            self.enter(EpisodeEvent.IDLE)
        elif button == "interrupt" and self._skill_ns is not None:
            self._skill_ns = None
            self.enter(EpisodeEvent.CORRECTION)
        elif button.startswith("skill/") and self.number in (EpisodeEvent.TELEOP, EpisodeEvent.CORRECTION):
            resume = self.number == EpisodeEvent.CORRECTION
            self.resumes += resume
            self.enter(EpisodeEvent.SKILL_RESUME if resume else EpisodeEvent.SKILL)
            self._skill_ns, self._name = self.now_ns + 2_600_000_000 * (not resume), button.removeprefix("skill/")

    def run_skill(self):
        self._skill_ns = None
        skill = skills.build(self._name)
        outcome = self.rehearsal.run(skill, self.tool, resume=self.number == EpisodeEvent.SKILL_RESUME)
        self.q, self.grip = self.cell.arm_state()[0], skills.THRESHOLD[self._name] / 230
        self.failures += not outcome.held
        self.enter(EpisodeEvent.IDLE if outcome.held else EpisodeEvent.ARMED)


def play(scenario, task="extract_cpu", seed=2):
    day, diary = FakeDay(task), Diary(task=task, scenario=scenario, seed=seed)
    JoyEpisode(day, diary, np.random.default_rng(seed), unplug_s=1.0).play()
    return day, diary, [phase for _, phase, _ in diary.phases]


def deeds(diary):
    return [deed["what"] for deed in diary.deeds if not deed["what"].startswith("sticks")]


E = EpisodeEvent


def test_success_is_approach_skill_and_nothing_else():
    _, diary, phases = play("success")
    assert diary.success
    assert phases == [E.ARMED, E.TELEOP, E.SKILL, E.IDLE]
    assert deeds(diary) == ["press record", "press skill/cpu"]
    motion = [deed["what"] for deed in diary.deeds if deed["what"].startswith("sticks")]
    assert motion[0] == "sticks begin"
    assert motion[-1] == "sticks end"
    assert motion == ["sticks begin", "sticks end"] * (len(motion) // 2)


@pytest.mark.parametrize("task", ["extract_cpu", "extract_ram"])
def test_failed_grasp_is_corrected_by_hand_and_resumed(task):
    day, diary, phases = play("failed_grasp", task)
    button = f"press skill/{task.removeprefix('extract_')}"
    assert (day.failures, day.resumes) == (1, 1)
    assert phases == [E.ARMED, E.TELEOP, E.SKILL, E.ARMED, E.CORRECTION, E.SKILL_RESUME, E.IDLE]
    assert deeds(diary) == ["press record", "displaced", button, button]
    assert diary.success


def test_interrupted_skill_is_resumed():
    _, diary, phases = play("interrupt")
    assert phases == [E.ARMED, E.TELEOP, E.SKILL, E.CORRECTION, E.SKILL_RESUME, E.IDLE]
    assert deeds(diary) == ["press record", "press skill/cpu", "press interrupt", "press skill/cpu"]
    assert diary.success


def test_abort_ends_by_home_without_a_skill():
    _, diary, phases = play("abort")
    assert phases == [E.ARMED, E.TELEOP, E.IDLE]
    assert deeds(diary) == ["press record", "press home"]
    assert not diary.success


def test_unplugged_device_is_silent_for_the_time_and_the_episode_goes_on():
    _, diary, phases = play("unplug")
    assert phases == [E.ARMED, E.TELEOP, E.SKILL, E.IDLE]
    assert deeds(diary) == ["press record", "unplugged", "plugged", "press skill/cpu"]
    off, on = (next(deed for deed in diary.deeds if deed["what"] == what) for what in ("unplugged", "plugged"))
    assert on["t"] - off["t"] == pytest.approx(1.0, abs=0.05)
    assert np.linalg.norm(np.subtract(off["tool"], on["tool"])) < 0.005
    assert diary.success


def test_person_says_what_did_not_happen(monkeypatch):
    day, diary = FakeDay(), Diary(task="extract_cpu", scenario="success", seed=0)
    monkeypatch.setattr(day, "press", lambda button: None)
    with pytest.raises(SimError, match=r"waited 15 s for an open episode: in vain\. Phase 0, teleoperation: fake"):
        JoyEpisode(day, diary, np.random.default_rng(0), unplug_s=1.0).play()


def test_displaced_parts_are_out_of_the_fingers_reach():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert 0.040 <= abs(skills.displacement("extract_ram", rng).xyz[1]) <= 0.045
        assert 0.068 <= abs(skills.displacement("extract_cpu", rng).xyz[1]) <= 0.080
    with pytest.raises(SceneError, match="only the part of extract_cpu and extract_ram can be displaced"):
        skills.displacement("lift", rng)


def test_person_grasps_again_and_gives_up_after_three_times(monkeypatch):
    monkeypatch.setattr(FakeDay, "task", property(lambda self: Ns(grasped=False, success=False)))
    day, diary = FakeDay(), Diary(task="extract_cpu", scenario="failed_grasp", seed=2)
    with pytest.raises(SimError, match="closed the gripper around nothing, 3 times"):
        JoyEpisode(day, diary, np.random.default_rng(2), unplug_s=1.0).play()
    assert deeds(diary)[-2:] == ["grasp missed", "grasp missed"]
    day.enter(E.CORRECTION)
    JoyEpisode(day, diary, np.random.default_rng(2), unplug_s=1.0).end_by_home()
    assert day.phase == E.IDLE
