# SPDX-License-Identifier: Apache-2.0

"""The demo's stages, each the same command that a user would type, in a process group of its own."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from vla_core.errors import VlaError

# a launch file stops its nodes on SIGINT within this time, then by force
_STOP_S = 15.0
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class StageError(VlaError):
    """A stage of the demo failed; the text names the command, its log and the end of it."""


def stage_environment() -> dict[str, str]:
    """A DDS domain of this run's own on the loopback interface, so that neighbours do not hear it."""
    env = dict(os.environ)
    env.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
    env["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    env.setdefault("HF_HUB_OFFLINE", "1")
    env["PYTHONUNBUFFERED"] = "1"
    return env


@dataclass(slots=True)
class Pipeline:
    """Runs commands one after another and keeps their times and logs.

    Attributes:
        logs: folder for one log file per stage.
        seconds: stage name -> wall seconds, in the order of execution.
    """

    logs: Path
    env: Mapping[str, str] = field(default_factory=stage_environment)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, name: str, command: list[str], show: Callable[[str], str | None]) -> None:
        """Run one stage.

        Args:
            name: of the stage; its log is `<logs>/<name>.log`.
            command: as a user would type it; printed.
            show: turns a line of output into what the terminal shows of it, or None to leave it in the log only.

        Raises:
            StageError: exit code other than 0.
        """
        log = self.logs / f"{name}.log"
        print(f"\n[{name}] $ {' '.join(_quoted(part) for part in command)}", flush=True)
        started = time.monotonic()
        with log.open("w", encoding="utf-8") as out:
            process = subprocess.Popen(
                command,
                env=dict(self.env),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            # a reader of its own: a child that outlives the command would hold the pipe open for ever
            reader = threading.Thread(target=_forward, args=(process, out, show), daemon=True)
            reader.start()
            try:
                code = process.wait()
            finally:
                _stop(process)
                reader.join()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
        if code != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
            raise StageError(f"stage {name!r} ended with exit code {code}. Its log is {log}; the end of it:\n{tail}")
        print(f"[{name}] {self.seconds[name]:.0f} s", flush=True)


def _quoted(part: str) -> str:
    return f'"{part}"' if " " in part else part


def _forward(process: "subprocess.Popen[str]", out: TextIO, show: Callable[[str], str | None]) -> None:
    """Copy output to the log line by line and to the terminal as `show` says; on a terminal, progress overwrites itself."""
    assert process.stdout is not None
    live, open_line = sys.stdout.isatty(), False
    for raw in process.stdout:
        line = _ANSI.sub("", raw.rstrip("\n"))
        out.write(line + "\n")
        out.flush()
        shown = show(line.rsplit("\r", 1)[-1])
        if shown is None:
            continue
        if live:
            print(f"\r\x1b[2K  {shown}", end="", flush=True)
            open_line = True
        else:
            print(f"  {shown}", flush=True)
    if open_line:
        print(flush=True)


def _stop(process: "subprocess.Popen[str]") -> None:
    """End what is left of the stage's process group: SIGINT, then SIGKILL."""
    for sent, patience in ((signal.SIGINT, _STOP_S), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            process.poll()
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
