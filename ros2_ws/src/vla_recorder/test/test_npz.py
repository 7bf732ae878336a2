# SPDX-License-Identifier: Apache-2.0

"""npz episodes and their specification: written streaming, read back the same, refused where they lie."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest
import yaml
from vla_core.profile import parse_profile
from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.npz import Npz, array_name
from vla_recorder.formats.npz_reader import NpzEpisode, NpzError, find_npz
from vla_recorder.formats.npz_spec import SpecError, load_spec, spec_of
from vla_recorder.testing.rows import PROFILE, layout, rows, write_rows


@pytest.mark.parametrize("compress", [False, True])
def test_numpy_reads_what_was_written(tmp_path, compress):
    shape = layout(depth=True)
    episodes = [(*rows(n, n, depth=lambda v: np.asarray(v, np.uint16)), f"task {n}", {}) for n in (3, 1)]
    write_rows(tmp_path / "out", Npz(compress=compress), shape, episodes, tmp_path / "work")
    files = find_npz(tmp_path / "out")
    assert [f.name for f in files] == ["episode_000000.npz", "episode_000001.npz"]
    for file, (columns, images, task, _) in zip(files, episodes, strict=True):
        with np.load(file, allow_pickle=False) as found:
            length = len(images)
            assert set(found) == {
                *("actions", "timestamps", "task", "obs.state", "obs.front", "obs.wrist", "obs.far"),
                *("stamp_ns", "synthetic"),
            }
            np.testing.assert_array_equal(found["actions"], columns["action"])
            np.testing.assert_array_equal(found["obs.state"], columns["observation.state"])
            np.testing.assert_array_equal(found["stamp_ns"], columns["stamp_ns"])
            np.testing.assert_allclose(found["timestamps"], np.arange(length) / 10, rtol=0, atol=1e-12)
            for camera in ("front", "wrist", "far"):
                want = np.stack([row[f"observation.images.{camera}"] for row in images])
                np.testing.assert_array_equal(found[f"obs.{camera}"], want)
            assert str(found["task"]) == task
        episode = NpzEpisode.open(file)
        np.testing.assert_array_equal(
            episode.array("obs.front"), np.stack([r["observation.images.front"] for r in images])
        )
        assert str(episode.array("task")) == task
    assert not list((tmp_path / "work").rglob("*.raw"))


def test_the_spec_says_what_the_profile_says(tmp_path):
    write_rows(tmp_path, Npz(), layout(), [(*rows(n), "t", {}) for n in (2, 5)], tmp_path / "work")
    content = yaml.safe_load((tmp_path / "spec.yaml").read_text())
    joints = [f"j{i}.pos" for i in range(6)]
    assert content == {
        "name": "local/x",
        "version": "1.0.0",
        "control_freq_hz": 10.0,
        "control_freq_tolerance_pct": 5.0,
        "required_obs_keys": ["front", "wrist"],
        "required_proprio_keys": ["state"],
        "action_dim": 7,
        "action_type": "absolute",
        "action_names": [*joints, "finger.pos"],
        "action_min": [-3.0] * 6 + [0.0],
        "action_max": [3.0] * 6 + [1.0],
        "max_episode_steps": 5,
        "allow_nan": False,
        "clip_actions": False,
    }
    assert load_spec(tmp_path / "spec.yaml").action_names == (*joints, "finger.pos")
    as_json = tmp_path / "spec.json"
    as_json.write_text(json.dumps(content))
    assert load_spec(as_json) == load_spec(tmp_path / "spec.yaml")


def test_the_spec_of_differences_has_no_limits():
    profile = parse_profile(PROFILE.replace("fps: 10", "fps: 10\naction_space: delta_joint"), "p.yaml")
    spec = spec_of(profile, name="x", fps=10, cameras=["a"], longest=3)
    assert (spec.action_type, spec.action_min, spec.action_max) == ("delta", None, None)
    assert "action_min" not in yaml.safe_load(spec.to_yaml())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"action_dim": None}, "the spec lacks action_dim"),
        ({"acton_min": [1]}, "unknown key 'acton_min'.*action_min"),
        ({"action_dim": 2.5}, "'action_dim' must be int, got 2.5"),
        ({"action_dim": True}, "'action_dim' must be int, got True"),
        ({"action_max": [1.0]}, "'action_max' has 1 values, action_dim is 7"),
        ({"required_obs_keys": "front"}, "'required_obs_keys' must be a list of str"),
        ({"action_type": "relative"}, "action_type 'relative' is not one of absolute, delta"),
        ({"control_freq_hz": 0}, "control_freq_hz 0 must be above 0"),
    ],
)
def test_a_wrong_spec_is_refused_by_key(tmp_path, change, reason):
    spec = spec_of(parse_profile(PROFILE, "p.yaml"), name="x", fps=10, cameras=[], longest=3)
    content = {**yaml.safe_load(spec.to_yaml()), **change}
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(SpecError, match=reason):
        load_spec(path)


def test_no_spec_and_no_episode_are_said(tmp_path):
    with pytest.raises(SpecError, match=r"cannot be read .*give the spec of the data with --spec"):
        load_spec(tmp_path / "absent.yaml")
    with pytest.raises(NpzError, match=r"no episodes/\*\.npz"):
        find_npz(tmp_path)
    with pytest.raises(DatasetError, match="no episode was converted"):
        Npz().dataset_writer(tmp_path / "out", layout()).finish()


def test_memory_does_not_grow_with_the_episode(tmp_path):
    shape = layout(128)
    image = {key: np.zeros((128, 128, 3), np.uint8) for key in shape.image_keys}
    writer = Npz().episode_writer(shape, tmp_path)
    writer.add(image)
    tracemalloc.start()
    for _ in range(199):
        writer.add(image)
    episode = writer.finish(rows(200, size=2)[0], "t", {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert episode.files["npz"].stat().st_size > 200 * 2 * 128 * 128 * 3
    assert peak < 8e6  # the images are 20 MB


def test_python_objects_and_damage_are_refused(tmp_path):
    evil = tmp_path / "evil.npz"
    np.savez(evil, actions=np.array([object()], dtype=object))
    with pytest.raises(NpzError, match="actions hold Python objects; loading them would run code"):
        NpzEpisode.open(evil)
    write_rows(tmp_path / "out", Npz(), layout(), [(*rows(4), "t", {})], tmp_path / "work")
    (file,) = find_npz(tmp_path / "out")
    data = bytearray(file.read_bytes())
    place = data.index(rows(4)[1][0]["observation.images.front"].tobytes()[:2000])
    data[place + 5] ^= 1
    file.write_bytes(data)
    with pytest.raises(NpzError, match=r"'obs.front' is damaged \(Bad CRC"):
        NpzEpisode.open(file).array("obs.front")
    file.write_bytes(data[:5000])
    with pytest.raises(NpzError, match="cannot be read as npz"):
        NpzEpisode.open(file)


def test_arrays_in_fortran_order_and_of_no_rows_are_read(tmp_path):
    values = np.arange(6.0).reshape(3, 2)
    np.savez(tmp_path / "a.npz", a=np.asfortranarray(values), b=np.zeros((0, 2)))
    episode = NpzEpisode.open(tmp_path / "a.npz")
    np.testing.assert_array_equal(episode.array("a"), values)
    assert episode.array("b").shape == (0, 2)


def test_an_episode_whose_images_lack_rows_is_refused(tmp_path):
    shape = layout()
    writer = Npz().episode_writer(shape, tmp_path / "work")
    columns, images = rows(3)
    for row in images[:2]:
        writer.add(row)
    episode = writer.finish(columns, "t", {})
    with pytest.raises(DatasetError, match=r"'obs\.front' has 2 rows, the episode has 3"):
        Npz().dataset_writer(tmp_path / "out", shape).add(episode)


def test_images_that_change_their_size_are_refused(tmp_path):
    writer = Npz().episode_writer(layout(), tmp_path / "work")
    with pytest.raises(DatasetError, match=r"an image of \(32, 32, 3\) uint8 came, the episode has \(64, 64, 3\)"):
        writer.add(rows(1, size=32)[1][0])
    writer.discard()
    assert not list((tmp_path / "work").iterdir())


def test_episodes_can_be_added_to_a_finished_dataset(tmp_path):
    shape, form = layout(), Npz()
    write_rows(tmp_path / "out", form, shape, [(*rows(3, 1), "a", {})], tmp_path / "work")
    spec = tmp_path / "out/spec.yaml"
    (tmp_path / "in_use.yaml").hardlink_to(spec)
    before = spec.read_text()
    columns, images = rows(5, 2)
    writer = form.append_writer(tmp_path / "out", shape)
    one = form.episode_writer(shape, tmp_path / "more")
    for row in images:
        one.add(row)
    assert writer.add(one.finish(columns, "b", {})) == 1
    writer.finish()
    assert [str(NpzEpisode.open(path).array("task")) for path in find_npz(tmp_path / "out")] == ["a", "b"]
    assert load_spec(spec).max_episode_steps == 5
    assert (tmp_path / "in_use.yaml").read_text() == before
    faster = dataclasses.replace(shape, fps=20)
    with pytest.raises(DatasetError, match="differs from this conversion in control_freq_hz; convert with the same"):
        form.append_writer(tmp_path / "out", faster)


def test_names_of_arrays():
    assert [array_name(k) for k in ("action", "observation.state", "observation.images.front", "phase")] == [
        "actions",
        "obs.state",
        "obs.front",
        "phase",
    ]
