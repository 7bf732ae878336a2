# SPDX-License-Identifier: Apache-2.0

"""Set up what this checkout lacks: Python environment, packages, system libraries, the built workspace.

Standard library only, any Python >= 3.8, because it runs before anything is installed. Every step has a fingerprint of its
inputs; a step runs when its fingerprint, or that of an earlier step, differs from the one stored after its last success. So
an interrupted run goes on where it stopped, and a complete one returns at once and needs no network.

    setup/bootstrap.py            set up what is missing
    setup/bootstrap.py --check    say what is missing, change nothing; exit code 1 if anything is
    setup/bootstrap.py --until environment   only the steps up to that one: an image's layer without the workspace
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from base import ROOT, STATE, VENV, SetupError, digest, file_digest, sourced_ros
from environment import finish_environment, install_packages, make_venv
from system import install_system, missing_system
from workspace import build_workspace, workspace_fingerprint


class Step(NamedTuple):
    """One step: its name, the fingerprint of its inputs, and what to do when that has changed."""

    name: str
    fingerprint: Callable[[], str]
    action: Callable[[], None]


STEPS = (
    Step("system", lambda: digest(*missing_system()), install_system),
    Step("venv", lambda: digest(str(ROOT), str(sourced_ros())), make_venv),
    Step("packages", lambda: file_digest([ROOT / "setup" / "requirements.lock"]), install_packages),
    Step(
        "environment",
        lambda: file_digest([ROOT / "setup" / n for n in ("repair_wheels.py", "make_ros2_command.py")]),
        finish_environment,
    ),
    Step("workspace", workspace_fingerprint, build_workspace),
)


def pending(until: str = "") -> list[Step]:
    """Steps that must run, in order: the first that changed and all that rest on it; none that come after `until`."""
    stored = json.loads((STATE / "steps.json").read_text()) if (STATE / "steps.json").exists() else {}
    todo: list[Step] = []
    names = [step.name for step in STEPS]
    for step in STEPS[: names.index(until) + 1] if until else STEPS:
        # the system step stands alone: a library that was installed by hand forces nothing to be rebuilt
        rests_on_changed = any(s.name != "system" for s in todo)
        gone = step.name == "venv" and not (VENV / "bin" / "python").exists()
        gone = gone or (step.name == "workspace" and not (STATE / "workspace.sh").exists())
        if rests_on_changed or gone or stored.get(step.name) != step.fingerprint():
            todo.append(step)
    return todo


def carry_out(todo: list[Step]) -> None:
    """Run steps and store each fingerprint after its success, so an interrupted set-up goes on where it stopped."""
    path = STATE / "steps.json"
    for step in todo:
        print(f"[setup] {step.name} …", end="", flush=True, file=sys.stderr)
        started = time.monotonic()
        stored = json.loads(path.read_text()) if path.exists() else {}
        for later in STEPS[STEPS.index(step) :]:
            if step.name != "system" or later is step:
                stored.pop(later.name, None)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(stored))
        temporary.replace(path)
        try:
            step.action()
        except SetupError:
            print(" failed", file=sys.stderr)
            raise
        stored[step.name] = step.fingerprint()
        temporary.write_text(json.dumps(stored, indent=2))
        temporary.replace(path)
        print(f" {time.monotonic() - started:.0f} s", file=sys.stderr)


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Set up what this checkout lacks.", epilog="example: setup/bootstrap.py --check"
    )
    parser.add_argument("--check", action="store_true", help="only say which steps are missing; exit code 1 if any is")
    names = [step.name for step in STEPS]
    parser.add_argument("--until", choices=names, default="", help="only the steps up to this one (default: all)")
    args = parser.parse_args()
    STATE.mkdir(exist_ok=True)
    if args.check:
        todo = pending(args.until)
        print("complete" if not todo else "missing: " + ", ".join(step.name for step in todo))
        return 1 if todo else 0
    try:
        if not pending(args.until):
            return 0
        with (STATE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two terminals may start at once
            todo = pending(args.until)
            if todo:
                print(
                    f"[setup] in {ROOT}: {', '.join(step.name for step in todo)} (logs in .state/; a first set-up takes a few minutes and about 7 GB)",
                    file=sys.stderr,
                )
                carry_out(todo)
    except SetupError as error:
        print(f"[setup] {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n[setup] interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
