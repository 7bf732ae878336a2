# SPDX-License-Identifier: Apache-2.0

"""What a dataset must be before anything is trained on it, and how several become one."""

import json
import shutil

import pytest
from policy_fixtures import small_profile
from train_work import work_of, write_dataset
from vla_policy.training.dataset_checks import (
    MIN_SPREAD,
    check_alike,
    check_dataset,
    check_statistics,
    dataset_profile,
    dataset_sha256,
    dataset_tasks,
    episode_identities,
    held_out_episodes,
    inspect_dataset,
)
from vla_policy.training.train_children import MOST_PIXELS, Validation, broken_rules, pixels
from vla_policy.training.train_settings import TrainError


@pytest.fixture(scope="module")
def profile():
    return small_profile()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, profile):
    return write_dataset(tmp_path_factory.mktemp("data") / "ds", profile, episodes=3, length=12)


@pytest.fixture(scope="module")
def other(tmp_path_factory, profile):
    return write_dataset(tmp_path_factory.mktemp("data") / "other", profile, episodes=2, length=8, offset=9.0)


@pytest.fixture
def copy(tmp_path, dataset):
    shutil.copytree(dataset, tmp_path / "copy")
    return tmp_path / "copy"


def change_info(dataset, **values):
    file = dataset / "meta" / "info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_folders_that_are_no_dataset(tmp_path):
    with pytest.raises(TrainError, match=r"there is no such dataset folder.*vla_recorder convert"):
        check_dataset(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainError, match="the dataset folder is empty"):
        check_dataset(tmp_path / "empty")
    (tmp_path / "empty" / "x").touch()
    with pytest.raises(TrainError, match=r"meta/info\.json is missing"):
        check_dataset(tmp_path / "empty")
    (tmp_path / "empty" / "meta").mkdir()
    (tmp_path / "empty" / "meta" / "info.json").write_text("{")
    with pytest.raises(TrainError, match="not valid JSON"):
        check_dataset(tmp_path / "empty")
    (tmp_path / "empty" / "meta" / "info.json").write_text('{"total_frames": 0}')
    with pytest.raises(TrainError, match="holds no frames"):
        check_dataset(tmp_path / "empty")


def test_another_version_is_named_with_the_way_to_convert_it(copy):
    change_info(copy, codebase_version="v2.1")
    with pytest.raises(TrainError, match=r"version 'v2\.1'; LeRobot trains on v3\.0.*convert_dataset_v21_to_v30"):
        check_dataset(copy)


def test_missing_files_are_named(copy):
    check_dataset(copy)
    (file,) = (copy / "data").rglob("*.parquet")
    file.unlink()
    with pytest.raises(
        TrainError, match=r"files are missing: data/chunk-000/file-000\.parquet \(first needed by episode 0\)"
    ):
        check_dataset(copy)
    shutil.rmtree(copy / "meta" / "episodes")
    with pytest.raises(TrainError, match=r"meta/episodes is missing"):
        check_dataset(copy)


def test_missing_videos_are_named(tmp_path, copy):
    import pyarrow.parquet as pq

    info = json.loads((copy / "meta" / "info.json").read_text())
    info["features"]["observation.images.front"]["dtype"] = "video"
    change_info(
        copy,
        features=info["features"],
        video_path="videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    )
    (file,) = (copy / "meta" / "episodes").rglob("*.parquet")
    table = pq.read_table(file)
    for part in ("chunk_index", "file_index"):
        table = table.append_column(f"videos/observation.images.front/{part}", [list(range(len(table)))])
    pq.write_table(table, file)
    with pytest.raises(
        TrainError, match=r"videos/observation\.images\.front/chunk-001/file-001\.mp4 \(first needed by episode 1\)"
    ):
        check_dataset(copy)


def test_the_profile_must_describe_the_dataset(tmp_path, dataset, profile, copy):
    info = check_dataset(dataset)
    assert dataset_profile(dataset, info, None).sha256 == profile.sha256
    shutil.rmtree(copy / "meta" / "vla")
    with pytest.raises(TrainError, match=r"no robot profile travels with the dataset.*--profile FILE"):
        dataset_profile(copy, info, None)
    other = tmp_path / "other.yaml"
    other.write_text(profile.text.replace("- 32", "- 64"))
    with pytest.raises(TrainError, match=r"observation\.images\.front: dataset \(3, 32, 32\), profile \(3, 64, 64\)"):
        dataset_profile(dataset, info, other)
    other.write_text("robot: x\n")
    with pytest.raises(TrainError, match=r"robot profile is unusable: .*other\.yaml"):
        dataset_profile(dataset, info, other)
    other.write_text(profile.text.replace("fps: 10", "fps: 20"))
    with pytest.raises(
        TrainError, match=r"the dataset has 10 frames per second, the profile .* 20\. A policy acts at the rate"
    ):
        dataset_profile(dataset, info, other)


@pytest.mark.parametrize(
    ("policy", "values", "word"),
    [
        ("act", {"std": [0.5, 0.5, 1e-6]}, "standard deviation 1e-06"),
        ("pi05", {"q01": [-1.0, -1.0, 0.0], "q99": [1.0, 1.0, 0.0]}, "q01 to q99 0"),
        ("diffusion", {"min": [-1.0, -1.0, 0.5], "max": [1.0, 1.0, 0.5]}, "min to max 0"),
        ("act", {"std": [0.5, 0.5, float("nan")]}, "standard deviation nan"),
    ],
)
def test_a_value_that_never_moves_is_named_before_the_training(copy, policy, values, word):
    info = check_dataset(copy)
    check_statistics(copy, info, policy)
    file = copy / "meta" / "stats.json"
    stats = json.loads(file.read_text())
    stats["action"] |= values
    file.write_text(json.dumps(stats))
    with pytest.raises(TrainError) as error:
        check_statistics(copy, info, policy)
    name = info["features"]["action"]["names"][2]
    assert f"action: '{name}' hardly moves ({word})" in str(error.value)
    assert "--std-floor 0.01" in str(error.value)
    assert f"Limit: {MIN_SPREAD:g}" in str(error.value)
    del stats["action"]["std"], stats["action"]["q01"], stats["action"]["min"]
    file.write_text(json.dumps(stats))
    with pytest.raises(TrainError, match="is missing, which policy"):
        check_statistics(copy, info, policy)


def test_held_out_episodes_stay_held_out_when_others_come(dataset):
    names = [f"episode {i}" for i in range(200)]
    held = held_out_episodes(names, 0.1)
    assert 10 <= len(held) <= 30
    assert held_out_episodes(names[:100], 0.1) == tuple(i for i in held if i < 100)
    assert held_out_episodes(names, 0.0) == ()
    assert len(held_out_episodes(names[:3], 0.001)) == 1, "at least one"
    with pytest.raises(TrainError, match="too few episodes: 1 cannot be split"):
        held_out_episodes(names[:1], 0.1)
    with pytest.raises(TrainError, match=r"--held-out 0\.999 holds out all 2 episodes"):
        held_out_episodes(names[:2], 0.999)
    assert len(set(episode_identities(dataset, check_dataset(dataset)))) == 3


def test_a_recording_keeps_its_identity(copy):
    notes = copy / "meta" / "vla" / "episodes"
    notes.mkdir()
    (notes / "episode_000001.json").write_text('{"episode_uuid": "23320d57"}')
    assert episode_identities(copy, check_dataset(copy))[1] == "23320d57"


def test_the_hash_covers_numbers_features_and_profile(copy, dataset):
    before = dataset_sha256(copy)
    assert before == dataset_sha256(dataset), "the folder's name does not matter"
    (copy / "meta" / "stats.json").write_text("{}")
    assert dataset_sha256(copy) == before
    (copy / "meta" / "vla" / "profile.yaml").write_text("robot: x\n")
    changed = dataset_sha256(copy)
    assert changed != before
    change_info(copy, fps=11)
    assert dataset_sha256(copy) != changed


def test_datasets_that_cannot_be_one_are_refused(tmp_path, dataset, profile):
    def facts(path):
        return inspect_dataset(path, given=None, policy="act", part=0.0)

    faster = small_profile(**{"fps: 10": "fps: 20"})
    write_dataset(tmp_path / "faster", faster, episodes=1)
    with pytest.raises(TrainError, match=r"(?s)cannot be trained on together with .*frames per second: 10 and 20"):
        check_alike([facts(dataset), facts(tmp_path / "faster")])
    scaled = small_profile(**{"from: [0.0, 0.8], to: [0.0, 1.0]": "from: [0.0, 0.7], to: [0.0, 1.0]"})
    write_dataset(tmp_path / "scaled", scaled, episodes=1)
    with pytest.raises(TrainError, match=r"(?s)scale.*\nConvert the bags of both under one profile"):
        check_alike([facts(dataset), facts(tmp_path / "scaled")])
    with pytest.raises(TrainError, match="is named twice"):
        check_alike([facts(dataset), facts(dataset)])


def test_episodes_of_several_datasets_are_counted_through(tmp_path, dataset, other):
    given = [
        "--policy",
        "act",
        "--dataset",
        f"{dataset},{other}",
        "--output",
        tmp_path / "runs" / "run",
        "--held-out",
        "0.4",
    ]
    work = work_of(*given)
    first, second = (entry["held_out"] for entry in work.record["datasets"])
    assert first
    assert second
    kept = [i for i in range(3) if i not in first] + [3 + i for i in range(2) if i not in second]
    assert f"--dataset.episodes={kept}" in work.plan.arguments
    assert work.merged.parent == tmp_path / "runs" / "merged"
    assert f"--dataset.root={work.merged}" in work.plan.arguments
    again = work_of(*given[:3], f"{other},{dataset}", *given[4:])
    assert again.merged != work.merged, "another order is another dataset"


def test_the_sentences_of_a_dataset(dataset):
    assert dataset_tasks(dataset) == ("pick up the block",)


def test_a_dataset_that_breaks_a_rule_is_refused(copy):
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = inspect_dataset(copy, given=None, policy="act", part=0.0)
    (file,) = (copy / "data").rglob("*.parquet")
    table = pq.read_table(file)
    column = table["action"].to_pylist()
    column[14] = [float("nan")] * 3
    table = table.set_column(
        table.schema.get_field_index("action"), "action", pa.array(column, table.schema.field("action").type)
    )
    pq.write_table(table, file)
    with Validation(facts) as validation, pytest.raises(TrainError) as error:
        validation.check()
    assert "does not pass `validate`:\n  episode 1: nan: " in str(error.value)
    assert "--skip-validate" in str(error.value)
    assert pixels(facts) == 36 * 32 * 32 < MOST_PIXELS


def test_a_dataset_that_is_too_broken_to_be_measured(copy):
    facts = inspect_dataset(copy, given=None, policy="act", part=0.0)
    (copy / "meta" / "info.json").write_text("{")
    with Validation(facts) as validation, pytest.raises(TrainError, match=r"(?s)could not be validated:\n.*info\.json"):
        validation.check()


def test_only_the_first_findings_are_shown():
    findings = [{"rule": "finite", "text": str(i), "level": "error"} for i in range(9)]
    lines = broken_rules(
        {"reports": [{"name": "episode 0", "findings": [*findings, {"rule": "x", "text": "", "level": "warning"}]}]}
    )
    assert lines[0] == "episode 0: finite: 0"
    assert lines[-1] == "… and 5 more"


def test_the_recorder_package_is_named_when_it_is_missing(dataset, monkeypatch):
    facts = inspect_dataset(dataset, given=None, policy="act", part=0.0)
    monkeypatch.setattr("vla_policy.training.train_children.find_spec", lambda name: None)
    with pytest.raises(TrainError, match="the package vla_recorder is not on the Python path"):
        Validation(facts)
