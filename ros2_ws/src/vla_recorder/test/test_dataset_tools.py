# SPDX-License-Identifier: Apache-2.0

"""merge and split keep every row, packet and statistic, and say why when they cannot."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from vla_core.errors import VlaError
from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_meta import Place
from vla_recorder.formats.lerobot_source import DatasetSource, cut_video
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.media.video import VideoEncoder, VideoSettings, count_frames, decode
from vla_recorder.testing import PROFILE
from vla_recorder.testing.datasets import (
    DEPTH,
    DEPTH_FEATURE,
    FEATURES,
    FRONT,
    STATE,
    layout,
    number_of,
    picture,
    write_dataset,
)
from vla_recorder.tools import merge as merge_command
from vla_recorder.tools import split as split_command
from vla_recorder.tools.merge import merge
from vla_recorder.tools.split import assign, fractions, split

V3 = LeRobotV3()
WITH_DEPTH = layout({**FEATURES, DEPTH: DEPTH_FEATURE}, VideoSettings(depth="image"))


def with_meta(root: Path, count: int) -> None:
    """Add what a conversion writes besides the dataset."""
    own = root / "meta/vla"
    (own / "episodes").mkdir(parents=True, exist_ok=True)
    (own / "profile.yaml").write_text(PROFILE)
    (own / "report.json").write_text(json.dumps({"output": root.name}))
    for index in range(count):
        provenance = {"episode_index": index, "bag": f"{root.name}_{index}"}
        (own / f"episodes/episode_{index:06d}.json").write_text(json.dumps(provenance))
        attachments = own / f"attachments/episode_{index:06d}"
        attachments.mkdir(parents=True)
        (attachments / "scene.xml").write_text(f"{root.name} {index}")
        (attachments / "episode_000000.txt").write_text("a name of its own")


def statistics(root: Path) -> dict:
    return json.loads((root / "meta/stats.json").read_text())


def pictures(root: Path) -> list[int]:
    """Numbers that the pictures of the front camera show, in the order of the rows."""
    source = DatasetSource(root)
    result = []
    for index in range(len(source.episodes)):
        episode = source.read(index, root.with_name(root.name + ".read") / f"{index}")
        result += [number_of(image) for image in decode(episode.videos[FRONT])]
    return result


def test_merge_is_the_dataset_that_one_conversion_would_give(tmp_path: Path) -> None:
    whole, a, b, both = (tmp_path / name for name in ("whole", "a", "b", "both"))
    write_dataset(V3, whole, (7, 12, 5), layout_=WITH_DEPTH)
    write_dataset(V3, a, (7, 12), layout_=WITH_DEPTH)
    write_dataset(V3, b, (5,), start=19, layout_=WITH_DEPTH)
    with_meta(a, 2)
    with_meta(b, 1)
    assert merge([a, b], both) == 3

    assert statistics(both) == statistics(whole)
    assert json.loads((both / "meta/info.json").read_text()) == json.loads((whole / "meta/info.json").read_text())
    assert pq.read_table(both / "data").equals(pq.read_table(whole / "data"))
    assert pq.read_table(both / "meta/episodes").equals(pq.read_table(whole / "meta/episodes"))
    assert pictures(both) == list(range(24))
    own = both / "meta/vla"
    assert json.loads((own / "episodes/episode_000002.json").read_text()) == {"episode_index": 2, "bag": "b_0"}
    assert (own / "attachments/episode_000002/scene.xml").read_text() == "b 0"
    assert sorted(path.name for path in (own / "attachments").rglob("*")) == sorted(
        [f"episode_{index:06d}" for index in range(3)] + ["scene.xml", "episode_000000.txt"] * 3
    )
    assert json.loads((own / "sources/001/report.json").read_text()) == {"output": "b"}
    assert not (own / "report.json").exists()
    assert (own / "profile.yaml").read_text() == PROFILE
    edit = json.loads((own / "edit.json").read_text())
    assert edit["episodes"][2] == {"dataset": 1, "episode": 0}
    assert edit["datasets"] == [str(a), str(b)]


@pytest.mark.parametrize("depth", ["image", "video"])
def test_merged_depth_keeps_its_unit_and_can_be_extended(tmp_path: Path, depth: str) -> None:
    exact = layout({**FEATURES, DEPTH: DEPTH_FEATURE}, VideoSettings(depth=depth))
    write_dataset(V3, tmp_path / "a", (3,), layout_=exact)
    info = DatasetSource(tmp_path / "a").features[DEPTH]["info"]
    assert info["depth_unit"] == "mm"
    merge([tmp_path / "a"], tmp_path / "m")
    write_dataset(V3, tmp_path / "m", (2,), layout_=exact, start=3, append=True)
    assert DatasetSource(tmp_path / "m").features[DEPTH]["info"] == info
    write_dataset(V3, tmp_path / "whole", (3, 2), layout_=exact)
    assert statistics(tmp_path / "m")[DEPTH] == statistics(tmp_path / "whole")[DEPTH]


def test_split_by_seed_keeps_whole_episodes(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "parts"
    lengths = (3, 4, 5, 2, 6)
    truth = write_dataset(V3, root, lengths)
    with_meta(root, 5)
    chosen = split(root, out, {"train": 0.6, "eval": 0.4}, seed=3)
    assert sorted(chosen["train"] + chosen["eval"]) == [0, 1, 2, 3, 4]
    starts = np.cumsum((0, *lengths))
    for name, episodes in chosen.items():
        state = np.concatenate([truth[index][STATE] for index in episodes]).astype(np.float64)
        stats = statistics(out / name)
        np.testing.assert_allclose(stats[STATE]["q99"], np.quantile(state, 0.99, axis=0), rtol=1e-12)
        pixels = np.concatenate([truth[index][FRONT].reshape(-1, 3) for index in episodes]) / 255
        np.testing.assert_allclose(np.ravel(stats[FRONT]["q50"]), np.quantile(pixels, 0.5, axis=0), rtol=1e-12)
        assert pictures(out / name) == [n for index in episodes for n in range(starts[index], starts[index + 1])]
        bags = [json.loads(path.read_text())["bag"] for path in sorted((out / name).glob("meta/vla/episodes/*.json"))]
        assert bags == [f"data_{index}" for index in episodes]
    assert split(root, tmp_path / "again", {"train": 0.6, "eval": 0.4}, seed=3) == chosen


def test_merging_the_parts_gives_the_statistics_of_the_whole(tmp_path: Path) -> None:
    write_dataset(V3, tmp_path / "data", (3, 4, 5, 2))
    split(tmp_path / "data", tmp_path / "parts", {"a": 0.5, "b": 0.5})
    merge([tmp_path / "parts/a", tmp_path / "parts/b"], tmp_path / "again")
    again, before = statistics(tmp_path / "again"), statistics(tmp_path / "data")
    for key in ("min", "max", "mean", "std", "q01", "q50", "q99"):
        np.testing.assert_allclose(again[STATE][key], before[STATE][key], rtol=1e-12)
        np.testing.assert_allclose(again[FRONT][key], before[FRONT][key], rtol=1e-12)


def test_pixels_that_nobody_counted_are_counted_again(tmp_path: Path) -> None:
    write_dataset(V3, tmp_path / "data", (3, 4))
    exact = statistics(tmp_path / "data")
    (tmp_path / "data/meta/vla/image_histograms.parquet").unlink()
    assert not DatasetSource(tmp_path / "data").counted
    merge([tmp_path / "data"], tmp_path / "copy")
    copy = statistics(tmp_path / "copy")
    assert copy[STATE] == exact[STATE]
    np.testing.assert_allclose(copy[FRONT]["mean"], exact[FRONT]["mean"], atol=0.01)
    assert copy[FRONT]["count"] == [7]
    write_dataset(V3, tmp_path / "copy", (2,), start=7, append=True)


def test_merge_refuses_what_does_not_fit(tmp_path: Path) -> None:
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    write_dataset(V3, a, (3,))
    write_dataset(V3, b, (3,), layout_=layout(video=VideoSettings(crf=30)))
    write_dataset(V3, c, (3,))
    with pytest.raises(DatasetError, match=rf"b \(here\) does not fit to .*: {FRONT}: video.crf is 18 there, 30 here"):
        merge([a, b], tmp_path / "out")
    for root, joints in ((a, "elbow_joint"), (c, "shoulder_joint")):
        (root / "meta/vla/profile.yaml").write_text(PROFILE.replace("position.elbow_joint", f"position.{joints}"))
    with pytest.raises(DatasetError, match=r"does not fit to .*shoulder_joint"):
        merge([a, c], tmp_path / "out")
    with pytest.raises(DatasetError, match="a dataset is named twice"):
        merge([a, a], tmp_path / "out")
    with pytest.raises(DatasetError, match=r"has no meta/info.json, so it is no complete LeRobot dataset"):
        merge([a, tmp_path], tmp_path / "out")
    with pytest.raises(VlaError, match="exists already"):
        merge([a], b)
    assert not (tmp_path / "out").exists()


def test_damage_is_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_dataset(V3, root, (3, 4))
    (root / f"videos/{FRONT}/chunk-000/file-000.mp4").unlink()
    with pytest.raises(DatasetError, match=r"file-000.mp4: is missing; it holds episode 0"):
        merge([root], tmp_path / "out")
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps({**info, "total_episodes": 3}))
    with pytest.raises(DatasetError, match=r"info.json counts 3 episodes, the table of episodes 2"):
        DatasetSource(root)
    (root / "meta/info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(DatasetError, match=r"is LeRobot v2.1; only v3.0 datasets can be taken apart"):
        DatasetSource(root)


def test_an_output_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, output = tmp_path / "data", tmp_path / "out"
    write_dataset(V3, root, (3, 4))
    (tmp_path / "out.new/data").mkdir(parents=True)
    (tmp_path / "out.new/data/left-by-a-killed-run.parquet").touch()
    merge([root], output)
    before = {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert Path("data/left-by-a-killed-run.parquet") not in before

    def broken(*_: object) -> None:
        raise DatasetError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("vla_recorder.tools.edit.DatasetWriter.finish", broken)
        with pytest.raises(DatasetError, match="the disk is full"):
            merge([root], output, overwrite=True)
    assert {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    merge([root], output, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.parts", "out"]
    (tmp_path / "file").touch()
    with pytest.raises(VlaError, match="file: is a file; give the path of a folder"):
        merge([root], tmp_path / "file")


def test_a_cut_needs_a_key_frame(tmp_path: Path) -> None:
    with VideoEncoder(tmp_path / "all.mp4", height=64, width=96, fps=10, settings=VideoSettings(gop=4)) as video:
        for number in range(10):
            video.add(picture(number, 64, 96))
    cut_video(tmp_path / "all.mp4", 4, 5, tmp_path / "part.mp4", 10)
    assert [number_of(image) for image in decode(tmp_path / "part.mp4")] == [4, 5, 6, 7, 8]
    assert count_frames(tmp_path / "part.mp4") == 5
    with pytest.raises(DatasetError, match="picture 5 cannot be cut out without decoding: it is no key frame"):
        cut_video(tmp_path / "all.mp4", 5, 2, tmp_path / "part.mp4", 10)
    with pytest.raises(DatasetError, match="ends after 2 of 4 pictures from picture 8 on"):
        cut_video(tmp_path / "all.mp4", 8, 4, tmp_path / "part.mp4", 10)


def test_fractions() -> None:
    assert fractions("train=0.9, eval=0.1") == {"train": 0.9, "eval": 0.1}
    for text, message in (
        ("train", "'' is no number"),
        ("a=0.5,a=0.5", "names that are different"),
        ("../x=0.5", "usable as folder names"),
        ("a=0", "must be above 0"),
        ("a=0.7,b=0.6", "add up to 1.3"),
    ):
        with pytest.raises(ValueError, match=message):
            fractions(text)
    assert assign(10, {"a": 0.5, "b": 0.25}, 0) != assign(10, {"a": 0.5, "b": 0.25}, 1)
    assert [len(part) for part in assign(10, {"a": 0.5, "b": 0.3}, 0).values()] == [5, 3]
    with pytest.raises(DatasetError, match=r"eval=0.1 of 3 episodes is none; record more"):
        assign(3, {"train": 0.9, "eval": 0.1}, 0)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(V3, tmp_path / "data", (3, 4))
    arguments = [str(tmp_path / "data"), "--output", str(tmp_path / "parts"), "--fractions", "train=0.5,eval=0.5"]
    split_command.main(arguments)
    merge_command.main(
        [str(tmp_path / f"parts/{name}") for name in ("train", "eval")] + ["--output", str(tmp_path / "m")]
    )
    assert "m: 2 episodes of 2 datasets" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="1"):
        split_command.main(arguments)
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        split_command.main([*arguments[:-1], "train=2"])
    assert "--fractions the fractions add up to 2" in capsys.readouterr().err


def test_places_count_up_to_a_thousand_files_a_folder() -> None:
    place = Place.after([(0, 3), (0, 998)])
    assert (place.chunk, place.file) == (0, 999)
    place.advance()
    assert (place.chunk, place.file) == (1, 0)
