# SPDX-License-Identifier: Apache-2.0

"""Helpers for arguments that may hold substitutions or entities."""

from launch.utilities.entities import normalize_to_list_of_entities
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_boolean,
    perform_substitutions,
)

__all__ = [
    "describe_substitutions",
    "normalize_to_list_of_entities",
    "normalize_to_list_of_substitutions",
    "perform_boolean",
    "perform_substitutions",
]
