# SPDX-License-Identifier: Apache-2.0

"""The lines for OpenVLA: as kept in a golden file, and doing what they say when they are run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vla_recorder.formats.rlds import Rlds
from vla_recorder.testing.rows import layout, rows, write_rows
from vla_recorder.tools.export_registration import TRANSFORM, main, openvla

GOLDEN = Path(__file__).parent / "data/openvla_registration.txt"


def dataset(folder, form, target="planner"):
    """A small RLDS dataset."""
    write_rows(folder, form, layout(target=target), [(*rows(3), "t", {})], folder / "work")
    return folder


def test_the_lines_of_one_dataset(tmp_path, capsys):
    assert main(["--format", "openvla", str(dataset(tmp_path, Rlds()))]) == 0
    assert capsys.readouterr().out == GOLDEN.read_text()


def test_several_datasets_share_one_function(tmp_path, capsys):
    for target in ("e2e", "planner", "correction"):
        dataset(tmp_path / target, Rlds(), target)
    assert main(["--format", "openvla", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count(f"def {TRANSFORM}(") == 1
    for target in ("e2e", "planner", "correction"):
        assert shown.count(f'"ur5e_vla_{target}": {{') == 1
        assert shown.count(f'"ur5e_vla_{target}": {TRANSFORM},') == 1


def run_lines(text, trajectory):
    """Run the printed function with NumPy in the place of TensorFlow; also evaluate the tables."""
    tf = SimpleNamespace(clip_by_value=np.clip, concat=lambda parts, axis: np.concatenate(parts, axis=axis))
    encoding = SimpleNamespace(JOINT="joint", JOINT_POS="joint_pos")
    config, function, entries = (part.split("\n", 1)[1] for part in text.split("# ---")[1:])
    names: dict[str, Any] = {"tf": tf, "Dict": dict, "Any": Any, "StateEncoding": encoding, "ActionEncoding": encoding}
    exec(function, names)
    names["configs"] = eval("{" + config + "}", names)
    names["transforms"] = eval("{" + entries + "}", names)
    (transform,) = names["transforms"].values()
    return names["configs"], transform(trajectory)


def trajectory():
    """Three steps; grippers open, half closed, and a little beyond closed."""
    state = np.zeros((3, 8))
    state[:, 7] = [0.0, 0.5, 1.02]
    action = np.arange(18.0).reshape(3, 6)
    return {"observation": {"state": state}, "action": action, "action_gripper": np.array([[0.5], [1.02], [1.02]])}


def test_the_gripper_is_inverted_and_clipped():
    configs, changed = run_lines(openvla(["ur5e_vla_e2e"]), trajectory())
    np.testing.assert_array_equal(changed["action"][:, :6], np.arange(18.0).reshape(3, 6))
    np.testing.assert_array_equal(changed["action"][:, 6], [1.0, 0.5, 0.0])  # 1 is open
    assert changed["action"].shape == (3, 7)
    assert configs["ur5e_vla_e2e"]["image_obs_keys"] == {"primary": "image", "secondary": None, "wrist": "wrist_image"}
    assert configs["ur5e_vla_e2e"]["depth_obs_keys"] == {"primary": None, "secondary": None, "wrist": None}
    assert configs["ur5e_vla_e2e"]["state_encoding"] == "joint"
    assert configs["ur5e_vla_e2e"]["action_encoding"] == "joint_pos"


def test_the_gripper_of_the_next_step():
    _, changed = run_lines(openvla(["x"], "action"), trajectory())
    np.testing.assert_array_equal(changed["action"][:, 6], [0.5, 0.0, 0.0])


def test_another_schema_is_refused_with_what_it_lacks(tmp_path, capsys):
    data = dataset(tmp_path, Rlds(schema="generic"))
    assert main(["--format", "openvla", str(data)]) == 2
    error = capsys.readouterr().err
    assert (
        "lacks observation/image, observation/wrist_image, action of the shape (6,), action_gripper of the shape"
        in error
    )
    assert "schema=seed" in error


def test_a_folder_without_datasets(tmp_path, capsys):
    assert main(["--format", "openvla", str(tmp_path)]) == 2
    assert "no RLDS dataset in it" in capsys.readouterr().err


def test_only_known_programs(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--format", "octo", "."])
    assert "invalid choice: 'octo'" in capsys.readouterr().err
