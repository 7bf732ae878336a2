# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_bringup hardware_day``: walks a person through what only real hardware can prove, and writes it down."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import yaml
from ament_index_python.packages import get_package_share_directory
from vla_core.errors import VlaError
from vla_core.profile import Profile, load_profile

from vla_bringup.doctor.findings import EXIT_RED, EXIT_USAGE, DoctorError, Group, exit_code, show, summary
from vla_bringup.doctor.main import parser as doctor_parser
from vla_bringup.doctor.main import run_checks
from vla_bringup.doctor.profiles import find_profile

DESCRIPTION = """Walk through what only real hardware can prove: says what to do and what to expect, asks for the answer, runs the doctor
where it belongs, and writes everything to FILE.json and FILE.md after each answer. Moves nothing itself: you do.

  ros2 run vla_bringup hardware_day --robot ur5e_2f85_realsense --robot-ip 192.168.56.101
  ros2 run vla_bringup hardware_day --profile my_robot.yaml --output monday
  ros2 run vla_bringup hardware_day --robot so101 --list

A second call with the same --output goes on where the first one ended. Exit status: 0 if every step was done and is good,
1 if one failed, was skipped or is still open, 2 if the arguments cannot be used."""
PASSED, FAILED, SKIPPED, OPEN = "passed", "failed", "skipped", "open"
KINDS = ("check", "number", "doctor")
SCHEMA = 1
_WORDS = {"y": PASSED, "yes": PASSED, "n": FAILED, "no": FAILED, "s": SKIPPED, "skip": SKIPPED}
_QUIT = ("q", "quit")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to prove.

    Attributes:
        id: Its name in the record.
        kind: ``check``, ``number`` or ``doctor``.
        title: In a few words.
        do: What the person does.
        expect: What is good.
        needs: What the robot must have for it; empty: every robot.
        unit: Of a number.
        most: Largest good number; None: it is only written down.
    """

    id: str
    kind: str
    title: str
    expect: str
    do: str = ""
    needs: str = ""
    unit: str = ""
    most: float | None = None


@dataclass(kw_only=True)
class Answer:
    """What came of a step: passed, failed, skipped or open; number, note, and the doctor's summary where it was asked."""

    step: str
    outcome: str = OPEN
    value: float | None = None
    note: str = ""
    time: str = ""


def load_steps(profile: Profile, path: Path | None = None) -> list[Step]:
    """Return the steps for a robot.

    Args:
        profile: Of the robot.
        path: File of the steps; None: the shipped one.
    """
    path = path or Path(get_package_share_directory("vla_bringup")) / "config" / "hardware_day.yaml"
    steps = [Step(**entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]
    has = features(profile)
    return [step for step in steps if not step.needs or has[step.needs]]


def features(profile: Profile) -> dict[str, bool]:
    """Return what a robot has of all that a step may need."""
    return {
        "cameras": bool(profile.cameras),
        "gripper": any(spec.is_gripper for spec in profile.action),
        "teleop": profile.teleop is not None,
        "monitors": bool(profile.monitors),
        "drivers": bool(profile.drivers),
        "kinematics": profile.kinematics is not None,
        "ur": any(driver.package == "ur_robot_driver" for driver in profile.drivers),
        "two_arms": sum(not spec.is_gripper for spec in profile.action) > 1,
    }


class Day:
    """The record of one day: answers in, two files out."""

    def __init__(self, profile: Profile, steps: Sequence[Step], output: Path) -> None:
        """Begin, or go on with what the files say.

        Raises:
            DoctorError: the file is of another robot, or cannot be read.
        """
        self._profile, self._steps, self._output = profile, steps, output
        self.answers = {step.id: Answer(step=step.id) for step in steps}
        file = self._file(".json")
        if file.is_file():
            self._resume(file)

    def _file(self, suffix: str) -> Path:
        return self._output.with_name(self._output.name + suffix)

    def _resume(self, file: Path) -> None:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            robot, answers = content["robot"], content["answers"]
            known = [Answer(**answer) for answer in answers]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DoctorError(f"{file}: cannot be read ({error}); give another --output, or move it away") from error
        if robot != self._profile.robot:
            raise DoctorError(f"{file}: is the record of {robot}, not of {self._profile.robot}; give another --output")
        self.answers.update({answer.step: answer for answer in known if answer.step in self.answers})

    def open_steps(self) -> list[Step]:
        """Return the steps that were not answered yet."""
        return [step for step in self._steps if self.answers[step.id].outcome == OPEN]

    @property
    def good(self) -> bool:
        """Whether every step was passed."""
        return all(answer.outcome == PASSED for answer in self.answers.values())

    def write(self) -> None:
        """Write both files.

        Raises:
            DoctorError: they cannot be written.
        """
        content = {
            "schema": SCHEMA,
            "robot": self._profile.robot,
            "profile_sha256": self._profile.sha256,
            "answers": [asdict(answer) for answer in self.answers.values()],
        }
        texts = {".json": json.dumps(content, indent=2, ensure_ascii=False) + "\n", ".md": self.markdown()}
        for suffix, text in texts.items():
            file = self._file(suffix)
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            except OSError as error:
                raise DoctorError(f"{file}: cannot be written: {error.strerror}; give another --output") from error

    def markdown(self) -> str:
        """Return the record as a page."""
        counts = {
            word: sum(a.outcome == word for a in self.answers.values()) for word in (PASSED, FAILED, SKIPPED, OPEN)
        }
        lines = [
            f"# Hardware day: {self._profile.robot}",
            "",
            ", ".join(f"{count} {word}" for word, count in counts.items()),
            "",
            "| step | outcome | value | note |",
            "|---|---|---|---|",
        ]
        for step in self._steps:
            answer = self.answers[step.id]
            value = "" if answer.value is None else f"{answer.value:g} {step.unit}"
            note = answer.note.replace("|", "/").replace("\n", " ")
            lines.append(f"| {step.title} | {answer.outcome} | {value} | {note} |")
        return "\n".join([*lines, ""])


def ask(step: Step, words: dict[str, str], source: TextIO, out: TextIO) -> Answer | None:
    """Show a step and return the person's answer; None: the day ends here.

    Args:
        step: Of kind check or number.
        words: What stands for ``{ip}`` and the like.
        source: Where answers come from, one line each.
        out: Where questions go.
    """
    print(f"  do:     {step.do.format(**words)}\n  expect: {step.expect}", file=out)
    number = step.kind == "number"
    wanted = f"a number [{step.unit}], s(kip) or q(uit)" if number else "y(es), n(o), s(kip) or q(uit)"
    while True:
        print(f"  {wanted}; a note may follow: ", end="", file=out, flush=True)
        line = source.readline()
        word, _, note = line.strip().partition(" ")
        if not line or word.lower() in _QUIT:
            return None
        found = _number(step, word) if number and word.lower() not in ("s", "skip") else _word(step, word)
        if found is not None:
            found.note = note.strip()
            return found
        print(f"  '{word}' is no answer here", file=out)


def _word(step: Step, word: str) -> Answer | None:
    outcome = _WORDS.get(word.lower())
    return None if outcome is None else Answer(step=step.id, outcome=outcome)


def _number(step: Step, word: str) -> Answer | None:
    try:
        value = float(word.replace(",", "."))
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    good = step.most is None or abs(value) <= step.most
    return Answer(step=step.id, outcome=PASSED if good else FAILED, value=value)


def walk(day: Day, words: dict[str, str], examine: Callable[[], Sequence[Group]], source: TextIO, out: TextIO) -> None:
    """Ask all open steps; writes the files after each.

    Args:
        day: The record.
        words: See `ask`.
        examine: Runs the doctor.
        source: Where answers come from.
        out: Where questions go.
    """
    steps = day.open_steps()
    for i, step in enumerate(steps):
        print(f"\n[{i + 1}/{len(steps)}] {step.title}", file=out)
        answer = _examined(step, examine, out) if step.kind == "doctor" else ask(step, words, source, out)
        if answer is None:
            break
        answer.time = datetime.now(UTC).isoformat(timespec="seconds")
        day.answers[step.id] = answer
        day.write()
        if answer.outcome == FAILED:
            print(
                "  FAILED: repair it before you go on, then answer it anew (delete its line in the JSON file)", file=out
            )


def _examined(step: Step, examine: Callable[[], Sequence[Group]], out: TextIO) -> Answer:
    groups = examine()
    show(groups, out)
    outcome = FAILED if exit_code(groups) == EXIT_RED else PASSED
    return Answer(step=step.id, outcome=outcome, note=summary(groups))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="hardware_day", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("--robot", help="shipped robot profile by name")
    which.add_argument("--profile", help="path of a robot profile (YAML) of your own")
    made.add_argument(
        "--robot-ip", default="", help="address of the robot's controller, for the commands that are shown"
    )
    made.add_argument(
        "--output", default="hardware_day", help="files to write, without their endings (default: hardware_day)"
    )
    made.add_argument("--namespace", default="", help="namespace of the nodes that the doctor looks at (default: none)")
    made.add_argument("--list", action="store_true", help="show the steps for this robot and end")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0 if every step was passed, 1 if not, 2 if the arguments cannot be used."""
    options = parser().parse_args(args)
    try:
        return _run(options, sys.stdin, sys.stdout)
    except VlaError as error:
        print(f"hardware_day: {error}", file=sys.stderr)  # noqa: T201  (a command line tool)
        return EXIT_USAGE


def _run(options: argparse.Namespace, source: TextIO, out: TextIO) -> int:
    given = options.profile or options.robot
    profile = load_profile(find_profile(given))
    steps = load_steps(profile)
    words = _words(options, given)
    if options.list:
        for step in steps:
            print(f"{step.id}: {step.title}\n    {step.do.format(**words)}\n    -> {step.expect}", file=out)
        return 0
    day = Day(profile, steps, Path(options.output).expanduser())
    walk(day, words, lambda: _doctor(options), source, out)
    day.write()
    print(f"\n{options.output}.md and {options.output}.json have the record", file=out)
    return 0 if day.good else EXIT_RED


def _words(options: argparse.Namespace, given: str) -> dict[str, Any]:
    path = f"profile:={given}" if options.profile else f"robot:={given}"
    option = f"--profile {find_profile(given)}"
    return {"robot": given, "profile": path, "option": option, "ip": options.robot_ip or "ROBOT_IP"}


def _doctor(options: argparse.Namespace) -> list[Group]:
    """Run the doctor as `doctor --live` does."""
    arguments = ["--live", "--namespace", options.namespace]
    arguments += ["--robot-ip", options.robot_ip] if options.robot_ip else []
    arguments += ["--profile", options.profile] if options.profile else ["--robot", options.robot]
    return run_checks(doctor_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
