# SPDX-License-Identifier: Apache-2.0

"""The command norms: exact numbers, guarded spread, warnings, both kinds of dataset."""

import json
import re

import numpy as np
import pytest
from vla_recorder.formats.base import STATE64_KEY
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.npz import Npz
from vla_recorder.formats.openpi import OpenPi
from vla_recorder.testing.rows import layout, rows, write_rows
from vla_recorder.tools.norms import main, norms_of


def test_the_numbers_of_columns():
    values = np.random.default_rng(0).normal(3.0, 2.0, (1000, 2))
    found = norms_of(values)
    want = {
        "mean": values.mean(0),
        "std": values.std(0),
        "min": values.min(0),
        "max": values.max(0),
        "q01": np.quantile(values, 0.01, axis=0),
        "q99": np.quantile(values, 0.99, axis=0),
    }
    assert set(found.values) == set(want)
    for key, value in want.items():
        np.testing.assert_allclose(found.values[key], value, rtol=1e-6)
        assert found.values[key].dtype == np.float32
    assert (found.constant, found.tight, found.rows) == ([], [], 1000)


def test_a_value_that_does_not_vary_is_not_blown_up():
    values = np.zeros((50, 3))
    values[:, 0] = 1e6 + np.random.default_rng(0).normal(size=50) * 1e-3  # below what float32 holds
    values[:, 1] = np.arange(50)
    found = norms_of(values)
    assert found.constant == [0, 2]
    assert found.values["std"][[0, 2]].tolist() == [1.0, 1.0]
    assert found.values["std"][1] == pytest.approx(np.arange(50).std())


def test_quantiles_that_touch_are_found():
    values = np.zeros((1000, 1))
    values[500] = 1.0  # a gripper that closes in one row
    assert norms_of(values).tight == [0]
    values[500:530] = 1.0
    assert norms_of(values).tight == []


def episodes(count=3, length=6):
    """Rows of several episodes whose last action value never changes."""
    made = []
    for seed in range(count):
        columns, images = rows(length, seed)
        del columns[STATE64_KEY]
        columns["action"][:, 6] = 0.25
        made.append((columns, images, "t", {}))
    return made


def run(capsys, *arguments):
    """Exit code and what was printed."""
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


OPENPI = OpenPi(image_keys="front=base_rgb,wrist=wrist_rgb")


@pytest.mark.parametrize(
    ("form", "key"), [(Npz(), "state"), (LeRobotV3(), "observation.state"), (OPENPI, "state")], ids=lambda v: str(v)[:8]
)
def test_both_kinds_of_dataset_give_the_same_numbers(tmp_path, capsys, form, key):
    made = episodes()
    write_rows(tmp_path / "data", form, layout(), made, tmp_path / "work")
    code, text = run(capsys, "--data-root", tmp_path / "data", "--out-dir", tmp_path / "norms", "--max-episodes", 2)
    assert code == 0, text
    assert "2 vectors over 2 of 3 episodes, 12 rows" in text
    assert "warning: action: finger.pos hardly vary in these rows; their std is set to 1" in text
    with np.load(tmp_path / "norms/norms.npz") as found:
        statistics = ("mean", "std", "min", "max", "q01", "q99")
        assert set(found) == {f"{p}{s}" for p in ("action_", f"proprio.{key}.") for s in statistics}
        state = np.concatenate([columns["observation.state"] for columns, *_ in made[:2]]).astype(np.float64)
        np.testing.assert_allclose(found[f"proprio.{key}.mean"], state.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[f"proprio.{key}.std"], state.std(0), rtol=1e-5)
        assert found["action_std"][6] == 1.0
        assert found["action_mean"][6] == 0.25
    about = json.loads((tmp_path / "norms/metadata.json").read_text())
    assert (about["rows"], about["episodes_total"], len(about["episodes"])) == (12, 3, 2)
    assert about["proprio_keys"] == [key]
    assert about["constant"] == {"action": [6], key: []}
    assert about["names"]["action"][6] == "finger.pos"


def test_chosen_keys_and_a_misspelt_one(tmp_path, capsys):
    write_rows(tmp_path / "data", Npz(), layout(), episodes(1), tmp_path / "work")
    common = ("--data-root", tmp_path / "data", "--out-dir", tmp_path / "norms", "--proprio-keys")
    code, text = run(capsys, *common, "stat")
    assert code == 2
    assert re.search(r"has no measured vector 'stat'.*did you mean 'state'\?; it has state", text)
    assert not (tmp_path / "norms").exists()
    assert run(capsys, *common, "state")[0] == 0


def test_nan_is_refused_with_the_episode(tmp_path, capsys):
    write_rows(tmp_path / "data", Npz(), layout(), episodes(2), tmp_path / "work")
    path = tmp_path / "data/episodes/episode_000001.npz"
    with np.load(path) as found:
        arrays = dict(found)
    arrays["actions"][2, 3] = np.nan
    np.savez(path, **arrays)
    code, text = run(capsys, "--data-root", tmp_path / "data", "--out-dir", tmp_path / "norms")
    assert code == 2
    assert "episode_000001: 'action' holds NaN or infinity; `ros2 run vla_recorder validate` says where" in text


@pytest.mark.parametrize(
    ("arguments", "reason"), [([], "no episodes/*.npz in it"), (["--max-episodes", "0"], "at least one is needed")]
)
def test_nothing_to_compute_is_exit_code_2(tmp_path, capsys, arguments, reason):
    code, text = run(capsys, "--data-root", tmp_path, "--out-dir", tmp_path / "norms", *arguments)
    assert code == 2
    assert reason in text
