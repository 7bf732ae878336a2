# SPDX-License-Identifier: Apache-2.0

"""Errors of the drivers. Every message says what is wrong, where, why it matters and what to do."""

from vla_core.errors import VlaError


class DriverError(VlaError):
    """A driver cannot be started as asked: a missing file or port, or settings that do not fit."""


class LinkError(DriverError):
    """The device does not answer, or answers nonsense; it may come back."""
