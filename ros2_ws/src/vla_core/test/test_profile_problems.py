# SPDX-License-Identifier: Apache-2.0

"""All mistakes of a profile at once."""

import pytest
from vla_core.errors import ProfileError
from vla_core.profile import load_profile
from vla_core.profile_problems import profile_problems
from vla_core.testing import PROFILE

# What is replaced in the small profile, and by what; one mistake each.
SINGLE = (
    ("size: [24, 32]", "sise: [24, 32]"),
    ("fps: 10", "fsp: 10"),
    ("rate_hz: 20, ", ""),
    ("robot: test_arm", "robot: off"),
    ("position.finger_joint]", "positon.finger_joint]"),
    ("fields: [position.finger_joint]", "fields: [position.elbow_joint]"),
    ("max_age_s: 0.05}", "max_age_s: 0.001}"),
    ("  front: {", "  front.left: {"),
)


def written(tmp_path, *replacements):
    text = PROFILE
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    return path


def test_a_good_profile_has_no_problems_and_is_the_one_that_loads(tmp_path):
    path = written(tmp_path)
    found, problems = profile_problems(path)
    assert problems == ()
    assert found == load_profile(path)


@pytest.mark.parametrize("mistake", SINGLE)
def test_the_first_problem_is_what_loading_says(tmp_path, mistake):
    path = written(tmp_path, mistake)
    with pytest.raises(ProfileError) as error:
        load_profile(path)
    found, problems = profile_problems(path)
    assert found is None
    assert str(problems[0]) == str(error.value)


def test_mistakes_in_all_parts_are_named_in_one_go(tmp_path):
    path = written(
        tmp_path,
        ("robot: test_arm", "robot: test arm"),
        ("fps: 10", "fsp: 10"),
        ("rate_hz: 20, ", ""),
        ("size: [24, 32]", "sise: [24, 32]"),
        ("position.finger_joint]", "positon.finger_joint]"),
    )
    texts = [str(problem) for problem in profile_problems(path)[1]]
    assert len(texts) == len(set(texts)) == 6, texts
    for wanted in (
        "robot.yaml:1: robot: 'test arm' is no robot name",
        "fsp: unknown key 'fsp'; allowed: extends, robot, fps",
        "fps: missing key",
        "cameras.front.sise: unknown key 'sise'",
        "cameras.front.rate_hz: missing key",
        "state[1].fields[0]: 'positon.finger_joint' is no field path",
    ):
        assert any(wanted in text for text in texts), (wanted, texts)


def test_what_follows_from_another_mistake_is_not_reported(tmp_path):
    path = written(tmp_path, ("max_age_s: 0.05}", "max_age_s: 5e-2}"))
    texts = [str(problem) for problem in profile_problems(path)[1]]
    assert len(texts) == 1, texts
    assert "YAML 1.1 reads 5e-2 as text" in texts[0]


def test_a_file_that_is_no_yaml_or_absent_is_one_problem(tmp_path):
    (tmp_path / "bad.yaml").write_text("robot: [")
    assert [p.key for p in profile_problems(tmp_path / "bad.yaml")[1]] == [""]
    absent = profile_problems(tmp_path / "none.yaml")[1]
    assert "cannot read the robot profile" in str(absent[0])
