# SPDX-License-Identifier: Apache-2.0

"""What exposure, gain and white balance do to an image of a simulated camera.

A rendered image is what the sensor shows at the driver's defaults under light of brightness 1. Brightness is
proportional to light, exposure and gain; a white balance above the light's own temperature makes the image warmer.
As on a RealSense, the values that an automatic mode finds are not written back to the parameters: its colour sensor
reports the last manual ones (librealsense, `RS2_OPTION_EXPOSURE` with automatic exposure).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

DEFAULT_EXPOSURE: Final = 156  # units of 100 us, as on a D435
DEFAULT_GAIN: Final = 64
DEFAULT_WHITE_BALANCE: Final = 4600.0  # K; also the temperature of the cell's lights
_TARGET = 0.45  # mean brightness that automatic exposure looks for
_RATE = 0.25  # share of the way to its goal that an automatic mode covers per frame
_TINT = 0.8
_RANGE = (1.0, 10000.0)  # exposures of the sensor


@dataclass
class Sensor:
    """One sensor: its settings and what its automatic modes have found.

    Attributes:
        exposure: Manual exposure [100 us].
        gain: Manual gain.
        white_balance: Manual white balance [K].
        auto_exposure: Exposure follows the image.
        auto_white_balance: White balance follows the light.
    """

    exposure: float = DEFAULT_EXPOSURE
    gain: float = DEFAULT_GAIN
    white_balance: float = DEFAULT_WHITE_BALANCE
    auto_exposure: bool = False
    auto_white_balance: bool = False
    _found_exposure: float = float(DEFAULT_EXPOSURE)
    _found_white_balance: float = DEFAULT_WHITE_BALANCE

    def start_auto_exposure(self) -> None:
        """Begin automatic exposure from the manual one."""
        self.auto_exposure, self._found_exposure = True, float(self.exposure)

    def start_auto_white_balance(self) -> None:
        """Begin automatic white balance from the manual one."""
        self.auto_white_balance, self._found_white_balance = True, self.white_balance

    def expose(self, rendered: Image, light: float) -> Image:
        """Return the image ``(H, W, 3)`` that the sensor makes of a rendered one, then let automatic modes follow it."""
        exposure = self._found_exposure if self.auto_exposure else float(self.exposure)
        kelvin = self._found_white_balance if self.auto_white_balance else self.white_balance
        gain = light * exposure * self.gain / (DEFAULT_EXPOSURE * DEFAULT_GAIN)
        warmth = (kelvin / DEFAULT_WHITE_BALANCE) ** _TINT
        gains = gain * np.array([warmth, 1.0, 1.0 / warmth])
        image = rendered
        if not np.array_equal(gains, np.ones(3)):  # the table of a channel maps each of its 256 values
            table = np.clip(np.rint(np.arange(256)[:, None] * gains), 0, 255).astype(np.uint8)
            image = np.stack([table[:, i][rendered[..., i]] for i in range(3)], axis=-1)
        if self.auto_exposure:
            mean = max(float(image.mean()) / 255.0, 0.01)
            self._found_exposure = float(np.clip(exposure * (_TARGET / mean) ** _RATE, *_RANGE))
        if self.auto_white_balance:
            self._found_white_balance += _RATE * (DEFAULT_WHITE_BALANCE - kelvin)
        return image
