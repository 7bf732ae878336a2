# SPDX-License-Identifier: Apache-2.0

"""Every row of docs/reference/control_verbs.md names an interface that the running cell has."""

import re
from pathlib import Path

import pytest
from teleop_stage import TeleopStage
from vla_common.params import overrides
from vla_teleop.node.skill_node import SkillNode

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "reference" / "control_verbs.md"
TABLE = Path(__file__).parents[1] / "config" / "skills" / "sim.yaml"
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| `([^`]+)` \| (topic|service|action) \| ([\w/]+) \|$", re.MULTILINE)
ROWS = [
    (verb, name, kind, type_name) for verb, _, name, kind, type_name in ROW.findall(PAGE.read_text(encoding="utf-8"))
]
VERBS = (
    *("moveJ", "moveL", "moveL path", "speedL", "servoJ", "speedStop", "stopL", "freedrive on, off", "set gripper"),
    *("set gripper speed", "get gripper position", "get TCP pose"),
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """Names with their types, of topics and services; those of an action are found by its services."""
    stage = TeleopStage(tmp_path_factory.mktemp("verbs"))
    try:
        values = {"table": str(TABLE), "lockstep": False, "use_sim_time": True}
        path = tmp_path_factory.mktemp("profile") / "robot.yaml"
        path.write_text(stage.profile.text)
        values["profile"] = str(path)
        stage.add(SkillNode(context=stage.context, parameter_overrides=overrides(values)))
        stage.until(lambda: "/skills/set_speed" in dict(stage.helper.get_service_names_and_types()))
        stage.until(lambda: "/cell/get_parameters" in dict(stage.helper.get_service_names_and_types()))
        yield dict(stage.helper.get_topic_names_and_types()) | dict(stage.helper.get_service_names_and_types())
    finally:
        stage.close()


def test_every_verb_has_a_row():
    listed = {verb for verb, *_ in ROWS}
    assert set(VERBS) <= listed
    text = PAGE.read_text(encoding="utf-8")
    assert len(ROWS) == text.count("/msg/") + text.count("/srv/") + text.count("/action/")  # no row escapes this test


@pytest.mark.parametrize(("verb", "name", "kind", "type_name"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_the_interface_exists_with_its_type(graph, verb, name, kind, type_name):
    if kind == "action":
        assert graph.get(f"/{name}/_action/send_goal") == [f"{type_name}_SendGoal"]
    else:
        assert graph.get(f"/{name}") == [type_name]
