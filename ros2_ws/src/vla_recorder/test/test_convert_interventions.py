# SPDX-License-Identifier: Apache-2.0

"""Takeovers in a recorded run: the column `intervention` is true for the rows of a person who took over, and no others."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_core.episode import ARMED, CORRECTION, POLICY, SKILL, SKILL_RESUME, TELEOP
from vla_core.profile import parse_profile
from vla_recorder.convert.command import main
from vla_recorder.convert.targets import Takeovers
from vla_recorder.testing import Event, episode_event, image, joint_state, write_episode

NS = 1_000_000_000
START = 1_000 * NS
ROWS = 17
PROFILE = parse_profile(
    """\
robot: one_joint
fps: 10
base_frame: base_link
tool_frame: tool0
task: lift the block
cameras:
  front: {topic: front/image_raw, size: [32, 48], rate_hz: 10, max_age_s: 0.3}
state:
  - {topic: joint_states, fields: [position.elbow], rate_hz: 10, max_age_s: 0.2}
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 10, max_age_s: 0.5}
    command: {interface: none}
    joints: [elbow]
    limits: {lower: [-3.0], upper: [3.0]}
""",
    "one_joint.yaml",
)


def convert(folder: Path, phases: list[int], *options: str) -> tuple[Path, list[int], list[bool]]:
    """Convert an arm that rises all the time; returns the dataset, and tick and mark of its rows."""
    events: list[Event] = []
    for index, phase in enumerate(phases):
        t, angle = START + index * NS // 10, 0.05 * index
        if index == 0 or phase != phases[index - 1]:
            events.append(episode_event("/episode/event", t, phase))
        events.append(joint_state("/joint_states", t, t, ["elbow"], [angle]))
        events.append(joint_state("/command/arm", t, t, ["elbow"], [angle + 0.01]))
        events.append(image("/front/image_raw", t, t, np.full((32, 48, 3), 10 * index, np.uint8)))
    write_episode(folder / "bags/episode_a", events, PROFILE, outcome="success")
    root = folder / "set"
    assert main(["--bags", str(folder / "bags"), "--output", str(root), "--workers", "1", *options]) == 0
    table = pq.read_table(root / "data/chunk-000/file-000.parquet")
    ticks = [round((stamp - START) * 10 / NS) for stamp in table.column("stamp_ns").to_pylist()]
    return root, ticks, table.column("intervention").to_pylist()


def interventions(phases: list[int]) -> list[bool]:
    takeovers = Takeovers()
    return [takeovers.look(phase) for phase in phases]


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([TELEOP, TELEOP, SKILL, TELEOP], "0000"),
        ([TELEOP, SKILL, CORRECTION, SKILL_RESUME], "0010"),
        ([POLICY, CORRECTION, CORRECTION, POLICY], "0110"),
        ([TELEOP, POLICY, TELEOP, POLICY], "0010"),
        ([POLICY, SKILL, POLICY, SKILL_RESUME], "0000"),
        ([ARMED, POLICY, ARMED, TELEOP], "0001"),
    ],
)
def test_only_who_takes_over_intervenes(phases: list[int], expected: str) -> None:
    assert interventions(phases) == [digit == "1" for digit in expected]


def test_a_takeover_is_a_column_of_the_dataset_and_loads(tmp_path: Path) -> None:
    phases = [ARMED] * 2 + [POLICY] * 6 + [CORRECTION] * 4 + [POLICY] * 5
    root, ticks, marks = convert(tmp_path, phases)
    assert ticks == list(range(2, ROWS))
    assert marks == [8 <= tick < 12 for tick in ticks]

    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/test", root=root)
    assert dataset.features["intervention"] == {"dtype": "bool", "shape": (1,), "names": None}
    assert [bool(dataset[i]["intervention"]) for i in range(len(dataset))] == marks


def test_the_correction_target_holds_the_human_rows_alone(tmp_path: Path) -> None:
    phases = [POLICY] * 8 + [CORRECTION] * 4 + [POLICY] * 5
    # Without a gripper the stop frames repeat the last row as it is.
    _, ticks, marks = convert(tmp_path, phases, "--target", "correction")
    assert ticks == [8, 9, 10, 11, 11, 11, 11]
    assert all(marks)


def test_teleoperation_after_a_policy_is_marked_though_the_policy_s_rows_are_left_out(tmp_path: Path) -> None:
    phases = [TELEOP] * 4 + [POLICY] * 4 + [TELEOP] * 9
    _, ticks, marks = convert(tmp_path, phases, "--target", "planner")
    assert ticks[:13] == [0, 1, 2, 3, *range(8, ROWS)]
    assert marks == [tick >= 8 for tick in ticks]
