# SPDX-License-Identifier: Apache-2.0

"""Finished episodes are kept and used again; a finished dataset grows; what does not fit is refused."""

import fcntl
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from vla_recorder.bags.reader import EpisodeBag
from vla_recorder.bags.source import Attachment
from vla_recorder.convert import worker
from vla_recorder.convert.command import main
from vla_recorder.convert.staging import OutputError, check_settings, exchange
from vla_recorder.convert.store import StoreError, is_finished, load
from vla_recorder.testing import PROFILE, Scene, scene_events, small_profile, write_episode


def write_bags(folder: Path, names: str, text: str = PROFILE) -> None:
    profile = small_profile(text)
    for name in names:
        events = scene_events(profile, Scene(seed=ord(name), duration_s=2.0))
        write_episode(folder / f"episode_{name}", events, profile, recorded_at=name)


def run(tmp_path: Path, *more: object) -> int:
    command = ["--bags", tmp_path / "bags", "--output", tmp_path / "data", "--workers", 1, *more]
    return main([str(arg) for arg in command])


def rows(root: Path) -> dict[str, list]:
    table = pa.concat_tables(pq.read_table(path) for path in sorted((root / "data").rglob("*.parquet")))
    return {name: table.column(name).to_pylist() for name in table.column_names}


def break_off(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the conversion of an episode fail like a full disk, from the one after `after` on."""
    keep = worker.keep_episode
    done = []

    def failing(job):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(job)
        return keep(job)

    monkeypatch.setattr(worker, "keep_episode", failing)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch, capsys) -> None:
    write_bags(tmp_path / "bags", "abc")
    with monkeypatch.context() as patch:
        break_off(patch, after=2)
        assert run(tmp_path) == 130
    assert f"finished episodes are kept in {tmp_path}/data.partial" in capsys.readouterr().err
    assert len([path for path in (tmp_path / "data.partial/episodes").iterdir() if is_finished(path)]) == 2
    assert run(tmp_path) == 2
    assert "an earlier conversion did not end; go on with --resume" in capsys.readouterr().err
    assert run(tmp_path, "--resume") == 0
    said = capsys.readouterr().err
    assert said.count("finished by an earlier run") == 2
    assert "episode 3/3 episode_c: 20 frames, 0 dropped" in said
    assert not (tmp_path / "data.partial").exists()
    whole = tmp_path / "whole"
    assert main(["--bags", str(tmp_path / "bags"), "--output", str(whole), "--workers", "1"]) == 0
    assert (whole / "meta/stats.json").read_bytes() == (tmp_path / "data/meta/stats.json").read_bytes()
    assert rows(whole) == rows(tmp_path / "data")


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--fps", "5"], "fps: there 10, now 5"),
        (["--crf", "30"], "video: there"),
        (["--target", "e2e"], "target: there 'recorded', now 'e2e'"),
        (["--action", "next_state"], "action: there 'commanded', now 'next_state'"),
        (["--image-size", "16"], "cameras.front.frame_size: there (24, 32), now (16, 16)"),
        (["--action", "delta"], "action[0].space: there absolute_joint, now delta_joint"),
        (["--age-columns"], "age_columns: there False, now True"),
        (["--format", "lerobot-v2.1"], "format: there"),
    ],
)
def test_another_setting_is_refused_by_name(tmp_path: Path, monkeypatch, capsys, options, difference) -> None:
    write_bags(tmp_path / "bags", "ab")
    with monkeypatch.context() as patch:
        break_off(patch, after=1)
        assert run(tmp_path) == 130
    assert run(tmp_path, "--resume", *options) == 2
    said = capsys.readouterr().err
    assert "was begun with other settings" in said
    assert difference in said
    assert "another --output, or --overwrite to begin again" in said
    assert is_finished(next((tmp_path / "data.partial/episodes").iterdir())), "what was there is still there"
    assert run(tmp_path, "--overwrite", *options) == 0


def test_a_bag_that_changed_is_converted_again(tmp_path: Path, monkeypatch, capsys) -> None:
    write_bags(tmp_path / "bags", "ab")
    with monkeypatch.context() as patch:
        break_off(patch, after=1)
        assert run(tmp_path) == 130
    capsys.readouterr()
    profile = small_profile()
    shutil.rmtree(tmp_path / "bags/episode_a")
    write_episode(
        tmp_path / "bags/episode_a", scene_events(profile, Scene(seed=9, duration_s=3.0)), profile, recorded_at="a"
    )
    assert run(tmp_path, "--resume") == 0
    assert "episode 1/2 episode_a: 30 frames, 0 dropped" in capsys.readouterr().err


def test_a_label_that_changed_is_seen(tmp_path: Path, monkeypatch, capsys) -> None:
    write_bags(tmp_path / "bags", "ab")
    with monkeypatch.context() as patch:
        break_off(patch, after=1)
        assert run(tmp_path) == 130
    metadata = tmp_path / "bags/episode_a/metadata.yaml"
    metadata.write_text(metadata.read_text().replace("outcome: success", "outcome: unknown"))
    assert run(tmp_path, "--resume") == 0
    assert "finished by an earlier run" not in capsys.readouterr().err
    about = json.loads((tmp_path / "data/meta/vla/episodes/episode_000000.json").read_text())
    assert about["outcome"] == "unknown"


def test_new_bags_are_added_to_a_finished_dataset(tmp_path: Path, capsys) -> None:
    write_bags(tmp_path / "bags", "ab")
    assert run(tmp_path) == 0
    before = rows(tmp_path / "data")
    write_bags(tmp_path / "bags", "c")
    assert run(tmp_path) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(tmp_path, "--resume", "--fps", "5") == 2
    assert "fps: there 10, now 5" in capsys.readouterr().err
    assert run(tmp_path, "--resume") == 0
    said = capsys.readouterr()
    assert "episode_a: is in the dataset already" in said.err
    assert "episode 1/1 episode_c: 20 frames" in said.err
    after = rows(tmp_path / "data")
    assert after["episode_index"] == [0] * 20 + [1] * 20 + [2] * 20
    assert after["stamp_ns"][:40] == before["stamp_ns"]
    report = json.loads((tmp_path / "data/meta/vla/report.json").read_text())
    assert (report["episodes"], report["frames"]) == (3, 60)
    assert report["extended"] == {"episodes": 2, "frames": 40}
    assert json.loads((tmp_path / "data/meta/vla/episodes/episode_000002.json").read_text())["bag"] == "episode_c"
    assert run(tmp_path, "--resume") == 0
    assert rows(tmp_path / "data") == after, "nothing is added twice"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bags", "data"]
    whole = tmp_path / "whole"
    assert main(["--bags", str(tmp_path / "bags"), "--output", str(whole), "--workers", "1"]) == 0
    wanted, found = (json.loads((root / "meta/stats.json").read_text()) for root in (whole, tmp_path / "data"))
    for key, statistic in wanted.items():
        np.testing.assert_allclose(found[key]["q50"], statistic["q50"], err_msg=key, rtol=1e-9)


def test_formats_that_cannot_grow_and_folders_of_others_are_refused(tmp_path: Path, capsys) -> None:
    write_bags(tmp_path / "bags", "a")
    assert run(tmp_path, "--format", "lerobot-v2.1") == 0
    write_bags(tmp_path / "bags", "b")
    assert run(tmp_path, "--format", "lerobot-v2.1", "--resume") == 2
    assert (
        "of the format lerobot-v2.1 cannot be extended; convert all bags again with --overwrite"
        in capsys.readouterr().err
    )
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine").write_text("")
    assert main(["--bags", str(tmp_path / "bags"), "--output", str(foreign), "--resume", "--workers", "1"]) == 2
    assert "so it is no dataset of this command" in capsys.readouterr().err
    assert [path.name for path in foreign.iterdir()] == ["mine"]


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path, monkeypatch, capsys) -> None:
    write_bags(tmp_path / "bags", "ab")
    with monkeypatch.context() as patch:
        break_off(patch, after=1)
        assert run(tmp_path) == 130
    with (tmp_path / "data.partial/lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for option in ("--resume", "--overwrite"):
            assert run(tmp_path, option) == 2
            assert "another conversion works there" in capsys.readouterr().err
    assert run(tmp_path, "--resume") == 0


def test_a_damaged_finished_episode_is_named(tmp_path: Path, monkeypatch, capsys) -> None:
    write_bags(tmp_path / "bags", "ab")
    with monkeypatch.context() as patch:
        break_off(patch, after=1)
        assert run(tmp_path) == 130
    finished = next((tmp_path / "data.partial/episodes").iterdir())
    (finished / "frames.npz").write_bytes(b"not an archive")
    with pytest.raises(StoreError, match="a finished episode cannot be read"):
        load(finished, tmp_path / "links")
    assert run(tmp_path, "--resume") == 1
    assert "Delete the folder and run again with --resume" in capsys.readouterr().err


def test_finished_episodes_cannot_name_files_outside_of_themselves(tmp_path: Path, monkeypatch) -> None:
    write_bags(tmp_path / "bags", "ab")
    with monkeypatch.context() as patch:
        break_off(patch, after=1)
        assert run(tmp_path) == 130
    finished = next((tmp_path / "data.partial/episodes").iterdir())
    result = json.loads((finished / "result.json").read_text())
    result["targets"]["recorded"]["videos"]["observation.images.front"] = "../../../../secret"
    (finished / "result.json").write_text(json.dumps(result))
    with pytest.raises(StoreError, match="lies outside of the episode"):
        load(finished, tmp_path / "links")


def test_folders_swap_their_names_in_one_step(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a/b").exists()
    assert (tmp_path / "b/a").exists()
    with pytest.raises(OutputError, match="cannot be replaced"):
        exchange(tmp_path / "a", tmp_path / "absent")


def test_settings_say_which_of_them_differ() -> None:
    check_settings({"a": [1], "b": None}, {"a": (1,), "b": None}, Path("there"))
    with pytest.raises(OutputError, match=r"there: .*a: there 1, now 2; c: there 'absent', now 3"):
        check_settings({"a": 1, "b": 1}, {"a": 2, "b": 1, "c": 3}, Path("there"))


def test_attachments_travel_with_the_episode(tmp_path: Path) -> None:
    write_bags(tmp_path / "bags", "a")
    (tmp_path / "bags/episode_a/attachments").mkdir()
    (tmp_path / "bags/episode_a/attachments/scene.yaml").write_text("blocks: 3\n")
    assert run(tmp_path) == 0
    folder = tmp_path / "data/meta/vla/attachments/episode_000000"
    assert (folder / "scene.yaml").read_text() == "blocks: 3\n"
    about = json.loads((tmp_path / "data/meta/vla/episodes/episode_000000.json").read_text())
    assert about["attachments"] == ["scene.yaml"]


def test_an_attachment_cannot_leave_its_folder(tmp_path: Path, capsys, monkeypatch) -> None:
    write_bags(tmp_path / "bags", "a")
    evil = Attachment("../../plan.txt", "text/plain", b"")
    monkeypatch.setattr(EpisodeBag, "attachments", lambda _: iter([evil]))
    assert run(tmp_path) == 1
    assert "a name that leads out of its folder" in capsys.readouterr().err
    assert not list(tmp_path.rglob("plan.txt"))


def test_a_url_gets_the_finished_dataset(tmp_path: Path, capsys, monkeypatch) -> None:
    write_bags(tmp_path / "bags", "a")
    place = tmp_path / "share" / "lift"
    command = ["--bags", str(tmp_path / "bags"), "--output", f"file://{place}", "--workers", "1"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(command) == 0
    assert (place / "meta/info.json").is_file()
    assert f"file://{place}: 1 episodes, 20 frames" in capsys.readouterr().out
    assert not any((tmp_path / "cache/vla_recorder").iterdir())
    assert main([*command, "--work-dir", str(tmp_path / "work")]) == 1
    said = capsys.readouterr().err
    assert f"The dataset is complete in {tmp_path}/work/lift; `ros2 run vla_recorder publish" in said
    assert (tmp_path / "work/lift/meta/info.json").is_file()
