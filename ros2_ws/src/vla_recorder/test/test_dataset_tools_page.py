# SPDX-License-Identifier: Apache-2.0

"""The commands of docs/how-to/dataset_tools.md, run in order as they stand there."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from vla_recorder.formats.lerobot_check import check_complete
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.testing import Scene, scene_events, small_profile, write_episode
from vla_recorder.testing.datasets import write_dataset
from vla_recorder.testing.hub import TOKEN, serve_hub

PAGE = Path(__file__).resolve().parents[4] / "docs/how-to/dataset_tools.md"
FULL = os.environ.get("VLA_TEST_FULL") == "1"
ELSEWHERE = {
    "export AWS_ENDPOINT_URL": "needs a server; test_publish.py has one",
    "ros2 run vla_recorder publish outputs/parts/train s3://": "needs a server; test_publish.py has one",
    "lerobot-": "" if FULL else "ten seconds each; VLA_TEST_FULL=1",
}

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason=f"{PAGE} is not part of this installation")


def commands() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.timeout(300)
def test_the_page(tmp_path: Path) -> None:
    write_dataset(LeRobotV3(), tmp_path / "outputs/monday", (3, 4, 2))
    write_dataset(LeRobotV3(), tmp_path / "outputs/tuesday", (3, 2), start=9)
    profile = small_profile()
    write_episode(tmp_path / "recordings/episode_1", scene_events(profile, Scene(seed=1, duration_s=1.0)), profile)
    skipped = tuple(prefix for prefix, reason in ELSEWHERE.items() if reason)
    # The small robot has no wrist camera.
    lines = [line.replace(",wrist=wrist_rgb", "") for line in commands() if not line.startswith(skipped)]
    assert len(lines) >= 5
    with serve_hub() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        for line in lines:
            line = line.replace("/tmp/share", f"{tmp_path}/share")
            offline = {**environment, "HF_HUB_OFFLINE": "1"} if line.startswith("lerobot-") else environment
            done = subprocess.run(
                ["bash", "-ec", line],
                cwd=tmp_path,
                env=offline,
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "meta/info.json" in hub.files
    for name, episodes in (
        ("outputs/both", 5),
        ("outputs/parts/eval", 1),
        ("share/ur5e_lift", 4),
        ("outputs/openpi", 1),
    ):
        assert check_complete(tmp_path / name)["total_episodes"] == episodes
