# SPDX-License-Identifier: Apache-2.0

"""Keys call the recorder's services; the status is one line."""

import io
import os
import pty
import threading

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_common.qos import LATCHED
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
from vla_recorder.capture.keyboard import HELP, KeyboardNode, NoTerminalError, Prompt, main
from vla_recorder.capture.keyboard import status_line as shown
from vla_recorder.capture.status import status_line
from vla_recorder.testing import wait_for


class FakeRecorder(Node):
    """Offers the recorder's services and remembers what was asked."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.asked: list[tuple] = []
        self.create_service(StartEpisode, "recorder/start", self.answer("start"))
        self.create_service(StopEpisode, "recorder/stop", self.answer("stop", "outcome"))
        self.create_service(DiscardEpisode, "recorder/discard", self.answer("discard"))
        self.create_service(SetTask, "recorder/set_task", self.answer("task", "task"))
        self.create_service(SetPhase, "recorder/set_phase", self.answer("phase", "phase"))
        self.create_service(LabelEpisode, "recorder/label", self.answer("label", "label"))
        self.create_service(AnnotateEpisode, "recorder/annotate", self.answer("notes", "notes"))
        self.status = self.create_publisher(RecorderStatus, "recorder/status", LATCHED)

    def answer(self, name: str, field: str = ""):
        def serve(request, response):
            self.asked.append((name, getattr(request, field)) if field else (name,))
            response.success = name != "discard"
            response.message = "no episode is open" if name == "discard" else ""
            return response

        return serve


def test_keys_call_services() -> None:
    leader, follower = pty.openpty()
    sink = io.StringIO()
    fake = FakeRecorder()
    keyboard = KeyboardNode(source=os.fdopen(follower, "r"), sink=sink)
    executors = []
    for node in (fake, keyboard):
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        threading.Thread(target=executor.spin, daemon=True).start()
        executors.append(executor)
    try:
        os.write(leader, b"rf")
        label = LabelEpisode.Request
        wait_for(lambda: fake.asked == [("start",), ("label", label.FAILURE)], what=f"labels, got {fake.asked}")
        fake.asked.clear()
        fake.status.publish(RecorderStatus(recording=True, line="REC TELEOP 00:02"))
        wait_for(lambda: "REC TELEOP 00:02" in sink.getvalue(), what="the status")
        os.write(leader, b"sfd2utfold a towe\x7fel\rnbad grip\r")
        expected = [
            ("stop", RecordEpisode.Result.OUTCOME_SUCCESS),
            ("stop", RecordEpisode.Result.OUTCOME_FAILURE),
            ("discard",),
            ("phase", EpisodeEvent.SKILL),
            ("label", label.UNDO),
            ("task", "fold a towel"),
            ("notes", "bad grip"),
        ]
        wait_for(lambda: fake.asked == expected, what=f"services, got {fake.asked}")
        wait_for(lambda: "task: fold a towel" in sink.getvalue())
        os.write(leader, b"?")
        wait_for(lambda: sink.getvalue().count(HELP) == 2)
        os.write(leader, b"q")
        wait_for(lambda: keyboard.stop.is_set())
        keyboard.close()
        assert "not discarded: no episode is open" in sink.getvalue()
        assert HELP in sink.getvalue()
    finally:
        for executor in executors:
            executor.shutdown(timeout_sec=2.0)
        fake.destroy_node()
        keyboard.destroy_node()
        os.close(leader)


def test_says_that_there_is_no_terminal() -> None:
    with pytest.raises(NoTerminalError, match=r"no terminal.*ros2 run vla_recorder keyboard"):
        KeyboardNode(source=io.StringIO(""))


def test_status_line() -> None:
    assert "waiting for the recorder" in shown(None)
    idle = RecorderStatus(task="lift", episodes_saved=3, disk_free=12_000_000_000, last_label="success")
    assert status_line(idle) == "idle  task: lift  3 saved  last: success  disk 12 GB"
    state = RecorderStatus(recording=True, task="lift", elapsed_s=75.2, messages=12, bytes=2_500_000, rate_hz=610.0)
    state.phase, state.disk_free, state.disk_left_s, state.dropped = EpisodeEvent.ARMED, 5_000_000_000, 5400.0, 4
    assert status_line(state) == (
        "ARMED 01:15 waiting for motion  lift  12 messages, 2.5 MB  610 Hz  4 dropped  disk 5 GB, 1.5 h"
    )
    state.phase, state.writing, state.problems = EpisodeEvent.SKILL, True, ["camera 'front': silent"]
    assert status_line(state).startswith("REC SKILL 01:15  lift")
    assert status_line(state).endswith("! camera 'front': silent")
    state.paused = True
    assert status_line(state).startswith("PAUSED 01:15")


def test_prompt_can_be_given_up() -> None:
    prompt = Prompt()
    assert prompt.feed("x") is None
    prompt.ask("task")
    assert prompt.feed("a") is None
    assert prompt.feed("\x1b") == ""
    assert prompt.text is None


def test_main_is_an_entry_point() -> None:
    assert callable(main)
