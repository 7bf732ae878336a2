# SPDX-License-Identifier: Apache-2.0

"""The main function of nodes as a program, and blocking calls."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import SetBool
from vla_common.diagnostics import Diagnostics
from vla_common.services import CallError, call_checked, call_service

PROGRAM = """
import sys, time
from std_msgs.msg import Bool
from vla_common.run import ManagedNode, run_node
from vla_core.errors import VlaError

class Demo(ManagedNode):
    def __init__(self):
        super().__init__("demo")
        mode = sys.argv[1]
        if mode == "refuse":
            raise VlaError("x.yaml: unknown key")
        if mode == "finish":
            self.start_thread(lambda: self.stop.set(0, "done"), "work")
        if mode == "thread":
            self.start_thread(lambda: 1 / 0, "work")
        if mode == "callback":
            self.create_timer(0.01, lambda: 1 / 0)
        if mode == "closing":
            self.stop.set(0, "done")
        print("up", flush=True)

    def close(self):
        if sys.argv[1] == "closing":
            raise RuntimeError("disk full")
        time.sleep(0.3)
        self.create_publisher(Bool, "last", 1).publish(Bool())
        print("closed", flush=True)

sys.exit(run_node(Demo, []))
"""


@pytest.fixture(autouse=True)
def domain(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 200)))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def start(mode):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def finish(process):
    try:
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_cleanly_even_when_sent_twice(number):
    process = start("idle")
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    process.send_signal(number)
    code, out, err = finish(process)
    assert (code, out) == (0, "closed\n"), err
    assert f"stopping: received {number.name}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("mode", "code", "text"),
    [
        ("finish", 0, "stopping: done"),
        ("refuse", 2, "[FATAL] x.yaml: unknown key"),
        ("thread", 1, "ZeroDivisionError"),
        ("callback", 1, "ZeroDivisionError"),
        ("closing", 1, "disk full"),
    ],
)
def test_exit_codes(mode, code, text):
    got, _, err = finish(start(mode))
    assert got == code, err
    assert text in err


@pytest.fixture
def served():
    context = Context()
    rclpy.init(context=context, domain_id=random.randint(1, 200))
    node = Node("client", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_service_calls(served):
    def serve(request, response):
        response.success, response.message = request.data, "the lid is open"
        return response

    served.create_service(SetBool, "lid", serve)
    client = served.create_client(SetBool, "lid")
    assert call_checked(client, SetBool.Request(data=True)).message == "the lid is open"
    with pytest.raises(CallError, match="service /lid refused: the lid is open"):
        call_checked(client, SetBool.Request(data=False))


def test_absent_service(served):
    client = served.create_client(SetBool, "nobody")
    with pytest.raises(CallError, match=r"service /nobody: nobody offers it after 0\.1 s\. Is its node running\?"):
        call_service(client, SetBool.Request(), timeout_s=0.1)


def test_silent_service(served):
    other_context = Context()
    rclpy.init(context=other_context, domain_id=served.context.get_domain_id())
    other = Node("silent", context=other_context)
    other.create_service(SetBool, "mute", lambda request, response: response)  # nobody spins this node
    with pytest.raises(CallError, match=r"service /mute: no answer within 0\.3 s"):
        call_service(served.create_client(SetBool, "mute"), SetBool.Request(), timeout_s=0.3)
    other.destroy_node()
    rclpy.try_shutdown(context=other_context)


def test_diagnostics_are_published(served):
    received = threading.Event()
    messages = []

    def on_message(msg):
        messages.append(msg)
        received.set()

    served.create_subscription(DiagnosticArray, "/diagnostics", on_message, 10)
    diagnostics = Diagnostics(served, hardware_id="arm", period_s=0.05)
    diagnostics.stream("front", expected_hz=30.0).tick(served.get_clock().now().nanoseconds)
    diagnostics.part("queue", lambda: (b"\x00", "empty", {"depth": "0"}))
    assert received.wait(5.0)
    names = {status.name: status for status in messages[-1].status}
    assert set(names) == {"client: front", "client: queue"}
    assert names["client: front"].hardware_id == "arm"
    assert {value.key for value in names["client: front"].values} >= {"rate [Hz]", "age [s]", "jitter [ms]"}
