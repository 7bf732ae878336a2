# SPDX-License-Identifier: Apache-2.0

"""The command validate on npz, LeRobot, RLDS and bags: whole ones pass, every damage is named, exit codes tell."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from vla_recorder.formats.base import STATE64_KEY
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.lerobot_v21 import LeRobotV21
from vla_recorder.formats.npz import Npz
from vla_recorder.formats.npz_spec import load_spec
from vla_recorder.formats.openpi import OpenPi
from vla_recorder.formats.rlds import Rlds
from vla_recorder.testing import Scene, joint_state, scene_events, small_profile, write_episode
from vla_recorder.testing.rows import PROFILE, layout, rows, write_rows
from vla_recorder.tools.validate import main


def smooth(length, seed=0, size=64):
    """Rows of an arm that moves slowly, and pictures that change."""
    columns, images = rows(length, seed, size)
    t = np.arange(length)[:, None] / 10
    state = np.concatenate([0.3 * np.sin(t + np.arange(6)), 0.5 + 0.4 * np.sin(t)], axis=1)
    columns |= {"observation.state": state.astype(np.float32), STATE64_KEY: state, "action": state.astype(np.float32)}
    rng = np.random.default_rng(seed)
    for row in images:
        for key in row:
            row[key] = rng.integers(40, 220, (size, size, 3), np.uint8)
    return columns, images


def npz(folder, lengths=(8, 5), **changes):
    """An npz dataset; `changes` replace arrays of the first episode (None: remove)."""
    write_rows(folder, Npz(), layout(), [(*smooth(n, n), "t", {}) for n in lengths], folder / "work")
    if changes:
        path = folder / "episodes/episode_000000.npz"
        with np.load(path) as found:
            arrays = {**dict(found), **{key.replace("obs_", "obs."): value for key, value in changes.items()}}
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return folder


def lerobot(folder, work, lengths=(8, 5), change=lambda columns, images: None, form=None):
    """A LeRobot dataset; `change` alters the first episode before it is written."""
    shape = layout()
    episodes = []
    for number, length in enumerate(lengths):
        columns, images = smooth(length, length)
        del columns[STATE64_KEY]
        if number == 0:
            change(columns, images)
        episodes.append((columns, images, "lift", {}))
    write_rows(folder, form or LeRobotV3(), shape, episodes, work)
    (folder / "meta/vla").mkdir(exist_ok=True)
    (folder / "meta/vla/profile.yaml").write_text(PROFILE)
    return folder


def run(capsys, *arguments):
    """Exit code, what was printed, and the report."""
    report = arguments[0].parent / "report.json"
    code = main([*map(str, arguments), "--report", str(report)])
    out, err = capsys.readouterr()
    return code, out + err, json.loads(report.read_text()) if code != 2 else {}


def found_rules(report):
    """(episode, rule, level) of everything that was found."""
    return [(r["name"], f["rule"], f["level"]) for r in report["reports"] for f in r["findings"]]


def test_what_convert_writes_as_npz_passes(tmp_path, capsys):
    data = npz(tmp_path / "data")
    code, text, report = run(capsys, data)
    assert code == 0, text
    assert (report["ok"], report["kind"], report["episodes"], report["errors"], report["warnings"]) == (
        True,
        "npz",
        2,
        0,
        0,
    )
    assert [r["rows"] for r in report["reports"]] == [8, 5]
    assert report["thresholds"]["joint_jump"] == 0.5
    assert main(["--data-root", str(data), "--spec", str(data / "spec.yaml"), "--max-episodes", "1", "--strict"]) == 0
    assert "npz: 1 reports, 0 errors, 0 warnings" in capsys.readouterr().out


NPZ_DAMAGE = {
    "shape": {"actions": np.zeros((8, 6), np.float32)},
    "missing_key": {"obs_front": None},
    "nan": {"actions": np.full((8, 7), np.nan, np.float32)},
    "range": {"actions": np.full((8, 7), 3.5, np.float32)},
    "frequency": {"timestamps": np.arange(8) / 9.0},
    "non_monotonic_time": {"timestamps": np.array([0, 1, 2, 2, 4, 5, 6, 7]) / 10},
    "too_long": {},
}


@pytest.mark.parametrize("rule", NPZ_DAMAGE)
def test_every_broken_rule_of_npz_is_named(tmp_path, capsys, rule):
    data = npz(tmp_path / "data", **NPZ_DAMAGE[rule])
    if rule == "too_long":
        spec = yaml.safe_load((data / "spec.yaml").read_text()) | {"max_episode_steps": 7}
        (data / "spec.yaml").write_text(yaml.safe_dump(spec))
        assert load_spec(data / "spec.yaml").max_episode_steps == 7
    code, text, report = run(capsys, data)
    assert code == 1
    assert ("episode_000000", rule, "error") in found_rules(report)
    assert {name for name, _, level in found_rules(report) if level == "error"} == {"episode_000000"}
    assert report["broken_rules"][rule] >= 1
    assert f"error   {rule}: " in text


def test_observations_that_lack_rows_or_hold_nan_are_named(tmp_path, capsys):
    data = npz(tmp_path / "data", obs_wrist=np.zeros((7, 64, 64, 3), np.uint8), obs_state=np.full((8, 7), np.nan))
    _, text, report = run(capsys, data)
    assert found_rules(report) == [("episode_000000", "shape", "error"), ("episode_000000", "nan", "error")]
    assert "'obs.wrist' is (7, 64, 64, 3), the actions have 8 rows" in text
    assert "obs.state: 8 rows hold NaN" in text


def test_npz_with_a_profile_is_measured_like_a_robot(tmp_path, capsys):
    data = npz(tmp_path / "data")
    path = data / "episodes/episode_000000.npz"
    with np.load(path) as found:
        arrays = dict(found)
    arrays["obs.state"][4:, 2] += 0.8
    arrays["obs.front"][:] = 90
    np.savez(path, **arrays)
    code, text, report = run(capsys, data, "--frozen-motion", "10")
    assert report["broken_rules"] == {"frozen_image": 1}  # nobody knows whether the robot moves
    assert "not measured, joint_jump: no robot profile says" in text
    (data / "meta/vla").mkdir(parents=True)
    (data / "meta/vla/profile.yaml").write_text(PROFILE)
    code, text, report = run(capsys, data)
    assert code == 0
    assert report["broken_rules"] == {"joint_jump": 1, "frozen_image": 1}
    assert "while the robot moves" in text
    assert run(capsys, data, "--frozen-motion", "10")[2]["broken_rules"] == {"joint_jump": 1}


def test_a_file_that_is_no_npz_is_one_bad_episode(tmp_path, capsys):
    data = npz(tmp_path / "data")
    (data / "episodes/episode_000000.npz").write_bytes(b"PK but not really")
    code, _, report = run(capsys, data)
    assert code == 1
    assert found_rules(report) == [("episode_000000", "readable", "error")]
    assert [r["errors"] for r in report["reports"]] == [1, 0]


def test_warnings_fail_only_with_strict(tmp_path, capsys):
    images = np.zeros((8, 64, 64, 3), np.uint8)
    data = npz(tmp_path / "data", obs_front=images)
    code, _, report = run(capsys, data)
    assert code == 0
    assert report["ok"]
    assert found_rules(report) == [
        ("episode_000000", "black_image", "warning"),
        ("episode_000000", "frozen_image", "warning"),
    ]
    assert run(capsys, data, "--strict")[0] == 1
    assert run(capsys, data, "--strict", "--frozen-rows", "9")[2]["broken_rules"] == {"black_image": 1}


def test_what_convert_writes_as_lerobot_passes(tmp_path, capsys):
    data = lerobot(tmp_path / "data", tmp_path / "work")
    code, text, report = run(capsys, data, "--strict")
    assert code == 0, text
    assert [(r["name"], r["rows"]) for r in report["reports"]] == [("episode 0", 8), ("episode 1", 5), ("dataset", 13)]
    assert "not measured, camera_offset: no age columns" in text
    assert "not measured, tcp_jump: the profile has no kinematics" in text


def test_jumps_frozen_and_black_pictures_of_lerobot_are_named(tmp_path, capsys):
    def change(columns, images):
        columns["observation.state"][4:, 2] += 0.8
        columns["observation.state"][6, 1] = 3.2
        for row in images:
            row["observation.images.front"] = np.full((64, 64, 3), 90, np.uint8)
            row["observation.images.wrist"] = np.zeros((64, 64, 3), np.uint8)

    data = lerobot(tmp_path / "data", tmp_path / "work", change=change)
    code, _, report = run(capsys, data)
    assert code == 0
    assert set(found_rules(report)) == {
        ("episode 0", rule, "warning") for rule in ("joint_jump", "range", "frozen_image", "black_image")
    }
    assert run(capsys, data, "--no-images")[2]["broken_rules"].keys() == {"joint_jump", "range"}


def edit_rows(data, change):
    """Rewrite the parquet file of a dataset."""
    (path,) = (data / "data").rglob("*.parquet")
    pq.write_table(change(pq.read_table(path)), path)


def test_rows_that_were_lost_are_missed_by_the_videos_and_the_totals(tmp_path, capsys):
    data = lerobot(tmp_path / "data", tmp_path / "work")
    edit_rows(data, lambda table: table.slice(0, table.num_rows - 1))
    code, text, report = run(capsys, data)
    assert code == 1
    assert ("episode 1", "shape", "error") in found_rules(report)
    assert ("episode 1", "video_length", "error") in found_rules(report)
    assert ("dataset", "statistics", "error") in found_rules(report)
    assert "info.json says total_frames 13, there are 12" in text


def test_a_video_that_lacks_pictures_is_named(tmp_path, capsys):
    data = lerobot(tmp_path / "data", tmp_path / "work")
    short = lerobot(tmp_path / "short", tmp_path / "work_short", lengths=(8, 4))
    (path,) = (data / "videos/observation.images.front").rglob("*.mp4")
    path.write_bytes((short / path.relative_to(data)).read_bytes())
    code, text, report = run(capsys, data)
    assert code == 1
    assert found_rules(report) == [("episode 1", "video_length", "error"), ("dataset", "video_length", "error")]
    assert "holds 12 pictures, its episodes have 13 rows" in text
    assert "front: 4 pictures can be decoded for 5 rows" in text


def test_a_column_that_was_edited_does_not_fit_its_statistics(tmp_path, capsys):
    data = lerobot(tmp_path / "data", tmp_path / "work")

    def edit(table):
        values = np.array(table["action"].to_pylist(), np.float32)
        values[3, 0] += 0.5
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 7)
        return table.set_column(table.column_names.index("action"), "action", column)

    edit_rows(data, edit)
    code, text, report = run(capsys, data)
    assert code == 1
    assert set(found_rules(report)) == {("dataset", "statistics", "error"), ("episode 0", "statistics", "error")}
    assert "action: the stored mean is [" in text


@pytest.mark.parametrize("form", [LeRobotV21(), OpenPi(image_keys="front=base_rgb,wrist=wrist_rgb")])
def test_version_2_1_passes_and_its_damage_is_named(tmp_path, capsys, form):
    data = lerobot(tmp_path / "data", tmp_path / "work", form=form)
    code, text, report = run(capsys, data, "--strict")
    assert code == 0, text
    assert [(r["name"], r["rows"]) for r in report["reports"]] == [("episode 0", 8), ("episode 1", 5), ("dataset", 13)]
    path = data / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 4), path)
    code, text, report = run(capsys, data)
    assert code == 1
    assert ("episode 1", "shape", "error") in found_rules(report)
    assert ("episode 1", "statistics", "error") in found_rules(report)
    assert "info.json says total_frames 13, there are 12" in text
    path.write_bytes(b"PAR1")
    code, text, report = run(capsys, data)
    assert code == 1
    assert ("episode 1", "readable", "error") in found_rules(report)


def test_a_part_of_a_dataset_does_not_judge_the_whole(tmp_path, capsys):
    data = lerobot(tmp_path / "data", tmp_path / "work")
    code, text, report = run(capsys, data, "--max-episodes", "1")
    assert code == 0
    assert [(r["name"], r["rows"]) for r in report["reports"]] == [("episode 0", 8), ("dataset", 8)]
    assert "not measured, statistics: not all episodes were looked at" in text


def test_ages_tell_how_far_camera_and_robot_are_apart(tmp_path, capsys):
    shape = layout()
    streams = ("observation.images.front", "observation.images.wrist", "observation.state.0")
    feature = {"dtype": "float32", "shape": (1,), "names": None}
    shape = dataclasses.replace(shape, features={**shape.features, **{f"age.{key}": feature for key in streams}})
    columns, images = smooth(6)
    del columns[STATE64_KEY]
    columns |= {f"age.{key}": np.full(6, 0.001, np.float32) for key in streams}
    columns["age.observation.images.front"][3] = 0.031
    write_rows(tmp_path / "data", LeRobotV3(), shape, [(columns, images, "t", {})], tmp_path / "work")
    _, text, report = run(capsys, tmp_path / "data")
    assert found_rules(report) == [("episode 0", "camera_offset", "warning")]
    assert "front: in 1 of 6 rows the picture is more than 12 ms from the joints" in text


def test_rlds_is_measured_by_checksums_and_counts(tmp_path, capsys):
    data = tmp_path / "data"
    folder = write_rows(data, Rlds(), layout(), [(*smooth(n, n), "t", {}) for n in (4, 3)], tmp_path / "work").folder
    code, _, report = run(capsys, data)
    assert code == 0
    assert (report["kind"], [r["rows"] for r in report["reports"]]) == ("rlds", [4, 3, 7])
    (file,) = folder.glob("*.tfrecord-*")
    content = file.read_bytes()
    file.write_bytes(content[:-30] + b"?" + content[-29:])
    code, text, report = run(capsys, data)
    assert code == 1
    assert "data of record 1 do not match their checksum" in text
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["3"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    file.write_bytes(content)
    code, text, _ = run(capsys, data)
    assert code == 1
    assert "2 episodes, dataset_info.json says 3" in text


def bag(folder, scene=None, alter=lambda events: events, **meta):
    """A recorded episode of the small robot."""
    profile = small_profile()
    events = scene_events(profile, scene or Scene(duration_s=2.0))
    return write_episode(folder, alter(events), profile, **meta)


def test_a_good_recording_says_only_how_far_camera_and_robot_are_apart(tmp_path, capsys):
    bag(tmp_path / "bags/one")
    code, _, report = run(capsys, tmp_path / "bags", "--camera-offset-s", "0.1")
    assert code == 0
    assert found_rules(report) == []
    code, text, report = run(capsys, tmp_path / "bags", "--strict")
    assert code == 1
    assert found_rules(report) == [("one", "camera_offset", "warning")]
    assert "more than 12 ms from the joints" in text


def test_a_silent_camera_and_a_jumping_joint_of_a_bag_are_named(tmp_path, capsys):
    scene = Scene(duration_s=3.0, silence=(("front/image_raw", 1.0, 2.0),))

    def jump(events):
        changed = []
        for event in events:
            if event.topic == "/joint_states" and event.stamp_ns > 1_002_500_000_000:
                position = [value + 0.9 for value in event.message.position]
                event = joint_state(event.topic, event.receive_ns, event.stamp_ns, event.message.name, position)
            changed.append(event)
        return changed

    bag(tmp_path / "bags/one", scene, jump)
    code, text, report = run(capsys, tmp_path / "bags", "--camera-offset-s", "1")
    assert code == 0
    assert {rule for _, rule, _ in found_rules(report)} == {"missing_frame", "frame_interval", "joint_jump"}
    assert "ticks without a frame: observation.images.front: no message for" in text


def test_a_camera_that_loses_pictures_is_named_before_it_is_missing(tmp_path, capsys):
    scene = Scene(duration_s=3.0, silence=(("front/image_raw", 1.0, 1.2),))
    bag(tmp_path / "bags/one", scene)
    _, text, report = run(capsys, tmp_path / "bags", "--camera-offset-s", "1")
    assert [rule for _, rule, _ in found_rules(report)] == ["frame_interval"]
    assert "steps between the pictures used" in text


def test_nan_in_a_bag_is_an_error(tmp_path, capsys):
    def spoil(events):
        return [
            joint_state(e.topic, e.receive_ns, e.stamp_ns, e.message.name, [np.nan, 0.0])
            if e.topic == "/joint_states" and e.stamp_ns > 1_001_500_000_000
            else e
            for e in events
        ]

    bag(tmp_path / "bags/one", alter=spoil)
    code, _, report = run(capsys, tmp_path / "bags")
    assert code == 1
    assert ("one", "nan", "error") in found_rules(report)


def test_a_bag_without_a_profile_is_one_bad_episode(tmp_path, capsys):
    profile = small_profile()
    events = scene_events(profile, Scene(duration_s=1.0))
    write_episode(tmp_path / "bags/one", events, dataclasses.replace(profile, text=""))
    write_episode(tmp_path / "bags/two", events, profile)
    code, text, report = run(capsys, tmp_path / "bags")
    assert code == 1
    assert [r["errors"] for r in report["reports"]] == [1, 0]
    assert "carries no robot profile; give the one that fits with --profile" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give one folder, as PATH or with --data-root"),
        (["nowhere"], "nowhere: no such folder"),
        ([".", "--data-root", "."], "give one folder"),
        ([".", "--max-episodes", "0"], "at least one is needed"),
        ([".", "--joint-jump", "-1"], "--joint-jump -1.0: must not be below 0"),
        (["."], "no episode in it"),
        ([".", "--spec", "absent.yaml"], "cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_exit_code_2(tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert reason in capsys.readouterr().err


def test_help_names_every_rule_and_every_threshold(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    for word in ("frozen_image", "video_length", "--tcp-jump-m", "default 0.012", "ros2 run vla_recorder validate"):
        assert word in shown
