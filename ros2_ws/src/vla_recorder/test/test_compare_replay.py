# SPDX-License-Identifier: Apache-2.0

"""A log of a dry run beside the episode it ran on: the right instants are compared, and errors say what to do."""

import json

import cv2
import numpy as np
import pytest
from vla_core.errors import VlaError
from vla_core.frames import Missing
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.testing import PROFILE, Scene, scene_events, small_profile, write_episode
from vla_recorder.tools import compare_replay

START_NS = Scene().start_ns
NAMES = ["arm.elbow_joint", "arm.wrist_joint"]
OFFSET = np.array([0.05, -0.02])


@pytest.fixture(scope="module")
def episode(tmp_path_factory):
    profile = small_profile()
    folder = tmp_path_factory.mktemp("recordings") / "episode_a"
    return write_episode(folder, scene_events(profile, Scene(duration_s=3.0)), profile)


@pytest.fixture(scope="module")
def frames(episode):
    profile = small_profile()
    found = BagFrames(open_episode(episode), profile, profile.fps)
    return [frame for frame in found if not isinstance(frame, Missing)]


def write_log(path, frames, *, names=NAMES, grippers=(), shift_ns=0, runs=1):
    """A policy that is off by OFFSET: one tick 5 ms before each frame from the fifth on, and it waits at the last two."""
    lines = [{"kind": "run", "joints": list(names), "grippers": list(grippers)} for _ in range(runs)]
    for number, frame in enumerate(frames):
        q = (frame.action + OFFSET).tolist() if number >= 5 else []
        waits = int(number >= len(frames) - 2)
        lines.append({"kind": "tick", "t": frame.t_ns - 5_000_000 + shift_ns, "h": waits, "q": q, "g": []})
    path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"kind": "tick", "t": 1', encoding="utf-8")
    return path


def test_every_frame_is_compared_with_what_was_in_force_then(episode, frames, tmp_path, capsys):
    log = write_log(tmp_path / "replay.jsonl", frames, runs=2)
    plot, numbers = tmp_path / "replay.png", tmp_path / "replay.json"
    command = ["--bag", str(episode), "--log", str(log), "--plot", str(plot), "--json", str(numbers)]
    assert compare_replay.main(command) == 0
    summary = json.loads(numbers.read_text())
    # the first five had no chunk; at the last two the policy waited, and what was in force before is one period old
    assert (summary["frames"], summary["compared"]) == (len(frames), len(frames) - 6)
    elbow = summary["joints"]["arm.elbow_joint"]
    actions = np.array([frame.action for frame in frames])
    assert elbow["range"] == pytest.approx(np.ptp(actions[5:-1, 0]), rel=1e-6)
    table = capsys.readouterr().out
    assert f"{summary['compared']} of {len(frames)} frames compared" in table
    assert all(name in table for name in NAMES)
    assert cv2.imread(str(plot)).shape[1] > 400


def test_the_error_is_predicted_minus_recorded(episode, frames, tmp_path):
    profile = small_profile()
    log = write_log(tmp_path / "replay.jsonl", frames)
    found = compare_replay.compare(open_episode(episode), profile, log)
    exact = slice(0, len(found.t_s) - 1)  # the last one compared is a period old
    assert np.allclose(found.error[exact], OFFSET, atol=1e-6)
    assert np.allclose(found.recorded[exact], [frame.action for frame in frames[5:-2]], atol=1e-6)
    assert found.t_s[0] == pytest.approx((frames[5].t_ns - frames[0].t_ns) * 1e-9)


def test_a_gripper_stands_behind_the_arm(tmp_path):
    lines = [
        {"kind": "run", "joints": ["arm.a"], "grippers": ["gripper.b"]},
        {"kind": "tick", "t": 7, "h": 0, "q": [0.1], "g": [0.8]},
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    names, times, joints = compare_replay.read_ticks(log)
    assert names == ("arm.a", "gripper.b")
    assert times.tolist() == [7]
    assert joints.tolist() == [[0.1, 0.8]]


def test_a_log_of_another_bag_is_refused(episode, frames, tmp_path):
    log = write_log(tmp_path / "other.jsonl", frames, shift_ns=60_000_000_000)
    with pytest.raises(VlaError, match=r"none of its ticks falls into .*episode_a; the log must come from a replay of"):
        compare_replay.compare(open_episode(episode), small_profile(), log)


def test_a_policy_of_another_robot_is_refused(episode, frames, tmp_path):
    log = write_log(tmp_path / "other.jsonl", frames, names=["arm.elbow_joint", "left.knee"])
    with pytest.raises(VlaError, match=r"left\.knee; it has arm\.elbow_joint, arm\.wrist_joint\. Was the policy"):
        compare_replay.compare(open_episode(episode), small_profile(), log)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read as the log of a policy node"),
        ('{"kind": "chunk"}\n', "no run in it. Give the file of the launch argument log_file"),
        ('{"kind": "run", "joints": ["a"], "grippers": []}\n', "no chunk came into force; was the bag long enough"),
    ],
)
def test_files_that_are_no_log(episode, tmp_path, capsys, text, message):
    log = tmp_path / "log.jsonl"
    if text is not None:
        log.write_text(text, encoding="utf-8")
    assert compare_replay.main(["--bag", str(episode), "--log", str(log)]) == 1
    assert message in capsys.readouterr().err


def test_a_bag_without_a_profile_takes_one(episode, frames, tmp_path, capsys):
    log = write_log(tmp_path / "replay.jsonl", frames)
    profile = tmp_path / "robot.yaml"
    profile.write_text(PROFILE, encoding="utf-8")
    assert compare_replay.main(["--bag", str(episode), "--log", str(log), "--profile", str(profile)]) == 0
    assert compare_replay.main(["--bag", str(tmp_path), "--log", str(log)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
