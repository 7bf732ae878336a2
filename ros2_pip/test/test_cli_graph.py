# SPDX-License-Identifier: Apache-2.0

"""What ``ros2`` tells about a running node; only the command line is used, so the original passes them, too."""

import pytest

# the original keeps a daemon that would outlive the tests; listening longer makes its answers complete
LOOK = ("--no-daemon", "--spin-time=1.0")


@pytest.fixture(scope="module")
def answers(ros2, cli_node):
    """Ask everything at once: most of the time of a command is waiting for discovery."""
    questions = {
        "topics": ("topic", "list", "-t", "--include-hidden-topics"),
        "topic details": ("topic", "list", "-v"),
        "topic info": ("topic", "info", "/my_ns/description"),
        "topic endpoints": ("topic", "info", "-v", "/my_ns/joint_states"),
        "nodes": ("node", "list"),
        "node info": ("node", "info", "/my_ns/cli_node"),
        "services": ("service", "list", "-t"),
        "actions": ("action", "list", "-t"),
        "action info": ("action", "info", "-t", "/my_ns/gripper"),
        "parameters": ("param", "list", "/my_ns/cli_node"),
    }
    ros2("daemon", "start").wait()
    commands = {name: ros2(*_look_longer(words)) for name, words in questions.items()}
    yield {name: command.wait().lines for name, command in commands.items()}
    ros2("daemon", "stop").wait()


def _look_longer(words):
    """Add the options where there are some: the action verb of the original has none, and asks a daemon."""
    return words if words[0] == "action" else (*words[:2], *LOOK, *words[2:])


def test_topic_list(answers):
    expected = [
        "/my_ns/description [std_msgs/msg/String]",
        "/my_ns/echo [std_msgs/msg/String]",
        "/my_ns/joint_states [sensor_msgs/msg/JointState]",
        "/my_ns/target [std_msgs/msg/Float64]",
        "/parameter_events [rcl_interfaces/msg/ParameterEvent]",
        "/rosout [rcl_interfaces/msg/Log]",
    ]
    hidden = [line for line in answers["topics"] if "/_" in line]
    assert [line for line in answers["topics"] if line not in hidden] == expected
    assert "/my_ns/_secret [std_msgs/msg/String]" in hidden


def test_topic_list_with_details(answers):
    published, subscribed = "\n".join(answers["topic details"]).split("Subscribed topics:")
    assert published.startswith("Published topics:\n")
    assert "_secret" not in published
    assert " * /my_ns/joint_states [sensor_msgs/msg/JointState] 1 publisher\n" in published
    assert " * /my_ns/target [std_msgs/msg/Float64] 1 subscriber" in subscribed


def test_topic_info(answers):
    assert answers["topic info"] == ["Type: std_msgs/msg/String", "Publisher count: 1", "Subscription count: 0"]


def test_topic_endpoints(answers):
    lines = answers["topic endpoints"]
    assert {"Node name: cli_node", "Node namespace: /my_ns", "Endpoint type: PUBLISHER"} <= set(lines)
    assert "  Reliability: BEST_EFFORT" in lines
    assert "  Durability: VOLATILE" in lines


def test_node_list(answers):
    assert answers["nodes"] == ["/my_ns/cli_node"]


def test_node_info(answers):
    text = "\n".join(answers["node info"])
    assert text.startswith("/my_ns/cli_node\n  Subscribers:\n    /my_ns/target: std_msgs/msg/Float64\n")
    assert "  Service Servers:\n" in text
    assert "    /my_ns/enable: std_srvs/srv/SetBool\n" in text
    assert "  Action Servers:\n    /my_ns/gripper: control_msgs/action/GripperCommand\n" in text
    assert "_action" not in text


def test_service_list(answers):
    assert "/my_ns/enable [std_srvs/srv/SetBool]" in answers["services"]
    assert "/my_ns/cli_node/get_parameters [rcl_interfaces/srv/GetParameters]" in answers["services"]


def test_action_list(answers):
    assert answers["actions"] == ["/my_ns/gripper [control_msgs/action/GripperCommand]"]


def test_action_info(answers):
    expected = ["Action: /my_ns/gripper", "Action clients: 0", "Action servers: 1"]
    assert answers["action info"][:3] == expected
    assert answers["action info"][3].strip() == "/my_ns/cli_node [control_msgs/action/GripperCommand]"


def test_parameter_list(answers):
    names = [line.strip() for line in answers["parameters"]]
    assert [name for name in names if name.startswith("arm")] == ["arm.enabled", "arm.home"]
    assert {"count", "fixed", "joints", "speed", "use_sim_time"} <= set(names)


def test_what_is_not_there_is_an_error(ros2, cli_node):
    commands = {
        "Unknown topic '/nope'": ros2("topic", "info", *LOOK, "/nope"),
        "Unable to find node '/nope'": ros2("node", "info", *LOOK, "/nope"),
        "Node not found": ros2("param", "get", *LOOK, "/nope", "speed"),
        "Could not determine the type for the passed topic": ros2("topic", "echo", "/nope"),
    }
    for text, command in commands.items():
        assert text in command.wait(1).err
