# SPDX-License-Identifier: Apache-2.0

"""Numbers that must not change: a trained policy depends on them."""

import hashlib

import numpy as np
import pytest
from vla_core import ActionChunk, ActionMap, FrameBuilder, SafetyFilter, build_trajectory
from vla_core.images import resize
from vla_core.stamps import tick_ns, to_ns
from vla_core.testing import T0_NS, synthetic_events, test_pixels


def digest(*arrays):
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    ("source", "target", "wanted"),
    [
        ((240, 320), (96, 96), "3013da4fed30fac7"),
        ((240, 320), (120, 160), "759c3b9e9ed58d61"),
        ((480, 640), (224, 224), "d1755f293c521034"),
        ((96, 96), (224, 224), "a876a4af49cbfe1c"),
    ],
)
def test_resized_pictures(source, target, wanted):
    assert digest(*(resize(test_pixels(source, i), target) for i in range(4))) == wanted


def test_frames(profile):
    builder = FrameBuilder(profile, actions=True)
    for event in synthetic_events(profile, 1.0):
        builder.push_topic(event.topic, event.receive_ns, event.msg)
    frames = [builder.sample(tick_ns(T0_NS, i, profile.fps)) for i in range(10)]
    seconds = np.arange(10) * 0.1
    elbow, wrist = (0.3 + 0.2 * np.sin(seconds + phase) for phase in (0.0, 0.7))
    wanted = np.stack([elbow, wrist, elbow / 0.8], axis=1)
    assert np.stack([frame.state for frame in frames]) == pytest.approx(wanted, abs=1e-6)
    assert np.stack([frame.action for frame in frames]) == pytest.approx(wanted, abs=1e-6)
    assert digest(*(frame.images["front"] for frame in frames)) == "58ee9dfd044578bc"


def test_from_chunk_to_waypoints(profile):
    action_map, state = ActionMap(profile), np.float32([0.0, 0.0, 0.0])
    steps = np.arange(1, 6)
    values = np.stack([0.1 * steps, 0.05 * np.minimum(steps, 3), 0.2 * steps], axis=1)
    chunk = ActionChunk(T0_NS, 0.1, values)
    targets = action_map.to_joint_targets(chunk.values, state)
    report = SafetyFilter(profile).check(targets, chunk.dt_s, action_map.current_joints(state))
    sent = report.raise_if_bad()
    trajectory = build_trajectory(
        sent["arm"], chunk.t0_ns, chunk.dt_s, T0_NS + to_ns(0.15), joint_names=profile.action[0].joints
    )
    assert trajectory.joint_names == ("elbow_joint", "wrist_joint")
    assert trajectory.time_from_start.tolist() == pytest.approx([0.15, 0.25])
    assert trajectory.positions == pytest.approx(np.array([[0.4, 0.15], [0.5, 0.15]]))
    assert trajectory.velocities == pytest.approx(np.array([[1.0, 0.0], [0.0, 0.0]]), abs=1e-6)
    assert sent["gripper"][:, 0] == pytest.approx([0.16, 0.32, 0.48, 0.64, 0.8])
