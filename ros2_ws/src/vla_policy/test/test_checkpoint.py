# SPDX-License-Identifier: Apache-2.0

"""Finding checkpoints, and loading them strictly."""

import json
import shutil

import numpy as np
import pytest
from policy_fixtures import make_act_checkpoint, make_smolvla_checkpoint, small_frame, small_profile
from safetensors.torch import load_file
from vla_core.errors import CheckpointError, ProfileError
from vla_policy.policies.checkpoint import attach, choose_profile, find_checkpoint, run_checkpoints, travelling_profile
from vla_policy.policies.lerobot_runner import LeRobotRunner
from vla_policy.policies.runner import LoadRequest
from vla_policy.policies.weights import read_shapes
from vla_policy.training.small_vlm import SmallVlmError, SmallVlmSize, main, make_small_vlm


@pytest.fixture(scope="module")
def profile():
    return small_profile()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, profile):
    run = tmp_path_factory.mktemp("act") / "run"
    make_act_checkpoint(run, profile)
    return run


@pytest.fixture
def copy(tmp_path, trained):
    """A copy that a test may damage; returns its pretrained_model folder."""
    shutil.copytree(trained, tmp_path / "run", symlinks=True)
    return tmp_path / "run" / "checkpoints" / "000001" / "pretrained_model"


def load(path, profile, **options):
    return LeRobotRunner(find_checkpoint(path), profile, LoadRequest(**options))


def test_a_run_a_step_last_and_the_folder_itself_are_all_found(trained):
    wanted = (trained / "checkpoints" / "000001" / "pretrained_model").resolve()
    names = ("", "checkpoints", "checkpoints/last", "checkpoints/000001", "checkpoints/last/pretrained_model", "last")
    for name in names:
        assert find_checkpoint(trained / name).path.resolve() == wanted, name


def test_a_run_whose_link_last_is_gone_gives_its_newest_step(copy):
    run = copy.parents[2]
    (run / "checkpoints" / "last").unlink()
    shutil.copytree(copy.parent, run / "checkpoints" / "000200")
    assert find_checkpoint(run).path.parent.name == "000200"
    assert [path.parent.name for path in run_checkpoints(run)] == ["000001", "000200"]


def test_not_found_lists_what_exists(trained, tmp_path):
    with pytest.raises(CheckpointError) as error:
        find_checkpoint(trained / "checkpoints" / "999999")
    assert "checkpoint not found" in str(error.value)
    assert "000001" in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"The folder is empty\. Train first"):
        find_checkpoint(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="does not exist"):
        find_checkpoint(tmp_path / "nothing")


def test_the_profile_travels_along(trained, profile, tmp_path):
    found = find_checkpoint(trained)
    assert choose_profile(found, None).sha256 == profile.sha256
    other = tmp_path / "same_mapping.yaml"
    other.write_text(profile.text.replace("front/image_raw", "other/image_raw"))
    assert choose_profile(found, other).cameras[0].topic == "other/image_raw"


def test_a_profile_with_another_mapping_is_refused_with_the_difference(trained, profile, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(profile.text.replace("fps: 10", "fps: 20"))
    with pytest.raises(CheckpointError) as error:
        choose_profile(find_checkpoint(trained), other)
    assert "fps: trained with 10" in str(error.value)
    assert "Drop the profile argument" in str(error.value)
    with pytest.raises(ProfileError, match=r"missing\.yaml"):
        choose_profile(find_checkpoint(trained), tmp_path / "missing.yaml")


def test_without_any_profile_it_is_refused(copy):
    shutil.rmtree(copy / "vla")
    with pytest.raises(CheckpointError, match=r"no robot profile travels.*profile:=FILE"):
        choose_profile(find_checkpoint(copy), None)


def test_a_profile_edited_after_training_is_refused(copy):
    file = copy / "vla" / "profile.yaml"
    file.write_text(file.read_text().replace("fps: 10", "fps: 12"))
    with pytest.raises(CheckpointError, match="was changed after training"):
        travelling_profile(find_checkpoint(copy))


def test_unreadable_configurations_are_named(copy):
    (copy / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot read"):
        find_checkpoint(copy)
    (copy / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="names no policy 'type'"):
        find_checkpoint(copy)


def test_act_predicts_a_chunk_from_a_frame(trained, profile):
    runner = load(trained, profile)
    chunk = runner.infer(small_frame(profile, t_ns=7), "a task that ACT must never see")
    assert (chunk.t0_ns, chunk.dt_s, chunk.values.shape) == (7, 0.1, (8, 3))
    assert chunk.values.dtype == np.float32
    assert runner.n_action_steps == 8
    again = runner.infer(small_frame(profile, t_ns=7), "")
    np.testing.assert_array_equal(chunk.values, again.values)


def test_the_chunk_is_what_lerobot_itself_predicts(trained, profile):
    """The runner against LeRobot's own loading and processing, number by number."""
    import torch
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    path = find_checkpoint(trained).path
    policy = ACTPolicy.from_pretrained(path)
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(path))
    frame = small_frame(profile)
    batch = {
        "observation.state": torch.from_numpy(frame.state.copy()),
        "observation.images.front": torch.from_numpy(frame.images["front"].copy()).permute(2, 0, 1).float() / 255,
    }
    with torch.no_grad():
        expected = after(policy.predict_action_chunk(before(batch)))[0].numpy()
    np.testing.assert_array_equal(load(trained, profile).infer(frame, "").values, expected)


def test_a_truncated_weight_file_is_refused(copy, profile):
    file = copy / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the weight file is cut short: \d+ bytes of \d+"):
        load(copy, profile)
    file.write_bytes(data[:100])
    with pytest.raises(CheckpointError, match="cannot hold its header"):
        load(copy, profile)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"cannot read the weights \(No such file"):
        load(copy, profile)


def test_a_truncated_normaliser_is_refused(copy, profile):
    file = next(copy.glob("policy_preprocessor_step_*.safetensors"))
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"normalizer_processor.*cut short"):
        load(copy, profile)
    (copy / "policy_postprocessor.json").unlink()
    file.unlink()
    with pytest.raises(CheckpointError, match="normalizer_processor"):
        load(copy, profile)


def rewrite(copy, change):
    from safetensors.torch import load_file, save_file

    file = copy / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_missing_and_left_over_tensors_are_named(copy, profile):
    def change(tensors):
        tensors["model.stranger"] = tensors.pop("model.action_head.weight")

    rewrite(copy, change)
    with pytest.raises(CheckpointError) as error:
        load(copy, profile)
    assert "missing in the file (1): model.action_head.weight" in str(error.value)
    assert "unknown to the model (1): model.stranger" in str(error.value)
    assert "untrained parts" in str(error.value)


def test_tensors_of_another_shape_are_named(copy, profile):
    rewrite(copy, lambda tensors: tensors.update({"model.action_head.bias": tensors["model.action_head.bias"][:2]}))
    with pytest.raises(CheckpointError, match=r"model\.action_head\.bias file \(2,\), model \(3,\)"):
        load(copy, profile)


def test_weights_that_are_not_finite_are_refused(copy, profile):
    rewrite(copy, lambda tensors: tensors["model.action_head.bias"].fill_(float("nan")))
    with pytest.raises(CheckpointError, match=r"NaN or infinite.*model\.action_head\.bias"):
        load(copy, profile)


def test_a_profile_with_other_cameras_or_joints_is_refused_before_loading(trained):
    for old, new, line in (
        ("size: [32, 32]", "size: [48, 64]", "observation.images.front: policy (3, 32, 32), profile (3, 48, 64)"),
        ("front: {", "side: {", "observation.images.front: the policy needs it (3, 32, 32)"),
        ("position.shoulder, position.elbow]", "position.shoulder]", "observation.state: policy (3,), profile (2,)"),
        ("size: [32, 32]", "depth: true, size: [32, 32]", "depth cameras front cannot be given to a policy"),
    ):
        with pytest.raises(CheckpointError) as error:
            load(trained, small_profile(**{old: new}))
        assert line in str(error.value)


def test_options_that_cannot_be_honoured_are_refused(trained, profile):
    with pytest.raises(CheckpointError, match="n_action_steps 9 is more than the policy's chunk of 8"):
        load(trained, profile, n_action_steps=9)
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match="torch sees no CUDA device"):
            load(trained, profile, device="cuda")


def test_a_policy_that_outputs_nan_says_where(trained, profile):
    import torch
    from vla_policy.policies.runner import InferenceError

    runner = load(trained, profile)
    with torch.no_grad():
        runner._policy.model.action_head.bias[1] = float("nan")
    with pytest.raises(InferenceError, match=r"nan for 'elbow\.pos' at step 0; nothing is sent"):
        runner.infer(small_frame(profile), "")


def test_smolvla_survives_a_move_and_the_loss_of_its_backbone_folder(tmp_path, profile):
    vlm = tmp_path / "vlm"
    size = SmallVlmSize(image=32, patch=8, text_layers=2, vision_layers=1, vision_width=16, text_width=32)
    made = make_small_vlm(vlm, sentences=["stack the cups"], size=size)
    assert made["tokens_per_image"] == 4
    path = make_smolvla_checkpoint(tmp_path / "run", profile, vlm)
    before = load(path, profile)
    frame = small_frame(profile)
    chunk = before.infer(frame, "pick up the block")
    before.reset()
    assert before.infer(frame, "pick up the block").values.tolist() == chunk.values.tolist(), "reproducible after reset"
    before.reset()
    assert before.infer(frame, "stack the cups").values.tolist() != chunk.values.tolist(), "the task matters"
    shutil.rmtree(vlm)
    (tmp_path / "run").rename(tmp_path / "moved")
    after = load(tmp_path / "moved", profile)
    after.reset()
    np.testing.assert_array_equal(after.infer(frame, "pick up the block").values, chunk.values)
    shutil.rmtree(find_checkpoint(tmp_path / "moved").path / "vlm")
    with pytest.raises(CheckpointError, match=r"the backbone folder .* is not on this machine"):
        load(tmp_path / "moved", profile)


def test_a_new_backbone_passes_on_what_it_sees(tmp_path, profile):
    vlm = tmp_path / "vlm"
    make_small_vlm(
        vlm, size=SmallVlmSize(image=32, patch=8, text_layers=2, vision_layers=1, vision_width=64, text_width=32)
    )
    path = make_smolvla_checkpoint(tmp_path / "run", profile, vlm)
    weights = load_file(find_checkpoint(path).path / "model.safetensors")
    for layer, width in (
        ("vision_model.embeddings.position_embedding", 64),
        ("vision_model.encoder.layers.0.mlp.fc1", 64),
        ("text_model.layers.0.mlp.up_proj", 32),
    ):
        found = weights[f"model.vlm_with_expert.vlm.model.{layer}.weight"].float().std().item()
        assert found == pytest.approx(width**-0.5, rel=0.1), layer


def test_a_backbone_with_sizes_that_do_not_fit_is_refused(tmp_path, capsys):
    with pytest.raises(SmallVlmError, match="image 30 px is not a multiple of patch 12 px"):
        make_small_vlm(tmp_path / "vlm", size=SmallVlmSize(image=30))
    assert list(tmp_path.iterdir()) == []
    assert main(["--output", str(tmp_path / "vlm"), "--sentence", "wave"]) == 0
    assert "tokens_per_image" in capsys.readouterr().out
    assert main(["--output", str(tmp_path / "vlm")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_attach_completes_a_checkpoint(tmp_path, profile):
    attach(tmp_path, profile=profile, vlm=None)
    assert (tmp_path / "vla" / "profile.sha256").read_text().strip() == profile.sha256


def test_read_shapes_agrees_with_the_file(trained):
    shapes = read_shapes(find_checkpoint(trained).path / "model.safetensors")
    assert shapes["model.action_head.bias"] == (3,)
    config = json.loads((find_checkpoint(trained).path / "config.json").read_text())
    assert config["type"] == "act"
