# SPDX-License-Identifier: Apache-2.0

"""The accelerated policies against LeRobot's own: the same actions from the same noise."""

import itertools
import os
import time

import pytest
import torch
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from vla_core.errors import CheckpointError
from vla_policy.policies import accelerated_ops as ops
from vla_policy.policies.accelerated import accelerate
from vla_policy.policies.accelerated_graph import CudaGraphFunction
from vla_policy.testing.random_policies import CAMERAS, make_noise, make_observation, make_policy

FULL = os.environ.get("VLA_TEST_FULL") == "1"
KINDS = ("smolvla", "pi0", "pi05")
TOLERANCE = 1e-4
OBSERVATIONS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("backbones")


def stock(policy, observation, noise, **guidance):
    return policy.predict_action_chunk(dict(observation), noise=noise, **guidance)


def difference(policy, fast, seeds, *, batch=1, guidance=None, **observation):
    """Largest difference over the seeds, after checking that the answers depend on what is seen."""
    noise = make_noise(policy, 0, batch=batch)
    answers, worst = [], 0.0
    for seed in seeds:
        seen = make_observation(policy, seed, batch=batch, **observation)
        expected = stock(policy, seen, noise, **(guidance or {}))
        answers.append(fast.predict_action_chunk(seen, noise=noise, **(guidance or {})))
        assert answers[-1].shape == expected.shape
        worst = max(worst, (answers[-1] - expected).abs().max().item())
    for first, second in itertools.pairwise(answers):
        assert (first - second).abs().max() > 100 * TOLERANCE
    return worst


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_same_actions_as_stock(kind, batch, folder):
    policy = make_policy(kind, folder, full=False)
    assert difference(policy, accelerate(policy), range(4), batch=batch) <= TOLERANCE


@pytest.mark.parametrize(
    "options",
    [
        {"attention_mode": "self_attn"},
        {"self_attn_every_n_layers": 3},
        {"add_image_special_tokens": True},
        {"prefix_length": 80},
        {"num_steps": 4, "chunk": 7},
    ],
    ids=lambda options: next(iter(options)),
)
def test_smolvla_configurations(options, folder):
    policy = make_policy("smolvla", folder, full=False, **options)
    assert difference(policy, accelerate(policy), range(2)) <= TOLERANCE


@pytest.mark.parametrize(("kind", "options"), [("smolvla", {"empty_cameras": 1}), ("pi0", {}), ("pi05", {})])
def test_a_missing_camera_is_left_out(kind, options, folder):
    policy = make_policy(kind, folder, full=False, **options)
    fast = accelerate(policy)
    seen, noise = make_observation(policy, 1), make_noise(policy, 1)
    both = fast.predict_action_chunk(seen, noise=noise)
    del seen[CAMERAS[1]]
    expected = stock(policy, seen, noise)
    one = fast.predict_action_chunk(seen, noise=noise)
    assert (one - expected).abs().max() <= TOLERANCE
    assert (one - both).abs().max() > 100 * TOLERANCE


def test_a_batch_with_prompts_of_different_lengths(folder):
    policy = make_policy("smolvla", folder, full=False)
    seen, noise = make_observation(policy, 1, batch=2, tokens=21), make_noise(policy, 1, batch=2)
    seen["observation.language.attention_mask"] = torch.arange(21)[None] < torch.tensor([[5], [17]])
    expected = stock(policy, seen, noise)
    assert (accelerate(policy).predict_action_chunk(seen, noise=noise) - expected).abs().max() <= TOLERANCE


def test_left_padding_is_kept(folder):
    policy = make_policy("pi0", folder, full=False)
    seen, noise = make_observation(policy, 1), make_noise(policy, 1)
    for key in ("observation.language.attention_mask", "observation.language.tokens"):
        seen[key] = seen[key].flip(1)
    expected = stock(policy, seen, noise)
    assert (accelerate(policy).predict_action_chunk(seen, noise=noise) - expected).abs().max() <= TOLERANCE


def test_noise_comes_from_the_same_generator(folder):
    policy = make_policy("smolvla", folder, full=False)
    fast = accelerate(policy)
    seen = make_observation(policy, 2)
    torch.manual_seed(5)
    expected = stock(policy, seen, None)
    torch.manual_seed(5)
    assert (fast.predict_action_chunk(seen) - expected).abs().max() <= TOLERANCE


def test_a_surrounding_autocast_does_not_apply(folder):
    policy = make_policy("smolvla", folder, full=False)
    seen, noise = make_observation(policy, 2), make_noise(policy, 2)
    expected = stock(policy, seen, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = accelerate(policy).predict_action_chunk(seen, noise=noise)
    assert (got - expected).abs().max() <= TOLERANCE


def test_the_answer_is_not_overwritten_by_the_next(folder):
    policy = make_policy("smolvla", folder, full=False)
    fast = accelerate(policy)
    first = fast.predict_action_chunk(make_observation(policy, 1), noise=make_noise(policy, 1))
    kept = first.clone()
    fast.predict_action_chunk(make_observation(policy, 2), noise=make_noise(policy, 2))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_guidance(kind, folder):
    policy = make_policy(kind, folder, full=False, rtc_config=RTCConfig(enabled=True, execution_horizon=6))
    fast = accelerate(policy)
    width = policy.config.max_action_dim
    guidance = {"prev_chunk_left_over": torch.randn(7, width), "inference_delay": 2, "execution_horizon": 5}
    assert difference(policy, fast, range(2), guidance=guidance) <= TOLERANCE
    seen, noise = make_observation(policy, 0), make_noise(policy, 0)
    free = fast.predict_action_chunk(seen, noise=noise)
    guided = fast.predict_action_chunk(seen, noise=noise, **guidance)
    assert (free - guided).abs().max() > 0.1
    assert (free - stock(policy, seen, noise)).abs().max() <= TOLERANCE


class Differentiating:
    """Guidance that follows the model's gradient, as the paper's does; LeRobot 0.6 takes the model as a constant."""

    def denoise_step(self, x_t, time, original_denoise_step_partial, prev_chunk_left_over, **_):
        with torch.enable_grad():
            x_t = x_t.clone().detach().requires_grad_(True)
            velocity = original_denoise_step_partial(x_t)
            error = ((prev_chunk_left_over - (x_t - time * velocity)) ** 2).sum()
            (gradient,) = torch.autograd.grad(error, x_t)
        return velocity.detach() - 0.01 * gradient

    def is_debug_enabled(self):
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_through_the_model(kind, folder):
    policy = make_policy(kind, folder, full=False, rtc_config=RTCConfig(enabled=True))
    policy.rtc_processor = policy.model.rtc_processor = Differentiating()
    shape = make_noise(policy, 3).shape
    guidance = {"prev_chunk_left_over": torch.randn(shape)}
    assert difference(policy, accelerate(policy), range(2), guidance=guidance) <= TOLERANCE


def test_guidance_debug_records_every_step(folder):
    policy = make_policy("smolvla", folder, full=False, rtc_config=RTCConfig(enabled=True, debug=True))
    accelerate(policy).predict_action_chunk(make_observation(policy, 0), noise=make_noise(policy, 0))
    assert len(policy.rtc_processor.get_all_debug_steps()) == policy.config.num_steps


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_stays_near(kind, folder):
    policy = make_policy(kind, folder, full=False)
    seen, noise = make_observation(policy, 1), make_noise(policy, 1)
    expected = stock(policy, seen, noise)
    fast = accelerate(policy, dtype="bfloat16")
    got = fast.predict_action_chunk(seen, noise=noise)
    assert got.dtype == torch.float32
    assert TOLERANCE / 100 < (got - expected).abs().max() < 0.1
    assert fast.description == "accelerated (bfloat16)"


def test_what_does_not_change_runs_once(folder):
    """Counts calls of modules: per observation the vision tower and the language model once, per step the expert."""
    policy = make_policy("smolvla", folder, full=False)
    fast = accelerate(policy)
    joint = policy.model.vlm_with_expert
    calls = {"text": 0, "crossing": 0, "queries": 0}

    def count(module, name):
        module.register_forward_hook(lambda *_: calls.__setitem__(name, calls[name] + 1))

    count(joint.get_vlm_model().text_model.layers[0].self_attn.k_proj, "text")
    count(joint.lm_expert.layers[1].self_attn.k_proj, "crossing")
    count(joint.lm_expert.layers[1].self_attn.q_proj, "queries")
    seen, noise = make_observation(policy, 1), make_noise(policy, 1)
    stock(policy, seen, noise)
    assert calls == {"text": 1, "crossing": 10, "queries": 10}
    calls.update(text=0, crossing=0, queries=0)
    fast.predict_action_chunk(seen, noise=noise)
    assert calls == {"text": 1, "crossing": 1, "queries": 10}


def test_refusals(folder):
    policy = make_policy("smolvla", folder, full=False)
    with pytest.raises(CheckpointError, match="dtype 'float16' is not supported; use float32 or bfloat16"):
        accelerate(policy, dtype="float16")
    policy.config.compile_model = True
    with pytest.raises(CheckpointError, match=r"compile_model true.*compile:=true"):
        accelerate(policy)
    policy.config.compile_model, policy.config.use_cache = False, False
    with pytest.raises(CheckpointError, match=r"use_cache false.*accelerate:=false"):
        accelerate(policy)
    policy.config.use_cache, policy.config.resize_imgs_with_padding = True, None
    with pytest.raises(CheckpointError, match=r"resize_imgs_with_padding null.*accelerate:=false"):
        accelerate(policy)
    policy.name = "act"
    with pytest.raises(CheckpointError, match="type 'act' cannot be accelerated; supported are smolvla, pi0, pi05"):
        accelerate(policy)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
def test_cuda_graph_without_a_gpu(folder):
    policy = make_policy("smolvla", folder, full=False)
    with pytest.raises(CheckpointError, match=r"torch sees no CUDA device\. Leave cuda_graph at its default"):
        accelerate(policy, cuda_graph=True)
    assert "CUDA" not in accelerate(policy).description


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_graphs(kind, folder):
    policy = make_policy(kind, folder, full=False, device="cuda", rtc_config=RTCConfig(enabled=True))
    fast = accelerate(policy)
    assert isinstance(fast.stages["denoise"], CudaGraphFunction)
    assert difference(policy, fast, range(4)) <= TOLERANCE
    assert difference(policy, fast, range(2), tokens=30) <= TOLERANCE
    left_over = torch.randn(7, policy.config.max_action_dim, device="cuda")
    guidance = {"prev_chunk_left_over": left_over, "inference_delay": 2}
    assert difference(policy, fast, range(2), guidance=guidance) <= TOLERANCE


def test_trim_keeps_what_counts():
    tokens = torch.arange(40)[None].expand(2, -1)
    valid = torch.zeros(2, 40, dtype=torch.bool)
    valid[0, :3], valid[1, :11] = True, True
    assert ops.trim(tokens, valid)[0].shape == (2, 16)
    assert ops.trim(tokens[:, :12], valid[:, :12])[0].shape == (2, 12)
    assert ops.trim(tokens, valid.fliplr())[0].shape == (2, 40)
    assert ops.trim(tokens, torch.zeros_like(valid))[0].shape == (2, 8)


def test_grouped_attention_is_attention():
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 5, 6, 8), torch.randn(2, 9, 2, 8), torch.randn(2, 9, 2, 8)
    allowed = torch.rand(2, 5, 9) > 0.4
    mask = ops.additive_mask(allowed, torch.float32)
    expected = ops.attend_prefix(q, k, v, mask[:, None], 0.3)
    got = ops.attend_grouped(q, k.transpose(1, 2), v.transpose(1, 2), ops.group_rows(mask, 3), 0.3)
    assert torch.allclose(got, expected, atol=1e-6)


@pytest.mark.timeout(900)
@pytest.mark.skipif(not FULL, reason="compiles for a minute; VLA_TEST_FULL=1")
@pytest.mark.parametrize("kind", KINDS)
def test_compiled(kind, folder):
    policy = make_policy(kind, folder, full=False)
    fast = accelerate(policy, compile_model=True)
    assert difference(policy, fast, range(3)) <= TOLERANCE


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not FULL, reason="450 M parameters, minutes; VLA_TEST_FULL=1")
def test_full_size_smolvla(folder):
    policy = make_policy("smolvla", folder, full=True)
    assert 440e6 < sum(parameter.numel() for parameter in policy.parameters()) < 460e6
    started = time.monotonic()
    worst = difference(policy, accelerate(policy), range(OBSERVATIONS))
    print(f"largest difference over {OBSERVATIONS} observations: {worst:.1e} ({time.monotonic() - started:.0f} s)")
    assert worst <= TOLERANCE
