# SPDX-License-Identifier: Apache-2.0

"""From bags to RLDS and npz by the command convert, read by tensorflow_datasets and NumPy."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_core.frames import Missing
from vla_core.profile import parse_profile
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.convert.command import main as convert
from vla_recorder.formats.npz_reader import NpzEpisode
from vla_recorder.testing import Scene, scene_events, write_episode
from vla_recorder.testing.rows import PROFILE
from vla_recorder.tools.validate import main as validate

ROOT = next(p for p in Path(__file__).resolve().parents if (p / "setup" / "bootstrap.py").is_file())
REFEREE = ROOT / ".referees" / "bin" / "python"
SAMPLE = ROOT.parent / "shared/data/bags"


def read_by_tensorflow(folder, tmp_path):
    """Every value of a dataset, as tensorflow_datasets gives it."""
    if not REFEREE.exists():
        reason = ROOT / ".state" / "referees.reason"
        pytest.skip(
            f"no referee environment: {reason.read_text() if reason.exists() else 'run ./test data to make it'}"
        )
    output = tmp_path / "read.npz"
    script = Path(__file__).with_name("referee_tfds.py")
    done = subprocess.run(
        [REFEREE, "-I", script, folder, output], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(output) as arrays:
        return dict(arrays)


# the synthetic finger swings both ways
ROBOT = PROFILE.replace("lower: [0.0], upper: [0.8]", "lower: [-1.0], upper: [1.0]")


@pytest.fixture
def bags(tmp_path):
    """Two recordings of the arm with six joints."""
    profile = parse_profile(ROBOT, "ur5e.yaml")
    for seed in (1, 2):
        events = scene_events(profile, Scene(duration_s=1.5, seed=seed))
        write_episode(tmp_path / f"bags/ep{seed}", events, profile, recorded_at=f"2026-01-0{seed}")
    return tmp_path / "bags"


def frames_of(folder):
    """The frames of a recording."""
    profile = parse_profile(ROBOT, "ur5e.yaml")
    return [frame for frame in BagFrames(open_episode(folder), profile, 10) if not isinstance(frame, Missing)]


def test_bags_become_the_seed_schema_exactly(bags, tmp_path):
    output = tmp_path / "tensorflow_datasets"
    common = ["--bags", str(bags), "--output", str(output), "--workers", "1", "--format", "rlds", "--task", "lift it"]
    assert convert([*common, "--target", "planner", "--image-size", "48", "--format-option", "embedder=hash"]) == 0
    read = read_by_tensorflow(output / "ur5e_vla_planner/1.0.0", tmp_path)
    for number, folder in enumerate(sorted(bags.iterdir())):
        state = np.stack([frame.state64 for frame in frames_of(folder)])
        done = np.repeat(state[-1:], 3, axis=0)
        done[:, 6] = 1.0  # three stop frames: the last one with the gripper closed
        state = np.concatenate([state, done])
        length = len(state)
        want = np.insert(state, 6, 0.0, axis=1).astype(np.float32)
        np.testing.assert_array_equal(read[f"{number}/observation/state"], want)
        delta = np.concatenate([np.diff(state[:, :6], axis=0), np.zeros((1, 6))]).astype(np.float32)
        np.testing.assert_array_equal(read[f"{number}/action"], delta)
        assert not delta[-3:].any()
        gripper = np.concatenate([state[1:, 6:], state[-1:, 6:]]).astype(np.float32)
        np.testing.assert_array_equal(read[f"{number}/action_gripper"], gripper)
        assert read[f"{number}/observation/image"].shape == (length, 48, 48, 3)
        assert read[f"{number}/observation/wrist_image"].dtype == np.uint8
        assert set(read[f"{number}/language_instruction"]) == {"lift it"}
        assert read[f"{number}/episode_metadata/file_path"] == folder.name
        assert read[f"{number}/episode_metadata/trajectory_length"] == length
    assert json.loads((output / "meta/vla/report.json").read_text())["episodes"] == 2
    assert validate([str(output)]) == 0


def test_bags_become_npz_that_the_validator_passes(bags, tmp_path):
    output = tmp_path / "npz"
    assert convert(["--bags", str(bags), "--output", str(output), "--workers", "1", "--format", "npz"]) == 0
    report = tmp_path / "report.json"
    spec = output / "spec.yaml"
    assert validate(["--data-root", str(output), "--spec", str(spec), "--report", str(report)]) == 0
    assert json.loads(report.read_text())["episodes"] == 2
    for number, folder in enumerate(sorted(bags.iterdir())):
        frames = frames_of(folder)
        episode = NpzEpisode.open(output / f"episodes/episode_{number:06d}.npz")
        np.testing.assert_array_equal(episode.array("obs.state"), np.stack([f.state for f in frames]))
        np.testing.assert_array_equal(episode.array("actions"), np.stack([f.action for f in frames]))
        for camera in ("front", "wrist"):
            np.testing.assert_array_equal(episode.array(f"obs.{camera}"), np.stack([f.images[camera] for f in frames]))
        np.testing.assert_array_equal(episode.array("stamp_ns"), [f.t_ns for f in frames])


@pytest.mark.parametrize("form", ["rlds", "npz"])
def test_a_real_recording_keeps_its_numbers(tmp_path, form):
    if not SAMPLE.is_dir():
        pytest.skip(f"no sample recordings in {SAMPLE}")
    profile = Path(__file__).parent / "data/g1_sample.yaml"
    source = pq.read_table(SAMPLE / "g1_bottle_episode29.parquet")
    state, action = (np.array(source[key].to_pylist(), np.float32) for key in ("observation.state", "action"))
    output = tmp_path / "out"
    arguments = [
        "--bags",
        str(SAMPLE / "g1_bottle"),
        "--profile",
        str(profile),
        "--output",
        str(output),
        "--workers",
        "1",
    ]
    options = ["--format-option", "schema=generic", "--image-size", "64"] if form == "rlds" else ["--image-size", "64"]
    assert convert([*arguments, "--format", form, *options]) == 0
    if form == "rlds":
        read = read_by_tensorflow(output / "unitree_g1_vla/1.0.0", tmp_path)
        found, done = read["0/observation/state"], read["0/action"]
        assert read["0/observation/cam_high"].shape == (221, 64, 64, 3)
    else:
        episode = NpzEpisode.open(output / "episodes/episode_000000.npz")
        found, done = episode.array("obs.state"), episode.array("actions")
    np.testing.assert_array_equal(found, state)
    np.testing.assert_array_equal(done, action)


def test_a_robot_that_does_not_fit_the_schema_is_refused_before_anything_is_written(bags, tmp_path, capsys):
    text = ROBOT.replace("wrist: {topic: wrist/image_raw", "hand: {topic: wrist/image_raw")
    (tmp_path / "other.yaml").write_text(text)
    arguments = ["--bags", str(bags), "--profile", str(tmp_path / "other.yaml"), "--output", str(tmp_path / "out")]
    assert convert([*arguments, "--workers", "1", "--format", "rlds"]) != 0
    assert "needs one camera as 'image', found front, hand" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.json"))
