# SPDX-License-Identifier: Apache-2.0

"""Manual settings that give the same image as the automatic modes did.

Drivers do not tell which exposure and white balance an automatic mode has found for the colour sensor, so they are
searched: brightness grows with exposure and then gain, and red grows against blue with white balance. What is compared
are means over the whole image, so the scene must stand still meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Means = tuple[float, float, float]
"""Mean of red, green and blue over an image, 0 to 255."""

_STEPS = 14
_CLOSE = 0.01  # relative difference in brightness, and in red to blue, that is close enough


@dataclass(frozen=True)
class Knob:
    """One setting that can be turned: its value now and the range that the driver allows."""

    name: str
    value: float
    low: float
    high: float
    whole: bool

    def rounded(self, value: float) -> float:
        """The nearest value that the driver takes."""
        inside = min(max(value, self.low), self.high)
        return float(round(inside)) if self.whole else inside


Look = Callable[[str, float], Means]
"""Sets one knob and returns the means of the image that follows."""


def brightness(means: Means) -> float:
    """Return the luma (ITU-R BT.601) of mean red, green and blue."""
    red, green, blue = means
    return 0.299 * red + 0.587 * green + 0.114 * blue


def warmth(means: Means) -> float:
    """Return the logarithm of red over blue."""
    return math.log(max(means[0], 0.5) / max(means[2], 0.5))


def search(knob: Knob, wanted: float, measure: Callable[[Means], float], look: Look, now: Means) -> tuple[float, Means]:
    """Turn one knob until a measure that grows with it has the wanted value, or nothing gets better.

    Bisection on the logarithm of the setting, sped up by the ratio of the measured values where both are positive.

    Returns:
        The value of the knob and the means with it.
    """
    low, high = max(knob.low, 1e-3), knob.high
    value, means = knob.value, now
    best = (abs(measure(means) - wanted), value, means)
    for _ in range(_STEPS):
        error = measure(means) - wanted
        if abs(error) <= _CLOSE * max(abs(wanted), 1.0):
            break
        if error > 0.0:
            high = min(high, value)
        else:
            low = max(low, value)
        middle = math.sqrt(low * high)
        found = measure(means)
        guess = value * wanted / found if found > 0.0 and wanted > 0.0 and measure is brightness else middle
        value_next = knob.rounded(guess if low < guess < high else middle)
        if value_next == value:
            break
        value, means = value_next, look(knob.name, value_next)
        best = min(best, (abs(measure(means) - wanted), value, means), key=lambda entry: entry[0])
    if best[1] != value:
        return best[1], look(knob.name, best[1])
    return value, means


def match(
    target: Means, start: Means, look: Look, exposure: Knob | None, gain: Knob | None, white_balance: Knob | None
) -> Means:
    """Turn the knobs until the image is as it was under automatic control; returns its means at the end.

    Args:
        target: Means under automatic control.
        start: Means with the knobs as they are.
        look: Sets a knob and looks.
        exposure: Knob of the exposure, or None where the driver has none.
        gain: The same of the gain; used where the exposure does not reach.
        white_balance: The same of the white balance.
    """
    means = start
    for _ in range(2):  # white balance changes brightness a little, and clipped pixels the other way round
        for knob, measure in ((exposure, brightness), (gain, brightness), (white_balance, warmth)):
            if knob is not None and not close(target, means, measure):
                _, means = search(knob, measure(target), measure, look, means)
    return means


def close(target: Means, means: Means, measure: Callable[[Means], float]) -> bool:
    """Whether a measure of two images agrees as well as a search can make it."""
    return abs(measure(means) - measure(target)) <= _CLOSE * max(abs(measure(target)), 1.0)
