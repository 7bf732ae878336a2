# SPDX-License-Identifier: Apache-2.0

"""Reads the mapping of a device from YAML; every error names file, line, dotted key and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_core.errors import listing, nearest_name
from vla_core.yamltree import Section, Tree, entries, items, parse, text

from vla_teleop.devices.buttons import ButtonSpec
from vla_teleop.devices.calibration import CalibrationSpec
from vla_teleop.devices.device import BASE, EVENTS, FRAMES, SKILL_PREFIX, DeviceError
from vla_teleop.devices.mapping import TWIST_AXES, Cycle, MotionSpec, Slider, Term, parse_term

COMMON_KEYS = ("kind", "name", "frame", "timeout_s")
MOTION_KEYS = ("twist", "gripper", "speed", "deadzone", "moving", "gain", "deadman", "buttons")
_SPEED_KEYS = ("linear", "angular", "gripper", "gripper_travel")
_SLIDER_KEYS = ("slider", "full", "lowest", "smallest", "largest")
_CYCLE_KEYS = ("cycle", "values")
_SKILL = re.compile(r"^[A-Za-z0-9_]+$")
_DEADZONE, _MOVING = 0.05, 0.001

_DRIVER_KEYS = ("package", "executable", "namespace", "parameters")

Check = Callable[[Term], str]
"""Says what is wrong with a source for this device; empty when it exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every mapping has: name, axes of the twist, and the age above which the input is stale [s]."""

    name: str
    frame: str
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """How values become commands and events.

    Attributes:
        motion: Axes, buttons or keys to twist and gripper.
        gain: Where the speed gain comes from; None for a gain of 1.
        deadman: The button that must be held, or None.
        buttons: Events, most important first.
    """

    motion: MotionSpec
    gain: Slider | Cycle | None
    deadman: Term | None
    buttons: tuple[ButtonSpec, ...]

    def terms(self) -> tuple[Term, ...]:
        """Every source that is used."""
        used = list(self.motion.terms())
        if self.gain is not None:
            name = self.gain.source
            used.append(Term(1.0, name))
        if self.deadman is not None:
            used.append(self.deadman)
        return (*used, *(Term(1.0, name) for spec in self.buttons for name in spec.press))


def read_tree(path: Path) -> Tree:
    """Return the YAML tree of a mapping.

    Raises:
        DeviceError: the file cannot be read or is empty.
        ProfileError: it is not valid YAML.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"device mapping '{path}' cannot be read: {error}") from None
    if not content.strip():
        raise DeviceError(f"device mapping '{path}' is empty; it starts with 'kind: <kind of device>'")
    return parse(content, str(path))


def read_common(section: Section, timeout_s: float) -> Common:
    """Return name (default: of the file), frame and time-out (default `timeout_s`)."""
    source = Path(section.tree.place.source)
    return Common(
        name=section.text("name", source.stem),
        frame=section.choice("frame", FRAMES, BASE),
        timeout_s=section.number("timeout_s", timeout_s, above=0.0),
    )


def read_driver(tree: Tree) -> str:
    """Return the command that starts the driver of an input, for messages.

    The section says how a launch file starts it: ``package``, ``executable``, ``namespace`` (below that of the launch, may be
    left out) and ``parameters``.
    """
    section = Section(tree, _DRIVER_KEYS)
    namespace = section.text("namespace") if "namespace" in section else ""
    parts = [f"ros2 run {section.text('package')} {section.text('executable')} --ros-args"]
    parts += [f"-r __ns:=/{namespace}"] if namespace else []
    given = entries(section.child("parameters")) if "parameters" in section else {}
    parts += [f"-p {name}:={value.raw}" for name, value in given.items()]
    return " ".join(parts)


def read_controls(section: Section, check: Check) -> Controls:
    """Return motion, gain, deadman and buttons.

    Args:
        section: The whole mapping.
        check: Says whether the device has a source.

    Raises:
        ProfileError: a key, a source or a number that cannot be used.
    """
    return Controls(
        motion=_motion(section, check),
        gain=_gain(section.child("gain"), check) if "gain" in section else None,
        deadman=_held(section.child("deadman"), check) if "deadman" in section else None,
        buttons=tuple(_button(tree, check) for tree in items(section.child("buttons"))) if "buttons" in section else (),
    )


def read_calibration(tree: Tree) -> CalibrationSpec:
    """Return how sticks are calibrated; keys that are left out have their defaults."""
    default = CalibrationSpec()
    section = Section(tree, ("wait_s", "samples", "period_s", "still", "limit", "gap_s"))
    samples = section.number("samples", default.samples, above=0.0)
    if samples != int(samples):
        raise section.error("samples", f"expected a whole number, got {samples:g}")
    wait_s = section.number("wait_s", default.wait_s)
    if wait_s < 0.0:
        raise section.error("wait_s", f"must not be negative, got {wait_s:g}")
    return CalibrationSpec(
        wait_s=wait_s,
        samples=int(samples),
        period_s=section.number("period_s", default.period_s, above=0.0),
        still=section.number("still", default.still, above=0.0),
        limit=section.number("limit", default.limit, above=0.0),
        gap_s=section.number("gap_s", default.gap_s, above=0.0),
    )


def _motion(section: Section, check: Check) -> MotionSpec:
    twist = Section(section.child("twist"), TWIST_AXES)
    speed = Section(section.child("speed"), _SPEED_KEYS)
    travel = speed.number("gripper_travel", 255.0, above=0.0)
    angular = speed.numbers("angular", 3)
    if min(angular) <= 0.0:
        raise speed.error("angular", f"must be larger than 0, got {min(angular):g}")
    deadzone = section.number("deadzone", _DEADZONE)
    if not 0.0 <= deadzone < 1.0:
        raise section.error("deadzone", f"must lie in 0 to 1 (1 itself not), got {deadzone:g}")
    return MotionSpec(
        twist=tuple(_terms(twist.child(axis), check) if axis in twist else () for axis in TWIST_AXES),
        gripper=_terms(section.child("gripper"), check) if "gripper" in section else (),
        linear=speed.number("linear", above=0.0),
        angular=angular,
        gripper_rate=speed.number("gripper", 0.0 if "gripper" not in section else None) / travel,
        deadzone=deadzone,
        moving=section.number("moving", _MOVING, above=0.0),
    )


def _gain(tree: Tree, check: Check) -> Slider | Cycle:
    section = Section(tree, _SLIDER_KEYS + _CYCLE_KEYS)
    if ("slider" in section) == ("cycle" in section):
        raise tree.place.error("give either 'slider' (an axis) or 'cycle' (a button that steps through 'values')")
    allowed = _SLIDER_KEYS if "slider" in section else _CYCLE_KEYS
    section = Section(tree, allowed)
    if "cycle" in section:
        values = section.numbers("values")
        if not values or not all(0.0 < value <= 1.0 for value in values):
            raise section.error("values", f"every gain must be above 0 and at most 1, got {list(values)}")
        return Cycle(source=_held(section.child("cycle"), check).source, values=values)
    term = _term(section.child("slider"), check)
    if term.axis is None:
        raise section.error("slider", f"'{term.source}' is no axis; write for example 'left.2'")
    slider = Slider(
        source=term.source,
        full=section.number("full"),
        lowest=section.number("lowest"),
        smallest=section.number("smallest", above=0.0),
        largest=section.number("largest", above=0.0),
    )
    if slider.full == slider.lowest:
        raise section.error("lowest", f"equals 'full' ({slider.full:g}), so the slider has no travel")
    if not slider.smallest <= slider.largest <= 1.0:
        raise section.error(
            "largest", f"must lie between 'smallest' ({slider.smallest:g}) and 1, got {slider.largest:g}"
        )
    return slider


def _button(tree: Tree, check: Check) -> ButtonSpec:
    section = Section(tree, ("event", "press", "group"))
    event = section.text("event")
    skill = event.removeprefix(SKILL_PREFIX) if event.startswith(SKILL_PREFIX) else None
    if event not in EVENTS and (skill is None or not _SKILL.match(skill)):
        raise section.error(
            "event", f"unknown event '{event}'; allowed: {listing(EVENTS)}, skill/<name>{nearest_name(event, EVENTS)}"
        )
    press = section.child("press")
    trees: Sequence[Tree] = items(press) if isinstance(press.value, list) else [press]
    if not trees:
        raise press.place.error("the list is empty; name at least one button")
    group = section.text("group") if "group" in section else ""
    return ButtonSpec(event=event, press=tuple(_held(one, check).source for one in trees), group=group)


def _terms(tree: Tree, check: Check) -> tuple[Term, ...]:
    trees = items(tree) if isinstance(tree.value, list) else [tree]
    return tuple(_term(one, check) for one in trees)


def _held(tree: Tree, check: Check) -> Term:
    term = _term(tree, check)
    if term.axis is not None:
        raise tree.place.error(f"'{term.source}' is an axis; a button is written 'left.button25', a key 'key.space'")
    if math.copysign(1.0, term.sign) < 0.0:
        raise tree.place.error(f"'-{term.source}': a button or a key has no sign")
    return term


def _term(tree: Tree, check: Check) -> Term:
    written = text(tree)
    term = parse_term(written)
    if term is None:
        raise tree.place.error(
            f"'{written}' is no source; write [+|-]<input>.<axis>, <input>.button<number> or key.<name>, like -left.1"
        )
    wrong = check(term)
    if wrong:
        raise tree.place.error(wrong)
    return term
