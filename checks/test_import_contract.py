# SPDX-License-Identifier: Apache-2.0

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import import_contract


def test_every_import_of_the_workspace_points_down():
    assert [str(v) for v in import_contract.check()] == []


@pytest.mark.parametrize(
    ("package", "line", "message"),
    [
        (
            "vla_core",
            "import rclpy",
            "vla_core.planted imports rclpy; that library belongs to vla_common, vla_recorder",
        ),
        (
            "vla_policy",
            "from vla_sim import cell",
            "vla_policy imports vla_sim; it may import vla_common, vla_core, vla_msgs",
        ),
        ("vla_core", "def f():\n    import torch", "vla_core.planted imports torch"),
        (
            "vla_core",
            "import importlib\nimportlib.import_module('av')",
            "that library belongs to vla_core.images_video, vla_rec",
        ),
    ],
)
def test_a_planted_import_is_found(tmp_path, package, line, message):
    (tmp_path / package / package).mkdir(parents=True)
    (tmp_path / package / "setup.py").write_text("")
    (tmp_path / package / package / "planted.py").write_text(line)
    found = import_contract.check(tmp_path)
    assert len(found) == 1
    assert message in str(found[0])


def test_a_library_may_belong_to_a_single_module(tmp_path):
    (tmp_path / "vla_core" / "vla_core" / "inner").mkdir(parents=True)
    (tmp_path / "vla_core" / "setup.py").write_text("")
    for name in ("images_video.py", "inner/images_video.py"):
        (tmp_path / "vla_core" / "vla_core" / name).write_text("import av")
    found = import_contract.check(tmp_path)
    assert [violation.path.parent.name for violation in found] == ["inner"]
    assert "vla_core.inner.images_video imports av" in str(found[0])


@pytest.mark.parametrize(
    ("folder", "line", "message"),
    [
        ("bags", "from vla_recorder.media.video import join", "vla_recorder/bags imports vla_recorder.media.video"),
        ("media", "from vla_recorder.capture.taps import Tap", "it may import bags, media"),
        ("attic", "import os", "vla_recorder/attic stands on no floor (bags, capture, media, formats,"),
    ],
)
def test_folders_of_the_recorder_import_downwards_only(tmp_path, folder, line, message):
    (tmp_path / "vla_recorder" / "vla_recorder" / folder).mkdir(parents=True)
    (tmp_path / "vla_recorder" / "setup.py").write_text("")
    (tmp_path / "vla_recorder" / "vla_recorder" / folder / "planted.py").write_text(line)
    found = import_contract.check(tmp_path)
    assert len(found) == 1
    assert message in str(found[0])


def test_a_package_outside_the_contract_is_named(tmp_path):
    (tmp_path / "vla_new" / "vla_new").mkdir(parents=True)
    (tmp_path / "vla_new" / "setup.py").write_text("")
    assert "vla_new is not in the import contract" in str(import_contract.check(tmp_path)[0])
