# SPDX-License-Identifier: Apache-2.0

"""Which topics are recorded: the profile's, patterns, one image stream per camera."""

import pytest
from vla_core.codecs import COMPRESSED_IMAGE
from vla_core.profile import mapping_differences, parse_profile
from vla_recorder.capture.topic_plan import (
    OWN_TOPICS,
    Selection,
    SelectionError,
    compressible,
    plan_topics,
    with_compressed,
)
from vla_recorder.testing import PROFILE, small_profile

DEPTH = PROFILE.replace(
    "state:\n",
    "  deep: {topic: deep/image_rect_raw, size: [24, 32], rate_hz: 20, max_age_s: 0.3, depth: true}\nstate:\n",
)


def resolved(profile):
    return [(f"/{plan.topic.lstrip('/')}", plan) for plan in plan_topics(profile)]


def test_the_plan_names_every_topic_of_the_profile_and_its_own_once() -> None:
    plans = {plan.topic: plan for plan in plan_topics(small_profile())}
    assert plans["front/image_raw"].role == plans["joint_states"].role == "observation"
    assert (plans["command/arm"].role, plans["command/arm"].label) == ("command", "action 'arm'")
    assert (plans["robot_description"].qos, plans["robot_description"].role) == ("latched", "extra")
    assert {own.topic for own in OWN_TOPICS} == {"/diagnostics", "/rosout", "/tf_static", "policy/status"}
    assert not plans["/rosout"].stamped, "log messages carry system time"
    assert len(plans) == 4 + len(OWN_TOPICS)
    with_tf = PROFILE + "  - {topic: /tf_static, type: tf2_msgs/msg/TFMessage, qos: latched}\n"
    assert [plan.topic for plan in plan_topics(small_profile(with_tf))].count("/tf_static") == 1


def test_patterns_match_whole_names_and_exclude_wins() -> None:
    some = Selection(["/camera/.*", "/clock"], ["/camera/secret"], record_all=False)
    wanted = ["/camera/a", "/camera/secret", "/camera", "/clock", "/clocks"]
    assert [name for name in wanted if some.wants(name, ())] == ["/camera/a", "/clock"]
    everything = Selection([], ["/noise.*"], record_all=True)
    assert everything.wants("/force", ())
    assert not everything.wants("/noise/a", ())
    assert not everything.wants("/run/_action/feedback", ()), "hidden topics are only recorded when included"
    assert Selection(["/run/_action/.*"], [], record_all=False).wants("/run/_action/feedback", ())
    assert not Selection([], [], record_all=False).wants("/force", ())


@pytest.mark.parametrize("camera", ["/front/image_raw", "/front/image_raw/compressed"])
def test_one_image_stream_per_camera(camera: str) -> None:
    everything = Selection([], [], record_all=True)
    others = ["/front/image_raw", "/front/image_raw/compressed", "/front/image_raw/theora", "/front/camera_info"]
    wanted = [name for name in others if name != camera and everything.wants(name, [camera])]
    assert wanted == ["/front/camera_info"]
    both = Selection(["/front/image_raw/theora"], [], record_all=True)
    assert both.wants("/front/image_raw/theora", [camera])


def test_exclude_may_not_take_what_frames_are_built_from() -> None:
    profile = small_profile()
    kept = Selection([], ["/rosout", "/robot_.*"], record_all=True).planned(resolved(profile))
    assert {plan.topic for plan in kept} == {plan.topic for plan in plan_topics(profile)} - {
        "/rosout",
        "robot_description",
    }
    with pytest.raises(
        SelectionError, match=r"exclude: '/front.\*' takes away /front/image_raw, which the profile needs"
    ):
        Selection([], ["/front.*"], record_all=False).planned(resolved(profile))
    with pytest.raises(SelectionError, match=r"include: '\*cam' is no regular expression .* write /camera/\.\*"):
        Selection(["*cam"], [], record_all=False)


def test_compressed_cameras_change_the_profile_that_is_stored() -> None:
    profile = small_profile(DEPTH)
    assert compressible(profile) == {"front": "front/image_raw"}, "depth is never recorded as jpeg"
    assert with_compressed(profile, []) is profile
    changed = with_compressed(profile, ["front"])
    assert (changed.cameras[0].topic, changed.cameras[0].type) == ("front/image_raw/compressed", COMPRESSED_IMAGE)
    assert changed.cameras[1] == profile.cameras[1]
    assert parse_profile(changed.text).text == changed.text
    assert changed.sha256 != profile.sha256
    assert compressible(changed) == {}
    assert mapping_differences(profile, changed) == (), "a policy sees the same pictures"
