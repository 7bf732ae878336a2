# SPDX-License-Identifier: Apache-2.0

"""Tiny policies trained by LeRobot's real code: every policy learns, resumes, stops with a reason, and leaves whole checkpoints."""

import json
import resource
from unittest import mock

import draccus
import numpy as np
import pytest
import torch
from lerobot.configs.train import TrainPipelineConfig
from lerobot.configs.types import NormalizationMode
from lerobot.datasets.dataset_reader import DatasetReader
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy_config
from lerobot.scripts import lerobot_train
from lerobot.utils.import_utils import register_third_party_plugins
from policy_fixtures import make_dataset, small_profile
from tiny_policies import make_backbone
from train_bench import run_here, tiny_flags
from train_work import work_of
from vla_policy.policies.checkpoint import choose_profile, find_checkpoint, run_checkpoints
from vla_policy.training.dataset_checks import SPREAD_BY_POLICY, check_dataset, episode_identities
from vla_policy.training.frame_cache import FrameCache
from vla_policy.training.merging import merge
from vla_policy.training.run_record import read_loss, write_record
from vla_policy.training.train_plan import STOPPED, parse_event
from vla_policy.training.train_settings import (
    CONFIG_DIR,
    POLICIES,
    TrainError,
    TrainJob,
    build_arguments,
    load_settings,
)

STEPS = 4


@pytest.fixture(scope="module")
def profile():
    return small_profile()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, profile):
    return make_dataset(tmp_path_factory.mktemp("data") / "ds", profile, episodes=3, length=20)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("vlm") / "vlm")


def arguments(policy, dataset, output, backbone, *more, steps=STEPS, batch=2):
    """Options of a tiny training; the gripper of the dataset never moves, hence the floor."""
    given = ["--policy", policy, "--dataset", dataset, "--output", output, "--steps", steps, "--batch-size", batch]
    given += ["--std-floor", "0.01", "--precision", "float32"]
    given += {"smolvla": ["--vlm", backbone], "act": []}.get(policy, ["--phase", "sanity"])
    if policy.startswith("pi"):
        given += ["--tokenizer", backbone]
    return [*given, *more, *tiny_flags(policy)]


def poison(monkeypatch, step):
    """Let the actions of one step be no numbers."""
    update = lerobot_train.update_policy

    def poisoned(metrics, model, batch, *rest, **options):
        if metrics.steps == step - 1:
            batch["action"] = torch.full_like(batch["action"], float("nan"))
        return update(metrics, model, batch, *rest, **options)

    monkeypatch.setattr(lerobot_train, "update_policy", poisoned)


def events(text):
    return [event for line in text.encode().splitlines() if (event := parse_event(line)) is not None]


@pytest.mark.parametrize("policy", ["act", "diffusion", "smolvla", "pi0", "pi05"])
def test_every_policy_trains_and_leaves_a_whole_checkpoint(
    policy, dataset, backbone, tmp_path, profile, monkeypatch, capfd
):
    batches = []
    update = lerobot_train.update_policy

    def watched(metrics, model, batch, *rest, **options):
        batches.append(batch)
        return update(metrics, model, batch, *rest, **options)

    monkeypatch.setattr(lerobot_train, "update_policy", watched)
    output = tmp_path / "run"
    work = work_of(*arguments(policy, dataset, output, backbone))
    assert run_here(work) == 0
    rows = read_loss(output)
    assert list(rows.step) == list(range(1, STEPS + 1))
    assert all(0.0 < loss < 100.0 for loss in rows.loss)
    checkpoint = find_checkpoint(output)
    assert checkpoint.policy_type == policy
    assert choose_profile(checkpoint, None).sha256 == profile.sha256
    card = (checkpoint.path / "README.md").read_text()
    assert f"# {policy} for sim_two_joint" in card
    assert f"Step {STEPS} of {STEPS}" in card
    assert "“pick up the block”" in card
    assert not list((output / "checkpoints").glob(".*"))
    told = events(capfd.readouterr().out)
    assert told[0]["step"] == 1
    assert told[0]["parameters"] >= told[0]["trainable"] > 1000
    assert told[-1]["step"] == STEPS
    if policy in ("smolvla", "pi0", "pi05"):
        from transformers import AutoTokenizer

        tokens = batches[0]["observation.language.tokens"][0]
        text = AutoTokenizer.from_pretrained(str(backbone)).decode(tokens)
        assert "pick up the block" in text, "the instruction of the dataset, not a placeholder"
        assert (checkpoint.path / ("vlm" if policy == "smolvla" else "tokenizer") / "tokenizer.json").is_file()


def test_a_resumed_run_goes_on_after_its_last_checkpoint(dataset, backbone, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    more = ("--save-every", "2", "--state-noise", "0.3")
    assert run_here(work_of(*arguments("smolvla", dataset, whole, backbone, *more))) == 0
    work = work_of(*arguments("smolvla", dataset, broken, backbone, *more))
    with monkeypatch.context() as patch:
        poison(patch, step=4)  # steps 3 and 4 are made, and not saved
        assert run_here(work) == STOPPED
    assert list(read_loss(broken).step) == [1, 2, 3, 4]
    write_record(broken, {**work.record, "seconds": 5.0})
    again = work_of("--resume", "--output", broken)
    assert (again.plan.last_step, again.steps, again.earlier_s) == (2, STEPS, 5.0)
    assert max(again.plan.state_noise) == 0.3, "a run keeps its noise"
    assert run_here(again) == 0
    assert list(read_loss(broken).step) == [1, 2, 3, 4], "the steps after the checkpoint are made again"
    # what was trained before is kept; LeRobot draws other noise after a resume, so the later losses are near and not equal
    assert read_loss(broken).loss[:2] == read_loss(whole).loss[:2]
    assert read_loss(broken).loss == pytest.approx(read_loss(whole).loss, rel=0.5)
    assert [path.parent.name for path in run_checkpoints(broken)] == ["000002", "000004"]
    with pytest.raises(TrainError, match=r"has reached step 4 already.*--resume --steps 8"):
        work_of("--resume", "--output", broken)
    with pytest.raises(TrainError, match=r"leave out --policy, --state-noise"):
        work_of("--resume", "--output", broken, "--policy", "act", "--state-noise", "0.5")


def test_the_frame_cache_changes_nothing(dataset, backbone, tmp_path, monkeypatch):
    losses, reads = [], []
    for name, cache in (("cached", "64"), ("plain", "0")):
        read, count = DatasetReader.get_item, []

        def counted(reader, index, read=read, count=count):
            count.append(index)
            return read(reader, index)

        output = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(DatasetReader, "get_item", counted)
            given = arguments("smolvla", dataset, output, backbone, "--frame-cache", cache, steps=6, batch=20)
            assert run_here(work_of(*given)) == 0
        losses.append(read_loss(output).loss)
        reads.append(len(count))
    assert losses[0] == losses[1]
    assert reads == [60, 120], "two epochs of 60 frames: each is read once, or each time"


def test_images_are_augmented_anew_behind_the_cache():
    reader = mock.Mock(_image_transforms=lambda image: image + next(counter))
    reader._meta.camera_keys, reader._meta.depth_keys = ["front"], []
    counter = iter(range(1, 9))
    cache = FrameCache(1)
    cache._original = lambda reader, index: {"front": torch.zeros(2), "task": "lift"}
    seen = [cache.get(reader, 0)["front"].tolist() for _ in range(3)]
    assert seen == [[1, 1], [2, 2], [3, 3]]
    assert (cache.hits, cache.misses) == (2, 1)
    cache._left = 0
    cache.get(reader, 1)
    cache.get(reader, 1)
    assert (cache.hits, cache.misses) == (2, 3), "what does not fit is read each time"


def test_a_loss_that_is_no_number_stops_the_training(dataset, backbone, tmp_path, monkeypatch, capfd):
    poison(monkeypatch, step=3)
    output = tmp_path / "run"
    assert run_here(work_of(*arguments("smolvla", dataset, output, backbone, "--save-every", "2"))) == STOPPED
    (stop,) = [event for event in events(capfd.readouterr().out) if event["event"] == "stop"]
    assert "the loss is nan at step 3" in stop["reason"]
    assert "Lower the learning rate" in stop["reason"]
    assert [path.parent.name for path in run_checkpoints(output)] == ["000002"], "nothing is saved after it"


def test_a_full_disk_leaves_the_checkpoint_before_it_whole(dataset, backbone, tmp_path, monkeypatch, capfd):
    output = tmp_path / "run"
    save = lerobot_train.save_checkpoint
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_on_a_full_disk(*, step, **options):
        if step > 2:  # no file may become larger than 64 kB, so the weights do not fit
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            save(step=step, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(lerobot_train, "save_checkpoint", save_on_a_full_disk)
    assert run_here(work_of(*arguments("smolvla", dataset, output, backbone, "--save-every", "2"))) == STOPPED
    (stop,) = [event for event in events(capfd.readouterr().out) if event["event"] == "stop"]
    assert "the disk is full: the checkpoint of step 4" in stop["reason"]
    assert "The checkpoint of step 2 is whole and `last` points to it" in stop["reason"]
    assert "--resume --output" in stop["reason"]
    assert [path.parent.name for path in run_checkpoints(output)] == ["000002"]
    assert (output / "checkpoints" / "last").resolve().name == "000002"
    assert not list((output / "checkpoints").glob(".*")), "the unfinished one is gone"


def test_a_device_that_is_not_there_is_refused(dataset, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_here(work_of(*arguments("act", dataset, tmp_path / "run", None, "--device", "cuda"))) == STOPPED
    (stop,) = events(capfd.readouterr().out)
    assert "--device cuda: torch" in stop["reason"]
    assert "or train with --device cpu" in stop["reason"]
    assert not (tmp_path / "run").exists()


def test_held_out_episodes_are_not_trained_on(dataset, backbone, tmp_path, monkeypatch):
    seen = set()
    update = lerobot_train.update_policy

    def watched(metrics, model, batch, *rest, **options):
        seen.update(batch["episode_index"].tolist())
        return update(metrics, model, batch, *rest, **options)

    monkeypatch.setattr(lerobot_train, "update_policy", watched)
    work = work_of(*arguments("smolvla", dataset, tmp_path / "run", backbone, "--held-out", "0.3", batch=20))
    held_out = set(work.record["datasets"][0]["held_out"])
    assert held_out
    assert run_here(work) == 0
    assert seen == {0, 1, 2} - held_out


def test_adapters_leave_a_checkpoint_with_whole_weights(dataset, backbone, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed")
    from safetensors.torch import load_file

    base = tmp_path / "base"
    assert run_here(work_of(*arguments("smolvla", dataset, base, backbone, steps=1))) == 0
    given = ["--policy", "smolvla", "--dataset", dataset, "--output", tmp_path / "run", "--steps", 2, "--batch-size", 2]
    given += ["--phase", "finetune", "--workers", "0", "--base", base, "--lora", "4", "--save-every", "1"]
    given += ["--std-floor", "0.01", "--precision", "float32"]
    work = work_of(*given, "--", "--policy.optimizer_lr=0.1")
    assert run_here(work) == 0
    old = load_file(find_checkpoint(base).path / "model.safetensors")
    path = find_checkpoint(tmp_path / "run").path
    new = load_file(path / "model.safetensors")
    assert set(new) == set(old)
    changed = [name for name in old if not torch.equal(old[name], new[name])]
    assert changed
    assert len(changed) < len(old)
    assert json.loads((path / "config.json").read_text())["use_peft"] is False
    assert (path / "adapter_model.safetensors").is_file()
    write_record(tmp_path / "run", work.record)
    assert run_here(work_of("--resume", "--output", tmp_path / "run", "--steps", "3", "--workers", "0")) == 0
    assert list(read_loss(tmp_path / "run").step) == [1, 2, 3]


def test_a_floor_under_the_spread_reaches_the_checkpoint(dataset, backbone, tmp_path):
    """The gripper of this dataset never moves; with a floor it is normalised by that."""
    from safetensors.torch import load_file

    assert run_here(work_of(*arguments("smolvla", dataset, tmp_path / "run", backbone, steps=1))) == 0
    path = find_checkpoint(tmp_path / "run").path
    (file,) = path.glob("policy_preprocessor_step_*_normalizer_processor.safetensors")
    stored = load_file(file)
    truth = json.loads((dataset / "meta" / "stats.json").read_text())["action"]["std"]
    assert truth[2] < 1e-6
    assert stored["action.std"].tolist() == pytest.approx([*truth[:2], 0.01])


@pytest.mark.parametrize("file", sorted(CONFIG_DIR.glob("*.yaml")), ids=lambda file: file.stem)
def test_lerobot_understands_every_shipped_setting(file, dataset, tmp_path):
    """The options are parsed by LeRobot's own parser, so a renamed one is found here and not in a user's run."""
    register_third_party_plugins()
    plugin = "vla_keypoints" if "keypoints" in file.stem else None
    policy = plugin or next(name for name in sorted(POLICIES, reverse=True) if file.stem.startswith(name))
    settings = load_settings(file, policy=policy)
    vlm = tmp_path / "vlm" if policy == "smolvla" else None
    job = TrainJob(
        dataset=dataset, output=tmp_path / "run", device="cpu", seed=3, vlm=vlm, episodes=(0, 2), extra=("--seed=4",)
    )
    config = draccus.parse(TrainPipelineConfig, args=build_arguments(settings, job))
    assert config.policy.type == policy
    assert (config.steps, config.batch_size, config.seed) == (settings.steps, settings.batch_size, 4)
    assert config.dataset.episodes == [0, 2]
    assert config.policy.push_to_hub is False
    assert config.wandb.enable is False
    assert config.save_freq == settings.save_every
    if "optimizer.lr" in settings.flags:
        assert config.optimizer.lr == settings.flags["optimizer.lr"]
    if "finetune" in file.stem:
        scheduler = config.scheduler or config.policy.get_scheduler_preset()
        assert "cos" in (getattr(scheduler, "name", None) or scheduler.type)
    if policy in ("act", "diffusion"):
        assert config.policy.pretrained_backbone_weights is None


def test_the_spread_is_the_one_that_lerobot_divides_by():
    modes = {
        NormalizationMode.MEAN_STD: None,
        NormalizationMode.MIN_MAX: ("min", "max"),
        NormalizationMode.QUANTILES: ("q01", "q99"),
    }
    for policy in ("act", "diffusion", "smolvla", "pi0", "pi05"):
        mapping = make_policy_config(policy, device="cpu").normalization_mapping
        assert modes[mapping["ACTION"]] == modes[mapping["STATE"]] == SPREAD_BY_POLICY.get(policy), policy


def test_merged_datasets_hold_every_frame_and_exact_statistics(tmp_path, profile):
    dataset = make_dataset(tmp_path / "a", profile, episodes=3, length=12, gripper=0.3)
    other = make_dataset(tmp_path / "b", profile, episodes=2, length=8, gripper=0.2, offset=9.0)
    output = tmp_path / "merged" / "key"
    merge(output, [dataset, other])
    merged = LeRobotDataset("local/key", root=output)
    parts = [LeRobotDataset(f"local/{path.name}", root=path) for path in (dataset, other)]
    items = [part[index] for part in parts for index in range(len(part))]
    assert len(merged) == len(items) == 52
    for index in range(0, 52, 5):
        for key in ("observation.state", "action", "observation.images.front"):
            assert bool((merged[index][key] == items[index][key]).all()), (index, key)
    rows = np.stack([item["action"].numpy() for item in items])
    assert merged.meta.stats["action"]["q99"] == pytest.approx(np.quantile(rows, 0.99, axis=0), abs=1e-6)
    assert merged.meta.stats["action"]["std"] == pytest.approx(rows.std(axis=0), abs=1e-6)
    assert (output / "meta" / "vla" / "profile.yaml").read_text() == (
        dataset / "meta" / "vla" / "profile.yaml"
    ).read_text()
    assert check_dataset(output)["total_episodes"] == 5
    merge(output, [])  # it is there already
    assert not list(output.parent.glob(".*"))
    identities = episode_identities(dataset, check_dataset(dataset))
    assert episode_identities(output, check_dataset(output))[:3] == identities, "an episode is itself wherever it lies"
