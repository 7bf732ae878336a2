# SPDX-License-Identifier: Apache-2.0

"""Test pictures that stand for a camera which is not there, and that nobody takes for a real one."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

LABEL = "SYNTHETIC"
DARK, LIGHT, INK, PAPER = (96, 0, 96), (230, 120, 230), (0, 0, 0), (255, 255, 0)
FIELDS = 8
LABEL_HEIGHT = 0.12
SMALLEST_TEXT = 8


def synthetic_image(camera: str, size: tuple[int, int], index: int = 0) -> NDArray[np.uint8]:
    """A chequered field that wanders from picture to picture, with the words `SYNTHETIC <camera>` on it.

    Args:
        camera: Name of the camera that it stands for.
        size: Height and width [px].
        index: Number of the picture; the field moves by a pixel each.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = size
    side = max(1, min(size) // FIELDS)
    y, x = np.indices(size)
    odd = ((x + index) // side + y // side) % 2 == 1
    pixels = np.where(odd[..., None], np.array(LIGHT), np.array(DARK)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(SMALLEST_TEXT, int(LABEL_HEIGHT * min(height, width))))
    text = f"{LABEL}\n{camera}"
    box = draw.multiline_textbbox((2, 2), text, font=font)
    draw.rectangle((0, 0, box[2] + 2, box[3] + 2), fill=PAPER)
    draw.multiline_text((2, 2), text, font=font, fill=INK)
    return np.array(picture)


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """A (H, W, 3) uint8 RGB picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=1)
    return file.getvalue()
