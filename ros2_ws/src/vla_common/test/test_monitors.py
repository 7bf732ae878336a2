# SPDX-License-Identifier: Apache-2.0

"""What the robot says about itself: when it counts as a fault, and messages that a profile names wrongly."""

import pytest
from std_msgs.msg import Header
from vla_common.monitors import MonitorBoard, field_of
from vla_core.specs import MonitorSpec


def monitor(**changes):
    values = {
        "name": "mode",
        "topic": "robot/mode",
        "type": "std_msgs/msg/UInt8",
        "field": "data",
        "allowed": (1.0, 2.0),
        "qos": "latched",
        "max_age_s": None,
        "required": True,
        "hint": "unlock it",
    }
    return MonitorSpec(**{**values, **changes})


def test_a_state_must_be_heard_allowed_and_young_enough():
    now = [100.0]
    board = MonitorBoard([monitor(), monitor(name="short", topic="robot/short", max_age_s=0.5)], lambda: now[0])
    assert not board.wait(0.01)
    assert "monitor mode: nothing was received on robot/mode; is the robot's driver running" in board.fault()
    board.note("mode", 1)
    board.note("short", 2)
    assert board.wait(0.0)
    assert board.fault() is None
    now[0] += 0.6
    assert "monitor short: no message for 0.60 s on robot/short (limit 0.5 s)" in board.fault()
    board.note("short", 2)
    board.note("mode", 3)
    assert board.fault() == (
        "monitor mode: robot/mode says data = 3, allowed: 1, 2, so the arm was stopped. What to do: unlock it"
    )


def test_fields_of_a_message_are_found_by_their_path():
    header = Header(frame_id="tool")
    assert field_of(header, "frame_id") == "tool"
    assert field_of(header, "stamp.sec") == 0
    with pytest.raises(AttributeError, match="no field 'second'; fields: sec, nanosec"):
        field_of(header, "stamp.second")
    with pytest.raises(AttributeError, match="no field 'x'; fields: none"):
        field_of(header, "frame_id.x")
