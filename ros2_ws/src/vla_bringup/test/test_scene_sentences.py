# SPDX-License-Identifier: Apache-2.0

"""Which sentence the launch files hand on: the user's, the profile's, or none, so that the scene's own is taken."""

from pathlib import Path

import pytest
import yaml
from launch import LaunchContext
from vla_bringup.launch_util import SCENES_WITH_SENTENCES, sentence

ARGUMENTS = yaml.safe_load((Path(__file__).parent.parent / "config" / "arguments.yaml").read_text())
PROFILE_TEXT = "pick up the block"


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ({"scene": "lift"}, PROFILE_TEXT),
        ({"scene": "pick_which"}, ""),
        ({"scene": "pick", "sentence": "own"}, ""),
        ({"scene": "lift", "sentence": "own"}, PROFILE_TEXT),
        ({"scene": "lift", "sentence": "empty"}, ""),
        ({"scene": "pick_which", "task": "take blue"}, "take blue"),
        ({"scene": "pick_which", "task": "take blue", "sentence": "swapped"}, "take blue"),  # the trial refuses both
    ],
)
def test_sentence(given, handed_on):
    context = LaunchContext()
    context.launch_configurations.update({"task": "", **given})
    assert sentence(context, given.get("task") or PROFILE_TEXT) == handed_on


def test_scenes_are_those_of_the_simulation():
    scenes = ARGUMENTS["sim"]["scene"]["choices"]
    assert set(SCENES_WITH_SENTENCES) < set(scenes)
    assert scenes == ["lift", "pick_place", *SCENES_WITH_SENTENCES, "extract_cpu", "extract_ram"]
    assert ARGUMENTS["infer"]["sentence"]["choices"] == ["own", "swapped", "empty"]
