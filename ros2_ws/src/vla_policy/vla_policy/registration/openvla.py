# SPDX-License-Identifier: Apache-2.0

"""Lines for OpenVLA and OpenVLA-OFT, which read RLDS datasets by two tables of theirs.

The tables are ``OXE_DATASET_CONFIGS`` and ``OXE_STANDARDIZATION_TRANSFORMS`` in ``prismatic/vla/datasets/rlds/oxe``. The
transform makes the action that both expect: six joint differences and one gripper command, where 1 is open. Both load only
datasets whose actions are differences of the tool's pose; a third piece makes them load joint differences too, by the same
masks: the gripper is absolute and is not normalised.

Facts from openvla/openvla at c8f03f4 and moojink/openvla-oft at 213c5ff.
"""

from __future__ import annotations

from collections.abc import Sequence

from vla_core.errors import VlaError

from vla_policy.registration.sections import Section

TRANSFORM = "six_joints_and_gripper_dataset_transform"
GRIPPERS = ("state", "action")
HEADS = ("l1", "diffusion")
PLATFORM_WORDS = ("libero", "aloha", "bridge")
"""Words in its command line by which OpenVLA-OFT chooses a set of constants."""
CHUNK, ACTION_DIM, PROPRIO_DIM = 8, 7, 8
_OXE = "prismatic/vla/datasets/rlds/oxe"
_BATCHES = {48: 12, 80: 24}
"""Memory of the GPU [GB] -> largest batch of OpenVLA with LoRA of rank 32."""

_CONFIG = """\
    "{name}": {{
        "image_obs_keys": {{"primary": "image", "secondary": None, "wrist": "wrist_image"}},
        "depth_obs_keys": {{"primary": None, "secondary": None, "wrist": None}},
        "state_obs_keys": ["state"],
        "state_encoding": StateEncoding.JOINT,
        "action_encoding": ActionEncoding.JOINT_POS,
    }},
"""
_CONFIGS = """\
# state: six joints [rad], 0.0, gripper (0 open, 1 closed); action: see the transform
OXE_DATASET_CONFIGS.update({{
{entries}}})
"""
_FUNCTION = """\
def {transform}(trajectory: Dict[str, Any]) -> Dict[str, Any]:
    # {source}: 0 is open and 1 is closed there, 1 is open here
    gripper = 1.0 - tf.clip_by_value({gripper}, 0.0, 1.0)
    trajectory["action"] = tf.concat([trajectory["action"][:, :6], gripper], axis=-1)
    return trajectory


OXE_STANDARDIZATION_TRANSFORMS.update({{
{entries}}})
"""
_LOADER = """\
_kwargs_of_tool_poses = make_oxe_dataset_kwargs


def make_oxe_dataset_kwargs(dataset_name, *args, **kwargs):
    # Joint differences and a gripper have the masks of EEF_POS; unchanged, JOINT_POS is skipped with a warning.
    config = OXE_DATASET_CONFIGS[dataset_name]
    if config["action_encoding"] is not ActionEncoding.JOINT_POS:
        return _kwargs_of_tool_poses(dataset_name, *args, **kwargs)
    OXE_DATASET_CONFIGS[dataset_name] = {**config, "action_encoding": ActionEncoding.EEF_POS}
    try:
        return _kwargs_of_tool_poses(dataset_name, *args, **kwargs)
    finally:
        OXE_DATASET_CONFIGS[dataset_name] = config
"""
_CONSTANTS = """\
# Six joints and a gripper; chosen by the dataset's name, not by a word in a path
if any(name in sys.argv for name in {names}):
    NUM_ACTIONS_CHUNK, ACTION_DIM, PROPRIO_DIM = {chunk}, {action}, {proprio}
    ACTION_PROPRIO_NORMALIZATION_TYPE = NormalizationType.BOUNDS_Q99
"""
_SOURCES = {
    "state": ("the gripper as measured, last value of the state", 'trajectory["observation"]["state"][:, -1:]'),
    "action": ("the gripper of the next step", 'trajectory["action_gripper"]'),
}
_LAUNCH = "torchrun --standalone --nnodes 1 --nproc-per-node {gpus} vla-scripts/finetune.py"
_OPENVLA_FLAGS: dict[str, str] = {
    "run_root_dir": "runs",
    "adapter_tmp_dir": "adapters",
    "use_lora": "True",
    "lora_rank": "32",
    "grad_accumulation_steps": "1",
    "learning_rate": "5e-4",
    "image_aug": "True",
    "max_steps": "200000",
    "save_steps": "5000",
    "save_latest_checkpoint_only": "True",
}
_OFT_FLAGS: dict[str, str] = {
    "run_root_dir": "runs",
    "num_diffusion_steps_train": "50",
    "use_film": "False",
    "use_proprio": "False",
    "use_lora": "True",
    "lora_rank": "32",
    "batch_size": "8",
    "learning_rate": "5e-4",
    "num_steps_before_decay": "100000",
    "image_aug": "True",
    "max_steps": "200000",
    "save_freq": "10000",
    "save_latest_checkpoint_only": "False",
    "resume": "False",
}


def registration(names: Sequence[str], gripper: str = "state") -> list[Section]:
    """Return the three pieces that both programs need, each to be appended to its file.

    Args:
        names: Of the datasets.
        gripper: Where the gripper command comes from: ``state``, the measured opening at the same step, or ``action``, that
            of the next step.
    """
    source, expression = _SOURCES[gripper]
    configs = "".join(_CONFIG.format(name=name) for name in names)
    entries = "".join(f'    "{name}": {TRANSFORM},\n' for name in names)
    function = _FUNCTION.format(transform=TRANSFORM, source=source, gripper=expression, entries=entries)
    return [
        Section(path=f"{_OXE}/configs.py", text=_CONFIGS.format(entries=configs)),
        Section(path=f"{_OXE}/transforms.py", text=function),
        Section(path=f"{_OXE}/materialize.py", text=_LOADER),
    ]


def openvla(names: Sequence[str], *, gripper: str = "state", gpus: int = 1, gpu_gb: int | None = None) -> list[Section]:
    """Return the lines and the command for OpenVLA.

    Args:
        names: Of the datasets; there is one command for each.
        gripper: See `registration`.
        gpus: Processes that train.
        gpu_gb: Memory of each GPU [GB], for the batch: 12 from 48 GB on, 24 from 80 GB on; 16, the program's own, if None.

    Raises:
        VlaError: Less than 48 GB.
    """
    batch = str(_openvla_batch(gpu_gb))
    commands = "pip install peft==0.11.1\n" + "".join(
        _command(gpus, {"vla_path": "openvla/openvla-7b", **_data(name), "batch_size": batch, **_OPENVLA_FLAGS})
        for name in names
    )
    return [*registration(names, gripper), Section(path="", text=commands)]


def oft(names: Sequence[str], *, gripper: str = "state", gpus: int = 1, head: str = "l1") -> list[Section]:
    """Return the lines and the command for OpenVLA-OFT.

    Args:
        names: Of the datasets; there is one command for each.
        gripper: See `registration`.
        gpus: Processes that train.
        head: Of the action: ``l1`` (regression) or ``diffusion``; they exclude each other.

    Raises:
        VlaError: A name holds a word by which the program changes its camera views or its constants.
    """
    for name in names:
        for word in PLATFORM_WORDS:
            if word in name.lower():
                raise VlaError(
                    f"dataset '{name}': OpenVLA-OFT takes a name with '{word}' for another robot and sets other "
                    "constants (and, for aloha, other cameras); convert again under another robot name"
                )
    constants = _CONSTANTS.format(names=tuple(names), chunk=CHUNK, action=ACTION_DIM, proprio=PROPRIO_DIM)
    heads = {"use_l1_regression": str(head == "l1"), "use_diffusion": str(head == "diffusion")}
    commands = "".join(
        _command(gpus, {"vla_path": "openvla/openvla-7b", **_data(name), **heads, **_OFT_FLAGS}) for name in names
    )
    pieces = [*registration(names, gripper), Section(path="prismatic/vla/constants.py", text=constants)]
    return [*pieces, Section(path="", text=commands)]


def _openvla_batch(gpu_gb: int | None) -> int:
    if gpu_gb is None:
        return 16
    fitting = [batch for least, batch in _BATCHES.items() if gpu_gb >= least]
    if not fitting:
        raise VlaError(f"--gpu-gb {gpu_gb}: OpenVLA with LoRA of rank 32 needs a GPU of {min(_BATCHES)} GB or more")
    return max(fitting)


def _data(name: str) -> dict[str, str]:
    return {"data_root_dir": "~/tensorflow_datasets", "dataset_name": name}


def _command(gpus: int, flags: dict[str, str]) -> str:
    lines = [_LAUNCH.format(gpus=gpus), *(f"  --{key} {value}" for key, value in flags.items())]
    return " \\\n".join(lines) + "\n"
