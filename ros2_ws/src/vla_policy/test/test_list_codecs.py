# SPDX-License-Identifier: Apache-2.0

"""The list of codecs, with and without a robot."""

import json
import subprocess
import sys

import pytest
from vla_core.profile import CODECS, parse_profile
from vla_policy.tools.list_codecs import MEANING, codec_entries, main
from vla_recorder.testing.rows import PROFILE

KINEMATICS = """\
kinematics:
  joints: [j0, j1, j2, j3, j4, j5]
  a: [0.0, -0.425, -0.3922, 0.0, 0.0, 0.0]
  d: [0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996]
  alpha: [1.5707963267948966, 0.0, 0.0, 1.5707963267948966, -1.5707963267948966, 0.0]
"""


def shapes(entries):
    """(codec, rotation) -> length of state and action."""
    return {
        (entry["codec"], entry["rotation"]): (
            entry["features"]["observation.state"],
            entry["features"]["action"],
        )
        for entry in entries
    }


def test_every_codec_is_explained_and_has_the_shapes_of_the_robot():
    assert MEANING.keys() == CODECS.keys()
    entries = codec_entries(parse_profile(PROFILE + KINEMATICS, "ur5e.yaml"))
    assert shapes(entries) == {
        ("joints_absolute", None): ([7], [7]),
        ("joints_delta", None): ([7], [7]),
        **{
            (codec, rotation): ([3 + k + 1], [3 + k + 1])
            for codec in ("eepose_absolute", "eepose_delta")
            for rotation, k in (("rotvec", 3), ("quaternion", 4), ("rot6d", 6), ("rpy", 3))
        },
    }
    (own,) = (entry for entry in entries if entry["of_profile"])
    assert own["codec"] == "joints_absolute"
    assert own["features"]["observation.images.wrist"] == [3, 64, 64]
    assert own["action_names"][0] == "j0.pos"


def test_a_robot_without_kinematics_has_no_poses():
    entries = codec_entries(parse_profile(PROFILE, "ur5e.yaml"))
    lacking = [entry for entry in entries if "unavailable" in entry]
    assert {entry["codec"] for entry in lacking} == {"eepose_absolute", "eepose_delta"}
    assert "kinematics" in lacking[0]["unavailable"]


def test_the_command(tmp_path, capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.count("eepose_absolute --rotation") == 4
    file = tmp_path / "ur5e.yaml"
    file.write_text(PROFILE + KINEMATICS)
    assert main(["--profile", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == codec_entries(parse_profile(PROFILE + KINEMATICS, "x"))
    assert main(["--profile", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "<- the profile's own" in shown.splitlines()[0]
    assert "    observation.state (7,)  j0.pos j1.pos" in shown
    file.write_text(PROFILE)
    assert main(["--profile", str(file)]) == 0
    assert "not for this robot: " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["none.yaml", "bad.yaml"])
def test_a_profile_that_cannot_be_read(tmp_path, capsys, name):
    (tmp_path / "bad.yaml").write_text("robot: x\nnonsense: 1\n")
    assert main(["--profile", str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("module", ["list_codecs", "check_env", "export_registration", "augment"])
def test_help_needs_neither_ros_nor_torch(module):
    code = (
        f"import sys; from vla_policy.tools import {module} as tool\n"
        "try: tool.main(['--help'])\n"
        "except SystemExit: sys.stderr.write(' '.join({'rclpy', 'torch', 'lerobot', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert f"  ros2 run vla_policy {module} " in done.stdout or f"  ros2 run vla_policy {module}\n" in done.stdout
