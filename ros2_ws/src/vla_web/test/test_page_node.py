# SPDX-License-Identifier: Apache-2.0

"""The page's node with a recorder, a policy and drivers that are played in this process."""

import gc
import json
import random
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from action_msgs.srv import CancelGoal
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from ur_dashboard_msgs.msg import SafetyMode
from vla_common.params import overrides
from vla_common.qos import COMMAND, LATCHED, SENSOR
from vla_common.run import run_node
from vla_core.profile import load_profile
from vla_msgs.msg import PolicyStatus, RecorderStatus
from vla_msgs.srv import DiscardEpisode, LabelEpisode, SetTask, StartEpisode, StopEpisode
from vla_web.page_node import PageNode

PROFILE = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"
ARM = load_profile(PROFILE).action[0].joints
FLOWS = ("ok", "slow")  # a busy machine holds no rate
GRIPPER = load_profile(PROFILE).action[1].joints


class Lab(Node):
    """A recorder, a policy, drivers; what they are asked is in `asked`."""

    def __init__(self, context):
        super().__init__("lab", context=context)
        self.asked, self.refuse, self.status = [], "", RecorderStatus(task="pick up the block", disk_free=10**11)
        self.silent = set()
        self.recorder = self.create_publisher(RecorderStatus, "recorder/status", LATCHED)
        self.policy = self.create_publisher(PolicyStatus, "policy/status", LATCHED)
        self.safety = self.create_publisher(SafetyMode, "io_and_status_controller/safety_mode", LATCHED)
        self.diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", COMMAND)
        self.joints = self.create_publisher(JointState, "joint_states", SENSOR)
        self.targets = self.create_publisher(JointState, "command/arm", COMMAND)
        self.chunks = self.create_publisher(JointTrajectory, "policy/chunk", COMMAND)
        self.images = {
            name: self.create_publisher(Image, f"{name}_camera/color/image_raw", SENSOR) for name in ("front", "wrist")
        }
        for name, kind in (
            ("recorder/start", StartEpisode),
            ("recorder/stop", StopEpisode),
            ("recorder/discard", DiscardEpisode),
            ("recorder/label", LabelEpisode),
            ("recorder/set_task", SetTask),
            ("policy/estop", Trigger),
            ("scaled_joint_trajectory_controller/follow_joint_trajectory/_action/cancel_goal", CancelGoal),
        ):
            self.create_service(kind, name, lambda request, response, name=name: self.serve(name, request, response))
        self.create_timer(1 / 30, self.drive)
        self.create_timer(0.5, self.report)

    def serve(self, name, request, response):
        self.asked.append((name, request))
        if hasattr(response, "success"):
            response.success, response.message = not self.refuse, self.refuse
        return response

    def drive(self):
        now = self.get_clock().now()
        for name, publisher in self.images.items():
            if name not in self.silent:
                pixels = np.full((96, 96, 3), (200, 30, 40), dtype=np.uint8)
                image = Image(height=96, width=96, encoding="rgb8", step=288, data=pixels.tobytes())
                image.header.stamp = now.to_msg()
                publisher.publish(image)
        for names, value in ((ARM, 0.25), (GRIPPER, 0.7929)):
            state = JointState(name=list(names), position=[value] * len(names))
            state.header.stamp = now.to_msg()
            self.joints.publish(state)
        target = JointState(name=list(ARM), position=[0.5] * 6)
        target.header.stamp = now.to_msg()
        self.targets.publish(target)

    def report(self):
        if "recorder" in self.silent:
            return
        self.recorder.publish(self.status)
        values = [KeyValue(key="topic", value="/front_camera/color/image_raw"), KeyValue(key="lost", value="7")]
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK, name="recorder: camera front", message="30 Hz", values=values
        )
        self.diagnostics.publish(DiagnosticArray(status=[status]))


class Bench:
    """The page and the lab, each on an executor of its own, in one DDS domain."""

    def __init__(self, folder):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.SystemRandom().randint(1, 200))
        values = {"profile": str(PROFILE), "web_port": 0, "episodes_dir": str(folder)}
        self.page = PageNode(context=self.context, parameter_overrides=overrides(values))
        self.lab = Lab(self.context)
        self.closing = threading.Event()
        self.threads = []
        for node in (self.page, self.lab):
            executor = SingleThreadedExecutor(context=self.context)
            executor.add_node(node)
            thread = threading.Thread(target=self.spin, args=(executor,), daemon=True)
            thread.start()
            self.threads.append((thread, executor))
        self.url = f"http://127.0.0.1:{self.page.server.port}"

    def spin(self, executor):
        while not self.closing.is_set():
            executor.spin_once(timeout_sec=0.1)

    def press(self, name, **arguments):
        request = urllib.request.Request(
            f"{self.url}/command/{name}", json.dumps(arguments).encode(), {"Origin": self.url}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def until(self, condition, what, timeout_s=40):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (
                f"not within {timeout_s} s: {what}\n{self.page.fast()}\n{self.page.slow()}"
            )
            time.sleep(0.02)

    def stream(self, label):
        return next(row for row in self.page.fast()["streams"] if row["label"] == label)

    def close(self):
        self.page.close()
        self.closing.set()
        for thread, executor in self.threads:
            thread.join()
            executor.shutdown()
        for node in (self.page, self.lab):
            node.destroy_node()
        self.page = self.lab = None
        rclpy.try_shutdown(context=self.context)
        gc.collect()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("bags"))
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def fresh(bench):
    bench.lab.asked.clear()
    bench.lab.silent.clear()
    bench.lab.refuse = ""
    bench.page.watch(1)


def test_nothing_is_subscribed_while_nobody_looks(bench):
    bench.page.watch(0)
    bench.until(lambda: bench.lab.count_subscribers("/front_camera/color/image_raw") == 0, "subscription is gone")
    bench.page.watch(1)
    bench.until(lambda: bench.lab.count_subscribers("/front_camera/color/image_raw") == 1, "subscription is back")


def test_cameras_streams_and_joints_are_shown(bench):
    bench.until(lambda: all(number for number, _ in bench.page.pictures().values()), "a picture of each camera")
    picture = cv2.imdecode(np.frombuffer(bench.page.pictures()["front"][1], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (96, 96, 3)
    assert np.abs(picture[10, 10].astype(int) - (40, 30, 200)).max() < 12
    bench.until(lambda: bench.stream("camera front")["rate"], "a rate")
    assert bench.stream("camera front")["rate"] < 33.0  # of the publisher, which a busy machine slows down
    bench.until(lambda: bench.stream("camera front")["lost"] == 7, "the recorder's count of losses")
    bench.until(lambda: None not in bench.page.fast()["row"][1], "states")
    assert bench.page.hello()["joints"][0] == "shoulder pan"
    assert bench.page.hello()["joints"][-1] == "gripper"
    bench.until(lambda: bench.page.fast()["row"][2][0] is not None, "targets")
    _, state, target = bench.page.fast()["row"]
    assert state == [0.25] * 6 + [1.0]  # the gripper in the units of the dataset
    assert target == [0.5] * 6 + [None]


def test_the_chunk_that_lies_ahead_is_shown(bench):
    def send():
        chunk = JointTrajectory(joint_names=[*reversed(ARM)])
        chunk.header.stamp = bench.lab.get_clock().now().to_msg()
        for step in range(20):
            point = JointTrajectoryPoint(positions=[0.1 * i for i in reversed(range(6))])
            point.time_from_start.sec = step
            chunk.points.append(point)
        bench.lab.chunks.publish(chunk)
        return bench.page.fast()["chunk"] is not None

    bench.until(send, "a chunk")
    times, rows = bench.page.fast()["chunk"]
    assert len(times) == len(rows) >= 19
    assert rows[0] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, None])


def test_a_camera_that_freezes_is_told_and_so_is_its_return(bench):
    bench.until(lambda: bench.stream("camera wrist")["level"] in FLOWS, "the stream flows")
    bench.lab.silent.add("wrist")
    bench.until(lambda: bench.stream("camera wrist")["level"] == "stale", "the stream is stale")
    assert bench.stream("camera front")["level"] in FLOWS
    bench.until(lambda: {"level": "error", "text": "no messages: camera wrist"} in bench.page.slow()["alerts"], "alert")
    assert any("camera wrist: silent for" in event["text"] for event in bench.page.slow()["events"])
    bench.lab.silent.clear()
    bench.until(lambda: bench.stream("camera wrist")["level"] in FLOWS, "the stream is back")
    told = [event["text"] for event in bench.page.slow()["events"]]
    assert any(text.startswith("camera wrist: as expected again") or " Hz instead of " in text for text in told)


def test_buttons_follow_the_recorder(bench):
    lab = bench.lab
    lab.status = RecorderStatus(task="pick", disk_free=10**11)
    bench.until(lambda: set(bench.page.slow()["allowed"]) == {"stop", "set_task", "start"}, "ready")
    lab.status = RecorderStatus(task="pick", recording=True, writing=True, phase=2, episode_uuid="u", disk_free=10**11)
    wanted = {"stop", "set_task", "save", "success", "failure", "discard"}
    bench.until(lambda: set(bench.page.slow()["allowed"]) == wanted, "recording")
    assert bench.page.slow()["recorder"]["phase"] == "TELEOP"
    assert bench.press("success") == {"ok": True, "text": "saved as success"}
    assert bench.press("save") == {"ok": True, "text": "saved"}
    assert [(name, request.outcome) for name, request in lab.asked] == [("recorder/stop", 1), ("recorder/stop", 0)]
    lab.status = RecorderStatus(task="pick", last_uuid="u", can_undo=True, disk_free=10**11)
    wanted = {"stop", "set_task", "start", "success", "failure", "discard", "undo"}
    bench.until(lambda: set(bench.page.slow()["allowed"]) == wanted, "after an episode")
    lab.asked.clear()
    for name in ("failure", "discard", "undo"):
        assert bench.press(name)["ok"]
    assert [request.label for _, request in lab.asked] == [2, 3, 4]
    answer = bench.press("save")
    assert answer == {"ok": False, "text": "no episode is open, so there is nothing to save; press Start first"}


def test_start_and_task_pass_the_text_on_and_refusals_are_shown(bench):
    bench.lab.status = RecorderStatus(task="pick", disk_free=10**11)
    bench.until(lambda: "start" in bench.page.slow()["allowed"], "ready")
    assert bench.press("start", task="fold the towel")["ok"]
    assert bench.press("set_task", task="fold it twice") == {"ok": True, "text": "recorder: task set"}
    assert [request.task for _, request in bench.lab.asked] == ["fold the towel", "fold it twice"]
    bench.lab.refuse = "camera wrist: nothing received"
    assert bench.press("start") == {"ok": False, "text": "camera wrist: nothing received"}
    bench.until(lambda: bench.page.slow()["events"][-1]["text"] == "start: camera wrist: nothing received", "event")


def test_stop_cancels_what_is_there(bench):
    def pressed():
        answer = bench.press("stop")
        return answer if "arm" in answer["text"] else None

    bench.until(pressed, "the arm's controller is found")
    assert pressed() == {"ok": True, "text": "arm: nothing was running"}
    cancelled = [request for name, request in bench.lab.asked if name.endswith("cancel_goal")]
    assert not any(cancelled[-1].goal_info.goal_id.uuid)  # all goals, whoever sent them


def test_a_service_that_nobody_offers_is_named(bench, monkeypatch):
    monkeypatch.setattr("vla_web.ros.commands._TIMEOUT_S", 0.3)
    answer = bench.press("reset_estop")
    assert answer["ok"] is False
    assert answer["text"].startswith("service /policy/reset_estop: nobody offers it after 0.3 s")


def test_a_protective_stop_is_an_alert_with_its_remedy(bench):
    bench.lab.safety.publish(SafetyMode(mode=3))
    alert = "safety mode 3 (not allowed): clear the cause"
    bench.until(lambda: any(a["text"].startswith(alert) for a in bench.page.slow()["alerts"]), "alert")
    bench.lab.safety.publish(SafetyMode(mode=1))
    bench.until(lambda: not any("safety" in a["text"] for a in bench.page.slow()["alerts"]), "no alert")


def test_the_policy_is_shown_with_its_queue_and_latency(bench):
    status = PolicyStatus(
        state=PolicyStatus.RUNNING, policy="act", inference_ms=41.5, detail="", held_percent=float("nan")
    )
    bench.lab.policy.publish(status)
    bench.until(lambda: bench.page.slow()["policy"], "policy")
    row = bench.page.slow()["policy"]
    assert (row["state"], row["inference_ms"], row["held_percent"], row["queue"]) == ("running", 41.5, None, None)
    assert "cancel_policy" in bench.page.slow()["allowed"]
    assert bench.press("estop")["ok"]
    assert [name for name, _ in bench.lab.asked] == ["policy/estop"]


def test_a_node_that_dies_is_told(bench):
    bench.until(lambda: {"name": "recorder", "level": "ok", "text": "30 Hz"} in bench.page.slow()["nodes"], "alive")
    bench.lab.silent.add("recorder")
    bench.until(lambda: bench.page.slow()["recorder"] is None, "the recorder is gone")
    bench.until(lambda: {"level": "error", "text": "no sign of life: recorder"} in bench.page.slow()["alerts"], "alert")
    bench.until(
        lambda: any("node recorder: no sign of life for" in event["text"] for event in bench.page.slow()["events"]),
        "the event",
    )
    bench.lab.silent.clear()
    bench.until(lambda: any("recorder: reports again" in e["text"] for e in bench.page.slow()["events"]), "back")


def test_commands_of_other_sites_do_nothing(bench):
    request = urllib.request.Request(
        f"{bench.url}/command/stop", b"{}", {"Origin": "http://evil.example"}, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)
    assert bench.lab.asked == []


def test_a_page_that_is_open_to_the_network_without_a_token_does_not_start(capfd):
    arguments = ["--ros-args", "-p", f"profile:={PROFILE}", "-p", "web_host:=0.0.0.0"]
    assert run_node(PageNode, arguments) == 2
    assert "web_host '0.0.0.0' can be reached from other machines" in capfd.readouterr().err
