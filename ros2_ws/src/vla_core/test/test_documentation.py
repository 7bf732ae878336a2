# SPDX-License-Identifier: Apache-2.0

"""Every key of a profile and every value it may take is in the reference."""

from pathlib import Path

import pytest
from vla_core import profile_arms, profile_robot, profile_safety, profile_schema, specs

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "profile.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason=f"{PAGE} is not part of this installation")

TABLES = [
    value
    for module in (profile_schema, profile_robot, profile_safety, profile_arms)
    for name, value in vars(module).items()
    if name.endswith("_KEYS")
]
KEYS = sorted({key for table in TABLES for key in table})
VALUES = (*specs.ACTION_SPACES, *specs.STRATEGIES, *specs.TIMELINES, *specs.POINTS, *specs.QOS, *specs.INTERFACES)


@pytest.mark.parametrize("word", [*KEYS, *VALUES])
def test_word_is_documented(word):
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{word}`" in text or f".{word}`" in text, f"'{word}' is missing in {PAGE.name}"
