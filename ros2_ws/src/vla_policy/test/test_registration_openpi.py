# SPDX-License-Identifier: Apache-2.0

"""The lines for OpenPI, run with stand-ins for its modules, against what this package asks an OpenPI server."""

import dataclasses
import enum
import json
import pathlib
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vla_core.errors import VlaError
from vla_core.frames import Frame
from vla_core.profile import parse_profile
from vla_policy.registration.openpi import OpenPiDataset, openpi, openpi_dataset
from vla_policy.serving.keys_openpi import OpenpiKeys, delta_mask, to_delta
from vla_policy.tools.export_registration import main
from vla_recorder.formats.base import STATE64_KEY
from vla_recorder.formats.openpi import OpenPi
from vla_recorder.testing.rows import PROFILE, layout, rows, write_rows


class ModelType(enum.Enum):
    """Models of OpenPI."""

    PI0 = "pi0"
    PI0_FAST = "pi0_fast"
    PI05 = "pi05"


@dataclasses.dataclass
class Model:
    """Stands for a configuration of a model; its values are in `given`."""

    given: dict[str, Any]
    model_type: ModelType = ModelType.PI0

    def get_freeze_filter(self) -> tuple[str, ...]:
        """All weights but those of LoRA."""
        return ("frozen", *self.given)


class Factory:
    """Stands for ``DataConfigFactory``."""

    def create_base_config(self, _dirs: Any, _model: Any) -> Any:
        """The fields that the generated class replaces."""
        fields = ("repack_transforms", "data_transforms", "model_transforms", "action_sequence_keys")
        return dataclasses.make_dataclass("DataConfig", [(name, Any, None) for name in fields])()


@dataclasses.dataclass
class Group:
    """Transforms on the way in and on the way out."""

    inputs: list[Any] = dataclasses.field(default_factory=list)
    outputs: list[Any] = dataclasses.field(default_factory=list)


def signed(sign: float):
    """Stands for ``DeltaActions`` (-1) and ``AbsoluteActions`` (+1), as described: masked values count from the state."""

    def transform(mask):
        def apply(data):
            origin = np.where(np.asarray(mask), data["state"][: len(mask)], 0.0)
            actions = np.array(data["actions"])
            actions[..., : len(mask)] += sign * origin
            return {**data, "actions": actions}

        return apply

    return transform


def bool_mask(*dims: int) -> tuple[bool, ...]:
    """Stands for ``make_bool_mask``: 6, -1 is six times True and once False."""
    return tuple(value > 0 for value in dims for _ in range(abs(value)))


TRANSFORMS = SimpleNamespace(
    Group=Group,
    make_bool_mask=bool_mask,
    DeltaActions=signed(-1.0),
    AbsoluteActions=signed(1.0),
    RepackTransform=lambda names: names,
)


@pytest.fixture
def run(monkeypatch):
    """Run the lines of both files; returns the names of the configuration file."""

    def run_sections(sections) -> dict[str, Any]:
        policy, config, _ = sections
        models = SimpleNamespace(ModelType=ModelType)
        for name, attributes in {
            "openpi": {"transforms": SimpleNamespace(DataTransformFn=object)},
            "openpi.models": {"model": models},
            "openpi.policies": {},
        }.items():
            module = ModuleType(name)
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, name, module)
        made = ModuleType("openpi.policies.vla_six_joints_policy")
        monkeypatch.setitem(sys.modules, made.__name__, made)
        vars(sys.modules["openpi.policies"])["vla_six_joints_policy"] = made
        exec(compile(policy.text, policy.path, "exec"), vars(made))
        names: dict[str, Any] = {
            "dataclasses": dataclasses,
            "pathlib": pathlib,
            "override": lambda function: function,
            "DataConfigFactory": dataclasses.make_dataclass(
                "DataConfigFactory",
                [("repo_id", str, ""), ("assets", Any, None), ("base_config", Any, None)],
                bases=(Factory,),
                frozen=True,
            ),
            "DataConfig": lambda **given: given,
            "AssetsConfig": lambda **given: given,
            "TrainConfig": lambda **given: SimpleNamespace(**given),
            "ModelTransformFactory": lambda **_: lambda _model: "model transforms",
            "_model": SimpleNamespace(BaseModelConfig=object),
            "_transforms": TRANSFORMS,
            "pi0_config": SimpleNamespace(Pi0Config=lambda **given: Model(given)),
            "pi0_fast": SimpleNamespace(Pi0FASTConfig=lambda **given: Model(given, ModelType.PI0_FAST)),
            "weight_loaders": SimpleNamespace(CheckpointWeightLoader=str),
            "_CONFIGS": [],
            "_CONFIGS_DICT": {},
            "__name__": made.__name__,
        }
        exec(compile(config.text, config.path, "exec"), names)
        return names

    return run_sections


DATASET = OpenPiDataset(
    root=pathlib.Path("/data/ur5e-set"), base="base_rgb", wrist="wrist_rgb", state="state", action="action"
)


def data_config(run, model_type=ModelType.PI0):
    """The generated data configuration for a model."""
    names = run(openpi(DATASET))
    return names["SixJointsDataConfig"]().create("assets", Model({}, model_type))


def sample(horizon=3):
    """A row under the names of the configuration, and its frame."""
    rng = np.random.default_rng(7)
    images = {name: rng.integers(0, 256, (224, 224, 3), dtype=np.uint8) for name in ("front", "wrist")}
    state = np.append(rng.normal(size=6), 0.25)
    actions = rng.normal(size=(horizon, 7))
    data = {
        "observation/image": np.moveaxis(images["front"], -1, 0).astype(np.float32) / 255.0,
        "observation/wrist_image": np.moveaxis(images["wrist"], -1, 0).astype(np.float32) / 255.0,
        "observation/state": state.astype(np.float32),
        "actions": actions,
        "prompt": "lift it",
    }
    return data, images, state, actions


@pytest.mark.parametrize("model_type", list(ModelType))
def test_the_inputs_are_those_that_this_package_asks_a_server_with(run, model_type):
    data, images, state, actions = sample()
    inputs, to_differences = data_config(run, model_type).data_transforms.inputs
    made = to_differences(inputs(data))
    fast = model_type is ModelType.PI0_FAST
    profile = parse_profile(PROFILE.replace("[64, 64]", "[224, 224]"), "ur5e.yaml")
    keys = OpenpiKeys(profile, image_fit="pad", slots=True, spare_mask=fast)
    frame = Frame(
        t_ns=0,
        state=state.astype(np.float32),
        state64=state,
        images=images,
        action=None,
        ages_s={},
        joints={},
        targets={},
    )
    asked = keys.ask(frame, "lift it")
    assert made["image"].keys() == asked["image"].keys() == {"base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"}
    for slot, picture in asked["image"].items():
        assert made["image"][slot].dtype == np.uint8
        np.testing.assert_array_equal(made["image"][slot], picture)
        assert made["image_mask"][slot] == asked["image_mask"][slot]
    assert not made["image"]["right_wrist_0_rgb"].any()
    assert bool(made["image_mask"]["right_wrist_0_rgb"]) is fast
    assert made["prompt"] == "lift it"
    mask = delta_mask(6, True)
    np.testing.assert_allclose(made["actions"], to_delta(actions, data["observation/state"], mask), atol=1e-12)
    np.testing.assert_array_equal(made["actions"][:, 6], actions[:, 6])  # the gripper stays absolute


def test_the_way_out_undoes_the_differences_and_the_padding(run):
    data, _, state, actions = sample()
    group = data_config(run).data_transforms
    made = group.inputs[1](group.inputs[0](data))
    padded = np.concatenate([made["actions"], np.full((3, 25), 9.0)], axis=1)
    to_absolute, outputs = group.outputs
    back = outputs(to_absolute({"actions": padded, "state": np.append(made["state"], np.zeros(25))}))
    np.testing.assert_allclose(back["actions"], actions, atol=1e-12)
    assert state.shape == (7,)


def test_images_of_a_robot_pass_as_they_are(run):
    data, images, _, _ = sample()
    data |= {"observation/image": images["front"], "observation/wrist_image": images["wrist"]}
    made = data_config(run).data_transforms.inputs[0]({k: v for k, v in data.items() if k not in ("actions", "prompt")})
    np.testing.assert_array_equal(made["image"]["base_0_rgb"], images["front"])
    assert "actions" not in made


def test_the_names_of_the_columns(run):
    config = data_config(run)
    assert config.repack_transforms.inputs == [
        {
            "observation/image": "base_rgb",
            "observation/wrist_image": "wrist_rgb",
            "observation/state": "state",
            "actions": "action",
            "prompt": "prompt",
        }
    ]
    assert config.action_sequence_keys == ("action",)
    assert config.model_transforms == "model transforms"


def test_the_numbers_of_the_training_configurations(run):
    configs = run(openpi(DATASET))["_CONFIGS_DICT"]
    assert list(configs) == ["pi0_ur5e_set_lora", "pi0_fast_ur5e_set_lora", "pi05_ur5e_set_lora"]
    for base, config in zip(("pi0", "pi0_fast", "pi05"), configs.values(), strict=True):
        assert (config.num_train_steps, config.batch_size, config.ema_decay) == (30_000, 32, None)
        assert config.freeze_filter == ("frozen", *config.model.given)
        assert config.model.given["paligemma_variant"] == "gemma_2b_lora"
        assert config.weight_loader == f"gs://openpi-assets/checkpoints/{base}_base/params"
        assert config.data.repo_id == "local/ur5e-set"
        assert config.data.base_config == {"prompt_from_task": True}
    fast = configs["pi0_fast_ur5e_set_lora"].model.given
    assert (fast["action_dim"], fast["action_horizon"], fast["max_token_len"]) == (7, 10, 180)
    assert configs["pi05_ur5e_set_lora"].model.given["pi05"] is True
    assert configs["pi0_ur5e_set_lora"].data.assets == {
        "assets_dir": "gs://openpi-assets/checkpoints/pi0_base/assets",
        "asset_id": "ur5e",
    }
    assert configs["pi05_ur5e_set_lora"].data.assets == {}
    computed = run(openpi(DATASET, norm_stats="compute", gpu_gb=24))["_CONFIGS_DICT"]
    assert computed["pi0_ur5e_set_lora"].data.assets == {}
    assert computed["pi0_ur5e_set_lora"].batch_size == 4


def test_the_commands():
    text = openpi(DATASET, model="pi05", norm_stats="compute", gpus=2, repo_id="me/set")[-1].text
    assert "ln -sfn /data/ur5e-set ~/.cache/huggingface/lerobot/me/set\n" in text
    assert "uv run scripts/compute_norm_stats.py --config-name pi05_set_lora\n" in text
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION=0.9 uv run scripts/train.py pi05_set_lora --exp-name set --overwrite" in text
    assert "--num-train-steps 30000 --batch-size 32 --save-interval 1000 --log-interval 100 --fsdp-devices 2" in text
    assert re.search(r"--port 8000 policy:checkpoint --policy.config pi05_set_lora \\\n", text)
    assert "--policy.dir checkpoints/pi05_set_lora/set/29999\n" in text  # the last step is saved under its own number
    assert "compute_norm_stats" not in openpi(DATASET)[-1].text


@pytest.fixture
def exported(tmp_path):
    """A dataset as ``convert --format openpi`` leaves it."""
    root = tmp_path / "set"
    columns, images = rows(3)
    columns.pop(STATE64_KEY)
    write_rows(root, OpenPi(), layout(), [(columns, images, "lift it", {})], tmp_path / "work")
    (root / "meta" / "vla").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "vla" / "profile.yaml").write_text(PROFILE)
    return root


def test_the_columns_are_read_from_the_dataset(exported):
    assert openpi_dataset(exported) == OpenPiDataset(
        root=exported, base="base_rgb", wrist="wrist_rgb", state="state", action="action"
    )


def test_the_command_writes_both_files(exported, tmp_path, capsys):
    checkout = tmp_path / "openpi"
    (checkout / "src/openpi/policies").mkdir(parents=True)
    (checkout / "src/openpi/training").mkdir()
    config = checkout / "src/openpi/training/config.py"
    config.write_text("x = 1\n")
    command = ["--target", "openpi", str(exported), "--model", "pi05", "--into", str(checkout)]
    assert main(command) == 0
    assert "compute_norm_stats.py --config-name pi05_set_lora" in capsys.readouterr().out
    assert main(command) == 0
    policy = checkout / "src/openpi/policies/vla_six_joints_policy.py"
    for path in (config, policy):
        compile(path.read_text(), str(path), "exec")
        assert path.read_text().count("# vla: begin") == 1
    policy.write_text("mine = 1\n")
    assert main(command) == 2
    assert "exists and was not made by this command; move it away" in capsys.readouterr().err


def edit(root, change):
    """Change the description of a dataset."""
    file = root / "meta" / "info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda info: info.update(codebase_version="v3.0"), "is LeRobot v3.0, and OpenPI reads v2.1 only"),
        (lambda info: info["features"]["action"].update(shape=[8]), r"has the shape \(8,\); six joints and a gripper"),
        (lambda info: info["features"].pop("state"), "has no column state or observation.state; it has"),
        (lambda info: info["features"].pop("wrist_rgb"), "needs one camera with 'wrist' in its name and one without"),
        (lambda info: info.pop("features"), "cannot be read"),
    ],
)
def test_a_dataset_that_does_not_fit(exported, change, said):
    edit(exported, change)
    with pytest.raises(VlaError, match=said):
        openpi_dataset(exported)


def test_differences_are_not_taken_twice(exported):
    profile = exported / "meta" / "vla" / "profile.yaml"
    profile.write_text(PROFILE.replace("task: lift\n", "task: lift\naction_space: delta_joint\n"))
    with pytest.raises(VlaError, match=r"its actions are delta_joint.*convert with --codec joints_absolute"):
        openpi_dataset(exported)
    profile.unlink()
    with pytest.raises(VlaError, match="is missing, which says whether actions are absolute"):
        openpi_dataset(exported)


def test_no_dataset_and_no_statistics(tmp_path, exported, capsys):
    assert main(["--target", "openpi", str(tmp_path / "none")]) == 2
    assert "write one: convert --format openpi" in capsys.readouterr().err
    assert main(["--target", "openpi", str(exported), "--model", "pi05", "--norm-stats", "reuse"]) == 2
    assert "publishes no statistics of the UR5e; use --norm-stats compute" in capsys.readouterr().err
