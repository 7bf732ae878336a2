# SPDX-License-Identifier: Apache-2.0

"""Nodes: command line, names, parameters, remappings."""

import importlib
import random
import re
import signal
import sys

import pytest
import yaml

NODE = 'Node(package="conformance_pkg", executable="show", output="screen", {})'


def arguments(output, name="show-1"):
    return re.findall(rf"^\[{name}\] ARG (.*)$", output, re.MULTILINE)


def parameter_files(output, name="show-1"):
    """Return the contents of the parameter files that the node was given."""
    text = "\n".join(re.findall(rf"^\[{name}\] (.*)$", output, re.MULTILINE))
    pieces = re.split(r"^FILE ", text, flags=re.MULTILINE)[1:]
    cleaned = [piece.replace(" !!python/tuple", "").replace("on stderr", "") for piece in pieces]
    return [yaml.safe_load(piece) for piece in cleaned]


def after_params(items):
    return ["FILE" if before == "--params-file" else item for before, item in zip(["", *items], items, strict=False)]


def test_order_of_the_command_line(workspace, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("/**:\n  ros__parameters:\n    x: 1\n")
    _, output = workspace.launch(
        f"""
        SetLaunchConfiguration("a", "v"),
        SetParameter("use_sim_time", True), SetParameter("number", 3), SetRemap("g1", "g2"),
        PushROSNamespace("outer"),
        {
            NODE.format(f'''name="nn", namespace="inner", arguments=["--x", LaunchConfiguration("a")],
            remappings=[("f", "t"), ("f2", LaunchConfiguration("a"))], parameters=[{str(own)!r}, {{"d": 1}}]''')
        },
        """
    )
    assert after_params(arguments(output)) == [
        "--x", "v", "--ros-args", "-r", "__node:=nn", "-r", "__ns:=/outer/inner",
        "-p", "use_sim_time:=True", "-p", "number:=3",
        "--params-file", "FILE", "--params-file", "FILE",
        "-r", "g1:=g2", "-r", "f:=t", "-r", "f2:=v",
    ]  # fmt: skip
    assert parameter_files(output) == [
        {"/**": {"ros__parameters": {"x": 1}}},
        {"/outer/inner/nn": {"ros__parameters": {"d": 1}}},
    ]


def test_ros_args_are_always_there(workspace):
    _, output = workspace.launch(NODE.format('ros_arguments=["--log-level", "debug"]'))
    assert arguments(output) == ["--ros-args", "--log-level", "debug", "--ros-args"]
    _, output = workspace.launch(NODE.format(""))
    assert arguments(output) == ["--ros-args"]


@pytest.mark.parametrize(
    ("pushed", "namespace", "expected"),
    [
        (None, "ns", ["/ns"]),
        ("", "ns", ["/ns"]),
        ("a", "", ["/a"]),
        ("a", "b", ["/a/b"]),
        ("a", "/b", ["/b"]),
        ("/a/", "b", ["/a/b"]),
        (None, "", ["/"]),
        (None, None, []),
        ("", None, ["/"]),
    ],
)
def test_namespace(workspace, pushed, namespace, expected):
    push = "" if pushed is None else f"PushROSNamespace({pushed!r}),"
    _, output = workspace.launch(f"""{push} {NODE.format(f"namespace={namespace!r}")}""")
    assert [item.removeprefix("__ns:=") for item in arguments(output) if item.startswith("__ns")] == expected


def test_scopes_of_a_group(workspace):
    _, output = workspace.launch(
        f"""
        GroupAction([PushRosNamespace("in"), SetParameter("p", 1), SetRemap("a", "b"), {NODE.format("")}]),
        TimerAction(period=0.4, actions=[{NODE.format("")}]),
        """
    )
    assert arguments(output) == ["--ros-args", "-r", "__ns:=/in", "-p", "p:=1", "-r", "a:=b"]
    assert arguments(output, "show-2") == ["--ros-args"]


def test_dictionary_of_parameters(workspace):
    parameters = """{
        "i": 1, "f": 2.0, "b": True, "s": "true", "colon": "a: b", "digits": "5", "empty": "",
        "ints": [1, 2], "mixed": [1, 2.5], "strings": ["a", "1"], "bools": (True, False),
        "sub": LaunchConfiguration("v"), "joined": [LaunchConfiguration("v"), "x"],
        "list_sub": LaunchConfiguration("l"), "each": [[LaunchConfiguration("t")], "b"],
        "nested": {"x": 1, "y": {"z": "q"}}, LaunchConfiguration("t"): "key",
        "as_str": ParameterValue(LaunchConfiguration("v"), value_type=str),
        "as_float": ParameterValue(LaunchConfiguration("v"), value_type=float),
        "as_bool": ParameterValue(LaunchConfiguration("v"), value_type=bool),
        "as_list": ParameterValue(LaunchConfiguration("l"), value_type=List[float]),
    }"""
    _, output = workspace.launch(
        f"""
        SetLaunchConfiguration("v", "1"), SetLaunchConfiguration("l", "[1.0, 2.5]"), SetLaunchConfiguration("t", "tt"),
        {NODE.format(f"parameters=[{parameters}]")},
        """
    )
    (content,) = parameter_files(output)
    expected = {
        "i": 1, "f": 2.0, "b": True, "s": "true", "colon": "a: b", "digits": "5", "empty": "",
        "ints": [1, 2], "mixed": [1.0, 2.5], "strings": ["a", "1"], "bools": [True, False],
        "sub": 1, "joined": "1x", "list_sub": [1.0, 2.5], "each": ["tt", "b"],
        "nested.x": 1, "nested.y.z": "q", "tt": "key",
        "as_str": "1", "as_float": 1.0, "as_bool": True, "as_list": [1.0, 2.5],
    }  # fmt: skip
    found = content["/**"]["ros__parameters"]
    assert found == expected
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in expected.items()}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "to be one of|Expected a non-empty sequence"),
        ("['a', 1]", 'Got inconsistent input for "p"'),
        ("LaunchConfiguration('mixed')", 'Got inconsistent input for "p"'),
        ("LaunchConfiguration('bad')", "Unable to parse the value of parameter p as yaml"),
        ("LaunchConfiguration('dict')", 'for "p"'),
        ("None", "None"),
        ("ParameterValue('12', value_type=int)", "value='12' is not an instance of <class 'int'>"),
        ("ParameterValue(LaunchConfiguration('dict'), value_type=float)", "could not convert string to float"),
    ],
)
def test_value_that_no_parameter_can_have(workspace, value, message):
    code, output = workspace.launch(
        f"""
        SetLaunchConfiguration("bad", "a: b: c"), SetLaunchConfiguration("dict", "{{a: 1}}"),
        SetLaunchConfiguration("mixed", "[1, 2.5]"),
        {NODE.format(f'parameters=[{{"p": {value}}}]')},
        """
    )
    assert code == 1
    assert re.search(r"\[ERROR\] \[launch\]: Caught exception in launch \(see debug for traceback\): ", output)
    assert re.search(message, output)


def test_single_parameter_goes_on_the_command_line(workspace):
    _, output = workspace.launch(NODE.format("""parameters=[Parameter("p", 5)]"""))
    assert arguments(output)[:3] == ["--ros-args", "-p", "p:=5"]


def test_missing_parameter_file_is_warned_about(workspace):
    code, output = workspace.launch(NODE.format("""parameters=["/no/such.yaml"]"""))
    assert code == 0
    assert "Parameter file path is not a file: /no/such.yaml" in output
    assert arguments(output) == ["--ros-args"]


RCLPY_NODE = """\
#!{python}
import rclpy
from rclpy.executors import ExternalShutdownException
rclpy.init()
node = rclpy.create_node("own_name", automatically_declare_parameters_from_overrides=True)
values = {{name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}}
values = {{name: list(value) if hasattr(value, "typecode") else value for name, value in values.items()}}
wanted = ("i", "f", "mixed", "strings", "text", "nested.x", "from_scope")
node.get_logger().info(f"I am {{node.get_fully_qualified_name()}} {{[values[name] for name in wanted]}}")
try:
    node.create_timer(0.01, lambda: node.get_logger().info(f"topic {{node.resolve_topic_name('chatter')}}", once=True))
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
rclpy.try_shutdown()
"""


def test_rclpy_node_gets_what_the_launch_file_says(workspace):
    path = workspace.lib / "real_node"
    path.write_text(RCLPY_NODE.format(python=sys.executable))
    path.chmod(0o755)
    workspace.env |= {"ROS_DOMAIN_ID": str(random.randint(1, 100)), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    running = workspace.start(
        str(
            workspace.write(
                """
                SetParameter("from_scope", "x"), PushROSNamespace("space"), SetRemap("chatter", "talk"),
                Node(package="conformance_pkg", executable="real_node", name="given", parameters=[
                    {"i": 1, "f": 2.0, "mixed": [1, 2.5], "strings": ["a", "1"], "text": "true", "nested": {"x": False}},
                ]),
                """
            )
        )
    )
    running.wait_for(r"I am /space/given \[1, 2\.0, \[1\.0, 2\.5\], \['a', '1'\], 'true', False, 'x'\]")
    running.wait_for(r"topic /space/talk")
    running.signal(signal.SIGINT)
    assert running.finish() == 0
    assert "[INFO] [real_node-1]: process has finished cleanly" in running.output


@pytest.mark.deliberate  # the original needs its own package in the ament index for the grammar
def test_substitutions_in_a_parameter_file(workspace, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "/**:\n  ros__parameters:\n    a: $(var v)\n    b: $(find-pkg-share conformance_pkg)/x\n    c: $(var w deflt)\n"
    )
    _, output = workspace.launch(
        f"""SetLaunchConfiguration("v", "1"), {NODE.format(f"parameters=[ParameterFile({str(path)!r}, allow_substs=True)]")}"""
    )
    (content,) = parameter_files(output)
    assert content["/**"]["ros__parameters"] == {"a": 1, "b": f"{workspace.share}/x", "c": "deflt"}
    path.write_text("/**:\n  ros__parameters:\n    a: $(nope v)\n")
    code, output = workspace.launch(NODE.format(f"parameters=[ParameterFile({str(path)!r}, allow_substs=True)]"))
    assert code == 1
    assert f"{path}: unknown substitution '$(nope v)', supported are: var, env," in output


def test_missing_package_and_executable(workspace):
    code, output = workspace.launch("""Node(package="no_such_pkg", executable="x")""")
    assert code == 1
    assert (
        "Caught exception in launch (see debug for traceback): \"package 'no_such_pkg' not found, searching: ["
        in output
    )
    code, output = workspace.launch("""Node(package="conformance_pkg", executable="nope")""")
    assert code == 1
    assert f"executable 'nope' not found on the libexec directory '{workspace.lib}'" in output


def test_names_of_process_and_node(workspace):
    _, output = workspace.launch(
        f"""{NODE.format('name="node_name"')}, {NODE.format('exec_name="shown"')}, Node(executable="true", name="plain")"""
    )
    assert "[show-1] ARG __node:=node_name" in output
    assert "[shown-2] ARG --ros-args" in output
    assert "[INFO] [true-3]: process has finished cleanly" in output


@pytest.mark.deliberate
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("launch_ros.actions", "ComposableNodeContainer"),
        ("launch_ros.actions", "LifecycleNode"),
        ("launch_ros.descriptions", "ComposableNode"),
        ("launch.actions", "ForEach"),
        ("launch.launch_description_sources", "FrontendLaunchDescriptionSource"),
        ("launch_testing.actions", "GTest"),
    ],
)
def test_unsupported_names_are_refused(module, name):
    with pytest.raises(ImportError, match=rf"{module}.{name} is not supported .* real ROS 2"):
        getattr(importlib.import_module(module), name)


@pytest.mark.deliberate
def test_unsupported_arguments_are_refused_by_name():
    from launch_ros.actions import Node

    with pytest.raises(TypeError, match="output_format"):
        Node(package="p", executable="e", output_format="{line}")
