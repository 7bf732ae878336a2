# SPDX-License-Identifier: Apache-2.0

"""Codecs of the arm through the whole converter, on a robot with kinematics."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_core.actions import ActionMap
from vla_core.kinematics import forward
from vla_core.profile import load_profile, parse_profile, with_codec
from vla_recorder.convert.command import main
from vla_recorder.testing import Scene, scene_events, write_episode

ROBOT = Path(__file__).parents[2] / "vla_bringup/robots/sim_ur5e_tiny.yaml"


@pytest.fixture(scope="module")
def bags(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("codecs") / "bags"
    profile = load_profile(ROBOT)
    write_episode(folder / "episode_a", scene_events(profile, Scene(duration_s=1.5)), profile)
    return folder


def convert(bags: Path, output: Path, *more: str) -> dict[str, np.ndarray]:
    assert main(["--bags", str(bags), "--output", str(output), "--workers", "1", *more]) == 0
    table = pq.read_table(output / "data/chunk-000/file-000.parquet")
    return {name: np.array(table.column(name).to_pylist()) for name in ("observation.state", "action", "stamp_ns")}


@pytest.mark.parametrize("rotation", ["rotvec", "quaternion", "rot6d", "rpy"])
@pytest.mark.parametrize("codec", ["eepose_absolute", "eepose_delta"])
def test_poses_are_those_of_the_joints(bags: Path, tmp_path: Path, codec: str, rotation: str) -> None:
    joints = convert(bags, tmp_path / "joints", "--action", "next_state")
    poses = convert(bags, tmp_path / "poses", "--action", "next_state", "--codec", codec, "--rotation", rotation)
    np.testing.assert_array_equal(poses["stamp_ns"], joints["stamp_ns"])
    text = (tmp_path / "poses/meta/vla/profile.yaml").read_text()
    stored = parse_profile(text, "profile.yaml")
    assert stored.text == with_codec(load_profile(ROBOT), codec, rotation).text
    info = json.loads((tmp_path / "poses/meta/info.json").read_text())
    assert info["features"]["action"]["names"] == list(stored.action_names)
    assert info["features"]["observation.state"]["names"] == list(stored.state_names)
    codec_map = ActionMap(stored)
    arm = stored.kinematics
    for row in range(len(joints["action"])):
        q = joints["observation.state"][row, : len(arm.joints)]
        # What a policy would do with the stored row leads the tool where the joints of the next row are.
        targets = codec_map.to_joint_targets(
            poses["action"][row][None], poses["observation.state"][row], {"arm": q, "gripper": np.zeros(1)}
        )
        after = joints["observation.state"][min(row + 1, len(joints["action"]) - 1), : len(arm.joints)]
        np.testing.assert_allclose(forward(arm, targets["arm"])[0], forward(arm, after[None])[0], atol=1e-4)


def test_grippers_stay_what_they_are(bags: Path, tmp_path: Path) -> None:
    joints = convert(bags, tmp_path / "joints")
    poses = convert(bags, tmp_path / "poses", "--codec", "eepose_absolute")
    np.testing.assert_array_equal(poses["action"][:, -1], joints["action"][:, -1])
    np.testing.assert_array_equal(poses["observation.state"][:, -1], joints["observation.state"][:, -1])


def test_standing_still_is_seen_in_joints_whatever_is_stored(bags: Path, tmp_path: Path) -> None:
    options = ("--target", "e2e", "--noop-threshold", "0.15")
    joints = convert(bags, tmp_path / "joints", *options)
    poses = convert(bags, tmp_path / "poses", *options, "--codec", "eepose_delta")
    np.testing.assert_array_equal(poses["stamp_ns"], joints["stamp_ns"])
    assert len(joints["stamp_ns"]) < len(convert(bags, tmp_path / "all")["stamp_ns"])
