# SPDX-License-Identifier: Apache-2.0

"""Errors of skills. Every message says what is wrong, where, why it matters and what to do.

SkillError             base; below VlaError
├── SkillFileError     a skill table or waypoint file that cannot be used
└── PlanError          a skill that cannot be driven from where the arm stands
"""

from __future__ import annotations

from vla_core.errors import VlaError


class SkillError(VlaError):
    """Base of the errors of skills."""


class SkillFileError(SkillError):
    """A skill table or a waypoint file that cannot be used; names the file and the key, or the row and column."""


class PlanError(SkillError):
    """A skill that cannot be driven from where the arm stands; names waypoint, joint or axis, value and limit."""
