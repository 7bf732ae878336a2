# SPDX-License-Identifier: Apache-2.0

"""Runs the training process as a child, turns what it tells into one progress line, and says why it ended."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, TextIO

from vla_policy.training.train_plan import WAIT_VARIABLE, parse_event
from vla_policy.training.train_settings import TrainError

PLAIN_PERIOD_S = 10.0
TAIL_LINES = 25
STOP_GRACE_S = 10.0
LOG_FILE = "train.log"
BAR = re.compile(rb"Training:\s+\d+%\|")


@dataclass(slots=True)
class Progress:
    """What is known about a run so far.

    Attributes:
        total: Steps of the whole run.
        step: Last step that was told.
        loss: Its loss.
        reason: Why the training ended itself, if it did.
        rate: Steps per second since the first one.
    """

    total: int
    step: int = 0
    loss: float | None = None
    reason: str | None = None
    rate: float = 0.0
    first_step: int = 0
    first_s: float = 0.0

    def feed(self, line: bytes, now_s: float) -> dict[str, object] | None:
        """Read one line of the training process; returns the event that it held, if it did."""
        event = parse_event(line)
        if event is None:
            return None
        if event["event"] == "step":
            self.step, self.loss = int(event["step"]), float(event["loss"])
            if not self.first_step:
                self.first_step, self.first_s = self.step, now_s
            elif now_s > self.first_s:
                self.rate = (self.step - self.first_step) / (now_s - self.first_s)
        elif event["event"] == "stop":
            self.reason = str(event["reason"])
        return event

    def line(self) -> str:
        """One line for people: bar, steps, loss, speed, time left."""
        width = 24
        done = int(width * self.step / max(1, self.total))
        loss = "-" if self.loss is None else f"{self.loss:.4f}"
        left = f"{(self.total - self.step) / self.rate:.0f} s left" if self.rate else "starting"
        return (
            f"[{'#' * done}{'.' * (width - done)}] {self.step}/{self.total} steps  loss {loss}  "
            f"{self.rate:.2f} steps/s  {left}"
        )


def say(text: str, stream: TextIO | None = None) -> None:
    """Write one line for the user at once (standard output unless another stream is given)."""
    stream = stream or sys.stdout
    stream.write(text + "\n")
    stream.flush()


class ProgressPrinter:
    """Redraws one line on a terminal; elsewhere prints a line now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._redraw = stream.isatty()
        self._last_s, self._last_line = 0.0, ""

    def show(self, progress: Progress, now_s: float, *, final: bool = False) -> None:
        """Print the progress if enough time has passed, or in any case when `final`."""
        line = progress.line()
        if line == self._last_line and not (final and self._redraw):
            return
        period = 0.2 if self._redraw else PLAIN_PERIOD_S
        if not final and now_s - self._last_s < period:
            return
        self._last_s, self._last_line = now_s, line
        end = "\n" if final or not self._redraw else ""
        start = "\r\x1b[K" if self._redraw else ""
        self._stream.write(f"{start}{line}{end}")
        self._stream.flush()


def split_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of a byte stream that ends them with a newline or, for progress bars, with a carriage return."""
    rest = b""
    descriptor = stream.fileno()
    while block := os.read(descriptor, 65536):
        *lines, rest = re.split(rb"[\r\n]", rest + block)
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


class Trainer:
    """The training process. It loads its libraries at once and waits for `run`, so that checks can go on meanwhile."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], wait: bool) -> None:
        """Start it.

        Args:
            command: The program; what it is to train on stands in the plan that the environment names.
            environment: Its whole environment.
            wait: Let it wait for `run` after its imports.
        """
        variables = {**environment, WAIT_VARIABLE: "1"} if wait else dict(environment)
        self.rate = 0.0
        """Steps per second by the wall clock."""
        self._wait = wait
        self._stop = _SignalForwarder()
        self._stop.__enter__()
        self._child = subprocess.Popen(
            list(command),
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self._stop.child = self._child

    def __enter__(self) -> "Trainer":
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it does, and leave no process behind."""
        _end(self._child)
        self._stop.__exit__()

    def check_signal(self) -> None:
        """Raise `TrainError` when the user has asked to stop."""
        if self._stop.signal_number is not None:
            raise TrainError(f"training was stopped by {signal.Signals(self._stop.signal_number).name}.")

    def run(
        self,
        *,
        steps: int,
        output: Path,
        stream: TextIO | None = None,
        told: Callable[[Mapping[str, object]], None] = lambda event: None,
    ) -> Progress:
        """Let it train to its end.

        Args:
            steps: Number of steps, for the progress line.
            output: The run folder that it makes; its full log is put there as `train.log`.
            stream: Where progress is printed; standard output by default.
            told: Is given every event.

        Returns:
            The last state of the progress; `reason` is set when the training ended itself.

        Raises:
            TrainError: it ended with an error (the message holds the end of its log), was killed or stopped by a signal.
        """
        descriptor, name = tempfile.mkstemp(prefix="vla-train-", suffix=".log")
        log = Path(name)
        progress, printer = Progress(total=steps), ProgressPrinter(stream or sys.stdout)
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.check_signal()
        if self._wait:
            self._begin()
        assert self._child.stdout is not None
        with os.fdopen(descriptor, "wb") as record:
            for line in split_lines(self._child.stdout):
                now_s = time.monotonic()
                event = progress.feed(line, now_s)
                self.rate = progress.rate
                if event is not None:
                    told(event)
                    printer.show(progress, now_s)
                    continue
                record.write(line + b"\n")
                if not BAR.search(line):
                    tail.append(line.decode(errors="replace"))
        code = self._child.wait()
        printer.show(progress, time.monotonic(), final=True)
        place = _keep_log(log, output)
        self.check_signal()
        if progress.reason is None and code != 0:
            raise TrainError(_why(code, place, tail))
        return progress

    def _begin(self) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(b"g")
            self._child.stdin.flush()
        except BrokenPipeError:
            return  # it died during its imports; its output says why


def _keep_log(log: Path, output: Path) -> Path:
    """Move the log into the run folder, if there is one and it has room."""
    if not output.is_dir():
        return log
    try:
        with (output / LOG_FILE).open("ab") as stream:
            stream.write(log.read_bytes())
    except OSError:
        return log  # the disk is full: the message names the log where it is
    log.unlink()
    return output / LOG_FILE


def _why(code: int, log: Path, tail: Sequence[str]) -> str:
    end = "\n".join(tail)
    if code == -signal.SIGKILL:
        return (
            f"the training process was killed ({signal.Signals(-code).name}), often because memory ran out (see: dmesg | "
            f"tail). Lower --batch-size or --frame-cache; written checkpoints are whole, go on with --resume. The end of its "
            f"log ({log}):\n{end}"
        )
    what = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"lerobot-train {what}. The end of its log ({log}):\n{end}"


class _SignalForwarder:
    """While active, SIGINT and SIGTERM end the child's whole process group instead of orphaning it."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.signal_number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "_SignalForwarder":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number = number
        if self.child is not None and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Leave no process behind, whatever ended the loop."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()
