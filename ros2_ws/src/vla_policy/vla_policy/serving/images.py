# SPDX-License-Identifier: Apache-2.0

"""Images of a size other than the wanted one: padded, cropped, or refused."""

from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.images import resize

from vla_policy.serving.errors import ObservationError

PAD, CROP, REFUSE = "pad", "crop", "refuse"
FITS = {
    PAD: "scale until it fits, black bars around it (what openpi's and Positronic's clients do)",
    CROP: "take the largest centred part of the wanted proportions, then scale (takes such bars off again)",
    REFUSE: "an error",
}
Image = NDArray[np.uint8]
Size = tuple[int, int]


def resize_with_pad(image: Image, size: Size) -> Image:
    """Scale an image into `size` without distortion, with black bars on the two sides that are left over.

    The geometry is that of tf.image.resize_with_pad as openpi's clients use it; the pixels are those of
    `vla_core.images.resize`, whatever machine computes them.

    Args:
        image: (H, W, 3) uint8.
        size: Wanted (height, width).

    Returns:
        (*size, 3) uint8; `image` itself where it has that size.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    ratio = max(width / size[1], height / size[0])
    inner = (max(1, floor(height / ratio)), max(1, floor(width / ratio)))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    padded = np.zeros((*size, image.shape[2]), dtype=np.uint8)
    padded[top : top + inner[0], left : left + inner[1]] = resize(image, inner)
    return padded


def crop_to(image: Image, size: Size) -> Image:
    """Take the largest centred part with the proportions of `size` and scale it; undoes `resize_with_pad`.

    Args:
        image: (H, W, 3) uint8.
        size: Wanted (height, width).
    """
    height, width = image.shape[:2]
    ratio = min(width / size[1], height / size[0])
    inner = (max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio)))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    return resize(np.ascontiguousarray(image[top : top + inner[0], left : left + inner[1]]), size)


def fitted(image: Image, size: Size, fit: str, key: str) -> Image:
    """Return the image at `size`, by the rule `fit`.

    Raises:
        ObservationError: it has another size and `fit` is refuse.
    """
    if image.shape[:2] == size:
        return image
    if fit == PAD:
        return resize_with_pad(image, size)
    if fit == CROP:
        return crop_to(image, size)
    raise ObservationError(
        f"{key}: {image.shape[0]}x{image.shape[1]} pixels (height x width), the policy takes {size[0]}x{size[1]}; send that "
        f"size, or start the server with --image-fit {PAD} or {CROP}"
    )


def as_image(value: Any, key: str, *, floats: bool = False) -> Image:
    """Return an (H, W, 3) uint8 RGB image.

    Args:
        value: What came under `key`.
        key: Its name, for the message.
        floats: Also take (3, H, W), and numbers from 0 to 1, as openpi's image parser does.

    Raises:
        ObservationError: something else.
    """
    if not isinstance(value, np.ndarray):
        raise ObservationError(f"{key}: expected an (H, W, 3) uint8 image, got a {type(value).__name__}")
    image = value
    if floats and image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        image = image.transpose(1, 2, 0)
    if floats and np.issubdtype(image.dtype, np.floating):
        if not np.isfinite(image).all() or image.min(initial=0.0) < 0.0 or image.max(initial=0.0) > 1.0:
            raise ObservationError(f"{key}: a {image.dtype} image must hold numbers from 0 to 1")
        image = (255 * image).astype(np.uint8)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ObservationError(f"{key}: expected an (H, W, 3) uint8 RGB image, got {value.dtype} {value.shape}")
    return np.ascontiguousarray(image)
