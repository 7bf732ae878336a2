# SPDX-License-Identifier: Apache-2.0

"""The command ``augment``: what ``train --augment`` does to the images of a dataset, as a sheet to look at.

Rows are cameras of some frames of the dataset, spread over it; the first column is the image as recorded, the others are
examples of what the training sees. The transforms are made by LeRobot from the very options that `lerobot-train` gets.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError

from vla_policy.training.augment import PREFIX, PRESETS, augment_flags, camera_sizes

if TYPE_CHECKING:
    from lerobot.transforms import ImageTransforms

EXIT_OK, EXIT_USAGE = 0, 2
GAP = 4
_EXAMPLE = """\
examples:
  ros2 run vla_policy augment --dataset outputs/dataset --out sheet.png --seed 1
  ros2 run vla_policy augment --dataset outputs/dataset --augment strong --out strong.png
  ros2 run vla_policy augment --dataset outputs/dataset --augment my.yaml --print-options
"""

Image = NDArray[np.uint8]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="ros2 run vla_policy augment",
        description="Show what image augmentation does to the frames of a dataset.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--dataset", type=Path, required=True, metavar="DIR", help="LeRobot v3 dataset")
    result.add_argument(
        "--augment", default="light", metavar="NAME", help=f"{', '.join(PRESETS)}, or a YAML file (default %(default)s)"
    )
    result.add_argument("--out", type=Path, default=Path("augment.png"), help="PNG to write (default %(default)s)")
    result.add_argument("--seed", type=int, default=0, help="of the random numbers (default %(default)s)")
    result.add_argument("--frames", type=int, default=3, help="frames of the dataset (default %(default)s)")
    result.add_argument("--examples", type=int, default=5, help="examples of each image (default %(default)s)")
    result.add_argument("--print-options", action="store_true", help="print the options for lerobot-train and stop")
    return result


def _features(dataset: Path) -> dict[str, Any]:
    file = dataset / "meta" / "info.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["features"])
    except OSError as error:
        raise VlaError(f"{dataset}: no LeRobot dataset ({file} cannot be read: {error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise VlaError(f"{file}: cannot be read ({error!r}); convert the bags again") from error


def transforms_of(options: dict[str, Any]) -> ImageTransforms:
    """Return LeRobot's transforms for `lerobot-train` options."""
    # torch and LeRobot take seconds to load, which --help and --print-options shall not wait for
    from lerobot.transforms import ImageTransformConfig, ImageTransforms, ImageTransformsConfig  # noqa: PLC0415

    given = {key.removeprefix(f"{PREFIX}."): value for key, value in options.items()}
    given["tfs"] = {name: ImageTransformConfig(**value) for name, value in given["tfs"].items()}
    return ImageTransforms(ImageTransformsConfig(**given))


def sheet(dataset: Path, options: dict[str, Any], *, seed: int, frames: int, examples: int) -> Image:
    """Return the sheet, (height, width, 3) uint8 RGB.

    Args:
        dataset: LeRobot v3 dataset.
        options: From `vla_policy.training.augment.augment_flags`.
        seed: Of the random numbers.
        frames: How many frames, spread evenly over the dataset.
        examples: How many columns beside the original.
    """
    import torch  # noqa: PLC0415
    from lerobot.datasets import LeRobotDataset  # noqa: PLC0415

    data = LeRobotDataset(f"local/{dataset.resolve().name}", root=dataset, return_uint8=True, video_backend="pyav")
    transforms = transforms_of(options)
    cameras = [name for name in data.meta.camera_keys if name not in data.meta.depth_keys]
    torch.manual_seed(seed)
    rows = []
    for index in np.linspace(0, len(data) - 1, min(frames, len(data))).round().astype(int):
        row = data[int(index)]
        for camera in cameras:
            pictures = [row[camera], *(transforms(row[camera]) for _ in range(examples))]
            rows.append([_bytes(picture.permute(1, 2, 0).numpy()) for picture in pictures])
    return tiled(rows)


def _bytes(picture: NDArray[Any]) -> Image:
    """Return an image as bytes; LeRobot reads video as bytes, and images in the table as floats from 0 to 1."""
    if np.issubdtype(picture.dtype, np.floating):
        picture = np.rint(255.0 * np.clip(picture, 0.0, 1.0))
    return np.ascontiguousarray(picture, dtype=np.uint8)


def tiled(rows: Sequence[Sequence[Image]]) -> Image:
    """Return images in a grid with white gaps; images of a row have one size, a row may be narrower than another."""
    gap = 255
    widths = [sum(image.shape[1] + GAP for image in row) + GAP for row in rows]
    result = np.full((sum(row[0].shape[0] + GAP for row in rows) + GAP, max(widths), 3), gap, dtype=np.uint8)
    top = GAP
    for row in rows:
        left = GAP
        for image in row:
            height, width = image.shape[:2]
            result[top : top + height, left : left + width] = image
            left += width + GAP
        top += row[0].shape[0] + GAP
    return result


def _write_png(path: Path, image: Image) -> None:
    # OpenCV is only needed here
    import cv2  # noqa: PLC0415

    done, data = cv2.imencode(".png", image[:, :, ::-1])
    if not done:
        raise VlaError(f"{path}: the image of {image.shape[1]}x{image.shape[0]} px cannot be made a PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 if the dataset or the augmentation cannot be used.
    """
    arguments = parser().parse_args(args)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        if arguments.frames < 1 or arguments.examples < 1:
            raise VlaError("--frames and --examples must be 1 or more")
        sizes = camera_sizes(_features(arguments.dataset))
        if not sizes:
            raise VlaError(f"{arguments.dataset}: has no colour camera")
        options = augment_flags(arguments.augment, sizes)
        if arguments.print_options:
            for key, value in options.items():
                sys.stdout.write(f"--{key}={json.dumps(value)}\n")
            return EXIT_OK
        made = sheet(
            arguments.dataset, options, seed=arguments.seed, frames=arguments.frames, examples=arguments.examples
        )
        _write_png(arguments.out, made)
    except (VlaError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    sys.stdout.write(f"{arguments.out}: {arguments.augment}, seed {arguments.seed}, left column as recorded\n")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
