# SPDX-License-Identifier: Apache-2.0

"""Every kind of LeRobot policy through the runner, number by number against plain LeRobot."""

import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from policy_fixtures import small_frame, small_profile
from tiny_policies import KINDS, PI, lerobot_batch, lerobot_load, make_backbone, make_checkpoint, small_pi
from vla_core.errors import CheckpointError
from vla_policy.policies.registry import load_policy
from vla_policy.policies.runner import InferenceError, LoadRequest, Prefix

TASK = "stack the cups"


@pytest.fixture(scope="module", autouse=True)
def small():
    with small_pi():
        yield


@pytest.fixture(scope="module")
def profile():
    return small_profile()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, profile):
    """Kind to pretrained_model folder, made when first asked for."""
    folder = tmp_path_factory.mktemp("policies")
    backbone = make_backbone(folder / "backbone")
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = make_checkpoint(kind, folder / kind, profile, backbone)
        return made[kind]

    return get


def load(path, **request):
    return load_policy("lerobot", LoadRequest(checkpoint=str(path), **request)).runner


def frames(profile, count):
    """Observations one step apart, each different."""
    found = []
    for i in range(count):
        frame = small_frame(profile, t_ns=i * 100_000_000)
        state = (frame.state + 0.05 * i).astype(np.float32)
        images = {name: np.full_like(image, 40 + 20 * i) for name, image in frame.images.items()}
        found.append(dataclasses.replace(frame, state=state, images=images))
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "diffusion"])
def test_the_chunk_is_what_plain_lerobot_computes(checkpoints, profile, kind):
    policy, before, after = lerobot_load(kind, checkpoints(kind))
    frame = frames(profile, 3)[2]
    torch.manual_seed(5)
    with torch.no_grad():
        batch = before(lerobot_batch(frame, None if kind == "act" else TASK))
        expected = after(policy.predict_action_chunk(batch))[0].numpy()
    runner = load(checkpoints(kind), seed=5)
    chunk = runner.infer(frame, TASK)
    np.testing.assert_allclose(chunk.values, expected, atol=1e-6, rtol=0)
    assert np.ptp(chunk.values) > 1e-3
    assert (runner.chunk_size, runner.n_action_steps, chunk.t0_ns) == (8, 8, frame.t_ns)
    assert set(runner.last_timing) == {"preprocess", "model", "postprocess"}
    assert runner.last_timing["model"] > 0.0


def test_diffusion_looks_back_as_lerobots_queues_do(checkpoints, profile):
    """`select_action` at every step against an inference per chunk with the step before it shown."""
    policy, before, after = lerobot_load("diffusion", checkpoints("diffusion"))
    seen = frames(profile, 9)
    policy.reset()
    torch.manual_seed(3)
    expected = [after(policy.select_action(before(lerobot_batch(frame))))[0].numpy() for frame in seen]
    runner = load(checkpoints("diffusion"), seed=3)
    assert runner.history == 1
    first = runner.infer(seen[0], TASK)
    np.testing.assert_allclose(first.values, expected[:8], atol=1e-6, rtol=0)
    for frame in seen[1:8]:
        runner.observe(frame)
    np.testing.assert_allclose(runner.infer(seen[8], TASK).values[0], expected[8], atol=1e-6, rtol=0)
    runner.reset()
    np.testing.assert_array_equal(runner.infer(seen[0], TASK).values, first.values)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_reproducible_by_its_seed_and_the_task_matters_where_it_is_read(checkpoints, profile, kind):
    runner = load(checkpoints(kind), seed=1)
    frame = small_frame(profile)
    first = runner.infer(frame, TASK).values
    runner.reset()
    np.testing.assert_array_equal(runner.infer(frame, TASK).values, first)
    runner.reset()
    same = np.array_equal(runner.infer(frame, "wave to the left").values, first)
    assert same == (kind in ("act", "diffusion"))
    other = load(checkpoints(kind), seed=2).infer(frame, TASK).values
    assert np.array_equal(other, first) == (kind in ("act", "pi0_fast")), "noise where the policy starts from noise"


def prefix_for(chunk, frozen=3):
    return Prefix(values=(chunk.values[:6] + 0.3).astype(np.float32), frozen=frozen)


@pytest.mark.parametrize("kind", ["smolvla", "pi0", "pi05"])
def test_guidance_continues_the_prefix(checkpoints, profile, kind):
    runner = load(checkpoints(kind), guided=True, rtc_horizon=3)
    frame = small_frame(profile)
    runner.reset()
    free = runner.infer(frame, TASK)
    prefix = prefix_for(free)
    runner.reset()
    guided = runner.infer(frame, TASK, prefix)
    gap_free = np.abs(free.values[:3] - prefix.values[:3]).mean()
    gap_guided = np.abs(guided.values[:3] - prefix.values[:3]).mean()
    assert gap_guided * 50 <= gap_free, (gap_free, gap_guided)
    # Between the frozen rows and the horizon it fades; beyond the prefix nothing pulls.
    fading = np.abs(guided.values[3:6] - prefix.values[3:6]).mean(axis=1)
    assert gap_guided < fading[0] < np.abs(free.values[3:6] - prefix.values[3:6]).mean()
    beyond = np.abs(guided.values[6:] - free.values[6:]).max()
    # Through its own attention a policy with untrained weights passes on some of what the rows before are pushed by.
    assert beyond < 0.5 * 0.3, "rows beyond the prefix are not drawn to it, nor to zero"
    assert beyond < 0.25 * np.abs(free.values[6:]).max(axis=1).min()
    runner.reset()
    np.testing.assert_array_equal(runner.infer(frame, TASK).values, free.values)


def test_a_prefix_longer_than_the_chunk_is_cut_and_a_policy_without_guidance_refuses(checkpoints, profile):
    runner = load(checkpoints("smolvla"))
    assert runner.guidable
    chunk = runner.infer(small_frame(profile), TASK)
    long = Prefix(values=np.repeat(chunk.values, 3, axis=0), frozen=30)
    assert runner.infer(small_frame(profile), TASK, long).values.shape == chunk.values.shape
    unable = load(checkpoints("act"))
    assert not unable.guidable
    with pytest.raises(InferenceError, match="type 'act' cannot continue a prefix"):
        unable.infer(small_frame(profile), TASK, long)


@pytest.mark.parametrize("kind", ["act", "diffusion", "pi0_fast"])
def test_guidance_of_a_policy_that_cannot_be_guided_is_refused(checkpoints, kind):
    with pytest.raises(CheckpointError) as error:
        load(checkpoints(kind), guided=True)
    assert f"a policy of type '{kind}' cannot be guided" in str(error.value)
    assert "smolvla, pi0, pi05" in str(error.value)
    assert "strategy:=crossfade" in str(error.value)


def test_options_of_the_guidance_are_checked(checkpoints):
    with pytest.raises(
        CheckpointError, match=r"rtc_schedule 'cubic'.*linear, exp, ones, zeros|zeros, ones, linear, exp"
    ):
        load(checkpoints("smolvla"), guided=True, rtc_schedule="cubic")
    with pytest.raises(CheckpointError, match=r"rtc_max_guidance -1 \(above 0\)"):
        load(checkpoints("smolvla"), guided=True, rtc_max_guidance=-1.0)


def test_cameras_are_renamed_and_what_fits_nothing_is_named(checkpoints, profile, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(small_profile(**{"front: {": "cam0: {"}).text)
    moved = tmp_path / "act"
    shutil.copytree(checkpoints("act"), moved)
    shutil.rmtree(moved / "vla")
    with pytest.raises(CheckpointError, match=r"(?s)images\.front: the policy needs it \(3, 32, 32\).*rename:="):
        load(moved, profile=other)
    expected = load(checkpoints("act")).infer(small_frame(profile), "").values
    runner = load(moved, profile=other, rename={"cam0": "front"})
    frame = small_frame(profile)
    frame = dataclasses.replace(frame, images={"cam0": frame.images["front"]})
    np.testing.assert_array_equal(runner.infer(frame, "").values, expected)
    whole = load(moved, profile=other, rename={"cam0": "observation.images.front"})
    np.testing.assert_array_equal(whole.infer(frame, "").values, expected)
    with pytest.raises(CheckpointError, match=r"no camera 'cam1'; did you mean 'cam0'\?; it has cam0, state"):
        load(moved, profile=other, rename={"cam1": "front"})
    with pytest.raises(CheckpointError, match=r"observation\.state would be given twice"):
        load(moved, profile=other, rename={"cam0": "observation.state"})


def test_a_rename_map_in_the_checkpoint_is_honoured(checkpoints, profile, tmp_path):
    """A policy fine-tuned with LeRobot's rename_map keeps its own camera names and renames those of the dataset."""
    path = tmp_path / "act"
    shutil.copytree(checkpoints("act"), path)
    file = path / "config.json"
    file.write_text(file.read_text().replace("images.front", "images.camera1"))
    file = path / "policy_preprocessor.json"
    document = json.loads(file.read_text().replace("images.front", "images.camera1"))
    step = next(step for step in document["steps"] if step["registry_name"] == "rename_observations_processor")
    step["config"]["rename_map"] = {"observation.images.front": "observation.images.camera1"}
    file.write_text(json.dumps(document))
    from safetensors.torch import load_file, save_file

    stats = next(path.glob("policy_preprocessor_step_*.safetensors"))
    save_file({k.replace("images.front", "images.camera1"): v for k, v in load_file(stats).items()}, stats)
    expected = load(checkpoints("act")).infer(small_frame(profile), "").values
    np.testing.assert_array_equal(load(path).infer(small_frame(profile), "").values, expected)


@pytest.mark.parametrize(("kind", "dtype"), [("act", "bfloat16"), ("smolvla", "float16"), ("pi0", "bfloat16")])
def test_the_dtype_is_honoured(checkpoints, profile, kind, dtype):
    frame = small_frame(profile)
    exact, rough = (load(checkpoints(kind), dtype=d).infer(frame, TASK).values for d in ("float32", dtype))
    assert rough.dtype == np.float32
    assert 0.0 < np.abs(rough - exact).max() < 0.2


def test_what_cannot_be_honoured_is_refused(checkpoints, monkeypatch):
    with pytest.raises(CheckpointError, match=r"type 'pi0' computes in float32 or bfloat16, not in float16"):
        load(checkpoints("pi0"), dtype="float16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CheckpointError, match=r"device 'cuda:1' was asked for, but torch sees no CUDA device"):
        load(checkpoints("act"), device="cuda:1")
    with pytest.raises(CheckpointError, match="device 'gpu' is not a torch device"):
        load(checkpoints("act"), device="gpu")
    with pytest.raises(CheckpointError, match=r"unknown option 'spede'.*Its options are: none"):
        load(checkpoints("act"), options={"spede": "1"})
    with pytest.raises(CheckpointError, match="type 'act' cannot be accelerated"):
        load(checkpoints("act"), accelerate=True)


def test_compile_and_threads_reach_torch(checkpoints, monkeypatch):
    compiled, threads = [], []
    monkeypatch.setattr(torch, "compile", lambda model, *_, **__: compiled.append(model) or model)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *_, **__: compiled.append(self))
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    for kind in ("act", "diffusion", "smolvla", "pi0"):
        del compiled[:]
        load(checkpoints(kind), torch_threads=3)
        assert not compiled
        load(checkpoints(kind), compile=True)
        assert compiled, kind
    assert threads[:2] == [3, 1]


def test_an_accelerated_policy_gives_the_same_actions(checkpoints, profile):
    frame = small_frame(profile)
    stock = load(checkpoints("smolvla"), seed=4).infer(frame, TASK).values
    runner = load(checkpoints("smolvla"), seed=4, accelerate=True, guided=True)
    assert "accelerated" in runner.description
    np.testing.assert_allclose(runner.infer(frame, TASK).values, stock, atol=1e-4)


def test_a_gated_tokenizer_comes_from_the_copy_that_travels_or_is_asked_for(checkpoints, tmp_path):
    path = tmp_path / "pi0"
    shutil.copytree(checkpoints("pi0"), path)
    shutil.rmtree(path / "tokenizer")
    with pytest.raises(CheckpointError) as error:
        load(path)
    assert "The tokenizer 'google/paligemma-3b-pt-224' is not on this machine" in str(error.value)
    assert f"hf download google/paligemma-3b-pt-224 --local-dir {path / 'tokenizer'}" in str(error.value)
    file = path / "policy_preprocessor.json"
    shutil.copytree(checkpoints("pi0") / "tokenizer", path / "words")
    text = file.read_text()
    file.write_text(text.replace("google/paligemma-3b-pt-224", "words"))
    load(path)  # relative to the checkpoint
    file.write_text(text.replace("google/paligemma-3b-pt-224", "/nowhere/words"))
    with pytest.raises(CheckpointError, match=r"the tokenizer folder /nowhere/words is not on this machine"):
        load(path)


def test_a_backbone_that_is_only_on_the_hub_is_asked_for(checkpoints, tmp_path):
    path = tmp_path / "smolvla"
    shutil.copytree(checkpoints("smolvla"), path)
    shutil.rmtree(path / "vlm")
    for name, key in (("config.json", "vlm_model_name"), ("policy_preprocessor.json", "tokenizer_name")):
        text = (path / name).read_text()
        (path / name).write_text(re.sub(rf'"{key}": "[^"]*"', f'"{key}": "HuggingFaceTB/SmolVLM2-500M"', text))
    with pytest.raises(CheckpointError) as error:
        load(path)
    assert f"hf download HuggingFaceTB/SmolVLM2-500M --local-dir {path / 'vlm'}" in str(error.value)


@pytest.mark.timeout(900)
@pytest.mark.skipif(os.environ.get("VLA_TEST_FULL") != "1", reason="compiles for minutes; ./test --full does it")
def test_a_compiled_policy_gives_the_same_actions(checkpoints, profile):
    frame = small_frame(profile)
    stock, compiled = (load(checkpoints("act"), compile=value).infer(frame, "").values for value in (False, True))
    np.testing.assert_allclose(compiled, stock, atol=1e-4)


@pytest.mark.parametrize("kind", PI)
def test_damaged_weights_are_refused_where_lerobot_would_go_on_with_random_ones(checkpoints, tmp_path, kind):
    path = tmp_path / kind
    shutil.copytree(checkpoints(kind), path)
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="the weight file is cut short"):
        load(path)


def test_missing_statistics_are_refused(checkpoints, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "smolvla"
    shutil.copytree(checkpoints("smolvla"), path)
    file = next(path.glob("policy_postprocessor_step_*.safetensors"))
    save_file({k: v for k, v in load_file(file).items() if not k.startswith("action")}, file)
    with pytest.raises(CheckpointError, match="no statistics to normalise action with"):
        load(path)


def test_tokens_that_mean_no_action_send_nothing(checkpoints, profile, monkeypatch):
    runner = load(checkpoints("pi0_fast"))
    frame = small_frame(profile)
    runner._policy.config.validate_action_token_prefix = True
    with pytest.raises(InferenceError, match="tokens mean no action: Token sequence does not start with"):
        runner.infer(frame, TASK)
    monkeypatch.setattr(runner._policy, "predict_action_chunk", lambda *_, **__: torch.zeros(1, 8, 3))
    with pytest.raises(InferenceError, match="could not be decoded, so there is no action"):
        runner.infer(frame, TASK)


def test_a_policy_that_looks_back_otherwise_is_refused(checkpoints, tmp_path):
    path = tmp_path / "act"
    shutil.copytree(checkpoints("act"), path)
    file = path / "config.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "n_obs_steps": 3}))
    with pytest.raises(CheckpointError, match="reads 3 observations at once, which is supported for policies of type"):
        load(path)
    file.write_text(json.dumps({k: v for k, v in document.items() if k != "chunk_size"}))
    with pytest.raises(CheckpointError, match="states no 'chunk_size'"):
        load(path)


def test_close_can_be_called_twice_and_gives_the_model_back(checkpoints):
    import gc
    import weakref

    runner = load(checkpoints("act"))
    model = weakref.ref(runner._policy)
    runner.close()
    runner.close()
    gc.collect()
    assert model() is None
