# SPDX-License-Identifier: Apache-2.0

"""How far a reference view of a camera has drifted from a stored one: brightness, colour, contrast, sharpness, place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_BINS = 256
_SMOOTHING = 1.2  # pixels
_SMALL_WIDTH = 160  # pixels: the views are compared for a shift at this width


@dataclass(frozen=True)
class ViewStatistics:
    """Statistics of the mean of some images of one view.

    Attributes:
        size: Height and width.
        mean: Brightness, 0 to 255.
        std: Its standard deviation over the image.
        channel_means: Means of red, green, blue.
        histogram: Share of the pixels at each brightness, 256 of them.
        sharpness: Variance of the Laplacian of smoothed brightness with mean 1.
    """

    size: tuple[int, int]
    mean: float
    std: float
    channel_means: tuple[float, float, float]
    histogram: tuple[float, ...]
    sharpness: float

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """How much may change.

    Attributes:
        brightness: Relative change of the mean brightness.
        colour: Change of the share that red or blue have of the sum of the three means.
        contrast: Relative change of the standard deviation.
        histogram: Distance of the histograms once their means are equal: by how much brightness has to be moved on average
            to turn one into the other (earth mover's distance), as a share of the range.
        sharpness: Relative loss or gain of sharpness.
        shift: Displacement of the picture as a share of its width.
    """

    brightness: float = 0.05
    colour: float = 0.01
    contrast: float = 0.15
    histogram: float = 0.02
    sharpness: float = 0.5
    shift: float = 0.01


def statistics(image: Pixels) -> ViewStatistics:
    """Return the statistics of an image ``(H, W, 3)`` RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    counts, _ = np.histogram(grey, bins=_BINS, range=(0, 256))
    mean = float(grey.mean())
    # Noise of the sensor has the finest structure of all; without smoothing it would count as sharpness.
    scaled = cv2.GaussianBlur(grey.astype(np.float32) / max(mean, 1.0), (0, 0), _SMOOTHING)
    red, green, blue = (float(value) for value in image.reshape(-1, 3).mean(axis=0))
    return ViewStatistics(
        size=(image.shape[0], image.shape[1]),
        mean=mean,
        std=float(grey.std()),
        channel_means=(red, green, blue),
        histogram=tuple(float(value) for value in counts / grey.size),
        sharpness=float(cv2.Laplacian(scaled, cv2.CV_32F).var()),
    )


def drift(before: Pixels, now: Pixels, limits: Thresholds) -> tuple[list[str], dict[str, float]]:
    """Return what has changed too much, as sentences with a remedy, and all measures.

    Args:
        before: Stored view ``(H, W, 3)``.
        now: The same view today.
        limits: What is too much.
    """
    a, b = statistics(before), statistics(now)
    if a.size != b.size:
        text = (
            f"the image is {b.size[1]}x{b.size[0]} instead of {a.size[1]}x{a.size[0]}: set the driver's colour profile"
        )
        return [text], {}
    brighter = b.mean / max(a.mean, 1.0) - 1.0
    shares = [np.array(s.channel_means) / max(sum(s.channel_means), 1.0) for s in (a, b)]
    warmer, bluer = (float((shares[1] - shares[0])[channel]) for channel in (0, 2))
    matched = np.clip(before.astype(np.float32) * (b.mean / max(a.mean, 1.0)), 0, 255).astype(np.uint8)
    distance = float(np.abs(np.cumsum(np.subtract(statistics(matched).histogram, b.histogram))).sum()) / _BINS
    measures = {
        "brightness": brighter,
        "red": warmer,
        "blue": bluer,
        "contrast": (b.std / max(b.mean, 1.0)) / max(a.std / max(a.mean, 1.0), 1e-3) - 1.0,
        "histogram": distance,
        "sharpness": b.sharpness / max(a.sharpness, 1e-9) - 1.0,
        "shift": shift(before, now),
    }
    return _judged(measures, limits), measures


def _judged(m: dict[str, float], limits: Thresholds) -> list[str]:
    found = []
    if abs(m["brightness"]) > limits.brightness:
        found.append(
            f"the image is {100 * abs(m['brightness']):.0f} % {'brighter' if m['brightness'] > 0 else 'darker'}: check the "
            "light and blinds, and that camera_settings were applied"
        )
    if max(abs(m["red"]), abs(m["blue"])) > limits.colour:
        tone = "warmer (redder)" if m["red"] > m["blue"] else "colder (bluer)"
        found.append(f"colours are {tone}: check the white balance and the kind of light")
    if abs(m["contrast"]) > limits.contrast:
        found.append(f"contrast changed by {100 * m['contrast']:+.0f} %: look for glare, haze or a thing in the view")
    if m["histogram"] > limits.histogram:
        found.append(f"brightness is spread otherwise ({m['histogram']:.3f}): something in the view is not as it was")
    if abs(m["sharpness"]) > limits.sharpness:
        found.append(f"sharpness changed by {100 * m['sharpness']:+.0f} %: clean the lens and check the focus")
    if m["shift"] > limits.shift:
        found.append(f"the picture moved by {100 * m['shift']:.1f} % of its width: the camera or the scene was moved")
    return found


def shift(before: Pixels, now: Pixels) -> float:
    """Return the displacement between two views of one size as a share of the width, by phase correlation."""
    height, width = before.shape[:2]
    size = (_SMALL_WIDTH, max(1, round(height * _SMALL_WIDTH / width)))
    first, second = (
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA).astype(np.float32)
        for image in (before, now)
    )
    window = cv2.createHanningWindow(size, cv2.CV_32F)
    (x, y), response = cv2.phaseCorrelate(first, second, window)
    return float(np.hypot(x, y)) / _SMALL_WIDTH if response > 0.1 else 0.0
