# SPDX-License-Identifier: Apache-2.0

"""The lines for OpenVLA and OpenVLA-OFT: as kept in a golden file, and doing what they say when they are run."""

import enum
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vla_core.errors import VlaError
from vla_policy.registration.openvla import TRANSFORM, oft, openvla
from vla_policy.registration.sections import BEGIN, END, Section, write_into
from vla_policy.tools.export_registration import main
from vla_recorder.formats.rlds import Rlds
from vla_recorder.testing.rows import layout, rows, write_rows

GOLDEN = Path(__file__).parent / "data/openvla_registration.txt"
OXE = "prismatic/vla/datasets/rlds/oxe"


class Encoding(enum.IntEnum):
    """Stands for both encodings of the training program."""

    EEF_POS = 1
    JOINT_POS = 2
    JOINT = 3


def dataset(folder, form, target="planner"):
    """A small RLDS dataset."""
    write_rows(folder, form, layout(target=target), [(*rows(3), "t", {})], folder / "work")
    return folder


def test_the_lines_of_one_dataset(tmp_path, capsys):
    assert main(["--target", "openvla", str(dataset(tmp_path, Rlds()))]) == 0
    assert capsys.readouterr().out == GOLDEN.read_text()


def test_several_datasets_share_one_function(tmp_path, capsys):
    for target in ("e2e", "planner", "correction"):
        dataset(tmp_path / target, Rlds(), target)
    assert main(["--target", "openvla", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count(f"def {TRANSFORM}(") == 1
    for target in ("e2e", "planner", "correction"):
        assert shown.count(f'"ur5e_vla_{target}": {{') == 1
        assert shown.count(f'"ur5e_vla_{target}": {TRANSFORM},') == 1
        assert shown.count(f"--dataset_name ur5e_vla_{target} ") == 1


def stock_loader(name: str, allowed: tuple[Encoding, ...] = (Encoding.EEF_POS,), **_: Any) -> dict[str, Any]:
    """What the training programs do: refuse joints, else give masks by the encoding."""
    config = NAMES["OXE_DATASET_CONFIGS"][name]
    if config["action_encoding"] not in allowed:
        raise ValueError(f"Cannot load `{name}`")
    return {"absolute_action_mask": [False] * 6 + [True], **config}


NAMES: dict[str, Any] = {}


def run_lines(sections: list[Section], argv: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run all lines that go to files in one name space, with NumPy in the place of TensorFlow."""
    NAMES.clear()
    NAMES.update(
        tf=SimpleNamespace(clip_by_value=np.clip, concat=lambda parts, axis: np.concatenate(parts, axis=axis)),
        Dict=dict,
        Any=Any,
        StateEncoding=Encoding,
        ActionEncoding=Encoding,
        OXE_DATASET_CONFIGS={"other": {"action_encoding": Encoding.EEF_POS}},
        OXE_STANDARDIZATION_TRANSFORMS={},
        make_oxe_dataset_kwargs=stock_loader,
        sys=SimpleNamespace(argv=["finetune.py", *argv]),
        NormalizationType=SimpleNamespace(BOUNDS_Q99="bounds_q99"),
        NUM_ACTIONS_CHUNK=25,
    )
    for section in sections:
        if section.path:
            exec(compile(section.text, section.path, "exec"), NAMES)
    return NAMES


def trajectory():
    """Three steps; grippers open, half closed, and a little beyond closed."""
    state = np.zeros((3, 8))
    state[:, 7] = [0.0, 0.5, 1.02]
    action = np.arange(18.0).reshape(3, 6)
    return {"observation": {"state": state}, "action": action, "action_gripper": np.array([[0.5], [1.02], [1.02]])}


def test_the_gripper_is_inverted_and_clipped():
    names = run_lines(openvla(["ur5e_vla_e2e"]))
    changed = names["OXE_STANDARDIZATION_TRANSFORMS"]["ur5e_vla_e2e"](trajectory())
    np.testing.assert_array_equal(changed["action"][:, :6], np.arange(18.0).reshape(3, 6))
    np.testing.assert_array_equal(changed["action"][:, 6], [1.0, 0.5, 0.0])  # 1 is open
    assert changed["action"].shape == (3, 7)
    config = names["OXE_DATASET_CONFIGS"]["ur5e_vla_e2e"]
    assert config["image_obs_keys"] == {"primary": "image", "secondary": None, "wrist": "wrist_image"}
    assert config["depth_obs_keys"] == {"primary": None, "secondary": None, "wrist": None}
    assert config["state_obs_keys"] == ["state"]
    assert config["state_encoding"] is Encoding.JOINT
    assert config["action_encoding"] is Encoding.JOINT_POS


def test_the_gripper_of_the_next_step():
    names = run_lines(openvla(["x"], gripper="action"))
    changed = names["OXE_STANDARDIZATION_TRANSFORMS"]["x"](trajectory())
    np.testing.assert_array_equal(changed["action"][:, 6], [0.5, 0.0, 0.0])


def test_joint_datasets_are_loaded_with_the_masks_of_six_differences_and_a_gripper():
    names = run_lines(openvla(["x"]))
    with pytest.raises(ValueError, match="Cannot load"):
        stock_loader("x")
    loaded = names["make_oxe_dataset_kwargs"]("x")
    assert loaded["absolute_action_mask"] == [False] * 6 + [True]
    assert names["OXE_DATASET_CONFIGS"]["x"]["action_encoding"] is Encoding.JOINT_POS  # as it was
    assert names["make_oxe_dataset_kwargs"]("other")["action_encoding"] is Encoding.EEF_POS


def command(sections: list[Section]) -> dict[str, str]:
    """The options of the command that trains."""
    (text,) = (section.text for section in sections if not section.path)
    words = shlex.split(text.partition("torchrun")[2].replace("\\\n", " "))
    return dict(re.findall(r"--(\S+) (\S+)", " ".join(words)))


def test_the_numbers_of_openvla():
    flags = command(openvla(["ur5e_vla_planner"], gpus=2))
    expected = {
        "nproc-per-node": "2",
        "vla_path": "openvla/openvla-7b",
        "dataset_name": "ur5e_vla_planner",
        "lora_rank": "32",
        "use_lora": "True",
        "batch_size": "16",
        "grad_accumulation_steps": "1",
        "learning_rate": "5e-4",
        "image_aug": "True",
        "save_steps": "5000",
        "max_steps": "200000",
        "save_latest_checkpoint_only": "True",
    }
    assert expected.items() <= flags.items()
    assert openvla(["x"])[-1].text.startswith("pip install peft==0.11.1\n")
    assert command(openvla(["x"], gpu_gb=48))["batch_size"] == "12"
    assert command(openvla(["x"], gpu_gb=80))["batch_size"] == "24"


@pytest.mark.parametrize(("head", "l1", "diffusion"), [("l1", "True", "False"), ("diffusion", "False", "True")])
def test_the_numbers_of_oft(head, l1, diffusion):
    expected = {
        "use_l1_regression": l1,
        "use_diffusion": diffusion,
        "num_diffusion_steps_train": "50",
        "use_film": "False",
        "use_proprio": "False",
        "num_steps_before_decay": "100000",
        "save_freq": "10000",
        "batch_size": "8",
        "lora_rank": "32",
        "learning_rate": "5e-4",
        "max_steps": "200000",
        "resume": "False",
    }
    assert expected.items() <= command(oft(["x"], head=head)).items()


def test_oft_takes_its_constants_by_the_name_of_the_dataset():
    names = run_lines(oft(["x"]), ("--dataset_name", "x", "--run_root_dir", "/data/aloha"))
    assert (names["NUM_ACTIONS_CHUNK"], names["ACTION_DIM"], names["PROPRIO_DIM"]) == (8, 7, 8)
    assert names["ACTION_PROPRIO_NORMALIZATION_TYPE"] == "bounds_q99"
    assert run_lines(oft(["x"]), ("--dataset_name", "other"))["NUM_ACTIONS_CHUNK"] == 25


def checkout(folder: Path) -> Path:
    """Empty files where a checkout has full ones."""
    for name in (f"{OXE}/configs.py", f"{OXE}/transforms.py", f"{OXE}/materialize.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("before = 1\n")
    return folder


def test_lines_are_written_into_a_checkout_and_replaced_there(tmp_path, capsys):
    data, repository = dataset(tmp_path / "data", Rlds()), checkout(tmp_path / "repository")
    assert main(["--target", "openvla", str(data), "--into", str(repository)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("wrote ") == 3
    assert "torchrun" in shown
    assert "def " not in shown
    first = (repository / OXE / "transforms.py").read_text()
    assert first.startswith("before = 1\n")
    (repository / OXE / "transforms.py").write_text(first + "after = 2\n")
    assert main(["--target", "openvla", str(data), "--into", str(repository), "--gripper", "action"]) == 0
    second = (repository / OXE / "transforms.py").read_text()
    assert second.count(BEGIN) == second.count(END) == 1
    assert "action_gripper" in second
    assert second.startswith("before = 1\n")
    assert second.endswith("after = 2\n")


def test_a_folder_that_is_no_checkout_stays_as_it_was(tmp_path, capsys):
    data, repository = dataset(tmp_path / "data", Rlds()), checkout(tmp_path / "repository")
    (repository / OXE / "materialize.py").unlink()
    assert main(["--target", "openvla", str(data), "--into", str(repository)]) == 2
    assert "materialize.py: is not there; give the root folder" in capsys.readouterr().err
    assert (repository / OXE / "configs.py").read_text() == "before = 1\n"


def test_lines_without_an_end_are_not_guessed(tmp_path):
    (tmp_path / "a.py").write_text(f"{BEGIN}\nx = 1\n")
    with pytest.raises(VlaError, match="has no '# vla: end of generated lines' after it"):
        write_into(tmp_path, [Section(path="a.py", text="x = 2\n")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "openvla", "--gpu-gb", "24"], "needs a GPU of 48 GB or more"),
        (["--target", "openvla", "--gpus", "0"], "--gpus 0: must be 1 or more"),
        (["--target", "oft", "--gpu-gb", "48"], "--target oft has no --gpu-gb"),
        (["--target", "openvla", "--norm-stats", "reuse", "--head", "l1"], "has no --head, --norm-stats"),
    ],
)
def test_options_that_do_not_fit(tmp_path, capsys, words, said):
    assert main([*words, str(dataset(tmp_path, Rlds()))]) == 2
    assert said in capsys.readouterr().err


def test_oft_refuses_the_name_of_another_robot():
    with pytest.raises(VlaError, match=r"dataset 'my_ALOHA_e2e': OpenVLA-OFT takes a name with 'aloha'.*convert again"):
        oft(["my_ALOHA_e2e"])


def test_another_schema_is_refused_with_what_it_lacks(tmp_path, capsys):
    data = dataset(tmp_path, Rlds(schema="generic"))
    assert main(["--target", "openvla", str(data)]) == 2
    error = capsys.readouterr().err
    assert "lacks observation/image, observation/wrist_image, observation/state of the shape (8,)" in error
    assert "action of the shape (6,), action_gripper of the shape (1,)" in error
    assert "schema=seed" in error


def test_a_folder_without_datasets(tmp_path, capsys):
    assert main(["--target", "openvla", str(tmp_path)]) == 2
    assert "no RLDS dataset in it" in capsys.readouterr().err


def test_a_description_that_is_damaged(tmp_path, capsys):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "features.json").write_text("[]")
    assert main(["--target", "oft", str(tmp_path)]) == 2
    assert "its description cannot be read" in capsys.readouterr().err


def test_only_known_programs(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--target", "octo", "."])
    assert "invalid choice: 'octo'" in capsys.readouterr().err
