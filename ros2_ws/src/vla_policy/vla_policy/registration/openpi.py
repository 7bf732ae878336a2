# SPDX-License-Identifier: Apache-2.0

"""Lines for OpenPI: how a dataset of six joints and a gripper meets the inputs of π0, π0-FAST and π0.5.

Observations are named as OpenPI's UR5e example names them (``observation/image`` and so on), which is also what
``vla_policy.serving`` asks a server by. The first camera fills the slot ``base_0_rgb``, the one at the wrist
``left_wrist_0_rgb``; ``right_wrist_0_rgb`` stays black and is masked out, except for π0-FAST, which takes no mask. Joint
targets become differences from the state of the same row for the model, the gripper stays absolute.

Facts from Physical-Intelligence/openpi at 15a9616.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_core.errors import ProfileError, VlaError, listing
from vla_core.profile import load_profile

from vla_policy.registration.sections import Section

MODELS = ("pi0", "pi0_fast", "pi05")
NORM_STATS = ("reuse", "compute")
POLICY_FILE = "src/openpi/policies/vla_six_joints_policy.py"
CONFIG_FILE = "src/openpi/training/config.py"
WIDTH = 7
STEPS = 30_000
VERSION = "v2.1"
_PROFILE = Path("meta") / "vla" / "profile.yaml"
_STATE_KEYS, _ACTION_KEYS = ("state", "observation.state"), ("action", "actions")

_POLICY = '''\
"""Six joints [rad] and a gripper (0 open, 1 closed), a camera on the scene and one at the wrist."""

import dataclasses

import numpy as np

from openpi import transforms
from openpi.models import model as _model

WIDTH = 7


def picture(values) -> np.ndarray:
    """(H, W, 3) uint8 of what LeRobot stores ((3, H, W) float, 0 to 1) or a robot sends ((H, W, 3) uint8)."""
    pixels = np.asarray(values)
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = np.rint(255.0 * pixels).astype(np.uint8)
    return np.moveaxis(pixels, 0, -1) if pixels.shape[0] == 3 else pixels


@dataclasses.dataclass(frozen=True)
class SixJointsInputs(transforms.DataTransformFn):
    """From a row of the dataset, or a request, to the inputs of the model."""

    model_type: _model.ModelType = _model.ModelType.PI0

    def __call__(self, data: dict) -> dict:
        base = picture(data["observation/image"])
        wrist = picture(data["observation/wrist_image"])
        # The third slot has no camera. pi0-FAST has no mask for pictures, so it sees the black one.
        spare = np.bool_(self.model_type == _model.ModelType.PI0_FAST)
        inputs = {
            "state": data["observation/state"],
            "image": {"base_0_rgb": base, "left_wrist_0_rgb": wrist, "right_wrist_0_rgb": np.zeros_like(base)},
            "image_mask": {"base_0_rgb": np.True_, "left_wrist_0_rgb": np.True_, "right_wrist_0_rgb": spare},
        }
        return inputs | {key: data[key] for key in ("actions", "prompt") if key in data}


@dataclasses.dataclass(frozen=True)
class SixJointsOutputs(transforms.DataTransformFn):
    """The model pads actions to its own width; the robot has seven values."""

    def __call__(self, data: dict) -> dict:
        return {"actions": np.asarray(data["actions"][..., :WIDTH])}
'''
_CONFIG_CLASS = '''\
import openpi.policies.vla_six_joints_policy as vla_six_joints_policy


@dataclasses.dataclass(frozen=True)
class SixJointsDataConfig(DataConfigFactory):
    """Absolute targets of six joints and a gripper; the model sees joints as differences from the state."""

    default_prompt: str | None = None

    @override
    def create(self, assets_dirs: pathlib.Path, model_config: _model.BaseModelConfig) -> DataConfig:
        mask = _transforms.make_bool_mask(6, -1)
        names = {{
            "observation/image": "{base}",
            "observation/wrist_image": "{wrist}",
            "observation/state": "{state}",
            "actions": "{action}",
            "prompt": "prompt",
        }}
        return dataclasses.replace(
            self.create_base_config(assets_dirs, model_config),
            repack_transforms=_transforms.Group(inputs=[_transforms.RepackTransform(names)]),
            data_transforms=_transforms.Group(
                inputs=[
                    vla_six_joints_policy.SixJointsInputs(model_type=model_config.model_type),
                    _transforms.DeltaActions(mask),
                ],
                outputs=[_transforms.AbsoluteActions(mask), vla_six_joints_policy.SixJointsOutputs()],
            ),
            model_transforms=ModelTransformFactory(default_prompt=self.default_prompt)(model_config),
            action_sequence_keys=("{action}",),
        )
'''
_TRAIN_CONFIGS = """\


_SIX_JOINTS_PI0 = pi0_config.Pi0Config(
    paligemma_variant="gemma_2b_lora", action_expert_variant="gemma_300m_lora"
)
_SIX_JOINTS_PI0_FAST = pi0_fast.Pi0FASTConfig(
    action_dim=7, action_horizon=10, max_token_len=180, paligemma_variant="gemma_2b_lora"
)
_SIX_JOINTS_PI05 = pi0_config.Pi0Config(
    pi05=True, paligemma_variant="gemma_2b_lora", action_expert_variant="gemma_300m_lora"
)
_SIX_JOINTS_CONFIGS = [
    TrainConfig(
        name=f"{base}_{name}_lora",
        model=model,
        data=SixJointsDataConfig(
            repo_id="{repo_id}",
            assets=assets,
            base_config=DataConfig(prompt_from_task=True),
        ),
        weight_loader=weight_loaders.CheckpointWeightLoader(f"gs://openpi-assets/checkpoints/{base}_base/params"),
        freeze_filter=model.get_freeze_filter(),
        ema_decay=None,  # no moving average of LoRA weights
        num_train_steps={steps},
        batch_size={batch},
    )
    for base, model, assets in (
        ("pi0", _SIX_JOINTS_PI0, {pi0_assets}),
        ("pi0_fast", _SIX_JOINTS_PI0_FAST, {pi0_fast_assets}),
        ("pi05", _SIX_JOINTS_PI05, AssetsConfig()),
    )
]
_CONFIGS.extend(_SIX_JOINTS_CONFIGS)
_CONFIGS_DICT.update({{config.name: config for config in _SIX_JOINTS_CONFIGS}})
"""
_REUSED = 'AssetsConfig(assets_dir="gs://openpi-assets/checkpoints/{base}_base/assets", asset_id="ur5e")'
_COMMANDS = """\
mkdir -p {home} && ln -sfn {dataset} {home}/{name}
{norm_stats}XLA_PYTHON_CLIENT_MEM_FRACTION=0.9 uv run scripts/train.py {config} --exp-name {name} --overwrite \\
  --num-train-steps {steps} --batch-size {batch} --save-interval 1000 --log-interval 100 --fsdp-devices {gpus}
# go on after a stop: the same with --resume in place of --overwrite
uv run scripts/serve_policy.py --port 8000 policy:checkpoint --policy.config {config} \\
  --policy.dir checkpoints/{config}/{name}/{last}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPiDataset:
    """Names of the columns of a dataset that OpenPI can read.

    Attributes:
        root: Its folder.
        base: Column of the camera on the scene.
        wrist: Column of the camera at the wrist.
        state: Column of the state, (7,).
        action: Column of the action, (7,), absolute.
    """

    root: Path
    base: str
    wrist: str
    state: str
    action: str


def openpi_dataset(root: Path) -> OpenPiDataset:
    """Return the columns of a dataset.

    Raises:
        VlaError: It is none, of a version that OpenPI does not read, or not of six absolute joints and a gripper seen by
            two cameras.
    """
    file = root / "meta" / "info.json"
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        version, features = str(info["codebase_version"]), dict(info["features"])
    except FileNotFoundError as error:
        raise VlaError(f"{root}: no LeRobot dataset ({file} is missing); write one: convert --format openpi") from error
    except (ValueError, KeyError, TypeError) as error:
        raise VlaError(f"{file}: cannot be read ({error!r}); convert the bags again") from error
    if version != VERSION:
        raise VlaError(
            f"{root}: is LeRobot {version}, and OpenPI reads {VERSION} only; convert the bags with --format openpi"
        )
    _check_absolute(root)
    state = _vector(root, features, _STATE_KEYS)
    action = _vector(root, features, _ACTION_KEYS)
    base, wrist = _cameras(root, features)
    return OpenPiDataset(root=root, base=base, wrist=wrist, state=state, action=action)


def openpi(
    dataset: OpenPiDataset,
    *,
    model: str = "pi0",
    norm_stats: str = "reuse",
    gpus: int = 1,
    gpu_gb: int | None = None,
    repo_id: str = "",
) -> list[Section]:
    """Return the lines and the commands for OpenPI.

    Args:
        dataset: What is trained on.
        model: Which configuration the commands train and serve; all are registered.
        norm_stats: ``reuse`` those of the UR5e in the base model (π0 and π0-FAST), or ``compute`` them from the dataset.
        gpus: Devices that share the model (FSDP).
        gpu_gb: Memory of each GPU [GB]; the batch is 4 below 32 GB, else the program's own 32.
        repo_id: Name of the dataset below LeRobot's home; ``local/<folder>`` if empty.

    Raises:
        VlaError: The base model has no statistics to reuse.
    """
    if model == "pi05" and norm_stats == "reuse":
        raise VlaError("--model pi05: its base model publishes no statistics of the UR5e; use --norm-stats compute")
    repo_id = repo_id or f"local/{dataset.root.resolve().name}"
    owner, _, name = repo_id.rpartition("/")
    batch = 4 if gpu_gb is not None and gpu_gb < 32 else 32
    assets = {
        f"{base}_assets": _REUSED.format(base=base) if norm_stats == "reuse" else "AssetsConfig()"
        for base in ("pi0", "pi0_fast")
    }
    identifier = "".join(letter if letter.isalnum() else "_" for letter in name)
    text = _CONFIG_CLASS.format(
        base=dataset.base, wrist=dataset.wrist, state=dataset.state, action=dataset.action
    ) + _train_configs(identifier, repo_id, batch, assets)
    config = f"{model}_{identifier}_lora"
    stats = f"uv run scripts/compute_norm_stats.py --config-name {config}\n" if norm_stats == "compute" else ""
    commands = _COMMANDS.format(
        home=f"~/.cache/huggingface/lerobot/{owner}".rstrip("/"),
        dataset=dataset.root.resolve(),
        name=name,
        norm_stats=stats,
        config=config,
        steps=STEPS,
        batch=batch,
        gpus=gpus,
        last=STEPS - 1,
    )
    return [
        Section(path=POLICY_FILE, text=_POLICY, new_file=True),
        Section(path=CONFIG_FILE, text=text),
        Section(path="", text=commands),
    ]


def _train_configs(identifier: str, repo_id: str, batch: int, assets: dict[str, str]) -> str:
    return _TRAIN_CONFIGS.format(
        base="{base}", name=identifier, repo_id=repo_id, steps=f"{STEPS:_}", batch=batch, **assets
    )


def _check_absolute(root: Path) -> None:
    """Refuse a dataset whose profile says that its actions are not absolute joints."""
    file = root / _PROFILE
    if not file.is_file():
        raise VlaError(
            f"{root}: {_PROFILE} is missing, which says whether actions are absolute; convert the bags with --format openpi"
        )
    try:
        profile = load_profile(file)
    except ProfileError as error:
        raise VlaError(f"{file}: the dataset's robot profile is unusable: {error}") from error
    if profile.action_space != "absolute_joint" or profile.state_space != "joint":
        raise VlaError(
            f"{root}: its actions are {profile.action_space} and its state is {profile.state_space}; OpenPI's transforms "
            "make the differences themselves, so convert with --codec joints_absolute"
        )


def _vector(root: Path, features: dict[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        if key in features:
            if tuple(features[key]["shape"]) != (WIDTH,):
                shape = tuple(features[key]["shape"])
                raise VlaError(f"{root}: column '{key}' has the shape {shape}; six joints and a gripper are ({WIDTH},)")
            return key
    raise VlaError(f"{root}: has no column {' or '.join(keys)}; it has {listing(features)}")


def _cameras(root: Path, features: dict[str, Any]) -> tuple[str, str]:
    cameras = [key for key, feature in features.items() if feature.get("dtype") in ("image", "video")]
    wrists = [key for key in cameras if "wrist" in key]
    others = [key for key in cameras if "wrist" not in key]
    if len(wrists) != 1 or len(others) != 1:
        raise VlaError(
            f"{root}: needs one camera with 'wrist' in its name and one without, and has {listing(cameras)}; name them "
            "with --format-option image_keys=front=base_rgb,hand=wrist_rgb"
        )
    return others[0], wrists[0]
