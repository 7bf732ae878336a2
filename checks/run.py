# SPDX-License-Identifier: Apache-2.0

"""Run the project's checks and tests in stages, with the time and the exact command of each.

./test                 all stages
./test lint unit       some of them
./test --full          also the long fault, soak and many-seed runs
./test --once          without the second chance below
./test --list          what the stages are

A few tests of real processes with wall-clock limits fail now and then on a busy machine. In the stages that start processes,
up to MAY_FAIL failed tests (or fixtures of modules, with all their tests) are run once more, alone, and named in the summary:
one that passes then is "passed again", one that does not is a failure. (`colcon test --retest-until-pass 1` does the same.)
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "ros2_ws/src"
PLUGIN = "lerobot_policy_vla_keypoints"
LEROBOT_DEVICES = ("lerobot_robot_ros2", "lerobot_teleoperator_ros2")
PACKAGES = (
    *("vla_core", "vla_common", "vla_recorder", "vla_policy", PLUGIN),
    *("vla_teleop", "vla_drivers", "vla_monitor", "vla_web", "vla_sim", "vla_bringup", "vla_demo", *LEROBOT_DEVICES),
)
STAND_INS = ("launch", "launch_ros", "launch_testing", "rosbag2_py", "cv_bridge", "ros2_pip_cli", "rosidl_runtime_py")
MYPY = [sys.executable, "-m", "mypy"]
PYTEST = [sys.executable, "-m", "pytest"]
NO_SECOND_CHANCE = ("lint", "unit")  # nothing there depends on time
SOME_FAILED = 1  # pytest's exit code when all tests have run; others mean that some have not
MAY_FAIL = 5  # more causes than that are no accident
_SUMMARY = re.compile(r"(\d+) (passed|failed|skipped|error|errors|deselected)")
_FAILED = re.compile(r"^(FAILED|ERROR) (\S+::\w+(?:\[.*?\](?= - |$))?)")


class Stage(NamedTuple):
    """A named group of commands; it fails when any of them does."""

    name: str
    what: str
    commands: tuple[list[str], ...]


class Outcome(NamedTuple):
    """What one stage came to."""

    name: str
    ok: bool
    seconds: float
    counts: dict[str, int]
    again: tuple[str, ...] = ()  # tests that failed first and passed when run again


class Ran(NamedTuple):
    """What one command came to: its exit code, pytest's counts, the ids of the tests that failed, and of what they failed.

    A fixture of a module that fails takes all its tests along, so the errors of a module count as one cause.
    """

    code: int
    counts: dict[str, int]
    failed: tuple[str, ...]
    causes: int


def tests_of(*packages: str) -> list[str]:
    """Test folders of packages."""
    return [f"{SOURCE}/{name}/test" for name in packages]


STAGES = (
    Stage(
        "lint",
        "ruff (lint and format), mypy, import contract, package metadata",
        (
            [sys.executable, "-m", "ruff", "check", "."],
            [sys.executable, "-m", "ruff", "format", "--check", "."],
            [*MYPY, *(part for name in (*PACKAGES, *STAND_INS) for part in ("-p", name))],
            [*PYTEST, "checks"],
        ),
    ),
    Stage(
        "unit",
        "the floor: profiles, codecs, frames, chunks, safety; bag/live parity",
        ([*PYTEST, *tests_of("vla_core")],),
    ),
    Stage("stand-ins", "conformance of launch, ros2, rosbag2_py, cv_bridge", ([*PYTEST, "ros2_pip/test"],)),
    Stage(
        "sim",
        "the simulated cell: physics, controllers, drivers' behaviour",
        ([*PYTEST, *tests_of("vla_common", "vla_sim")],),
    ),
    Stage(
        "data",
        "recorder and converter, with TensorFlow as a referee in an environment of its own",
        ([sys.executable, "setup/referees.py"], [*PYTEST, *tests_of("vla_recorder")]),
    ),
    Stage("policy", "checkpoints, executor, policy node, training", ([*PYTEST, *tests_of("vla_policy", PLUGIN)],)),
    Stage("teleop", "devices, motion, skills, the operator's day, cameras", ([*PYTEST, *tests_of("vla_teleop")],)),
    Stage(
        "drivers",
        "SO-101 and Robotiq drivers against emulated devices, checks of a UR",
        ([*PYTEST, *tests_of("vla_drivers")],),
    ),
    Stage("monitor", "markers, transforms, rerun", ([*PYTEST, *tests_of("vla_monitor")],)),
    Stage(
        "page",
        "the operator page: server, page in a browser",
        ([sys.executable, "setup/browser.py"], [*PYTEST, *tests_of("vla_web")]),
    ),
    Stage("lerobot", "LeRobot's own commands on the simulated cell", ([*PYTEST, *tests_of(*LEROBOT_DEVICES)],)),
    Stage("launch", "every launch file, image transport", ([*PYTEST, *tests_of("vla_bringup")],)),
    Stage("demo", "the quick demo and each command of the README", ([*PYTEST, *tests_of("vla_demo")],)),
)


def environment(full: bool) -> dict[str, str]:
    """Test processes: a DDS domain of their own, loopback discovery, one thread, no network look-ups."""
    env = dict(os.environ)
    env.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
    env["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    env.update(OMP_NUM_THREADS="1", LP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    env.update(PYTHONWARNINGS=env.get("PYTHONWARNINGS", ""), MPLBACKEND="Agg")
    if full:
        env["VLA_TEST_FULL"] = "1"
    # mypy finds the packages by import path, not through colcon's links
    env["MYPYPATH"] = os.pathsep.join(
        [*(str(ROOT / SOURCE / name) for name in PACKAGES), str(ROOT / "ros2_pip" / "src")]
    )
    return env


def run_command(command: list[str], env: dict[str, str]) -> Ran:
    """Run one command in a process group of its own and echo its output."""
    shown = " ".join("python" if part == sys.executable else part for part in command)
    print(f"$ {shown}", flush=True)
    counts: dict[str, int] = {}
    failed: list[str] = []
    causes: set[str] = set()
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            if name := _FAILED.match(line):
                failed.append(name[2])
                causes.add(name[2] if name[1] == "FAILED" else name[2].split("::")[0])
            if " in " in line and (found := _SUMMARY.findall(line)):
                counts = {word: int(number) for number, word in found}
        code = process.wait()
    finally:
        leave_nothing_behind(process)
    return Ran(code, counts, tuple(failed), len(causes))


def leave_nothing_behind(process: "subprocess.Popen[str]") -> None:
    """End whatever the command left running in its process group."""
    for sent in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            process.poll()
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)


def run_twice(command: list[str], env: dict[str, str]) -> tuple[Ran, tuple[str, ...]]:
    """Run tests, and those that failed once more; returns what they came to, and what passed the second time only."""
    first = run_command([*command, "-rfEs"], env)
    if first.code != SOME_FAILED or not 0 < first.causes <= MAY_FAIL:
        return first, ()
    print(f"----- {len(first.failed)} failed: again, alone", flush=True)
    second = run_command([*command, "-rfE", "--last-failed", "--last-failed-no-failures", "none"], env)
    if second.code or second.counts.get("passed", 0) < len(first.failed):
        return first, ()
    counts = {word: number for word, number in first.counts.items() if word not in ("failed", "error", "errors")}
    counts["passed"] = counts.get("passed", 0) + len(first.failed)
    return Ran(0, counts, (), 0), first.failed


def run_stage(stage: Stage, env: dict[str, str], once: bool = False) -> Outcome:
    """Run all commands of a stage, also after one failed: a reader wants the whole list."""
    print(f"\n===== {stage.name}: {stage.what}", flush=True)
    started, ok, total, again = time.monotonic(), True, dict[str, int](), list[str]()
    for command in stage.commands:
        if once or stage.name in NO_SECOND_CHANCE or command[: len(PYTEST)] != PYTEST:
            ran = run_command(command, env)
        else:
            ran, passed_again = run_twice(command, env)
            again += passed_again
        ok = ok and ran.code == 0
        for word, number in ran.counts.items():
            total[word] = total.get(word, 0) + number
    return Outcome(stage.name, ok, time.monotonic() - started, total, tuple(again))


def summary(outcomes: list[Outcome]) -> str:
    """The closing table and one line with the counts."""
    lines = ["", f"{'stage':<10} {'result':<7} {'seconds':>8}   tests"]
    for outcome in outcomes:
        counts = ", ".join(f"{number} {word}" for word, number in outcome.counts.items())
        lines.append(f"{outcome.name:<10} {'ok' if outcome.ok else 'FAILED':<7} {outcome.seconds:8.1f}   {counts}")
    lines.append(f"{'total':<10} {'':<7} {sum(o.seconds for o in outcomes):8.1f}")
    passed, skipped = (sum(o.counts.get(word, 0) for o in outcomes) for word in ("passed", "skipped"))
    failed = sum(o.counts.get(word, 0) for o in outcomes for word in ("failed", "error", "errors"))
    failed += sum(1 for o in outcomes if not o.ok and not any(o.counts.get(w) for w in ("failed", "error", "errors")))
    lines += [f"passed again: {name}" for outcome in outcomes for name in outcome.again]
    return "\n".join([*lines, f"{passed} passed, {failed} failed, {skipped} skipped"])


def main() -> int:
    """Entry point; exit code 0 only if every stage passed."""
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(
        prog="./test", description="Run the checks and tests.", epilog="example: ./test lint unit"
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"stages to run, default all: {', '.join(names)}")
    parser.add_argument("--full", action="store_true", help="also the long fault, soak and many-seed runs")
    parser.add_argument("--once", action="store_true", help="no second chance for a test that failed")
    parser.add_argument("--list", action="store_true", help="print the stages and their commands")
    args = parser.parse_args()
    unknown = [name for name in args.stages if name not in names]
    if unknown:
        parser.error(f"unknown stage {unknown[0]!r}; stages are: {', '.join(names)}")
    chosen = [stage for stage in STAGES if not args.stages or stage.name in args.stages]
    if args.list:
        for stage in chosen:
            print(f"{stage.name:<10} {stage.what}")
        return 0
    env = environment(args.full)
    outcomes = [run_stage(stage, env, args.once) for stage in chosen]
    print(summary(outcomes), flush=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
