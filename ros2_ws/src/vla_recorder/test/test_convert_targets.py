# SPDX-License-Identifier: Apache-2.0

"""Targets, actions and columns of real conversions: numbers that can be worked out by hand, read back from the dataset."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_core.episode import ARMED, CORRECTION, SKILL, TELEOP
from vla_core.profile import parse_profile
from vla_recorder.convert.command import main
from vla_recorder.testing import Event, episode_event, image, joint_state, write_episode

NS = 1_000_000_000
START = 1_000 * NS
GRIPPER_PROFILE = """\
robot: two_joints
fps: 10
base_frame: base_link
tool_frame: tool0
task: lift the block
cameras:
  front: {topic: front/image_raw, size: [32, 48], rate_hz: 10, max_age_s: 0.3}
state:
  - {topic: joint_states, fields: [position.elbow, position.wrist], rate_hz: 10, max_age_s: 0.2}
  - {topic: joint_states, fields: [position.finger], scale: {from: [0.0, 0.8], to: [0.0, 1.0]}, rate_hz: 10, max_age_s: 0.2}
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 10, max_age_s: 0.5}
    command: {interface: none}
    joints: [elbow, wrist]
    limits: {lower: [-3.0, -3.0], upper: [3.0, 3.0]}
  - name: gripper
    record: {topic: command/gripper, rate_hz: 10, max_age_s: 0.5}
    command: {interface: parallel_gripper_command, name: gripper}
    joints: [finger]
    scale: {from: [0.0, 0.8], to: [0.0, 1.0]}
    limits: {lower: [0.0], upper: [0.8]}
"""
PROFILE = parse_profile(GRIPPER_PROFILE, "two_joints.yaml")
PHASES = [ARMED] * 2 + [TELEOP] * 6 + [SKILL] * 4 + [CORRECTION] * 5
# Elbow of every tick [rad]; it stands still where two are equal. In ticks 5 and 6 only the gripper moves.
ELBOW = [0.0, 0.0, 0.0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.7, 0.8, 0.8, 0.9]
FINGER = [0.0] * 5 + [0.2, 0.4] + [0.4] * 10


def events_of(elbow=ELBOW, finger=FINGER, phases=PHASES, commands: bool = True) -> list[Event]:
    """One message of every stream exactly on every tick."""
    events: list[Event] = []
    phase = None
    for index, now in enumerate(phases):
        t = START + index * NS // 10
        if now != phase:
            events.append(episode_event("/episode/event", t, now))
            phase = now
        events.append(
            joint_state(
                "/joint_states", t, t, ["wrist", "elbow", "finger"], [-elbow[index], elbow[index], finger[index]]
            )
        )
        if commands:
            events.append(joint_state("/command/arm", t, t, ["elbow", "wrist"], [elbow[index] + 0.01, -elbow[index]]))
            events.append(joint_state("/command/gripper", t, t, ["finger"], [finger[index]]))
        events.append(image("/front/image_raw", t, t, np.full((32, 48, 3), 10 * index, np.uint8)))
    return events


def write_bag(folder: Path, events: list[Event] | None = None, **meta: str) -> Path:
    return write_episode(folder, events_of() if events is None else events, PROFILE, **meta)


def run(*args: object) -> int:
    return main([str(arg) for arg in args])


def columns(root: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(root / "data/chunk-000/file-000.parquet")
    return {name: np.array(table.column(name).to_pylist()) for name in table.column_names}


def provenance(root: Path, index: int = 0) -> dict:
    return json.loads((root / f"meta/vla/episodes/episode_{index:06d}.json").read_text())


def ticks(root: Path) -> list[int]:
    return [round((stamp - START) * 10 / NS) for stamp in columns(root)["stamp_ns"]]


def test_all_targets_in_one_pass(tmp_path: Path, monkeypatch) -> None:
    write_bag(tmp_path / "bags/episode_a", skill_name="pick", outcome="success")
    opened = []
    from vla_recorder.bags.reader import EpisodeBag

    messages = EpisodeBag.messages
    monkeypatch.setattr(EpisodeBag, "messages", lambda bag, topics: opened.append(bag.name) or messages(bag, topics))
    output = tmp_path / "sets"
    assert run("--bags", tmp_path / "bags", "--output", output, "--target", "all", "--workers", 1) == 0
    assert opened == ["episode_a"], "the bag is read once for the three"
    # The first row is always kept; 7, 11 and 15 stand still in every value.
    assert ticks(output / "e2e") == [2, 3, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16]
    assert ticks(output / "planner") == [2, 3, 4, 5, 6, 6, 6, 6]
    assert ticks(output / "correction") == [12, 13, 14, 16, 16, 16, 16]
    planner = columns(output / "planner")
    assert planner["synthetic"].tolist() == [False] * 5 + [True] * 3
    np.testing.assert_allclose(planner["observation.state"][:, 2], [0, 0, 0, 0.25, 0.5, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(planner["action"][:, 2], [0, 0, 0, 0.25, 0.5, 1, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(planner["observation.state"][5:, :2], [planner["observation.state"][4, :2]] * 3)
    assert planner["phase"].tolist() == [TELEOP] * 8
    about = provenance(output / "e2e")
    assert about["phase_counts"] == {"TELEOP": 5, "SKILL": 3, "CORRECTION": 4}
    assert sum(about["phase_counts"].values()) == about["num_frames"] == 12
    assert about["phase_segments"][0] == {"phase": "TELEOP", "start": 0, "end": 4}
    assert about["phase_segments"][-1]["end"] == 11
    assert about["skill_name"] == "pick"
    assert (about["fps"], about["measured_fps"]) == (10, 10.0)
    report = json.loads((output / "e2e/meta/vla/report.json").read_text())
    assert report["removed"] == {"phase ARMED": 2, "no-op": 3}
    assert (report["target"], report["frames"]) == ("e2e", 12)


def test_recorded_keeps_every_frame_in_which_somebody_drives(tmp_path: Path) -> None:
    write_bag(tmp_path / "bags/episode_a")
    assert run("--bags", tmp_path / "bags", "--output", tmp_path / "data", "--workers", 1) == 0
    found = columns(tmp_path / "data")
    assert ticks(tmp_path / "data") == list(range(2, 17))
    assert found["phase"].tolist() == PHASES[2:]
    assert not found["synthetic"].any()
    np.testing.assert_allclose(found["action"][:, 0], np.array(ELBOW[2:]) + 0.01, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (["--noop-rule", "joints"], [2, 3, 4, 8, 9, 10, 12, 13, 14, 16]),
        (["--keep-noops"], list(range(2, 17))),
        (["--noop-threshold", "0.15"], [2, 4, 5, 6, 9, 12, 14]),
    ],
)
def test_what_counts_as_standing_still_can_be_chosen(tmp_path: Path, options, kept) -> None:
    write_bag(tmp_path / "bags/episode_a")
    command = ["--bags", tmp_path / "bags", "--output", tmp_path / "data", "--target", "e2e", "--workers", 1]
    assert run(*command, *options) == 0
    assert ticks(tmp_path / "data") == kept


def test_actions_of_the_next_state_need_no_command_and_follow_the_rows_that_are_kept(tmp_path: Path) -> None:
    write_bag(tmp_path / "bags/episode_a", events_of(commands=False))
    command = ["--bags", tmp_path / "bags", "--target", "planner", "--workers", 1]
    assert run(*command, "--output", tmp_path / "next", "--action", "next_state") == 0
    found = columns(tmp_path / "next")
    state, action = found["observation.state"], found["action"]
    np.testing.assert_array_equal(action[:-1], state[1:])
    np.testing.assert_array_equal(action[-1], state[-1])
    assert run(*command, "--output", tmp_path / "delta", "--action", "delta") == 0
    found = columns(tmp_path / "delta")
    wanted = np.float32(np.diff([0.0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]))
    np.testing.assert_array_equal(found["action"][:-1, 0], wanted)
    np.testing.assert_array_equal(found["action"][-1, :2], [0.0, 0.0])
    np.testing.assert_array_equal(found["action"][:, 2], action[:, 2])
    assert "action_space: delta_joint" in (tmp_path / "delta/meta/vla/profile.yaml").read_text()
    info = json.loads((tmp_path / "delta/meta/info.json").read_text())
    assert info["features"]["action"]["names"] == ["elbow.delta", "wrist.delta", "finger.pos"]


def test_age_columns_are_signed_and_outside_of_the_observation(tmp_path: Path) -> None:
    events = [
        event._replace(stamp_ns=event.stamp_ns - NS // 50, message=event.message)
        if event.topic == "/front/image_raw"
        else event
        for event in events_of()
    ]
    late = [
        image(e.topic, e.receive_ns, e.stamp_ns, np.zeros((32, 48, 3), np.uint8))
        if e.topic == "/front/image_raw"
        else e
        for e in events
    ]
    write_bag(tmp_path / "bags/episode_a", late)
    assert run("--bags", tmp_path / "bags", "--output", tmp_path / "data", "--age-columns", "--workers", 1) == 0
    found = columns(tmp_path / "data")
    ages = {name for name in found if name.startswith("age.")}
    assert ages == {
        "age.observation.images.front",
        "age.observation.state.0",
        "age.observation.state.1",
        "age.action.arm",
        "age.action.gripper",
    }
    np.testing.assert_allclose(found["age.observation.images.front"], 0.02, atol=1e-6)
    np.testing.assert_allclose(found["age.observation.state.0"], 0.0, atol=1e-6)
    np.testing.assert_allclose(found["skew"], 0.02, atol=1e-6)
    report = json.loads((tmp_path / "data/meta/vla/report.json").read_text())
    assert report["skew_s"]["max"] == pytest.approx(0.02, abs=1e-6)
    assert report["ages_s"]["observation.images.front"]["p95"] == pytest.approx(0.02, abs=1e-6)


def test_images_become_square_and_the_profile_says_so(tmp_path: Path) -> None:
    write_bag(tmp_path / "bags/episode_a")
    command = ["--bags", tmp_path / "bags", "--output", tmp_path / "data", "--workers", 1]
    assert run(*command, "--image-size", 16, "--fps", 5) == 0
    info = json.loads((tmp_path / "data/meta/info.json").read_text())
    assert info["features"]["observation.images.front"]["shape"] == [16, 16, 3]
    assert info["fps"] == 5
    assert ticks(tmp_path / "data") == [2, 4, 6, 8, 10, 12, 14, 16]
    profile = parse_profile((tmp_path / "data/meta/vla/profile.yaml").read_text(), "profile")
    assert profile.cameras[0].frame_size == (16, 16)
    assert profile.fps == 5, "a policy takes the distance of its steps from here"


def test_episodes_of_fewer_than_two_rows_are_skipped_and_counted(tmp_path: Path, capsys) -> None:
    write_bag(tmp_path / "bags/episode_a")
    still = events_of(elbow=[0.5] * 17, finger=[0.0] * 17)
    write_bag(tmp_path / "bags/episode_b", still)
    command = ["--bags", tmp_path / "bags", "--output", tmp_path / "data", "--target", "e2e", "--workers", 1]
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert (
        "skipped episode_b: 1 rows are left, at least 2 are needed; 2 left out: phase ARMED; 14 left out: no-op" in said
    )
    report = json.loads((tmp_path / "data/meta/vla/report.json").read_text())
    assert report["episodes"] == 1
    assert report["skipped"][0][0] == "episode_b"


def test_a_target_that_gets_no_episode_makes_no_dataset(tmp_path: Path, capsys) -> None:
    write_bag(tmp_path / "bags/episode_a", events_of(phases=[TELEOP] * 17))
    command = ["--bags", tmp_path / "bags", "--workers", 1]
    assert run(*command, "--output", tmp_path / "sets", "--target", "all") == 0
    assert "correction: no episode has rows for it, so no dataset was made (1 skipped)" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == ["e2e", "planner"]
    report = tmp_path / "report.json"
    assert run(*command, "--output", tmp_path / "data", "--target", "correction", "--report", report) == 1
    said = capsys.readouterr().err
    assert "not one episode could be converted; the first says: episode_a: 0 rows are left" in said
    assert "nothing was left behind" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bags", "report.json", "sets"]
    assert json.loads(report.read_text())["targets"]["correction"]["skipped"][0][0] == "episode_a"


def test_bags_of_the_same_name_are_two_episodes(tmp_path: Path) -> None:
    write_bag(tmp_path / "bags/monday/bag", recorded_at="1", task="first")
    write_bag(tmp_path / "bags/tuesday/bag", events_of(elbow=ELBOW[::-1]), recorded_at="2", task="second")
    assert run("--bags", tmp_path / "bags", "--output", tmp_path / "data", "--workers", 2) == 0
    found = columns(tmp_path / "data")
    assert found["episode_index"].tolist() == [0] * 15 + [1] * 15
    assert found["task_index"].tolist() == [0] * 15 + [1] * 15
    np.testing.assert_allclose(found["observation.state"][15:, 0], ELBOW[::-1][2:], atol=1e-6)


def test_a_bag_without_phases_counts_as_teleop(tmp_path: Path) -> None:
    events = [event for event in events_of() if event.topic != "/episode/event"]
    write_bag(tmp_path / "bags/episode_a", events)
    assert run("--bags", tmp_path / "bags", "--output", tmp_path / "data", "--workers", 1) == 0
    assert columns(tmp_path / "data")["phase"].tolist() == [TELEOP] * 17


def test_options_that_contradict_each_other_are_refused(tmp_path: Path, capsys) -> None:
    write_bag(tmp_path / "bags/episode_a")
    command = ["--bags", tmp_path / "bags", "--output", tmp_path / "data"]
    for options, text in (
        (["--rotation", "rpy"], "only the codecs eepose_absolute and eepose_delta have orientations"),
        (
            ["--action", "delta", "--codec", "joints_absolute"],
            "gives differences, which the codec joints_absolute does not",
        ),
        (["--codec", "eepose_absolute"], "kinematics"),
        (["--image-size", 0], "give the number of pixels of one side"),
        (["--format-option", "colour"], "give it as KEY=VALUE"),
        (["--format-option", "colour=red"], "format 'lerobot-v3' has no option 'colour'"),
        (["--format", "rlds"], "the RLDS schema 'seed' is six measured joints and one gripper"),
        (["--noop-threshold", "nan"], "--noop-threshold nan: give a distance of zero or more"),
        (["--workers", 0], "--workers 0: at least one is needed"),
        (["--resume", "--overwrite"], "give one of them"),
        (["--work-dir", tmp_path], "--work-dir is for an --output that is a URL"),
    ):
        assert run(*command, *options) == 2, options
        assert text in capsys.readouterr().err
    scaleless = tmp_path / "scaleless.yaml"
    scaleless.write_text(
        "\n".join(
            line.replace(", scale: {from: [0.0, 0.8], to: [0.0, 1.0]}", "")
            for line in GRIPPER_PROFILE.splitlines()
            if not line.startswith("    scale")
        )
    )
    command += ["--profile", scaleless, "--target", "planner", "--workers", 1]
    assert run(*command) == 2
    assert "stop frames close the gripper 'gripper', but no scale says where closed is" in capsys.readouterr().err
    assert run(*command, "--gripper-closed", 0.8) == 0
    np.testing.assert_allclose(columns(tmp_path / "data")["observation.state"][-1, 2], 0.8, atol=1e-6)


@pytest.mark.parametrize("action", ["commanded", "next_state"])
def test_stop_frames_as_measured_close_the_action_alone(tmp_path: Path, action: str) -> None:
    write_bag(tmp_path / "bags/episode_a")
    command = [
        "--bags",
        tmp_path / "bags",
        "--profile",
        tmp_path / "gripper.yaml",
        "--target",
        "planner",
        "--workers",
        1,
    ]
    (tmp_path / "gripper.yaml").write_text(GRIPPER_PROFILE)
    command += ["--action", action]
    assert run(*command, "--output", tmp_path / "seed") == 0
    assert run(*command, "--output", tmp_path / "seen", "--stop-frames", 8, "--stop-state", "measured") == 0
    seed, seen = columns(tmp_path / "seed"), columns(tmp_path / "seen")
    assert (seed["synthetic"].sum(), seen["synthetic"].sum()) == (3, 8)
    last, state, done = len(seen["synthetic"]) - 9, seen["observation.state"], seen["action"]
    assert (state[last:, 2] == state[last, 2]).all()  # nobody sees it closed
    assert state[last, 2] < 1.0
    np.testing.assert_array_equal(done[last + 1 :, 2], 1.0)
    np.testing.assert_array_equal(seed["observation.state"][-3:, 2], 1.0)
    # the arm is asked to stay, and the row before the stop frames is the same as ever
    assert (done[last + 1 :, :2] == done[last + 1, :2]).all()
    np.testing.assert_array_equal(done[: last + 1], seed["action"][:-3])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--noop-rule", "joints"], "--target recorded removes no rows"),
        (["--noop-threshold", "0.1"], "--target recorded removes no rows"),
        (["--target", "e2e", "--keep-noops", "--noop-rule", "joints"], "--keep-noops is given"),
        (["--target", "e2e", "--gripper-closed", "0.8"], "--gripper-closed is for stop frames"),
        (["--target", "e2e", "--stop-frames", "8"], "--stop-frames is for stop frames"),
        (["--stop-state", "measured"], "--stop-state is for stop frames, and --target recorded has none"),
        (["--target", "planner", "--stop-frames", "0"], "--stop-frames 0: at least 1"),
    ],
)
def test_options_that_mean_nothing_for_the_target_are_refused(tmp_path, capsys, options, text) -> None:
    (tmp_path / "bags").mkdir()
    assert main(["--bags", str(tmp_path / "bags"), "--output", str(tmp_path / "out"), *options]) == 2
    assert text in capsys.readouterr().err
