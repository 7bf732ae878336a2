# SPDX-License-Identifier: Apache-2.0

"""A dataset in any codec leads back to the joint targets of the bag, by nothing but the profile that lies in it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_core.actions import ActionMap
from vla_core.frames import Frame
from vla_core.profile import load_profile
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.convert.command import main
from vla_recorder.testing import PROFILE, Scene, scene_events, small_profile, write_episode

# Two joints in a plane; the tool points down.
ARM = """\
kinematics:
  joints: [elbow_joint, wrist_joint]
  a: [0.5, 0.4]
  d: [0.0, 0.0]
  alpha: [0.0, 0.0]
  tool: {rpy: [3.141592653589793, 0.0, 0.0]}
  reference_rpy: [3.141592653589793, 0.0, 0.0]
"""
CASES = [
    ("joints_absolute", None),
    ("joints_delta", None),
    *((codec, rotation) for codec in ("eepose_absolute", "eepose_delta") for rotation in ("rotvec", "quaternion", "rot6d", "rpy")),
]  # fmt: skip


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Frame]]:
    folder = tmp_path_factory.mktemp("bags") / "episode_20260101T000000Z_00000001"
    profile = small_profile(PROFILE + ARM)
    write_episode(folder, scene_events(profile, Scene(seed=4, duration_s=1.5)), profile)
    frames = [frame for frame in BagFrames(open_episode(folder), profile, 10) if isinstance(frame, Frame)]
    return folder, frames


@pytest.mark.parametrize(("codec", "rotation"), CASES)
def test_a_dataset_leads_back_to_the_joints(
    tmp_path: Path, bag: tuple[Path, list[Frame]], codec: str, rotation: str | None
) -> None:
    folder, frames = bag
    output = tmp_path / "data"
    arguments = ["--bags", folder, "--output", output, "--encoder", "fast", "--workers", 1, "--codec", codec]
    arguments += ["--rotation", rotation] if rotation else []
    assert main([str(argument) for argument in arguments]) == 0
    profile = load_profile(output / "meta" / "vla" / "profile.yaml")
    table = pq.read_table(output / "data" / "chunk-000" / "file-000.parquet")
    states = np.array(table["observation.state"].to_pylist(), np.float32)
    actions = np.array(table["action"].to_pylist(), np.float32)
    assert states.shape == (len(frames), len(profile.state_names))
    assert actions.shape == (len(frames), len(profile.action_names))
    decoder = ActionMap(profile)
    for frame, state, action in zip(frames, states, actions, strict=True):
        back = decoder.to_joint_targets(action[None], state, frame.joints)["arm"][0]
        assert back == pytest.approx(frame.targets["arm"], abs=1e-3 if rotation else 1e-6)
    moved = np.array([frame.targets["arm"] for frame in frames])
    assert np.ptp(moved, axis=0).min() > 0.05
