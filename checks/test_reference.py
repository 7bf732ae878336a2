# SPDX-License-Identifier: Apache-2.0

"""The reference pages say what the code says."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import reference
from vla_core import profile_robot, profile_schema


@pytest.mark.parametrize("page", reference.PAGES)
def test_generated_pages_are_up_to_date(page):
    assert (reference.REFERENCE / page).read_text() == reference.PAGES[page](), "run: python checks/reference.py"


def test_every_node_has_a_parameter_class():
    assert [title for title, _ in reference.parameter_classes()] == [
        "vla_recorder: recorder",
        "vla_policy: policy",
        "vla_teleop: camera_frames",
        "vla_teleop: camera_settings",
        "vla_teleop: skill",
        "vla_teleop: teleop",
        "vla_teleop: operator",
        "vla_sim: cell",
        "vla_sim: joy_player",
        "vla_sim: operator",
        "vla_sim: skill",
        "vla_sim: trial",
        "vla_drivers: robotiq_socket",
        "vla_drivers: so101_driver",
        "vla_monitor: markers",
        "vla_monitor: rerun",
        "vla_monitor: robot_state",
        "vla_web: page",
        "vla_bringup: preflight",
    ]


def test_every_profile_key_is_described():
    text = (reference.REFERENCE / "profile.md").read_text()
    names = {**vars(profile_schema), **vars(profile_robot)}
    tables = [value for name, value in names.items() if name.endswith("_KEYS")]
    assert len(tables) >= 10
    for key in {key for keys in tables for key in keys}:
        assert f"`{key}`" in text or f".{key}`" in text, f"docs/reference/profile.md does not mention {key}"


def test_the_launch_table_names_every_launch_file():
    files = {p.name for p in (reference.ROOT / "ros2_ws/src/vla_bringup/launch").glob("*.launch.py")}
    assert files == set(reference.LAUNCH_FILES)
