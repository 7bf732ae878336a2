# SPDX-License-Identifier: Apache-2.0

"""Keys call the recorder's services; the status is one line."""

import io
import os
import pty
import threading

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import RecorderStatus
from vla_msgs.srv import DiscardEpisode, SetTask, StartEpisode, StopEpisode
from vla_recorder.capture.keyboard import HELP, KeyboardNode, NoTerminalError, Prompt, main, status_line
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
        os.write(leader, b"rsfdtfold a towe\x7fel\r")
        expected = [
            ("start",),
            ("stop", RecordEpisode.Result.OUTCOME_SUCCESS),
            ("stop", RecordEpisode.Result.OUTCOME_FAILURE),
            ("discard",),
            ("task", "fold a towel"),
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
    assert "waiting for the recorder" in status_line(None)
    assert status_line(RecorderStatus(task="lift", episodes_saved=3)) == "idle  task: lift  3 saved"
    recording = RecorderStatus(recording=True, task="lift", elapsed_s=75.2, messages=12, bytes=2_500_000)
    recording.silent_topics = ["/camera"]
    assert status_line(recording) == "REC 01:15  lift  12 messages, 2.5 MB  silent: /camera"


def test_prompt_can_be_given_up() -> None:
    prompt = Prompt()
    assert prompt.feed("x") is None
    prompt.text = ""
    assert prompt.feed("a") is None
    assert prompt.feed("\x1b") == ""
    assert prompt.text is None


def test_main_is_an_entry_point() -> None:
    assert callable(main)
