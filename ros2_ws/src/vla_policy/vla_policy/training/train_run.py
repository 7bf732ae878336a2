# SPDX-License-Identifier: Apache-2.0

"""Runs `lerobot-train` as a child process and turns its output into one progress line."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, TextIO

from vla_policy.training.train_settings import TrainError

PROGRESS = re.compile(rb"Training:\s+\d+%\|[^|]*\|\s*(\d+)/(\d+)")
LOSS = re.compile(rb"\bloss:([-+\d.eEnaif]+)")
DATA_SECONDS = re.compile(rb"\bdata_s:([\d.]+)")
PLAIN_PERIOD_S = 10.0
TAIL_LINES = 25
STOP_GRACE_S = 10.0


@dataclass(slots=True)
class Progress:
    """What is known about a run so far; `loss` and `data_s` are the means of the last log window."""

    total: int
    step: int = 0
    loss: float | None = None
    data_s: float | None = None
    started_s: float | None = None
    rate: float = 0.0

    def feed(self, line: bytes, now_s: float) -> bool:
        """Read one line of the trainer's output; true when the step or the loss changed."""
        changed = False
        if match := PROGRESS.search(line):
            step = int(match.group(1))
            if self.started_s is None:
                self.started_s = now_s
            elif step and now_s > self.started_s:
                self.rate = step / (now_s - self.started_s)
            changed = step != self.step
            self.step = step
        if match := LOSS.search(line):
            self.loss = float(match.group(1))
            changed = True
        if match := DATA_SECONDS.search(line):
            self.data_s = float(match.group(1))
        return changed

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


def run_trainer(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    steps: int,
    output: Path,
    stream: TextIO | None = None,
) -> Progress:
    """Run the trainer to its end.

    Args:
        command: The `lerobot-train` call.
        environment: Its whole environment.
        steps: Number of steps, for the progress line.
        output: The run folder that the command makes; the full log is put there as `train.log`.
        stream: Where progress is printed; standard output by default.

    Returns:
        The last state of the progress.

    Raises:
        TrainError: it ended with an error (the message holds the end of its log) or was stopped by a signal.
    """
    descriptor, name = tempfile.mkstemp(prefix="lerobot-train-", suffix=".log")
    log = Path(name)
    progress, printer = Progress(total=steps), ProgressPrinter(stream or sys.stdout)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with os.fdopen(descriptor, "wb") as record, _SignalForwarder() as stop:
        child = subprocess.Popen(
            list(command), env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0
        )
        stop.child = child
        assert child.stdout is not None
        try:
            for line in split_lines(child.stdout):
                now_s = time.monotonic()
                record.write(line + b"\n")
                if not PROGRESS.search(line):
                    tail.append(line.decode(errors="replace"))
                if progress.feed(line, now_s):
                    printer.show(progress, now_s)
            code = child.wait()
        finally:
            _end(child)
    printer.show(progress, time.monotonic(), final=True)
    if stop.signal_number is not None:
        raise TrainError(f"training was stopped by {signal.Signals(stop.signal_number).name}. Log: {log}")
    if code != 0:
        shown = "\n".join(tail)
        raise TrainError(f"lerobot-train ended with exit code {code}. The end of its log ({log}):\n{shown}")
    if output.is_dir():
        (output / "train.log").write_bytes(log.read_bytes())
        log.unlink()
    return progress


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
    if child.stdout is not None:
        child.stdout.close()
