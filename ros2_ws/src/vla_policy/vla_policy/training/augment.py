# SPDX-License-Identifier: Apache-2.0

"""Random changes of the training images: brightness, contrast, crop and the like, by LeRobot's image transforms.

LeRobot applies them as it reads a row, to each camera by itself; all changes named here are applied to every image, and the
images of one camera's window change together. `lerobot-train` reads video as uint8, and LeRobot's own transforms for
noise, blur, compression, shadow, dropout, gamma and colour temperature return such images as they are (LeRobot 0.6.1,
``lerobot/transforms/transforms.py``), so none of these is offered.

The numbers come from torch's generator, which `lerobot-train` seeds with ``--seed``: the same seed, number of workers and
processes give the same images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from vla_core.errors import VlaError, listing, nearest_name

Range = tuple[float, float]
PREFIX = "dataset.image_transforms"


class AugmentError(VlaError):
    """An augmentation that cannot be applied."""


class Change(NamedTuple):
    """One kind of change.

    Attributes:
        type: Transform of torchvision or LeRobot.
        argument: Its argument for the range.
        least: Lower end of what a range may hold.
        most: Upper end.
        help: What the two numbers are.
    """

    type: str
    argument: str
    least: float
    most: float
    help: str


CHANGES: dict[str, Change] = {
    "brightness": Change("ColorJitter", "brightness", 0.0, 4.0, "factor of the brightness; 1 changes nothing"),
    "contrast": Change("ColorJitter", "contrast", 0.0, 4.0, "factor of the contrast; 1 changes nothing"),
    "saturation": Change("ColorJitter", "saturation", 0.0, 4.0, "factor of the saturation; 0 is grey"),
    "hue": Change("ColorJitter", "hue", -0.5, 0.5, "shift of the hue; 0.5 is the opposite colour"),
    "sharpness": Change("SharpnessJitter", "sharpness", 0.0, 4.0, "factor of the sharpness; 0 is blurred"),
    "rotation": Change("RandomAffine", "degrees", -45.0, 45.0, "rotation [degree]; corners become black"),
    "crop": Change("RandomResizedCrop", "scale", 0.05, 1.0, "part of the area that is cut out and scaled up again"),
}
"""In the order in which they are applied."""
PRESETS: dict[str, dict[str, Range]] = {
    "light": {"brightness": (0.9, 1.1), "contrast": (0.9, 1.1), "crop": (0.9, 1.0)},
    "strong": {
        "brightness": (0.6, 1.4),
        "contrast": (0.6, 1.4),
        "saturation": (0.5, 1.5),
        "hue": (-0.05, 0.05),
        "crop": (0.75, 1.0),
    },
}


def augmentation(choice: str) -> dict[str, Range]:
    """Return the changes and their ranges.

    Args:
        choice: ``light``, ``strong``, or a YAML file that maps changes to ``[least, most]``.

    Raises:
        AugmentError: There is no such preset or file, or the file names another change or an impossible range.
    """
    if choice in PRESETS:
        return dict(PRESETS[choice])
    path = Path(choice)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AugmentError(
            f"augmentation '{choice}' is neither {' nor '.join(PRESETS)}, nor a file that can be read ({error.strerror})"
            f"{nearest_name(choice, PRESETS)}"
        ) from error
    except yaml.YAMLError as error:
        raise AugmentError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict) or not content:
        raise AugmentError(f"{path}: must map changes to ranges, as in brightness: [0.8, 1.2]")
    return {str(name): _range(path, str(name), value) for name, value in content.items()}


def augment_flags(choice: str | None, sizes: Iterable[tuple[int, int]]) -> dict[str, Any]:
    """Return the `lerobot-train` options of an augmentation, key without dashes to value; none if `choice` is None.

    Args:
        choice: See `augmentation`.
        sizes: (height, width) of each colour camera [px].

    Raises:
        AugmentError: See `augmentation`; or images are cropped and the cameras have different sizes.
    """
    if choice is None:
        return {}
    ranges = augmentation(choice)
    transforms = {name: _transform(name, ranges[name], set(sizes)) for name in CHANGES if name in ranges}
    return {
        f"{PREFIX}.enable": True,
        f"{PREFIX}.max_num_transforms": len(transforms),
        f"{PREFIX}.random_order": False,
        f"{PREFIX}.tfs": transforms,
    }


def camera_sizes(features: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return (height, width) of each colour camera among the ``features`` of a dataset's ``info.json``."""
    sizes = []
    for feature in features.values():
        if feature.get("dtype") in ("video", "image") and not (feature.get("info") or {}).get("is_depth_map"):
            height, width = (int(n) for n in feature["shape"][:2])
            sizes.append((height, width))
    return sizes


def _range(path: Path, name: str, value: Any) -> Range:
    if name not in CHANGES:
        raise AugmentError(f"{path}: '{name}' is no change{nearest_name(name, CHANGES)}; known: {listing(CHANGES)}")
    change = CHANGES[name]
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 2 or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise AugmentError(f"{path}: {name} is {value!r}; give two numbers, [least, most] ({change.help})")
    least, most = float(numbers[0]), float(numbers[1])
    if not change.least <= least <= most <= change.most:
        raise AugmentError(
            f"{path}: {name} is [{least:g}, {most:g}]; the numbers must rise and lie in {change.least:g} to {change.most:g} "
            f"({change.help})"
        )
    return least, most


def _transform(name: str, limits: Range, sizes: set[tuple[int, int]]) -> dict[str, Any]:
    change = CHANGES[name]
    arguments: dict[str, Any] = {change.argument: list(limits)}
    if name == "crop":
        if len(sizes) != 1:
            shown = listing(f"{height}x{width}" for height, width in sorted(sizes))
            raise AugmentError(
                f"crop scales every image to one size, and the cameras have {shown}; convert with --image-size N, or leave "
                "crop out of an augmentation file of your own"
            )
        arguments |= {"size": list(*sizes), "ratio": [1.0, 1.0]}
    return {"weight": 1.0, "type": change.type, "kwargs": arguments}
