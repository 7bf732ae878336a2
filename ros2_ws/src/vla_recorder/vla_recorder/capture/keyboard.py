# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder keyboard``: episodes by single keys, for the person who drives the robot."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from vla_common.qos import LATCHED
from vla_common.run import EXIT_OK, ManagedNode, run_node
from vla_common.services import CallError, call_service
from vla_core.errors import VlaError
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import EpisodeEvent, RecorderStatus
from vla_msgs.srv import (
    AnnotateEpisode,
    DiscardEpisode,
    LabelEpisode,
    SetPhase,
    SetTask,
    StartEpisode,
    StopEpisode,
)

HELP = (
    "keys: r record   s success   f failure   d discard (each saves the open episode, or labels the last one)   u undo\n"
    "      t task   n notes   o operator   phase: 1 teleop  2 skill  3 correction  4 skill again  0 wait for motion   "
    "q quit"
)
_TIMEOUT_S = 8.0  # longer than the recorder takes to close an episode
_POLL_S = 0.1
_CLEAR = "\r\033[K"
_PHASES = {
    "0": EpisodeEvent.ARMED,
    "1": EpisodeEvent.TELEOP,
    "2": EpisodeEvent.SKILL,
    "3": EpisodeEvent.CORRECTION,
    "4": EpisodeEvent.SKILL_RESUME,
}
_LABELS = {"s": LabelEpisode.Request.SUCCESS, "f": LabelEpisode.Request.FAILURE, "d": LabelEpisode.Request.DISCARD}
_PROMPTS = {"t": "task", "n": "notes", "o": "operator"}
_ESCAPE, _BACKSPACE, _ENTER, _INTERRUPT = "\x1b", ("\x7f", "\b"), ("\r", "\n"), "\x03"


class NoTerminalError(VlaError):
    """There is nobody who could press a key."""


def status_line(status: RecorderStatus | None) -> str:
    """Return the state of the recorder in one line."""
    return "waiting for the recorder (ros2 run vla_recorder recorder_node)" if status is None else status.line


class Prompt:
    """A line that is typed while single keys are read; ``feed`` returns the text when it is complete."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.what = ""

    def ask(self, what: str) -> None:
        """Begin a line; `what` says what is asked for."""
        self.what, self.text = what, ""

    def feed(self, key: str) -> str | None:
        """Take one key; returns the text after enter, None before; escape gives up and returns an empty text."""
        if self.text is None:
            return None
        if key in _ENTER or key == _ESCAPE:
            result, self.text = ("" if key == _ESCAPE else self.text.strip()), None
            return result
        self.text = self.text[:-1] if key in _BACKSPACE else self.text + (key if key.isprintable() else "")
        return None


class KeyboardNode(ManagedNode):
    """Calls the recorder's services; shows its status."""

    def __init__(self, source: TextIO | None = None, sink: TextIO | None = None, **kwargs: Any) -> None:
        """Connect to `recorder` in this node's namespace.

        Args:
            source: Where keys come from; standard input if left out.
            sink: Where the status goes; standard output if left out.
            **kwargs: Of the node.

        Raises:
            NoTerminalError: `source` is no terminal.
        """
        self._source = source or sys.stdin
        self._sink = sink or sys.stdout
        if not self._source.isatty():
            raise NoTerminalError(
                "keyboard: standard input is no terminal, so no key can be read. Start it in a terminal of its own "
                "with `ros2 run vla_recorder keyboard` (not from a launch file), or call the services: "
                "ros2 service call /recorder/start vla_msgs/srv/StartEpisode"
            )
        super().__init__("recorder_keyboard", **kwargs)
        self._recorder = {
            kind: self.create_client(kind, f"recorder/{name}")
            for kind, name in (
                (StartEpisode, "start"),
                (StopEpisode, "stop"),
                (DiscardEpisode, "discard"),
                (SetTask, "set_task"),
                (SetPhase, "set_phase"),
                (LabelEpisode, "label"),
                (AnnotateEpisode, "annotate"),
            )
        }
        self._latest: RecorderStatus | None = None
        self._prompt = Prompt()
        self.create_subscription(RecorderStatus, "recorder/status", self._on_status, LATCHED)
        self._say(HELP)
        self._thread = self.start_thread(self._read_keys, "keys")

    def close(self) -> None:
        """Give the terminal back."""
        self.stop.set()
        self._thread.join(timeout=2.0)
        self._sink.write("\n")

    def press(self, key: str) -> None:
        """Do what a key means; unknown keys show the help."""
        if self._prompt.text is not None:
            text = self._prompt.feed(key)
            if text:
                self._write_down(self._prompt.what, text)
        elif key == "r":
            self._call("recording", StartEpisode, StartEpisode.Request())
        elif key in _LABELS:
            self._judge(key)
        elif key == "u":
            self._call("undone", LabelEpisode, LabelEpisode.Request(label=LabelEpisode.Request.UNDO))
        elif key in _PHASES:
            self._call("phase", SetPhase, SetPhase.Request(phase=_PHASES[key], label="keyboard"))
        elif key in _PROMPTS:
            self._prompt.ask(_PROMPTS[key])
        elif key in ("q", _INTERRUPT):
            self.stop.set(EXIT_OK, "")
        else:
            self._say(HELP)

    def _judge(self, key: str) -> None:
        """End the open episode with this label, or give it to the last one."""
        if self._latest is None or not self._latest.recording:
            self._call("labelled", LabelEpisode, LabelEpisode.Request(label=_LABELS[key]))
        elif key == "d":
            self._call("discarded", DiscardEpisode, DiscardEpisode.Request())
        else:
            result = RecordEpisode.Result
            outcome = result.OUTCOME_SUCCESS if key == "s" else result.OUTCOME_FAILURE
            self._call("saved", StopEpisode, StopEpisode.Request(outcome=outcome))

    def _write_down(self, what: str, text: str) -> None:
        if what == "task":
            self._call("task", SetTask, SetTask.Request(task=text))
        elif what == "notes":
            self._call(f"notes {text!r}", AnnotateEpisode, AnnotateEpisode.Request(notes=text))
        else:
            self._call(f"operator {text!r}", AnnotateEpisode, AnnotateEpisode.Request(operator_name=text))

    def _call(self, done: str, kind: Any, request: Any) -> None:
        try:
            answer = call_service(self._recorder[kind], request, _TIMEOUT_S)
        except CallError as error:
            self._say(f"not {done}: {error}")
            return
        detail = answer.message or getattr(answer, "bag_path", "") or getattr(request, "task", "")
        self._say(f"{done if answer.success else f'not {done}'}: {detail}" if detail else done)

    def _on_status(self, status: RecorderStatus) -> None:
        self._latest = status

    def _read_keys(self) -> None:
        with _single_keys(self._source):
            while not self.stop.is_set():
                self._show()
                if select.select([self._source], [], [], _POLL_S)[0]:
                    for key in os.read(self._source.fileno(), 64).decode(errors="ignore"):
                        self.press(key)

    def _show(self) -> None:
        text = status_line(self._latest) if self._prompt.text is None else f"{self._prompt.what}: {self._prompt.text}"
        width = os.get_terminal_size(self._sink.fileno()).columns if self._sink.isatty() else 200
        self._sink.write(f"{_CLEAR}{text[: max(1, width - 1)]}")
        self._sink.flush()

    def _say(self, text: str) -> None:
        self._sink.write(f"{_CLEAR}{text}\n")
        self._sink.flush()


@contextmanager
def _single_keys(source: TextIO) -> Iterator[None]:
    """Deliver keys one by one instead of lines; ctrl-c arrives as a key."""
    before = termios.tcgetattr(source)
    tty.setraw(source, termios.TCSANOW)
    # Raw input, but line feeds still return the carriage.
    mode = termios.tcgetattr(source)
    mode[1] |= termios.OPOST
    termios.tcsetattr(source, termios.TCSANOW, mode)
    try:
        yield
    finally:
        termios.tcsetattr(source, termios.TCSANOW, before)


def main(args: Sequence[str] | None = None) -> int:
    """Run the keyboard; exit code 2 without a terminal."""
    return run_node(KeyboardNode, args)


if __name__ == "__main__":
    sys.exit(main())
