# SPDX-License-Identifier: Apache-2.0

"""Errors of the simulated cell; each message says what, where, why and what to do."""

from vla_core.errors import VlaError


class SimError(VlaError):
    """Base of all errors of this package."""


class SceneError(SimError):
    """A task, camera or option that the cell does not have, or a set-point that it cannot take."""


class RenderError(SimError):
    """No off-screen OpenGL context could be made."""
