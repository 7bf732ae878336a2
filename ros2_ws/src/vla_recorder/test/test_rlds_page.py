# SPDX-License-Identifier: Apache-2.0

"""What docs/how-to/openvla_rlds.md shows runs as it stands there."""

import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from vla_core.profile import parse_profile
from vla_recorder.testing import Scene, scene_events, write_episode
from vla_recorder.testing.rows import PROFILE

ROOT = next(p for p in Path(__file__).resolve().parents if (p / "setup" / "bootstrap.py").is_file())
PAGE = (ROOT / "docs/how-to/openvla_rlds.md").read_text()
REFEREE = ROOT / ".referees" / "bin" / "python"


def blocks(language):
    """Code blocks of the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def entry_point(package, command):
    """Module with the main of a command, from setup.py."""
    text = (Path(__file__).parents[2] / package / "setup.py").read_text()
    return import_module(dict(re.findall(r'"(\w+) = ([\w.]+):main"', text))[command])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with recordings and a program that embeds."""
    robot = PROFILE.replace("lower: [0.0], upper: [0.8]", "lower: [-1.0], upper: [1.0]")
    profile = parse_profile(robot, "ur5e.yaml")
    write_episode(tmp_path / "bags/one", scene_events(profile, Scene(duration_s=1.0)), profile)
    (tmp_path / "embed.py").write_text("import sys\nprint(*[float(len(sys.stdin.read()))] * 512)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_and_the_python_lines_run(here, capsys):
    ran = []
    for line in (line for block in blocks("bash") for line in block.splitlines()):
        words = shlex.split(line)
        assert words[:2] == ["ros2", "run"], line
        ran.append(words[3])
        assert entry_point(words[2], words[3]).main(words[4:]) == 0, capsys.readouterr()
    registration = ["export_registration", "export_registration", "convert", "export_registration"]
    assert ran == ["convert", "validate", "convert", *registration, "convert", "validate", "norms"]
    assert (here / "norms/norms.npz").is_file()
    printed = capsys.readouterr().out
    assert '"ur5e_vla_planner": {' in printed
    for line in (
        "  --num_steps_before_decay 100000 ",
        "scripts/train.py pi0_openpi_lora --exp-name openpi --overwrite",
    ):
        assert line in printed
    shown = re.sub(r"\s*\\\n\s*", " ", PAGE)
    for line in re.sub(r"\s*\\\n\s*", " ", printed).splitlines():
        if line.startswith(("torchrun", "XLA", "uv run")) and "use_film" not in line:
            assert set(line.split()) <= set(shown.split()), line
    if not REFEREE.exists():
        pytest.skip("commands of the page ran; its Python lines need the referee environment: run ./test data")
    (script,) = blocks("python")
    done = subprocess.run([REFEREE, "-I", "-c", script], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(224, 224, 3) [")


def test_the_options_that_the_page_names_exist():
    fields = import_module("vla_recorder.formats").format_options("rlds")
    named = set(re.findall(r"`?(?:--format-option '?|`)(\w+)=", PAGE.partition("## Register")[0])) | {"jpeg_quality"}
    assert named <= {field.name for field in fields}
    assert {"schema", "primary", "wrist", "shard_mb", "embedder"} <= named
