# SPDX-License-Identifier: Apache-2.0

"""What docs/how-to/windows_and_padding.md shows runs as it stands there, and says what LeRobot does."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from lerobot.transforms import ImageTransformConfig
from lerobot.transforms.transforms import make_transform_from_config
from policy_fixtures import make_dataset, small_profile
from vla_policy.tools.augment import main as augment
from vla_policy.training.augment import CHANGES, PRESETS

ROOT = next(p for p in Path(__file__).resolve().parents if (p / "setup" / "bootstrap.py").is_file())
PAGE = (ROOT / "docs/how-to/windows_and_padding.md").read_text()
LENGTH = 20


def blocks(language):
    """Code blocks of the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a dataset of two episodes of 20 rows."""
    make_dataset(tmp_path / "dataset", small_profile(), episodes=2, length=LENGTH)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_lines_run_and_cut_what_they_say(here, capsys):
    names = {}
    for block in blocks("python"):
        exec(block, names)
    assert capsys.readouterr().out.splitlines() == [
        "torch.Size([8, 3]) torch.Size([16, 3])",
        str([True] * 7 + [False]),
        "torch.Size([4, 16, 3]) torch.Size([4, 16])",
    ]
    assert names["length"] == 16
    assert names["starts"] == [0, 16, 20, 36]
    windows = names["windows"]
    actions = torch.stack([windows.hf_dataset[i]["action"] for i in range(2 * LENGTH)])
    torch.testing.assert_close(names["batch"]["action"][2], actions[20:36])
    last = windows[LENGTH - 3]  # three rows of the first episode are left
    assert last["action_is_pad"].tolist() == [False] * 3 + [True] * 13
    torch.testing.assert_close(last["action"], actions[[17, 18, *[19] * 14]])  # repeats, and does not see episode two
    first = windows[LENGTH]
    assert first["observation.state_is_pad"].tolist() == [True] * 7 + [False]
    assert torch.equal(first["observation.state"], first["observation.state"][-1].expand(8, 3))


def test_the_commands_run(here):
    (block,) = blocks("bash")
    for line in block.splitlines():
        words = shlex.split(line)
        assert words[:4] == ["ros2", "run", "vla_policy", "augment"]
        assert augment([*words[4:], "--frames", "1", "--examples", "1"]) == 0
    assert (here / "light.png").is_file()
    assert (here / "strong.png").is_file()


def test_the_page_names_all_changes_with_their_ranges():
    for name, change in CHANGES.items():
        (row,) = (line for line in PAGE.splitlines() if line.startswith("| `") and f"`{name}`" in line)
        assert f"| {change.least:g} to {change.most:g} |" in row
    text = " ".join(PAGE.split())
    for preset, ranges in PRESETS.items():
        listed = ", ".join(f"`{name}: [{least}, {most}]`" for name, (least, most) in ranges.items())
        assert f"`{preset}` is {listed}" in text


@pytest.mark.parametrize(
    "kind",
    [
        "GaussianNoise",
        "MotionBlur",
        "JPEGCompression",
        "RandomShadow",
        "CoarseDropout",
        "GammaCorrection",
        "PlanckianJitter",
    ],
)
def test_lerobots_transforms_that_leave_bytes_alone(kind):
    """If this fails, LeRobot applies them now and `CHANGES` can offer them."""
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    assert torch.equal(make_transform_from_config(ImageTransformConfig(type=kind))(image), image)
