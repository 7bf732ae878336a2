# SPDX-License-Identifier: Apache-2.0

"""Augmentation: options that lerobot-train reads, ranges that are kept, the same images from the same seed."""

import shlex
import subprocess
import sys

import draccus
import numpy as np
import pytest
import torch
import yaml
from lerobot.configs.default import DatasetConfig
from lerobot.datasets import LeRobotDataset
from policy_fixtures import make_dataset, small_profile
from vla_policy.tools.augment import main, sheet, tiled, transforms_of
from vla_policy.training.augment import CHANGES, PRESETS, AugmentError, augment_flags, augmentation, camera_sizes
from vla_policy.training.train import main as train
from vla_policy.training.train_settings import flag

SIZE = (48, 48)


def picture(seed=3, side=48):
    """A uint8 image as lerobot-train reads it, (3, H, W), in soft blocks of colour."""
    blocks = torch.randint(60, 180, (3, 6, 6), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return blocks.repeat_interleave(side // 6, 1).repeat_interleave(side // 6, 2)


def only(name, limits):
    """Transforms of one change."""
    import vla_policy.training.augment as module

    options = {
        "dataset.image_transforms.enable": True,
        "dataset.image_transforms.max_num_transforms": 1,
        "dataset.image_transforms.random_order": False,
        "dataset.image_transforms.tfs": {name: module._transform(name, limits, {SIZE})},
    }
    return transforms_of(options)


@pytest.mark.parametrize("preset", PRESETS)
def test_lerobot_train_reads_the_options(preset):
    options = augment_flags(preset, [SIZE])
    words = [flag(key, value).replace("--dataset.", "--", 1) for key, value in options.items()]
    read = draccus.parse(config_class=DatasetConfig, args=["--repo_id=x", *words]).image_transforms
    assert read.enable is True
    assert read.max_num_transforms == len(read.tfs) == len(PRESETS[preset])
    assert list(read.tfs) == [name for name in CHANGES if name in PRESETS[preset]]
    assert read.tfs["crop"].type == "RandomResizedCrop"
    assert read.tfs["crop"].kwargs["size"] == list(SIZE)
    assert read.tfs["brightness"].kwargs == {"brightness": list(PRESETS[preset]["brightness"])}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_alters_uint8_images_and_keeps_their_size(name):
    ends = {"hue": (0.2, 0.3), "rotation": (20.0, 30.0), "crop": (0.3, 0.4)}
    changed = only(name, ends.get(name, (0.3, 0.4)))(picture())
    assert changed.dtype == torch.uint8
    assert changed.shape == (3, *SIZE)
    assert not torch.equal(changed, picture())


def test_brightness_stays_in_its_range():
    bright = only("brightness", (0.5, 0.8))
    torch.manual_seed(0)
    ratios = [float(bright(picture()).float().mean() / picture().float().mean()) for _ in range(40)]
    assert 0.49 < min(ratios) < 0.55
    assert 0.75 < max(ratios) < 0.81


def test_without_an_augmentation_there_are_no_options():
    assert augment_flags(None, [SIZE]) == {}


def test_a_file_of_your_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("contrast: [0.5, 1.5]\nrotation: [-3, 3]\n")
    options = augment_flags(str(file), [SIZE, (96, 64)])
    assert options["dataset.image_transforms.tfs"] == {
        "contrast": {"weight": 1.0, "type": "ColorJitter", "kwargs": {"contrast": [0.5, 1.5]}},
        "rotation": {"weight": 1.0, "type": "RandomAffine", "kwargs": {"degrees": [-3.0, 3.0]}},
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("brightnes: [0.5, 1]", r"'brightnes' is no change; did you mean 'brightness'\?; known: brightness, contrast"),
        ("hue: 0.2", r"hue is 0.2; give two numbers, \[least, most\] \(shift of the hue"),
        ("hue: [-0.6, 0]", r"hue is \[-0.6, 0\]; the numbers must rise and lie in -0.5 to 0.5"),
        ("crop: [0.9, 0.8]", r"crop is \[0.9, 0.8\]; the numbers must rise"),
        ("crop: [true, 1]", "give two numbers"),
        ("[]", "must map changes to ranges"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, content, said):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(AugmentError, match=said):
        augmentation(str(file))


def test_a_preset_that_is_none():
    with pytest.raises(AugmentError, match=r"'strongg' is neither light nor strong.*did you mean 'strong'"):
        augmentation("strongg")


def test_crop_needs_one_size():
    with pytest.raises(AugmentError, match=r"cameras have 48x48, 96x64; convert with --image-size N"):
        augment_flags("light", [SIZE, (96, 64)])


def test_sizes_of_colour_cameras_only():
    features = {
        "observation.state": {"dtype": "float32", "shape": [7]},
        "observation.images.a": {"dtype": "video", "shape": [48, 64, 3]},
        "observation.images.far": {"dtype": "video", "shape": [10, 10, 1], "info": {"is_depth_map": True}},
    }
    assert camera_sizes(features) == [(48, 64)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of single-coloured frames."""
    profile = small_profile()
    return make_dataset(tmp_path_factory.mktemp("augment") / "set", profile, episodes=1, length=8, gripper=0.3)


def read(dataset, seed, workers):
    """All images, as a training run reads them after LeRobot's set_seed."""
    features = LeRobotDataset("local/set", root=dataset).meta.features
    options = augment_flags("strong", camera_sizes(features))
    data = LeRobotDataset("local/set", root=dataset, image_transforms=transforms_of(options), return_uint8=True)
    context = "fork" if workers else None
    torch.manual_seed(seed)
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=workers, multiprocessing_context=context)
    return torch.cat([batch["observation.images.front"] for batch in loader])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_seed_decides_the_images_of_a_real_dataset(dataset, workers):
    first, again, other = (read(dataset, seed, workers) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_sheet_shows_the_original_and_examples(dataset, tmp_path, capsys):
    command = ["--dataset", str(dataset), "--frames", "2", "--examples", "3", "--augment", "strong"]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main([*command, "--out", str(tmp_path / name), "--seed", seed]) == 0
    assert "seed 2, left column as recorded" in capsys.readouterr().out
    made = [(tmp_path / name).read_bytes() for name in "abc"]
    assert made[0] == made[1] != made[2]
    assert made[0].startswith(b"\x89PNG")
    options = augment_flags("strong", camera_sizes(LeRobotDataset("local/set", root=dataset).meta.features))
    shown = sheet(dataset, options, seed=1, frames=2, examples=3)
    height, width = small_profile().cameras[0].frame_size
    assert shown.shape == (2 * height + 12, 4 * width + 20, 3)
    recorded = LeRobotDataset("local/set", root=dataset, return_uint8=True)[0]["observation.images.front"]
    want = (255 * recorded).round().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(shown[4 : 4 + height, 4 : 4 + width], want)


def test_rows_of_different_widths():
    made = tiled([[np.zeros((4, 4, 3), np.uint8)] * 2, [np.zeros((6, 10, 3), np.uint8)] * 2])
    assert made.shape == (4 + 6 + 12, 20 + 12, 3)
    assert (made[4:8, 16:] == 255).all()


def test_options_can_be_printed_without_loading_torch(dataset):
    code = (
        "import sys; from vla_policy.tools.augment import main; "
        f"done = main(['--dataset', {str(dataset)!r}, '--print-options']); "
        "sys.exit(done or 3 * bool({'torch', 'lerobot', 'rclpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = dict(line.removeprefix("--").split("=", 1) for line in done.stdout.splitlines())
    assert lines["dataset.image_transforms.enable"] == "true"
    assert list(yaml.safe_load(lines["dataset.image_transforms.tfs"])) == ["brightness", "contrast", "crop"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dataset", "nowhere"], "no LeRobot dataset"),
        (["--dataset", "SET", "--augment", "none"], "is neither light nor strong"),
        (["--dataset", "SET", "--frames", "0"], "must be 1 or more"),
    ],
)
def test_what_cannot_be_shown(dataset, capsys, words, said):
    assert main([str(dataset) if word == "SET" else word for word in words]) == 2
    assert said in capsys.readouterr().err


def test_train_passes_it_on(dataset, tmp_path, capsys):
    command = ["--policy", "act", "--dataset", str(dataset), "--output", str(tmp_path / "run"), "--dry-run"]
    assert train([*command, "--augment", "strong"]) == 0
    words = shlex.split(capsys.readouterr().out)
    size = small_profile().cameras[0].frame_size
    for key, value in augment_flags("strong", [size]).items():
        assert flag(key, value) in words
    assert train([*command, "--augment", "heavy"]) == 2
    assert "augmentation 'heavy' is neither light nor strong" in capsys.readouterr().err
    assert train(command) == 0
    assert "image_transforms" not in capsys.readouterr().out
