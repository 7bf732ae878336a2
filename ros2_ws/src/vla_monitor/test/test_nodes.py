# SPDX-License-Identifier: Apache-2.0

"""The nodes on a graph: what they publish, when they keep silent, and what is in a saved recording."""

import math
import os
import socket
import time

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from monitor_fixtures import PROFILE, given
from rerun.experimental import RrdReader
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import Marker, MarkerArray
from vla_common.qos import COMMAND, LATCHED
from vla_core.errors import ProfileError
from vla_monitor.markers_node import MarkersNode
from vla_monitor.rerun_node import RerunNode
from vla_monitor.rerun_outlet import Outlet, RerunError
from vla_monitor.rerun_params import RerunParams
from vla_monitor.robot_state_node import RobotStateNode
from vla_monitor.urdf_tree import DescriptionError
from vla_msgs.msg import EpisodeEvent, PolicyStatus

URDF = (
    '<robot name="toy"><link name="base"/><link name="upper"/><link name="tip"/>'
    '<joint name="shoulder" type="continuous"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/></joint>'
    '<joint name="mount" type="fixed"><parent link="upper"/><child link="tip"/><origin xyz="1 0 0"/></joint></robot>'
)


class Robot:
    """Publishes what a toy robot and a policy publish."""

    def __init__(self, graph):
        self.node = graph.node("robot")
        self.joints = self.node.create_publisher(JointState, "joint_states", 10)
        self.targets = self.node.create_publisher(JointState, "command/arm", 10)
        self.images = self.node.create_publisher(Image, "front/image_raw", 10)
        self.chunks = self.node.create_publisher(JointTrajectory, "policy/chunk", COMMAND)
        self.events = self.node.create_publisher(EpisodeEvent, "episode/event", LATCHED)
        self.status = self.node.create_publisher(PolicyStatus, "policy/status", LATCHED)

    def stamped(self, msg):
        msg.header.stamp = self.node.get_clock().now().to_msg()
        return msg

    def move(self):
        state = JointState(name=["elbow", "shoulder", "finger"], position=[0.0, 0.0, 0.4])
        self.joints.publish(self.stamped(state))
        self.targets.publish(self.stamped(JointState(name=["elbow", "shoulder"], position=[0.1, 0.2])))
        picture = Image(height=24, width=32, encoding="rgb8", step=96, data=np.full(24 * 96, 200, np.uint8).tobytes())
        self.images.publish(self.stamped(picture))

    def predict(self):
        """Two seconds that turn the shoulder by 0.2 rad."""
        msg = self.stamped(JointTrajectory(joint_names=["elbow", "shoulder", "finger"]))
        for step in range(21):
            point = JointTrajectoryPoint(positions=[0.0, 0.01 * step, 0.4])
            point.time_from_start.sec, point.time_from_start.nanosec = divmod(step * 100_000_000, 1_000_000_000)
            msg.points.append(point)
        self.chunks.publish(msg)


def test_path_chunk_and_phase_are_published_in_the_base_frame(graph, profile_file):
    graph.add(MarkersNode(**given(profile=str(profile_file), rate_hz=20.0)))
    robot, seen, drawn = Robot(graph), [], {}
    robot.node.create_subscription(MarkerArray, "monitor/markers", seen.append, COMMAND)
    robot.events.publish(EpisodeEvent(phase=EpisodeEvent.POLICY))
    robot.status.publish(PolicyStatus(state=PolicyStatus.RUNNING, task="wave"))
    graph.until(lambda: robot.chunks.get_subscription_count(), "the subscription to chunks")
    robot.predict()

    def complete():
        drawn.update({marker.ns: marker for msg in seen for marker in msg.markers if marker.action == Marker.ADD})
        return len(drawn) == 5 and "off the chunk" in drawn["phase"].text

    graph.until(complete, "every kind of marker", each=robot.move)
    assert set(drawn) == {"path/arm", "chunk/arm", "steps/arm", "difference/arm", "phase"}
    assert {marker.header.frame_id for marker in drawn.values()} == {"base"}
    assert drawn["phase"].text.startswith("POLICY · wave\narm ")
    assert drawn["chunk/arm"].type == Marker.LINE_STRIP
    last = drawn["chunk/arm"].points[-1]
    assert (last.x, last.y) == (pytest.approx(1.5 * math.cos(0.2)), pytest.approx(1.5 * math.sin(0.2)))
    tip = drawn["path/arm"].points[-1]
    assert (tip.x, tip.y, tip.z) == (pytest.approx(1.5), pytest.approx(0.0), 0.0)
    assert len(drawn["path/arm"].colors) == len(drawn["path/arm"].points)


def test_a_robot_without_kinematics_still_shows_its_phase(graph, tmp_path):
    path = tmp_path / "bare.yaml"
    path.write_text(PROFILE)
    graph.add(MarkersNode(**given(profile=str(path), rate_hz=20.0)))
    robot, seen = Robot(graph), []
    robot.node.create_subscription(MarkerArray, "monitor/markers", seen.append, COMMAND)
    graph.until(lambda: seen, "markers", each=robot.move)
    assert [marker.ns for marker in seen[0].markers] == ["phase"]


def test_links_are_published_where_nobody_else_does(graph, tmp_path):
    path = tmp_path / "toy.urdf"
    path.write_text(URDF)
    robot, moving, fixed, described = Robot(graph), [], [], []
    robot.node.create_subscription(TFMessage, "tf", moving.append, COMMAND)
    robot.node.create_subscription(TFMessage, "tf_static", fixed.append, LATCHED)
    robot.node.create_subscription(String, "robot_description", described.append, LATCHED)
    graph.add(RobotStateNode(**given(urdf_file=str(path), listen_s=0.2)))
    graph.until(lambda: moving and fixed and described, "transforms and description", each=robot.move)
    assert [(edge.header.frame_id, edge.child_frame_id) for edge in moving[-1].transforms] == [("base", "upper")]
    assert fixed[0].transforms[0].transform.translation.x == 1.0
    assert described[0].data == URDF


def test_a_second_publisher_of_the_same_links_keeps_silent(graph):
    robot, seen = Robot(graph), []
    description = robot.node.create_publisher(String, "robot_description", LATCHED)
    description.publish(String(data=URDF))
    other = robot.node.create_publisher(TFMessage, "tf", COMMAND)
    theirs = TFMessage()
    node = graph.add(RobotStateNode(**given(listen_s=0.3)))
    theirs.transforms = [TransformStamped(child_frame_id="upper")]
    robot.node.create_subscription(TFMessage, "tf", seen.append, COMMAND)
    begin = node.get_clock().now().nanoseconds

    def both():
        robot.move()
        other.publish(theirs)

    graph.until(lambda: node.get_clock().now().nanoseconds - begin > 1_500_000_000, "1.5 s", each=both)
    assert robot.node.count_publishers("tf") == 1, "only the other one"
    assert seen
    assert {edge.header.frame_id for msg in seen for edge in msg.transforms} == {""}


def test_a_description_that_cannot_be_read_is_refused(graph, tmp_path):
    with pytest.raises(DescriptionError, match="cannot read the robot description"):
        RobotStateNode(**given(urdf_file=str(tmp_path / "none.urdf")))


def test_a_saved_recording_holds_cameras_joints_chunk_and_phases(graph, profile_file, tmp_path):
    file = tmp_path / "run.rrd"
    node = graph.add(RerunNode(**given(profile=str(profile_file), mode="save", file=str(file), image_hz=50.0)))
    robot = Robot(graph)
    robot.events.publish(EpisodeEvent(phase=EpisodeEvent.TELEOP))
    status = PolicyStatus(state=PolicyStatus.RUNNING, task="wave", inference_ms=12.0, observation_age_ms=math.nan)
    robot.status.publish(status)
    graph.until(lambda: robot.chunks.get_subscription_count(), "the subscription to chunks")
    robot.predict()
    graph.until(lambda: node._queue.done > 60, "messages", each=robot.move)
    node.close()
    rows = {}
    for chunk in RrdReader(file).store().stream():
        if not chunk.is_static:
            rows[chunk.entity_path] = rows.get(chunk.entity_path, 0) + chunk.num_rows
    assert rows["/cameras/front"] >= 2
    for joint in ("shoulder", "elbow"):
        assert min(rows[f"/joints/{joint}/{kind}"] for kind in ("state", "target", "predicted")) >= 2
    assert rows["/joints/finger/state"] >= 2
    assert rows["/world/arm/chunk"] == 1
    assert rows["/world/arm/tool"] >= 2
    assert rows["/story"] >= 1
    assert rows["/policy/inference_ms"] == 1
    assert "/policy/observation_age_ms" not in rows, "what was not measured is not drawn"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port, address="127.0.0.1"):
    with socket.socket() as one:
        return one.connect_ex((address, port)) == 0


def test_the_viewer_listens_on_loopback_and_ends_with_the_node():
    params = RerunParams(profile="", mode="web", port=free_port(), web_port=free_port())
    outlet = Outlet(params, "toy", None)
    viewer = outlet._viewer
    deadline = time.monotonic() + 60.0
    while not (listens(params.port) and listens(params.web_port)):
        assert time.monotonic() < deadline, "the page did not come up within 60 s"
        assert not outlet.ended()
        viewer.poll()
        time.sleep(0.05)
    assert f"http://127.0.0.1:{params.web_port}?url=" in outlet.where
    assert not listens(params.web_port, "127.0.0.2"), "on 127.0.0.1 alone, so on no other address of this machine"
    outlet.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(viewer.pid, 0)


def test_a_viewer_that_cannot_start_says_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        params = RerunParams(profile="", mode="web", port=free_port(), web_port=taken.getsockname()[1])
        outlet = Outlet(params, "toy", None)
        try:
            outlet._viewer.wait(60.0)
            assert "ended with exit code" in outlet.ended()
            assert "is its port taken" in outlet.ended()
        finally:
            outlet.close()


def test_the_node_ends_with_the_viewer(graph, profile_file):
    ports = {"port": free_port(), "web_port": free_port()}
    node = graph.add(RerunNode(**given(profile=str(profile_file), mode="web", **ports)))
    graph.until(lambda: listens(ports["port"]), "the viewer")
    os.killpg(node._outlet._viewer.pid, 15)
    graph.until(node.stop.is_set, "the end")
    assert node.stop.code == 1
    assert "the rerun viewer ended with exit code" in node.stop.reason
    node.close()


def test_a_recording_replaces_no_file(graph, profile_file):
    with pytest.raises(RerunError, match="exists already; name another file"):
        RerunNode(**given(profile=str(profile_file), mode="save", file=str(profile_file)))
    with pytest.raises(ProfileError, match="cannot read the robot profile"):
        RerunNode(**given(profile="/nowhere.yaml", mode="save"))
