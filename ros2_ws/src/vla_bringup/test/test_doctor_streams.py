# SPDX-License-Identifier: Apache-2.0

"""What the doctor says about streams: one bad case for each finding, and nothing but green for a good graph."""

import pytest
from doctor_cases import DRIVER, graph, joints, profile, retimed, sample, stream
from vla_bringup.doctor.findings import exit_code, worst
from vla_bringup.doctor.live import judge
from vla_bringup.doctor.live_streams import judge_clock, judge_streams, lost, rate_hz
from vla_bringup.doctor.samples import BEST_EFFORT, TRANSIENT_LOCAL, Endpoint
from vla_core.testing import joint_state

CAMERA, STATE = "front/image_raw", "joint_states"
IMAGE = "sensor_msgs/msg/Image"


def bad(seen, *, robot=None):
    """Lines that are not green, of the streams and clocks."""
    found = [*judge_clock(seen), *judge_streams(robot or profile(), seen)]
    return [finding.line for finding in found if finding.level != "green"]


def only(seen, *parts):
    lines = bad(seen)
    assert len(lines) == 1, lines
    for part in parts:
        assert part in lines[0]


def test_a_good_graph_is_green_from_top_to_bottom():
    groups = judge(profile(), graph())
    assert {worst(group.findings) for group in groups} == {"green"}, groups
    assert exit_code(groups) == 0
    text = " ".join(finding.line for group in groups for finding in group.findings)
    for part in ("20.0 Hz, 40 messages, age 2 ms", "by /driver", "32x24, rgb8", "so the order does not matter"):
        assert part in text


def test_nobody_publishes():
    seen = graph()
    seen.taps[CAMERA].publishers, seen.taps[CAMERA].samples = (), []
    only(seen, "RED", "camera 'front' /front/image_raw: nobody publishes it", "ROS_DOMAIN_ID")


def test_offered_but_silent():
    seen = graph()
    seen.taps[CAMERA].samples = []
    only(seen, "RED", "/driver offers it, but nothing was received", "ros2 topic hz")


def test_wrong_type():
    seen = graph()
    tap = seen.taps[CAMERA]
    tap.samples, tap.types = [], ("sensor_msgs/msg/CompressedImage",)
    only(seen, "RED", "published as sensor_msgs/msg/CompressedImage by /driver, but the profile says " + IMAGE)


def test_type_that_is_not_installed():
    seen = graph()
    seen.taps[CAMERA].error = "the message type sensor_msgs/msg/Image is not installed (…)"
    only(seen, "RED", "is not installed", "sudo apt-get install ros-jazzy-sensor-msgs")


@pytest.mark.parametrize(("rate", "level"), [(10, "RED"), (17, "YELLOW"), (19.5, None), (24, None), (40, "YELLOW")])
def test_rate(rate, level):
    seen = graph()
    seen.taps[CAMERA].samples = stream(rate)
    if level is None:
        assert bad(seen) == []
    else:
        only(seen, level, f"{rate:.1f} Hz instead of 20 Hz", "rate_hz")


def test_joint_states_that_come_faster_are_well():
    seen = graph()
    seen.taps[STATE].samples = stream(500, make=joints)
    assert bad(seen) == []


def test_too_few_messages_for_a_rate():
    seen = graph()
    seen.taps[CAMERA].samples = stream(20)[:2]
    only(seen, "RED", "only 2 messages in 2.0 s", "--seconds 10")


@pytest.mark.parametrize(
    ("offered", "asked", "policy"),
    [
        ({"reliability": BEST_EFFORT}, {}, "reliability: best effort is offered, reliable is asked for"),
        ({}, {"durability": TRANSIENT_LOCAL}, "durability: volatile is offered, transient local is asked for"),
    ],
)
def test_incompatible_quality_of_service_names_the_policy_and_both_nodes(offered, asked, policy):
    seen = graph()
    tap = seen.taps[CAMERA]
    tap.publishers = (Endpoint(DRIVER, IMAGE, **offered),)
    tap.subscriptions = (Endpoint("/viewer", IMAGE, **asked),)
    only(seen, "RED", f"/viewer gets nothing from /driver ({policy})", "qos_overrides")


def test_compatible_quality_of_service_is_no_finding():
    seen = graph()
    tap = seen.taps[CAMERA]
    tap.publishers = (Endpoint(DRIVER, IMAGE, durability=TRANSIENT_LOCAL),)
    tap.subscriptions = (Endpoint("/viewer", IMAGE, BEST_EFFORT),)
    assert bad(seen) == []


def test_wrong_joint_names_show_the_nearest():
    seen = graph()
    named = stream(100, make=lambda t: joint_state(t, ["wrist_joint", "elbow_joint", "fingr_joint"], [0.1, 0.2, 0.3]))
    seen.taps[STATE].samples = named
    only(
        seen, "RED", "no message carries position.finger_joint", "wrist_joint, elbow_joint, fingr_joint", "did you mean"
    )


def test_joints_that_come_in_several_messages():
    seen = graph()
    halves = [["wrist_joint", "finger_joint"], ["elbow_joint", "finger_joint"]]
    seen.taps[STATE].samples = stream(100, make=lambda t: joint_state(t, halves[(t // 10_000_000) % 2], [0.1, 0.2]))
    only(seen, "RED", "no single message carries all of position.elbow_joint, position.wrist_joint")


def test_stamps_that_go_back():
    seen = graph()
    seen.taps[CAMERA].samples = retimed(
        seen.taps[CAMERA].samples, stamp_ns=lambda i, s: s.stamp_ns - (60_000_000 if i == 20 else 0)
    )
    only(seen, "RED", "stamps go back in time 1 times", "one publisher per topic")


def test_stamps_that_come_twice():
    seen = graph()
    samples = seen.taps[CAMERA].samples
    samples[20].stamp_ns = samples[19].stamp_ns
    only(seen, "YELLOW", "1 stamps come twice")


def test_no_stamps_at_all():
    seen = graph()
    seen.taps[CAMERA].samples = retimed(seen.taps[CAMERA].samples, stamp_ns=lambda i, s: 0)
    only(seen, "RED", "messages without a stamp", "stamp: receive")


def test_stamps_of_a_clock_that_is_ahead():
    seen = graph()
    seen.taps[CAMERA].samples = retimed(seen.taps[CAMERA].samples, stamp_ns=lambda i, s: s.stamp_ns + 1_000_000_000)
    only(seen, "RED", "stamps lie up to 998 ms in the future", "chrony")


def test_old_stamps():
    seen = graph()
    seen.taps[CAMERA].samples = retimed(seen.taps[CAMERA].samples, stamp_ns=lambda i, s: s.stamp_ns - 400_000_000)
    only(seen, "RED", "stamps are 402 ms old on arrival, max_age_s is 0.2, so frames are dropped")


def test_some_old_stamps():
    seen = graph()
    late = retimed(seen.taps[CAMERA].samples, received_ns=lambda i, s: s.received_ns + (300_000_000 if i == 7 else 0))
    seen.taps[CAMERA].samples = late
    only(seen, "YELLOW", "2.5% of the messages are older than max_age_s 0.2")


def test_clock_offset_between_hosts():
    seen = graph()
    for tap in (seen.taps[CAMERA], seen.taps[STATE]):
        tap.publishers = (Endpoint("/far", tap.type),)
        tap.samples = retimed(tap.samples, sent_ns=lambda i, s: s.sent_ns + 50_000_000)
    only(seen, "RED    /far", "49.9 ms ahead of this one's", "chronyc tracking")


def test_lost_messages_are_counted_by_sequence_numbers():
    samples = stream(20)
    assert lost(samples) == 0
    del samples[10], samples[20]
    assert lost(samples) == 2
    seen = graph()
    seen.taps[CAMERA].samples = samples
    slow, losses = bad(seen)
    assert "19.0 Hz instead of 20 Hz" in slow
    assert losses.startswith("RED")
    for part in ("2 of 40 messages were lost on the way (5.0%)", "fastdds_shm.xml", "rmem_max"):
        assert part in losses


def test_one_lost_message_of_many_is_yellow():
    seen = graph()
    del seen.taps[STATE].samples[50]
    lines = bad(seen)
    assert len(lines) == 2, lines  # both states read the topic
    assert all(line.startswith("YELLOW") and "1 of 200 messages were lost" in line for line in lines)


def test_two_publishers_of_the_same_data():
    seen = graph()
    seen.taps[CAMERA].publishers *= 2
    only(seen, "RED", "2 publishers of the same data: /driver", "started twice")


def test_two_publishers_of_different_joints_are_a_real_robot():
    seen = graph()
    arm = stream(100, make=lambda t: joint_state(t, ["wrist_joint", "elbow_joint"], [0.1, 0.2]))
    finger = stream(100, make=lambda t: joint_state(t + 1000, ["finger_joint"], [0.1]))
    seen.taps[STATE].samples = [one for pair in zip(arm, finger, strict=True) for one in pair]
    seen.taps[STATE].publishers = (Endpoint(DRIVER, "x"), Endpoint("/gripper", "x"))
    assert bad(seen) == []


def test_two_nodes_drive_at_once():
    seen = graph()
    tap = seen.taps["command/arm"]
    tap.publishers = (Endpoint("/policy", tap.type), Endpoint("/teleop", tap.type))
    tap.samples = [
        sample(one.stamp_ns, n + offset, msg=arm_target(one.stamp_ns))
        for n, one in enumerate(stream(20))
        for offset in (1, 500)
    ]
    for i, one in enumerate(tap.samples):
        one.stamp_ns += i
    only(seen, "RED", "command 'arm' /command/arm: 2 nodes send at the same time: /policy, /teleop", "let one drive")


def test_a_handover_between_two_drivers_is_none():
    seen = graph()
    tap = seen.taps["command/arm"]
    tap.publishers = (Endpoint("/policy", tap.type), Endpoint("/teleop", tap.type))
    tap.samples = stream(20, make=arm_target)
    assert bad(seen) == []


def arm_target(t_ns):
    return joint_state(t_ns, ["elbow_joint", "wrist_joint"], [0.1, 0.2])


def test_simulated_time_that_stands_still():
    seen = graph()
    seen.sim_time, seen.clock_ns = True, (5, 5)
    assert "RED    /clock: simulated time stands still" in bad(seen)[0]
    assert "participants" in bad(seen)[0]


def test_ages_count_on_the_simulated_clock():
    seen = graph()
    seen.sim_time, seen.clock_ns = True, (0, 1_000_000_000)
    for tap in (seen.taps[CAMERA], seen.taps[STATE]):
        tap.samples = retimed(
            tap.samples, received_ns=lambda i, s: s.received_ns + 10**18, sent_ns=lambda i, s: s.sent_ns + 10**18
        )
    assert bad(seen) == []
    seen.taps[CAMERA].samples = retimed(seen.taps[CAMERA].samples, clock_ns=lambda i, s: s.clock_ns - 10**9)
    only(seen, "in the future", "use_sim_time:=true")


def test_rate_of_messages_without_a_stamp_counts_on_the_clock():
    assert rate_hz(retimed(stream(20), stamp_ns=lambda i, s: None)) == pytest.approx(20.0)
