# SPDX-License-Identifier: Apache-2.0

"""Conformance of rosidl_runtime_py: only its public API is used, so the original passes, too."""

from collections import OrderedDict

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rosidl_runtime_py import (
    get_interface_path,
    get_interfaces,
    message_to_csv,
    message_to_ordereddict,
    message_to_yaml,
    set_message_fields,
)
from rosidl_runtime_py.utilities import get_action, get_interface, get_message, get_service
from sensor_msgs.msg import Image, Imu, JointState
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool, Trigger


def test_types_by_name():
    assert get_message("std_msgs/msg/String") is String
    assert get_service("std_srvs/srv/SetBool") is SetBool
    assert get_interface("std_srvs/srv/Trigger") is Trigger
    assert get_interface("std_msgs/msg/Header") is Header


@pytest.mark.parametrize("load", [get_message, get_service, get_action])
def test_what_is_no_name_is_refused(load):
    with pytest.raises(ValueError, match="name"):
        load("String")


def test_unknown_types_are_refused():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        get_message("no_such_package/msg/Thing")
    with pytest.raises(AttributeError, match="Thing"):
        get_message("std_msgs/msg/Thing")


def test_interfaces_of_a_package():
    assert sorted(get_interfaces(["std_srvs"])["std_srvs"]) == ["srv/Empty", "srv/SetBool", "srv/Trigger"]
    assert get_interface_path("std_msgs/msg/String").endswith("share/std_msgs/msg/String.msg")
    with pytest.raises(LookupError):
        get_interface_path("std_msgs/msg/NoSuchThing")


def test_fields_are_set_through_all_levels():
    message = DiagnosticArray()
    values = {"header": {"frame_id": "base"}, "status": [{"name": "arm", "values": [{"key": "a", "value": "1"}]}]}
    assert set_message_fields(message, values) == []
    assert message.header.frame_id == "base"
    assert message.status[0].name == "arm"
    assert message.status[0].values[0].key == "a"
    assert message.status[0].level == b"\x00"


def test_numbers_are_converted_to_the_type_of_the_field():
    message = PoseStamped()
    set_message_fields(message, {"pose": {"position": {"x": 2}}})
    assert message.pose.position.x == 2.0
    imu, image = Imu(), Image()
    set_message_fields(imu, {"orientation_covariance": list(range(9))})
    set_message_fields(image, {"data": [1, 2, 255]})
    assert imu.orientation_covariance.tolist() == [float(value) for value in range(9)]
    assert bytes(image.data) == b"\x01\x02\xff"


def test_automatic_stamps_are_left_to_the_sender():
    message = JointState()
    (set_stamp,) = set_message_fields(message, {"header": "auto"}, expand_header_auto=True)
    set_stamp(Time(sec=7))
    assert message.header.stamp == Time(sec=7)
    (set_stamp,) = set_message_fields(message, {"header": {"stamp": "now"}}, expand_time_now=True)
    set_stamp(Time(sec=8))
    assert message.header.stamp == Time(sec=8)


def test_wrong_fields_are_named():
    with pytest.raises(AttributeError, match="speed"):
        set_message_fields(String(), {"speed": 1})
    with pytest.raises(TypeError, match="is expected to be a dictionary but is a int"):
        set_message_fields(Header(), {"stamp": 3})


def test_yaml_keeps_the_order_of_fields():
    message = JointState(name=["b", "a"], position=[1.0, 2.5])
    assert (
        message_to_yaml(message).split("name:")[1] == "\n- b\n- a\nposition:\n- 1.0\n- 2.5\nvelocity: []\neffort: []\n"
    )
    assert "position: [1.0, 2.5]\n" in message_to_yaml(message, flow_style=True)
    assert message_to_yaml(String(data="hi: there")) == "data: 'hi: there'\n"


def test_long_values_are_truncated():
    values = message_to_ordereddict(JointState(position=[0.5] * 5), truncate_length=2)
    assert values["position"] == [0.5, 0.5, "..."]
    assert message_to_yaml(String(data="abcdef"), truncate_length=3) == "data: abc...\n"


def test_arrays_and_strings_can_be_left_out():
    values = message_to_ordereddict(Imu(), no_arr=True)
    assert values["orientation_covariance"] == "<array type: double[9]>"
    assert message_to_ordereddict(JointState(), no_arr=True)["name"] == "<sequence type: string, length: 0>"
    assert "<string length: <3>>" in message_to_yaml(String(data="abc"), no_str=True)


def test_dictionary_and_csv():
    message = Header(stamp=Time(sec=1, nanosec=2), frame_id="map")
    assert message_to_ordereddict(message) == OrderedDict(stamp=OrderedDict(sec=1, nanosec=2), frame_id="map")
    assert message_to_csv(message) == "1,2,map"
    assert message_to_csv(JointState(name=["a", "b"])) == "0,0,,a,b,,,"
