# SPDX-License-Identifier: Apache-2.0

"""Teaching a skill: what the file holds after each change, what is refused, and that the arm can drive it afterwards."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from skill_bench import OPEN, PROFILE, SkillBench, moved
from vla_common.params import overrides
from vla_common.qos import COMMAND, EVENT, SENSOR
from vla_core.kinematics import pose_matrix
from vla_msgs.msg import TeleopEvent
from vla_teleop.node import record_skill
from vla_teleop.node.lesson import Lesson
from vla_teleop.node.teacher_node import MARK, TeacherNode, TeachOptions
from vla_teleop.skills.errors import SkillFileError
from vla_teleop.skills.waypoints import Waypoint, load_waypoints

GRIPPER = "robotiq_85_left_knuckle_joint"


def waypoint(number, image=""):
    T = pose_matrix([0.1 * number, 0.2, 0.3], np.eye(3))
    return Waypoint(T=T, joints=np.full(6, 0.1), gripper=3, image=image)


def test_every_change_is_in_the_file(tmp_path):
    path = tmp_path / "skill.csv"
    lesson = Lesson(path)
    assert lesson.undo() == "there is no waypoint to remove"
    assert lesson.mark() == "there is no waypoint to mark; add one first"
    assert lesson.add(waypoint) == "waypoint 0: x y z = 0.0000 0.2000 0.3000 m, gripper 3"
    for _ in range(2):
        lesson.add(waypoint)
    assert [row.T[0, 3] for row in load_waypoints(path)] == pytest.approx([0.0, 0.1, 0.2])
    assert lesson.mark() == "the grasp is verified at waypoint 2"
    assert [row.verification for row in load_waypoints(path)] == [False, False, True]
    lesson.add(waypoint)
    assert lesson.mark() == "the grasp is verified at waypoint 3 (and no more at waypoint 2)"
    assert [row.verification for row in load_waypoints(path)] == [False, False, False, True]
    assert "nowhere" in lesson.mark()
    assert lesson.pause().startswith("paused")
    assert lesson.add(waypoint) == "paused: no waypoint was added; press pause again to go on"
    assert len(load_waypoints(path)) == 4
    lesson.pause()
    assert lesson.undo() == "waypoint 3 was removed; 3 left"
    assert len(load_waypoints(path)) == 3

    with pytest.raises(SkillFileError, match=r"skill.csv exists already; add --append to go on with it"):
        Lesson(path)
    again = Lesson(path, append=True)
    assert again.add(waypoint).startswith("waypoint 3: ")
    for _ in range(4):
        again.undo()
    assert not path.exists()
    with pytest.raises(SkillFileError, match=r"the folder .* does not exist"):
        Lesson(tmp_path / "nowhere" / "skill.csv")


def test_a_picture_goes_with_its_waypoint(tmp_path):
    lesson = Lesson(tmp_path / "skill.csv")
    lesson.pictures.mkdir()
    (lesson.pictures / "one.jpg").touch()
    lesson.add(partial(waypoint, image="skill_images/one.jpg"))
    assert load_waypoints(lesson.path)[0].image == "skill_images/one.jpg"
    lesson.undo()
    assert not list(lesson.pictures.iterdir())


class Class:
    """A person with buttons, taught to by a node in the simulated cell."""

    def __init__(self, bench, **options):
        self.bench, self.lines = bench, []
        self.node = TeacherNode(
            bench.profile,
            TeachOptions(output=bench.folder / "taught.csv", **options),
            source=io.StringIO(),  # no terminal
            say=self.lines.append,
            context=bench.context,
            parameter_overrides=overrides({"use_sim_time": True}),
        )
        serve, self.served = self.node._serve, 0

        def counted(what):
            serve(what)
            self.served += 1

        self.node._serve = counted
        bench.add(self.node)
        self.buttons = bench.helper.create_publisher(TeleopEvent, "teleop/event", EVENT)
        bench.wait(lambda: self.buttons.get_subscription_count() > 0 and self.lines)

    def press(self, name):
        """Press a button; returns what the person was told."""
        before = self.served
        self.buttons.publish(TeleopEvent(name=name))
        self.bench.wait(lambda: self.served > before)
        return self.lines[-1]

    def wish(self, what):
        before = self.served
        self.node.wish(what)
        self.bench.wait(lambda: self.served > before)
        return self.lines[-1]

    def add(self):
        """Add a waypoint once everything has arrived and the arm has stood long enough."""
        self.bench.wait(lambda: self.press("waypoint_add").startswith("waypoint "))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    bench = SkillBench(tmp_path_factory.mktemp("taught"))
    yield bench
    bench.close()


@pytest.fixture
def bench(shared):
    shared.reset()
    (shared.folder / "taught.csv").unlink(missing_ok=True)
    return shared


def test_a_taught_skill_leads_where_the_arm_was(bench):
    start = bench.tcp()
    lesson = Class(bench, skill_id="7", camera="wrist", max_age_s=60.0)
    places = [moved(start, z=0.03), moved(start, y=0.06), moved(start, z=-0.02)]
    for i, place in enumerate(places):
        bench.skill("go", [place], [OPEN], relative=0)
        assert bench.run("go").succeeded
        lesson.add()
        assert f"picture taught_images/waypoint_00{i}_" in lesson.lines[-1]
    assert lesson.press("waypoint_undo") == "waypoint 2 was removed; 2 left"
    assert lesson.press("waypoint_pause") == "paused; waypoints are not added"
    assert lesson.press("waypoint_add").startswith("paused")
    rows = load_waypoints(bench.folder / "taught.csv")
    assert [(row.gripper, row.skill_id) for row in rows] == [(3, "7")] * 2
    assert not any("warning" in line for line in lesson.lines)  # the cell reports the flange, and that agrees
    pictures = sorted((bench.folder / "taught_images").iterdir())
    assert len(pictures) == 2
    assert cv2.imread(str(pictures[0])).shape == (96, 96, 3)
    lesson.press("waypoint_pause")
    lesson.buttons.publish(TeleopEvent(name="waypoint_save"))
    assert lesson.node.stop.wait(10.0)

    bench.skill("away", [start], [OPEN], relative=0)
    assert bench.run("away").succeeded
    bench.visited.clear()
    known = {"file": "taught.csv", "relative_count": 0, "linear_speed": 0.3, "linear_acceleration": 1.5}
    bench.write_table({"taught": known})
    assert bench.run("taught").succeeded
    assert np.linalg.norm(bench.tcp() - places[1]) < 0.003


def test_what_the_person_is_told(bench):
    lesson = Class(bench, camera="front", max_age_s=1e-6)
    bench.skill("go", [moved(bench.tcp(), y=0.1), moved(bench.tcp(), y=-0.1)], [OPEN] * 2, linear_speed=0.05)
    run = bench.start("go")
    start = bench.tcp()
    bench.wait(lambda: abs(bench.tcp()[1, 3] - start[1, 3]) > 0.005)
    told = lesson.press("waypoint_add")
    assert "no waypoint was added: the arm does not stand still" in told
    assert "let go, then add again" in told
    run.cancel()
    run.wait(30.0)
    # The target in force of the gripper is what closes it again, also where something is between the fingers.
    target = bench.helper.create_publisher(JointState, "command/gripper", COMMAND)
    pose = bench.helper.create_publisher(PoseStamped, "tcp_pose_broadcaster/pose", SENSOR)
    bench.fault("silent/arm")
    bench.wait(lambda: "joint_states is silent for" in lesson.press("waypoint_add"))
    bench.fault("silent/arm", False)
    told_now = JointState(name=[GRIPPER], position=[0.7929])
    told_now.header.stamp = lesson.node.get_clock().now().to_msg()  # else the skills node's target still stands
    target.publish(told_now)
    bench.wait(lambda: lesson.node._told == 0.7929)
    lesson.add()
    assert load_waypoints(bench.folder / "taught.csv")[-1].gripper == 230
    assert any("the gripper is told 230 and is at 3: it holds something; 230 is taken" in line for line in lesson.lines)
    assert any("no picture: the newest of camera 'front' is" in line for line in lesson.lines)
    assert lesson.wish(MARK).startswith("the grasp is verified at waypoint ")
    bench.fault("silent/arm")  # the cell's own poses end too
    wrong = PoseStamped()
    wrong.pose.position.x, wrong.pose.orientation.w = 0.3, 1.0
    bench.wait(lambda: pose.publish(wrong) or lesson.node._pose.pose.position.x == 0.3)
    lesson.node._compare(bench.tcp(), bench.tcp())
    assert "mm from the tool centre point of the profile (limit 1 mm)" in lesson.lines[-1]
    bench.fault("silent/arm", False)


def test_what_cannot_be_taught_is_refused(tmp_path, capfd):
    arguments = ["record_skill", "--profile", str(PROFILE), "--output", str(tmp_path / "a.csv")]
    assert record_skill.main([*arguments, "--camera", "wirst"]) == 2
    assert "there is no colour camera 'wirst'; there are: front, wrist; did you mean 'wrist'?" in capfd.readouterr().err
    (tmp_path / "a.csv").write_text("")
    assert record_skill.main(arguments) == 2
    assert "a.csv exists already; add --append" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        record_skill.main([*arguments, "--max-age", "0"])
    assert "--max-age 0: must be larger than 0" in capfd.readouterr().err


@pytest.fixture
def robot():
    """A robot that stands still, for a process of its own."""
    rclpy.init()
    node = Node("robot")
    names = [
        "elbow_joint",
        "shoulder_lift_joint",
        "shoulder_pan_joint",
        "wrist_1_joint",
        "wrist_2_joint",
        "wrist_3_joint",
    ]
    publisher, over = node.create_publisher(JointState, "joint_states", 10), threading.Event()

    def publish():
        while not over.wait(0.01):
            msg = JointState(
                name=[*names, GRIPPER], position=[1.9603, -1.7143, -0.3078, -1.8169, -1.5708, -1.8786, 0.0]
            )
            msg.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(msg)

    thread = threading.Thread(target=publish)
    thread.start()
    yield
    over.set()
    thread.join()
    node.destroy_node()
    rclpy.try_shutdown()


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, *arguments):
        self.keys, terminal = pty.openpty()
        command = [sys.executable, "-m", "vla_teleop.node.record_skill", "--profile", str(PROFILE), *arguments]
        self.process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        self.text = ""

    def until(self, text, key="", timeout_s=30.0):
        """Read until the command has printed `text`, pressing a key now and then."""
        deadline = time.monotonic() + timeout_s
        while not re.search(text, self.text):
            assert time.monotonic() < deadline, self.text
            os.write(self.keys, key.encode())
            while select.select([self.keys], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self.keys, 4096).decode()
                except OSError:  # the command has ended
                    break

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.keys)


def test_the_command_ends_with_what_to_do_next(robot, tmp_path):
    path = tmp_path / "skill.csv"
    terminal = Terminal("--output", str(path), "--skill-id", "cpu")
    try:
        terminal.until("waypoint 1: ", key="a")
        terminal.until("the grasp is verified at waypoint", key="v")
        terminal.until("check_skill", key="s")
        assert terminal.process.wait(10.0) == 0
    finally:
        terminal.end()
    count = len(load_waypoints(path))
    assert f"{path}: {count} waypoints. Next:" in terminal.text
    assert f"cpu: {{file: skill.csv, relative_count: {count}, grasp_threshold: 200}}" in terminal.text
    assert f"check_skill --table {tmp_path}/skills.yaml --skill cpu --profile {PROFILE}" in terminal.text


KILLED = """
import os, signal, sys
from pathlib import Path
from test_record_skill import waypoint
from vla_teleop.node.lesson import Lesson
lesson = Lesson(Path(sys.argv[1]))
for _ in range(5):
    print(lesson.add(waypoint))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_confirmed_survives_a_kill(tmp_path):
    path = tmp_path / "skill.csv"
    here = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-u", "-c", KILLED, str(path)], env=here, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert "waypoint 4: " in done.stdout
    assert len(load_waypoints(path)) == 5
