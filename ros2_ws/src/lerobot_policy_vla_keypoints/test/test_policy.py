# SPDX-License-Identifier: Apache-2.0

"""The network, its loss, its average, its files; and that it learns."""

import numpy as np
import pytest
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot_policy_vla_keypoints.configuration_vla_keypoints import VlaKeypointsConfig
from lerobot_policy_vla_keypoints.modeling_vla_keypoints import VlaKeypointsPolicy
from lerobot_policy_vla_keypoints.network import spatial_soft_arg_max

CAMERAS = ("observation.images.front", "observation.images.wrist")
SIZE = 32


def make_policy(*, cameras=CAMERAS, state=True, **options):
    shape = options.pop("shape", (3, SIZE, SIZE))
    inputs = {name: PolicyFeature(FeatureType.VISUAL, shape) for name in cameras}
    if state:
        inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (3,))
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (2,))}
    values = {"chunk_size": 4, "n_action_steps": 2, **options}
    torch.manual_seed(0)
    return VlaKeypointsPolicy(
        VlaKeypointsConfig(device="cpu", input_features=inputs, output_features=outputs, **values)
    )


def make_batch(count=6, cameras=CAMERAS):
    random = torch.Generator().manual_seed(1)
    return {
        **{name: torch.rand(count, 3, SIZE, SIZE, generator=random) for name in cameras},
        "observation.state": torch.rand(count, 3, generator=random),
        "action": torch.rand(count, 4, 2, generator=random),
        "action_is_pad": torch.zeros(count, 4, dtype=torch.bool),
    }


def test_soft_arg_max_of_maps_that_are_known():
    features = torch.full((1, 4, 3, 5), -1e4)
    features[0, 0, 0, 4] = 0.0  # top right
    features[0, 1, 2, 1] = 0.0  # bottom, second column
    features[0, 2, 1, 0] = features[0, 2, 1, 4] = 0.0  # two equal maxima: between them
    features[0, 3] = 0.0  # nothing stands out
    expected = [[1.0, -1.0], [-0.5, 1.0], [0.0, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(spatial_soft_arg_max(features)[0], expected, atol=1e-6)


def test_soft_arg_max_weighs_by_the_softmax_and_the_temperature():
    features = torch.log(torch.tensor([1.0, 3.0])).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(spatial_soft_arg_max(features)[0, 0], [0.5, 0.0], atol=1e-6)  # (3 - 1) / (3 + 1)
    np.testing.assert_allclose(spatial_soft_arg_max(features, 0.5)[0, 0], [0.8, 0.0], atol=1e-6)  # (9 - 1) / (9 + 1)


def test_soft_arg_max_keeps_its_precision_under_autocast():
    features = torch.zeros(1, 1, 1, 200)
    features[..., 101] = 50.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = float(spatial_soft_arg_max(features.bfloat16())[0, 0, 0])
    assert abs(x - (2 * 101 / 199 - 1)) < 1e-5


def test_gradients_reach_every_trained_weight_and_no_averaged_one():
    policy = make_policy()
    policy.train()
    loss, numbers = policy.forward(make_batch())
    loss.backward()
    assert numbers == {"l1_loss": float(loss.detach())}
    trained = set(policy.get_optim_params())
    for name, weight in policy.named_parameters():
        assert (weight in trained) == name.startswith("model."), name
        if weight in trained:
            assert weight.grad is not None, name
            assert bool(weight.grad.abs().sum() > 0), name
        else:
            assert not weight.requires_grad, name


def test_size_is_a_quarter_of_a_million():
    policy = make_policy(shape=(3, 96, 96), chunk_size=16)
    assert 200_000 < sum(weight.numel() for weight in policy.model.parameters()) < 260_000


def test_padded_steps_do_not_count():
    policy, batch = make_policy(), make_batch()
    batch["action_is_pad"][:, 2:] = True
    before = policy.forward(batch)[0]
    batch["action"][:, 2:] = 1e6
    np.testing.assert_array_equal(before.detach(), policy.forward(batch)[0].detach())
    each, _ = policy.forward(batch, reduction="none")
    assert each.shape == (6,)
    np.testing.assert_allclose(each.mean().detach(), before.detach(), rtol=1e-6)
    with pytest.raises(ValueError, match="reduction 'sum' is not one of mean, none"):
        policy.forward(batch, reduction="sum")


def test_the_average_follows_the_weights_and_predicts():
    policy = make_policy(ema_decay=0.5)
    start = [weight.detach().clone() for weight in policy.model.parameters()]
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight += 1.0
    policy.update()  # the second of ten that the warm-up counts: decay 2/11
    for mean, old in zip(policy.average.parameters(), start, strict=True):
        np.testing.assert_allclose(mean, old + 9 / 11, rtol=1e-5)
    for _ in range(60):
        policy.update()
    batch = make_batch()
    moved, _ = policy.eval().forward(batch)
    trained, _ = policy.train().forward(batch)
    np.testing.assert_allclose(moved.detach(), trained.detach(), rtol=1e-4)
    plain = make_policy(ema_decay=0.0)
    assert plain.average is None
    plain.update()
    assert all(name.startswith("model.") for name in plain.state_dict())


def test_actions_come_from_a_queue_that_reset_empties():
    policy, batch = make_policy(), make_batch()
    chunk = policy.predict_action_chunk(batch)
    assert chunk.shape == (6, 4, 2)
    other = {name: value * 0.5 for name, value in batch.items() if name != "action_is_pad"}
    np.testing.assert_array_equal(policy.select_action(batch), chunk[:, 0])
    np.testing.assert_array_equal(policy.select_action(other), chunk[:, 1])  # the rest of the first chunk
    fresh = policy.predict_action_chunk(other)
    np.testing.assert_array_equal(policy.select_action(other), fresh[:, 0])
    policy.reset()
    np.testing.assert_array_equal(policy.select_action(batch), chunk[:, 0])


def test_saved_and_loaded_it_is_the_same_to_the_bit(tmp_path):
    policy, batch = make_policy(), make_batch()
    for _ in range(3):
        with torch.no_grad():
            for weight in policy.model.parameters():
                weight += 0.01 * torch.randn_like(weight)
        policy.update()
    policy.save_pretrained(tmp_path)
    again = VlaKeypointsPolicy.from_pretrained(tmp_path, strict=True)
    assert again.config == policy.config
    assert again.state_dict().keys() == policy.state_dict().keys()
    for name, value in policy.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert torch.equal(policy.predict_action_chunk(batch), again.predict_action_chunk(batch))


def test_one_camera_without_a_state():
    policy = make_policy(cameras=CAMERAS[:1], state=False)
    assert policy.predict_action_chunk(make_batch(cameras=CAMERAS[:1])).shape == (6, 4, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_action_steps": 9}, "n_action_steps 9 must lie between 1 and chunk_size 4"),
        ({"n_obs_steps": 2}, "n_obs_steps 2: it reads one observation"),
        ({"channels": (32, 60, 64)}, r"channels \(32, 60, 64\) must be three positive multiples of 8"),
        ({"keypoints": 0}, "keypoints 0 and hidden 256 must be at least 1"),
        ({"ema_decay": 1.0}, "ema_decay 1.0 must be at least 0 and less than 1"),
        ({"cameras": ()}, "the dataset has no camera image"),
        ({"shape": (3, 12, 64)}, r"observation.images.front has shape \(3, 12, 64\); it needs \(3, height, width\)"),
    ],
)
def test_what_makes_no_network_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_policy(**options)


def blobs(count, seed):
    """Images with one bright square each; the action says where it is."""
    random = np.random.default_rng(seed)
    where = random.integers(4, SIZE - 4, (count, 2))
    images = random.normal(0.0, 0.1, (count, 3, SIZE, SIZE)).astype(np.float32)
    for image, (x, y) in zip(images, where, strict=True):
        image[0, y - 2 : y + 3, x - 2 : x + 3] += 2.0
    place = (2.0 * where / (SIZE - 1) - 1.0).astype(np.float32)
    action = np.repeat(place[:, None], 4, axis=1)
    return {
        CAMERAS[0]: torch.from_numpy(images),
        "action": torch.from_numpy(action),
        "action_is_pad": torch.zeros(count, 4, dtype=torch.bool),
    }


def test_it_learns_where_a_blob_is():
    """A mean error under half a pixel of 32 (0.032) in places that it has not seen; the untrained one errs by 0.4."""
    policy = make_policy(cameras=CAMERAS[:1], state=False, ema_decay=0.9, channels=(16, 16, 32), keypoints=8)
    config = policy.config
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=2e-3)
    schedule = config.get_scheduler_preset().build(optimizer, 150)
    data, unseen = blobs(512, 0), blobs(128, 1)
    before = policy.eval().forward(unseen)[0]
    order = torch.Generator().manual_seed(2)
    for _ in range(150):
        chosen = torch.randint(0, 512, (32,), generator=order)
        policy.train()
        policy.forward({name: value[chosen] for name, value in data.items()})[0].backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        policy.update()
    after = policy.eval().forward(unseen)[0]
    assert float(before.detach()) > 0.3
    assert float(after.detach()) < 0.032
