# SPDX-License-Identifier: Apache-2.0

"""The convert command: what it writes, what it refuses, what it leaves behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vla_core.frames import Frame
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.convert.command import main
from vla_recorder.convert.store import is_finished
from vla_recorder.testing import (
    PROFILE,
    Scene,
    image,
    scene_events,
    small_profile,
    wait_for,
    write_episode,
    write_profile,
)


def make_bags(folder: Path, count: int = 2, text: str = PROFILE, **meta: str) -> list[Path]:
    profile = small_profile(text)
    return [
        write_episode(
            folder / f"episode_2026010{n}T000000Z_{n:08d}",
            scene_events(profile, Scene(seed=n, duration_s=2.0)),
            profile,
            recorded_at=f"2026-01-0{n}T00:00:00",
            **meta,
        )
        for n in range(1, count + 1)
    ]


def run(*args: object) -> int:
    return main([str(arg) for arg in args])


def test_dataset_holds_exactly_the_frames_of_the_bags(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    bags = make_bags(tmp_path / "bags")
    output = tmp_path / "data"
    assert run("--bags", tmp_path / "bags", "--output", output, "--workers", 1) == 0
    dataset = LeRobotDataset("local/test", root=output, return_uint8=True)
    index = 0
    for number, bag in enumerate(bags):
        for frame in BagFrames(open_episode(bag), small_profile(), 10):
            assert isinstance(frame, Frame)
            item = dataset[index]
            assert int(item["episode_index"]) == number
            assert item["task"] == "lift the block"
            assert int(item["stamp_ns"]) == frame.t_ns
            np.testing.assert_array_equal(item["observation.state"].numpy(), frame.state)
            np.testing.assert_array_equal(item["action"].numpy(), frame.action)
            stored = item["observation.images.front"].numpy().transpose(1, 2, 0).astype(int)
            assert np.abs(stored - frame.images["front"]).mean() < 3.0
            index += 1
    assert index == len(dataset)
    report = json.loads((output / "meta/vla/report.json").read_text())
    assert (report["frames"], report["episodes"], report["dropped"]) == (index, 2, {})
    assert report["ages_s"]["observation.images.front"]["max"] < 0.3
    provenance = json.loads((output / "meta/vla/episodes/episode_000001.json").read_text())
    assert provenance["bag"] == bags[1].name
    assert provenance["profile"] == small_profile().text
    assert (output / "meta/vla/profile.yaml").read_text() == small_profile().text
    assert not output.with_name("data.partial").exists()
    assert not (output / ".work").exists()


def test_workers_change_nothing(tmp_path: Path) -> None:
    make_bags(tmp_path / "bags", 3)
    for workers in (1, 2):
        assert run("--bags", tmp_path / "bags", "--output", tmp_path / f"{workers}", "--workers", workers) == 0
    for name in ("meta/stats.json", "meta/info.json", "data/chunk-000/file-000.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_without_ros(tmp_path: Path) -> None:
    make_bags(tmp_path / "bags", 1)
    code = (
        "import sys\n"
        "for name in ('rclpy', 'rosbag2_py', 'vla_msgs', 'lerobot', 'torch'): sys.modules[name] = None\n"
        "from vla_recorder.convert.command import main\n"
        f"raise SystemExit(main(['--bags', {str(tmp_path / 'bags')!r}, '--output', {str(tmp_path / 'data')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "episode 1/1 episode_20260101T000000Z_00000001: 20 frames, 0 dropped" in done.stderr
    assert "1 episodes, 20 frames" in done.stdout


def test_failures_and_incomplete_episodes_are_left_out(tmp_path: Path, capsys) -> None:
    make_bags(tmp_path / "bags", 1)
    profile = small_profile()
    events = scene_events(profile, Scene(duration_s=2.0))
    write_episode(tmp_path / "bags/episode_b", events, profile, outcome="failure")
    write_episode(tmp_path / "bags/episode_c", events, profile, outcome="unknown", termination="shutdown")
    write_episode(tmp_path / "bags/episode_e", events, profile, termination="discarded")
    (tmp_path / "bags/episode_d.open").mkdir()
    assert run("--bags", tmp_path / "bags", "--output", tmp_path / "data", "--workers", 1) == 0
    said = capsys.readouterr().err
    assert "skipped episode_b: its outcome is failure" in said
    assert "skipped episode_c: incomplete (shutdown)" in said
    assert "skipped episode_d.open: never closed" in said
    assert "skipped episode_e: it was discarded\n" in said
    report = json.loads((tmp_path / "data/meta/vla/report.json").read_text())
    assert (report["episodes"], len(report["skipped"])) == (1, 4)
    assert run("--bags", tmp_path / "bags", "--output", tmp_path / "all", "--workers", 1, "--include-failures") == 0
    assert json.loads((tmp_path / "all/meta/vla/report.json").read_text())["episodes"] == 3


def test_bags_of_different_mappings_are_refused_with_the_difference(tmp_path: Path, capsys) -> None:
    make_bags(tmp_path / "bags", 1)
    other = PROFILE.replace("size: [24, 32]", "size: [24, 32], resize: [12, 16]")
    profile = small_profile(other)
    write_episode(tmp_path / "bags/episode_z", scene_events(profile, Scene(duration_s=2.0)), profile)
    output = tmp_path / "data"
    assert run("--bags", tmp_path / "bags", "--output", output) == 2
    said = capsys.readouterr().err
    assert "recorded with another mapping" in said
    assert "cameras.front.frame_size" in said
    assert "--profile" in said
    assert not output.exists()
    chosen = write_profile(tmp_path)
    assert run("--bags", tmp_path / "bags", "--output", output, "--profile", chosen, "--workers", 1) == 0
    assert json.loads((output / "meta/vla/report.json").read_text())["episodes"] == 2


def damage(bag: Path, how: str) -> str:
    file = bag / f"{bag.name}_0.mcap"
    if how == "flipped":
        data = bytearray(file.read_bytes())
        data[len(data) // 3] ^= 0xFF
        file.write_bytes(data)
        return "is damaged (it"
    file.unlink()
    return "is not there. An episode is a folder with metadata.yaml"


@pytest.mark.parametrize("how", ["flipped", "no mcap"])
def test_a_bag_that_cannot_be_read_is_reported_and_the_others_go_on(tmp_path: Path, capsys, how: str) -> None:
    bags = make_bags(tmp_path / "bags")
    message = damage(bags[1], how)
    output = tmp_path / "data"
    assert run("--bags", tmp_path / "bags", "--output", output, "--workers", 1, "--strict") != 0
    assert message in capsys.readouterr().err
    assert not output.exists()
    assert run("--bags", tmp_path / "bags", "--output", output, "--workers", 1, "--overwrite") == 1
    assert message in capsys.readouterr().out
    report = json.loads((output / "meta/vla/report.json").read_text())
    assert report["episodes"] == 1
    assert report["failed"][0][0] == bags[1].name


@pytest.mark.parametrize("how", ["truncated", "no yaml"])
def test_what_is_left_of_a_bag_is_converted_and_said(tmp_path: Path, capsys, how: str) -> None:
    profile = small_profile()
    events = scene_events(profile, Scene(duration_s=12.0))
    bags = [write_episode(tmp_path / f"bags/episode_{name}", events, profile) for name in "ab"]
    file = bags[1] / f"{bags[1].name}_0.mcap"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        (bags[1] / "metadata.yaml").write_text("a: [")
    output = tmp_path / "data"
    run("--bags", tmp_path / "bags", "--output", output, "--workers", 1)
    message = "the file ends within it" if how == "truncated" else "not readable as YAML"
    assert message in capsys.readouterr().out
    report = json.loads((output / "meta/vla/report.json").read_text())
    assert report["episodes"] == 2
    assert any(message in warning for warning in report["warnings"])
    files = sorted((output / "meta/vla/episodes").iterdir())
    lengths = [json.loads(path.read_text())["frames"] for path in files]
    assert lengths[1] < lengths[0] if how == "truncated" else lengths[1] == lengths[0]


def test_bad_input_is_refused_with_a_remedy(tmp_path: Path, capsys) -> None:
    bags, output = tmp_path / "bags", tmp_path / "data"
    assert run("--bags", bags, "--output", output) == 2
    assert "no such folder; give the recorder's output_dir" in capsys.readouterr().err
    bags.mkdir()
    assert run("--bags", bags, "--output", output) == 2
    assert "no episode in it" in capsys.readouterr().err
    make_bags(bags, 1)
    assert run("--bags", bags, "--output", output, "--fps", 12.5) == 2
    assert "fps 12.5: datasets hold whole frames per second" in capsys.readouterr().err
    output.mkdir()
    (output / "mine").write_text("")
    assert run("--bags", bags, "--output", output) == 2
    assert (
        "exists already; give another --output, --overwrite to replace it, or --resume to add new episodes"
        in capsys.readouterr().err
    )
    assert (output / "mine").exists()
    assert run("--bags", bags, "--output", output, "--dry-run", "--overwrite") == 0
    assert "1 episodes of test_arm at 10 fps, cameras: front" in capsys.readouterr().err
    assert (output / "mine").exists()
    assert run("--bags", bags, "--output", output, "--overwrite", "--workers", 1) == 0
    assert not (output / "mine").exists()
    assert not (tmp_path / "data.replaced").exists()


def test_a_wrong_camera_size_is_explained(tmp_path: Path, capsys) -> None:
    make_bags(tmp_path / "bags", 1)
    profile = write_profile(tmp_path, PROFILE.replace("[24, 32]", "[48, 64]"))
    assert run("--bags", tmp_path / "bags", "--output", tmp_path / "data", "--profile", profile, "--workers", 1) == 1
    assert "camera 'front' sends [24, 32] (height, width)" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_blank_cameras_and_gaps_are_pointed_out(tmp_path: Path, capsys) -> None:
    profile = small_profile()
    scene = Scene(duration_s=4.0, silence=(("joint_states", 1.0, 2.0),))
    events = scene_events(profile, scene)
    blank = np.zeros((24, 32, 3), np.uint8)
    dark = [image(e.topic, e.receive_ns, e.stamp_ns, blank) if e.topic == "/front/image_raw" else e for e in events]
    bag = write_episode(tmp_path / "bags/episode_a", dark, profile)
    assert run("--bags", tmp_path / "bags", "--output", tmp_path / "data", "--workers", 1) == 0
    said = capsys.readouterr().out
    assert "episode_a: observation.images.front: every pixel of all" in said
    assert "episode_a: 1 gaps" in said
    assert "observation.state.0: stale" in said
    details = json.loads((tmp_path / "data/meta/vla/episodes/episode_000000.json").read_text())
    row, ticks = details["gaps"][0]
    stamps = [frame.t_ns for frame in BagFrames(open_episode(bag), profile, 10) if isinstance(frame, Frame)]
    assert stamps[row] - stamps[row - 1] == (ticks + 1) * 100_000_000
    assert sum(details["dropped"].values()) == ticks


def start_conversion(tmp_path: Path, *more: str) -> tuple[subprocess.Popen[bytes], list[str]]:
    """Start a conversion of three episodes that take a while, and wait until the first one is finished."""
    profile = small_profile(PROFILE.replace("[24, 32]", "[480, 640]"))
    for number, name in enumerate("abc"):
        write_episode(
            tmp_path / f"bags/episode_{name}", scene_events(profile, Scene(duration_s=2.0, seed=number)), profile
        )
    command = ["--bags", str(tmp_path / "bags"), "--output", str(tmp_path / "data"), "--workers", "1", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "vla_recorder.convert.command", *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    return process, command


def finished_episodes(partial: Path) -> list[Path]:
    return [folder for folder in partial.glob("episodes/*") if is_finished(folder)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_conversion_keeps_its_finished_episodes(tmp_path: Path, capsys, number: signal.Signals) -> None:
    process, command = start_conversion(tmp_path)
    wait_for(lambda: finished_episodes(tmp_path / "data.partial"), timeout_s=40, what="the first episode")
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode != 0
    assert not (tmp_path / "data").exists()
    assert finished_episodes(tmp_path / "data.partial")
    if number != signal.SIGKILL:
        assert b"interrupted; finished episodes are kept in" in said
        assert b"Traceback" not in said
    assert run(*command) == 2
    assert (
        "an earlier conversion did not end; go on with --resume, or begin again with --overwrite"
        in capsys.readouterr().err
    )
    assert run(*command, "--fps", "5", "--resume") == 2
    assert "was begun with other settings" in (said := capsys.readouterr().err)
    assert "fps: there 10, now 5" in said
    assert run(*command, "--resume") == 0
    assert "finished by an earlier run" in capsys.readouterr().err
    assert not (tmp_path / "data.partial").exists()


def test_a_conversion_killed_before_its_first_episode_leaves_nothing_that_is_in_the_way(tmp_path: Path, capsys) -> None:
    process, command = start_conversion(tmp_path)
    wait_for(lambda: (tmp_path / "data.partial").exists(), timeout_s=20, what="the working folder")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    if b"no episode was finished, nothing was left behind" in said:
        assert not (tmp_path / "data.partial").exists()
    assert run(*command, "--overwrite") == 0
    assert (tmp_path / "data/meta/info.json").is_file()
