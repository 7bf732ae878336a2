# SPDX-License-Identifier: Apache-2.0

"""Errors of the camera commands."""

from vla_core.errors import VlaError


class CameraError(VlaError):
    """A camera, its driver or a file about it cannot be used; the text says what to do."""


class CalibrationError(CameraError):
    """Views from which a hand-eye calibration cannot be computed; the text says what is missing."""
