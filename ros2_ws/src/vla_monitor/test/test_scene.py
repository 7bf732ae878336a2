# SPDX-License-Identifier: Apache-2.0

"""What is drawn, without ROS."""

from pathlib import Path
from types import SimpleNamespace as Msg

import numpy as np
import pytest
from monitor_fixtures import KINEMATICS, PROFILE
from vla_core.kinematics import forward
from vla_core.profile import load_profile, parse_profile
from vla_monitor.arms import find_arms
from vla_monitor.chunk import Chunk, read_chunk
from vla_monitor.drop_queue import DropQueue
from vla_monitor.scene import LINE, POINTS, SEGMENTS, Scene, caption
from vla_monitor.values import commanded, measured, message_ns

S = 1_000_000_000


def arms():
    return find_arms(parse_profile(PROFILE + KINEMATICS))[0]


def scene(**more):
    return Scene(arms(), **{"path_s": 2.0, "fade_s": 1.0, "chunks": 2, "rate_hz": 10.0, **more})


def chunk(t_s, *shoulders):
    """Steps of 0.1 s with these shoulder angles; columns are not in the order of the kinematics."""
    times = round(t_s * S) + np.arange(len(shoulders)) * (S // 10)
    return Chunk(["finger", "elbow", "shoulder"], times, np.array([[0.0, 0.0, value] for value in shoulders]))


def by_space(shapes):
    return {(shape.space, shape.number): shape for shape in shapes}


def test_arms_without_kinematics_are_named():
    assert find_arms(parse_profile(PROFILE)) == ((), ("arm",))
    found, without = find_arms(parse_profile(PROFILE + KINEMATICS))
    assert ([arm.name for arm in found], without) == (["arm"], ())


def test_two_arms_are_drawn_where_they_stand_each_in_its_colour():
    profile = load_profile(Path(__file__).parents[2] / "vla_bringup" / "robots" / "ur5e_bimanual.yaml")
    both, without = find_arms(profile)
    assert ([arm.name for arm in both], without) == (["left_arm", "right_arm"], ())
    joints = [joint for arm in both for joint in arm.joints]
    ready = np.array([*profile.ready["left_arm"], *profile.ready["right_arm"]])
    s = Scene(both, path_s=2.0, fade_s=1.0, chunks=2, rate_hz=10.0)
    for step in range(3):
        s.moved(step * S // 10, dict(zip(joints, ready, strict=True)))
    s.predicted(S // 10, Chunk(joints, np.array([S // 10, S // 5]), np.tile(ready, (2, 1))))
    drawn = by_space(s.shapes(S // 5))
    tool = forward(profile.arms[0].kinematics, profile.ready["left_arm"])[:3, 3]
    for name, y in (("left_arm", 0.45), ("right_arm", -0.45)):
        for space, number in ((f"path/{name}", 0), (f"chunk/{name}", 1), (f"steps/{name}", 0)):
            assert drawn[(space, number)].points[-1] == pytest.approx(tool + np.array([0.0, y, 0.0]))
        assert drawn[(f"chunk/{name}", 1)].color == drawn[(f"steps/{name}", 0)].color
    assert drawn[("chunk/left_arm", 1)].color != drawn[("chunk/right_arm", 1)].color


def test_joints_go_to_the_kinematics_by_name():
    arm = arms()[0]
    assert arm.tool({"shoulder": np.pi / 2}) is None, "the elbow is not known"
    assert arm.tool({"elbow": np.pi / 2, "shoulder": 0.0}) == pytest.approx([1.0, 0.5, 0.0])
    assert arm.path(["elbow"], np.zeros((1, 1))) is None
    assert arm.path(["elbow", "shoulder"], np.array([[0.0, np.pi / 2]])) == pytest.approx(np.array([[0.0, 1.5, 0.0]]))


def test_the_path_fades_and_is_as_long_as_asked_for():
    s = scene()
    for step in range(40):
        s.moved(step * S // 10, {"shoulder": 0.01 * step, "elbow": 0.0})
    path = by_space(s.shapes(39 * S // 10))[("path/arm", 0)]
    assert path.kind == LINE
    assert len(path.points) == 21, "2 s at 10 Hz"
    assert path.points[-1] == pytest.approx([1.5 * np.cos(0.39), 1.5 * np.sin(0.39), 0.0])
    assert (np.diff(path.alpha) > -1e-9).all(), "the older, the fainter"
    assert (path.alpha[0], path.alpha[-1]) == (pytest.approx(0.1), pytest.approx(1.0))


def test_messages_that_come_faster_than_the_path_are_thinned():
    s = scene()
    for step in range(100):
        s.moved(step * S // 1000, {"shoulder": 0.0, "elbow": 0.0})
    assert by_space(s.shapes(S // 10))[("path/arm", 0)].kind == "", "one point is no line"
    s.moved(S // 10, {"shoulder": 0.0, "elbow": 0.0})
    assert len(by_space(s.shapes(S // 10))[("path/arm", 0)].points) == 2


def test_chunks_fade_and_vanish_and_only_the_newest_ones_are_kept():
    s = scene()
    for number in range(3):
        s.predicted(number * S // 10, chunk(0.1 * number, 0.0, 0.1, 0.2))
    drawn = by_space(s.shapes(S // 4))
    lines = {number: shape for (space, number), shape in drawn.items() if space == "chunk/arm"}
    assert sorted(lines) == [2, 3], "two at a time"
    assert lines[2].alpha[0] == pytest.approx(1.0 - 0.15)
    assert lines[3].alpha[0] == pytest.approx(1.0 - 0.05)
    steps = drawn[("steps/arm", 0)]
    assert steps.kind == POINTS
    assert steps.alpha[0] < steps.alpha[-1], "steps that are over are fainter"
    gone = by_space(s.shapes(round(1.15 * S)))
    assert gone[("chunk/arm", 2)].kind == "", "it is deleted once"
    assert gone[("chunk/arm", 3)].kind == LINE
    assert ("chunk/arm", 2) not in by_space(s.shapes(round(1.16 * S)))
    s.clear()
    assert by_space(s.shapes(0))[("chunk/arm", 3)].kind == "", "after a jump of the clock nothing old stays"


def test_executed_is_compared_with_predicted_at_the_same_time():
    s = scene()
    s.predicted(0, chunk(0.0, 0.0, 0.2, 0.4))
    assert s.deviation_m("arm") is None, "nothing was measured"
    s.moved(S // 10, {"shoulder": 0.0, "elbow": 0.0})
    apart = 2 * 1.5 * np.sin(0.1)
    assert s.deviation_m("arm") == pytest.approx(apart), "0.2 rad at 1.5 m"
    pairs = by_space(s.shapes(S // 10))[("difference/arm", 0)]
    assert pairs.kind == SEGMENTS
    assert np.linalg.norm(pairs.points[1] - pairs.points[0]) == pytest.approx(apart)
    s.released()
    assert s.deviation_m("arm") is None, "nobody follows it any more"
    assert by_space(s.shapes(S // 10))[("difference/arm", 0)].kind == ""
    s.predicted(S // 10, chunk(0.0, 0.0, 0.2, 0.4))
    assert s.deviation_m("arm") == pytest.approx(apart)
    s.moved(S, {"shoulder": 0.0, "elbow": 0.0})
    assert s.deviation_m("arm") is None, "the chunk is over"


def test_the_caption_says_phase_task_and_distance():
    assert caption("POLICY", "lift", {"arm": 0.0123}, 0.05) == "POLICY · lift\narm 12 mm off the chunk, chunk 50 ms old"
    assert caption("IDLE", "", {"arm": None}, 7.0) == "IDLE"


def test_a_chunk_is_read_from_its_message():
    point = lambda sec, *p: Msg(positions=list(p), time_from_start=Msg(sec=0, nanosec=round(sec * S)))  # noqa: E731
    stamp = Msg(stamp=Msg(sec=5, nanosec=0))
    msg = Msg(header=stamp, joint_names=["a", "b"], points=[point(0.0, 1.0, 2.0), point(0.5, 2.0, 4.0)])
    found = read_chunk(msg)
    assert found.times_ns.tolist() == [5 * S, 5 * S + S // 2]
    assert found.value("b", 5 * S + S // 4) == pytest.approx(3.0)
    assert found.value("b", 4 * S) is None
    assert found.value("c", 5 * S) is None
    assert read_chunk(Msg(header=stamp, joint_names=[], points=[])) is None


def test_joints_are_read_without_the_profile_s_scale_and_by_name():
    profile = parse_profile(PROFILE)
    state = measured(profile)
    msg = Msg(name=["finger", "elbow", "shoulder"], position=[0.4, 2.0, 1.0], velocity=[], effort=[])
    assert state.read("joint_states", msg) == {"shoulder": 1.0, "elbow": 2.0, "finger": 0.4}
    assert state.read("joint_states", Msg(name=["elbow"], position=[2.0])) == {}, "half an arm is none"
    target = commanded(profile)
    assert target.read("command/arm", Msg(name=["shoulder", "elbow"], position=[1.0, 2.0])) == {
        "elbow": 2.0,
        "shoulder": 1.0,
    }
    assert message_ns(Msg(header=Msg(stamp=Msg(sec=0, nanosec=0))), 7) == 7, "no stamp was set"
    assert message_ns(Msg(data=1.0), 7) == 7


def test_a_full_queue_drops_and_counts_instead_of_waiting():
    queue, seen = DropQueue(2), []
    for number in range(5):
        queue.put(lambda number=number: seen.append(number))
    assert queue.dropped == 3
    assert not queue.end(0.01), "it is full, and nobody takes anything"
    queue.put(lambda: None)
    assert queue.dropped == 4
