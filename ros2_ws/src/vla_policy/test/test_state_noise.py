# SPDX-License-Identifier: Apache-2.0

"""--state-noise: joints become unreliable in training, grippers do not, and the dataset's batch stays as it is."""

import json

import pytest
import torch
from policy_fixtures import small_profile
from train_work import work_of, write_dataset
from vla_policy.training.state_noise import STATE, noisy
from vla_policy.training.train_plan import load_plan
from vla_policy.training.train_settings import TrainError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "ds", small_profile(), episodes=3, length=10)


def arguments(dataset, output, *more):
    return ["--policy", "act", "--dataset", str(dataset), "--output", str(output), *more]


def test_noise_is_added_to_each_value_by_its_own_spread():
    torch.manual_seed(0)
    state, seen = torch.ones(20_000, 3), []
    batch = {STATE: state, "action": torch.zeros(1)}
    update = noisy(
        lambda metrics, policy, got, *more, **options: seen.append((got, more, options)) or metrics, (0.5, 2.0, 0.0)
    )
    assert update("metrics", "policy", batch, 1, lock=None) == "metrics"
    got, more, options = seen[0]
    assert (more, options) == ((1,), {"lock": None})
    assert got["action"] is batch["action"]
    assert got[STATE].std(dim=0) == pytest.approx([0.5, 2.0, 0.0], abs=0.03)
    assert torch.equal(got[STATE][:, 2], state[:, 2])
    assert torch.equal(batch[STATE], torch.ones(20_000, 3)), "LeRobot's cached frames are not changed"
    update("metrics", "policy", batch)
    assert not torch.equal(seen[1][0][STATE], got[STATE]), "anew in each step"


def test_the_plan_carries_it_for_joints_only(dataset, tmp_path):
    work = work_of(*arguments(dataset, tmp_path / "out", "--state-noise", "0.5"))
    assert small_profile().state_names == ("shoulder.pos", "elbow.pos", "finger.pos")
    assert work.plan.state_noise == (0.5, 0.5, 0.0)
    assert work.record["state_noise"] == 0.5
    work.plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == work.plan
    assert work_of(*arguments(dataset, tmp_path / "other")).plan.state_noise == ()
    assert json.loads((tmp_path / "plan.json").read_text())["state_noise"]


def test_a_policy_that_reads_its_state_in_words_takes_none(dataset, tmp_path):
    words = arguments(dataset, tmp_path / "out", "--state-noise", "0.5")
    words[words.index("act")] = "pi05"
    with pytest.raises(TrainError, match="--state-noise: pi05 reads the state as words of its prompt"):
        work_of(*words)
