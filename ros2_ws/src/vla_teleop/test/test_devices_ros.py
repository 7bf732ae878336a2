# SPDX-License-Identifier: Apache-2.0

"""Devices on topics, by name; the view of their inputs."""

import io
import os
import pty
import sys
import threading
import time
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import rclpy
from device_fixtures import CONFIGS
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState, Joy
from vla_core.errors import ProfileError
from vla_teleop.devices import keyboard, monitor_inputs, registry
from vla_teleop.devices.device import Command, Device, DeviceError
from vla_teleop.devices.joined import Joined
from vla_teleop.devices.monitor_inputs import MonitorNode, Options, View, main, raw_lines
from vla_teleop.devices.registry import find_config, kinds, make_device, mapping_parts, shipped

PERIOD_S = 0.01


@pytest.fixture(scope="module")
def ros():
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()


@pytest.fixture
def spin(ros):
    """Makes nodes that are spun by a thread; a function that waits until something is true."""
    executor = SingleThreadedExecutor(context=ros)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    nodes = []

    def make(name):
        node = rclpy.create_node(name, context=ros)
        nodes.append(node)
        executor.add_node(node)
        return node

    yield make
    executor.shutdown(timeout_sec=2.0)
    thread.join(timeout=2.0)
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def quick(tmp_path):
    """The two sticks with a calibration of 0.1 s and a patient time-out."""
    text = (CONFIGS / "sol_r2.yaml").read_text()
    for old, new in (
        ("wait_s: 1.0", "wait_s: 0.05"),
        ("samples: 50", "samples: 5"),
        ("timeout_s: 0.1", "timeout_s: 0.5"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "quick.yaml"
    path.write_text(text)
    return path


class Driver:
    """Two joy nodes: repeats the state of both sticks."""

    def __init__(self, node):
        self.node = node
        self.topics = {name: node.create_publisher(Joy, f"{name}/joy", 10) for name in ("left", "right")}
        self.axes = {name: [0.0] * 8 for name in self.topics}
        self.buttons = {name: [0] * 40 for name in self.topics}
        self.node.create_timer(PERIOD_S, self.send)

    def send(self):
        for name, publisher in self.topics.items():
            publisher.publish(Joy(axes=self.axes[name], buttons=self.buttons[name]))


def until(read, what, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not (value := read()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.002)
    return value


def test_two_sticks_over_topics(spin, quick):
    node = spin("reader")
    device = make_device(node, quick)
    assert isinstance(device, Device)
    assert (device.name, device.timeout_s) == ("quick", 0.5)

    def now():
        return node.get_clock().now().nanoseconds

    assert device.read(now()) is None
    assert device.age_s(now()) == float("inf")
    assert "left: no message on left/joy yet" in device.lost
    driver = Driver(spin("sticks"))
    driver.axes["left"][0] = 0.125  # rests here
    until(lambda: device.lost is None, "calibrated")
    assert not device.read(now()).twist.any()
    driver.axes["left"][2] = 1.0
    driver.axes["right"][5] = 1.0
    driver.buttons["right"][34] = 1
    events = []

    def turning():
        command = device.read(now())
        events.extend(command.pressed)
        return command if command.twist[5] > 0.2 else None

    command = until(turning, "the twist")
    np.testing.assert_allclose(command.twist, [0, 0, 0, 0, 0, 0.25], atol=1e-6)
    assert events == ["skill/cpu"]
    assert device.age_s(now()) < 0.5
    assert device.raw()["right.button34"] == 1.0
    driver.topics.clear()
    until(lambda: device.lost, "the silence")
    assert device.lost.startswith("left: silent for")
    assert not device.read(now()).twist.any()
    device.close()
    device.close()


def test_leader_arm_over_a_topic(spin):
    node = spin("reader")
    device = make_device(node, find_config("so101_leader"))
    publisher = spin("leader").create_publisher(JointState, "leader/joint_states", 10)
    names = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]

    def joints():
        publisher.publish(JointState(name=names, position=[90.0, 0.0, 0.0, 0.0, 0.0, 50.0]))
        command = device.read(node.get_clock().now().nanoseconds)
        return command if command is not None and command.joints else None

    command = until(joints, "joints")
    assert command.joints["shoulder_pan"] == pytest.approx(np.pi / 2)
    assert command.gripper == pytest.approx(0.5)
    device.close()


def test_every_shipped_mapping_loads(spin, monkeypatch):
    node = spin("reader")
    leader, follower = pty.openpty()
    monkeypatch.setattr(keyboard, "_open_terminal", lambda path: os.dup(follower))
    assert set(shipped()) == {
        "gamepad",
        "gello",
        "gello_keyboard",
        "gello_left",
        "gello_right",
        "keyboard",
        "so101_leader",
        "sol_r2",
        "spacemouse",
    }
    for name in shipped():
        device = make_device(node, find_config(name))
        assert isinstance(device, Device)
        assert device.name == name
        assert bool(device.lost) == (name != "keyboard")  # the terminal is there, the others have no driver yet
        device.close()
    os.close(leader)
    os.close(follower)


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(DeviceError, match=r"device 'sol_r3': .*did you mean 'sol_r2'\?.*Shipped are: gamepad, gello"):
        find_config("sol_r3")
    with pytest.raises(
        DeviceError, match=r"device mapping 'pedal.yaml': no such file; shipped mappings by name: gamepad"
    ):
        find_config("pedal.yaml")


def test_files_that_are_no_mapping(tmp_path):
    def refused(text):
        path = tmp_path / "my.yaml"
        path.write_text(text)
        with pytest.raises((DeviceError, ProfileError)) as caught:
            make_device(None, find_config(str(path)))
        return str(caught.value)

    assert "my.yaml' is empty; it starts with 'kind: <kind of device>'" in refused("\n")
    assert "missing key 'kind'; one of joy_pair, gamepad, keyboard, spacemouse, leader_arm, joined" in refused(
        "name: x"
    )
    text = refused("kind: gampad")
    assert "my.yaml:1: kind: unknown kind 'gampad'; installed are joy_pair" in text
    assert "did you mean 'gamepad'?" in text
    assert "group 'vla_teleop.devices'" in text
    assert "expected a map" in refused("- kind")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(DeviceError, match=r"cannot be read: .*Is a directory"):
        make_device(None, tmp_path / "folder.yaml")


def test_other_packages_add_kinds(monkeypatch, tmp_path):
    entries = [
        EntryPoint("pedal", "device_fixtures:Sticks", registry.GROUP),
        EntryPoint("gone", "no_such_module:make", registry.GROUP),
        EntryPoint("gamepad", "device_fixtures:Sticks", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    assert kinds()[-2:] == ("gone", "pedal")
    path = tmp_path / "my.yaml"
    path.write_text("kind: gone")
    with pytest.raises(ProfileError, match="kind 'gone': its entry point no_such_module:make cannot be imported"):
        make_device(None, path)
    made = []
    monkeypatch.setattr(EntryPoint, "load", lambda entry: lambda node, tree, group: made.append(tree.plain()))
    path.write_text("kind: pedal\nx: 1")
    make_device(None, path)
    assert made == [{"kind": "pedal", "x": 1}]


class Part:
    """A device that says what it is told to say."""

    def __init__(self, name, command):
        self.name, self.command, self.lost, self.timeout_s, self.closed = name, command, None, 0.1, False

    def read(self, now_ns):
        return self.command

    def age_s(self, now_ns):
        return 0.25 if self.name == "b" else 0.01

    def raw(self):
        return {f"{self.name}.0": 1.0}

    def close(self):
        self.closed = True


def test_joined_devices_share_events_and_deadman():
    arm = Part("a", Command(t_ns=5, joints={"elbow": 1.0}, gripper=0.5, moving=True, pressed=("home",)))
    keys = Part("b", Command(t_ns=9, twist=np.ones(6), pressed=("interrupt", "home")))
    pedal = Part("c", Command(t_ns=9, deadman=True))
    device = Joined("both", arm, [keys, pedal])
    assert isinstance(device, Device)
    command = device.read(10)
    assert (command.joints, command.gripper, command.moving) == ({"elbow": 1.0}, 0.5, True)
    assert not command.twist.any()
    assert command.pressed == ("home", "interrupt")
    assert command.deadman is True
    assert device.age_s(10) == 0.25
    assert device.raw() == {"a.0": 1.0, "b.0": 1.0, "c.0": 1.0}
    keys.lost = "b: gone"
    command = device.read(10)
    assert device.lost == "b: gone"
    assert (command.joints, command.gripper, command.moving, command.deadman) == (None, None, False, False)
    assert command.pressed == ("home", "interrupt")
    pedal.command = None
    assert device.read(10) is None
    device.close()
    assert arm.closed
    assert keys.closed


def test_joined_mappings_lie_beside_each_other(spin, tmp_path):
    (tmp_path / "arm.yaml").write_text((CONFIGS / "gello.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text("kind: joined\nmotion: arm.yaml\nevents: [gamepad]\n")
    assert mapping_parts(path) == (tmp_path / "arm.yaml", find_config("gamepad"))
    assert mapping_parts(tmp_path / "arm.yaml") == (tmp_path / "arm.yaml",)
    device = make_device(spin("reader"), path)
    assert device.name == "mine"
    assert "leader arm: no message on gello/joint_states yet" in device.lost
    assert "pad: no message on joy yet" in device.lost
    device.close()
    outer = tmp_path / "outer.yaml"
    outer.write_text("kind: joined\nmotion: mine.yaml\nevents: [gamepad]\n")
    with pytest.raises(ProfileError, match=r"mine.yaml:1: kind: a mapping that .*outer.yaml joins joins others itself"):
        mapping_parts(outer)
    path.write_text("kind: joined\nmotion: arm.yaml\nevents: []\n")
    with pytest.raises(ProfileError, match="events: the list is empty"):
        mapping_parts(path)


def test_joined_devices_are_closed_when_one_fails(monkeypatch, tmp_path):
    made = []

    def make(node, tree, callback_group=None):
        if made:
            raise DeviceError("no terminal")
        made.append(Part("a", None))
        return made[0]

    monkeypatch.setitem(registry.BUILT_IN, "leader_arm", make)
    monkeypatch.setitem(registry.BUILT_IN, "keyboard", make)
    with pytest.raises(DeviceError, match="no terminal"):
        make_device(None, find_config("gello_keyboard"))
    assert made[0].closed


def watch(ros, spin, options):
    """Run the view until it ends by itself; returns its text, exit code and reason."""
    sink = io.StringIO()
    node = MonitorNode(options, sink, context=ros)
    executor = SingleThreadedExecutor(context=ros)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        assert node.stop.wait(15.0), sink.getvalue()
        node.close()
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(timeout=2.0)
        node.destroy_node()
    return sink.getvalue(), node.stop


def test_view_shows_raw_and_mapped(ros, spin, quick):
    driver = Driver(spin("sticks"))
    driver.axes["left"][2] = 1.0
    driver.buttons["left"][25] = 1
    text, stop = watch(ros, spin, Options(device=str(quick), once=True))
    assert stop.code == 0
    assert "quick  last input" in text
    assert "raw     left:  0 +0.00" in text
    assert "down: 25" in text
    assert "linear +0.000 +0.000 +0.000 m/s  angular +0.000 +0.000 +0.000 rad/s  in base" in text
    assert "gripper +0.00 1/s  gain 1.00  still" in text


def test_view_prints_events(ros, spin, quick):
    driver = Driver(spin("sticks"))
    state = {"n": 0}

    def blink():
        state["n"] += 1
        driver.buttons["left"][16] = state["n"] // 20 % 2

    driver.node.create_timer(PERIOD_S, blink)
    text, stop = watch(ros, spin, Options(device=str(quick), seconds=1.5))
    assert stop.code == 0
    assert text.count("event interrupt") >= 2
    assert " s  event interrupt\n" in text


def test_view_without_input_fails_and_says_why(ros, spin):
    text, stop = watch(ros, spin, Options(device="sol_r2", seconds=0.2))
    assert stop.code == 1
    assert "no usable input came: left: no message on left/joy yet. Is its driver running?" in stop.reason
    assert "! left: no message on left/joy yet" in text
    assert "last input never" in text


def test_view_of_a_leader_arm_and_rate():
    view = View("arm")
    for i in range(1, 30):
        view.notice(Command(t_ns=i * 20_000_000), i * 20_000_000)
        view.notice(Command(t_ns=i * 20_000_000), i * 20_000_000)
    command = Command(t_ns=0, joints={"elbow": 1.5}, gripper=0.25, moving=True)
    text = view.text(command, 0.01, {"e": 86.0, "g": 3.0}, None)
    assert text.splitlines() == [
        "arm  last input 10 ms ago  29 inputs/s",
        "raw     joints:  e +86.00  g +3.00",
        "mapped  joints [rad]: elbow +1.500",
        "        gripper 0.25 (0 open, 1 closed)  moving",
    ]
    assert raw_lines({"key.w": 1.0, "key..": 1.0, "key.s": 0.0}) == ["raw     key:  down: w ."]
    assert "deadman held" in view.text(Command(t_ns=0, deadman=True), 0.0, {}, None)


def test_on_a_terminal_the_view_is_overwritten(ros):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    sink = Terminal()
    node = MonitorNode(Options(device="sol_r2", seconds=0.35), sink, context=ros)
    assert node.stop.wait(10.0)
    node.close()
    node.destroy_node()
    assert sink.getvalue().count("\033[2F\033[J") >= 2


def test_command_line(capsys, monkeypatch):
    assert main(["--list"]) == 0
    assert "kinds: joy_pair, gamepad, keyboard, spacemouse, leader_arm, joined" in capsys.readouterr().out
    assert main(["--device", "sol_r3", "--ros-args", "-r", "__ns:=/cell"]) == 2
    assert "did you mean 'sol_r2'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--seconds", "-1"])
    assert "--seconds must not be negative" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["monitor_inputs", "--help"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    assert "ros2 run vla_teleop monitor_inputs --device sol_r2" in capsys.readouterr().out
    assert monitor_inputs.DESCRIPTION.startswith("Show the inputs")
