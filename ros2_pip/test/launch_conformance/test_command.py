# SPDX-License-Identifier: Apache-2.0

"""The command ``ros2 launch``: finding files, arguments, what it shows."""

import pytest

MAIN = """
    DeclareLaunchArgument("req", description="A required one."),
    DeclareLaunchArgument("opt", default_value=["x", LaunchConfiguration("req")], description="Optional"),
    DeclareLaunchArgument("c", default_value="a", choices=["a", "b"]),
    LogInfo(msg=["values ", LaunchConfiguration("req"), " ", LaunchConfiguration("opt"), " ", LaunchConfiguration("c")]),
"""


def run(workspace, *arguments):
    running = workspace.start(*arguments)
    return running.finish(), running.output


def test_package_and_file_with_arguments(workspace):
    workspace.write(MAIN)
    code, output = run(workspace, "conformance_pkg", "main.launch.py", "req:=1", "req:=2", "c:=b")
    assert code == 0
    assert "[INFO] [launch.user]: values 2 x2 b" in output


def test_value_may_hold_spaces_and_separators(workspace):
    workspace.write(MAIN)
    code, output = run(workspace, "conformance_pkg", "main.launch.py", "req:=put it: a:=b")
    assert code == 0
    assert "values put it: a:=b xput it: a:=b a" in output


def test_path_of_a_file(workspace):
    code, output = workspace.launch(MAIN, "req:=1")
    assert code == 0
    assert "values 1 x1 a" in output


@pytest.mark.parametrize("flag", ["-s", "--show-args", "--show-arguments"])
def test_show_arguments(workspace, flag):
    workspace.write(MAIN)
    code, output = run(workspace, "conformance_pkg", "main.launch.py", flag)
    assert code == 0
    assert output == (
        "Arguments (pass arguments as '<name>:=<value>'):\n\n"
        "    'req':\n        A required one.\n\n"
        "    'opt':\n        Optional\n        (default: 'x' + LaunchConfig('req'))\n\n"
        "    'c':\n        One of: ['a', 'b']\n        (default: 'a')"
    )


def test_show_arguments_of_a_file_without(workspace):
    path = workspace.write("")
    assert run(workspace, str(path), "-s") == (
        0,
        "Arguments (pass arguments as '<name>:=<value>'):\n\n  No arguments.",
    )


def test_print_description(workspace):
    path = workspace.write("""LogInfo(msg="x"), ExecuteProcess(cmd=["echo", LaunchConfiguration("a")]), Shutdown()""")
    code, output = run(workspace, "-p", str(path))
    assert code == 0
    assert output.splitlines()[1:] == [
        "├── LogInfo('x')",
        "├── ExecuteProcess(cmd=['echo', LaunchConfig('a')], cwd=None, env=None, shell=False)",
        "└── EmitEvent(event='launch.events.Shutdown')",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing required argument 'req' (description: 'A required one.'), given: []"),
        (("req:=1", "c:=z"), "Argument \"c\" provided value \"z\" is not valid. Valid options are: ['a', 'b']"),
        (("req=1",), "malformed launch argument 'req=1', expected format '<name>:=<value>'"),
    ],
)
def test_wrong_arguments(workspace, arguments, message):
    workspace.write(MAIN)
    code, output = run(workspace, "conformance_pkg", "main.launch.py", *arguments)
    assert code == 1
    assert message in output


def test_missing_package_and_file(workspace):
    workspace.write(MAIN)
    code, output = run(workspace, "no_such_pkg", "main.launch.py")
    assert code == 1
    assert "Package 'no_such_pkg' not found" in output
    code, output = run(workspace, "conformance_pkg", "nope.launch.py")
    assert code == 1
    expected = "file 'nope.launch.py' was not found in the share directory of package 'conformance_pkg' which is at"
    assert f"{expected} '{workspace.share}'" in output


def test_file_that_raises(workspace):
    code, output = workspace.launch("""1 / 0""")
    assert code == 1
    assert "Caught exception in launch (see debug for traceback)" in output
    assert "ZeroDivisionError: division by zero" in output


@pytest.mark.deliberate
def test_file_that_raises_is_named(workspace):
    code, output = workspace.launch("""1 / 0""", "-s")
    assert code == 1
    assert (
        output
        == f"Cannot load launch file {workspace.launch_folder}/main.launch.py: ZeroDivisionError: division by zero"
    )
    empty = workspace.launch_folder / "empty.launch.py"
    empty.touch()
    code, output = run(workspace, str(empty))
    assert code == 1
    assert "launch file does not contain the required function 'generate_launch_description()'" in output
    other = workspace.launch_folder / "other.launch.xml"
    other.touch()
    code, output = run(workspace, str(other))
    assert code == 1
    assert "the extension '.xml' is not supported here, only Python launch files are" in output


@pytest.mark.deliberate
def test_unknown_argument_is_warned_about(workspace):
    workspace.write(MAIN)
    code, output = run(workspace, "conformance_pkg", "main.launch.py", "req:=1", "typo:=1")
    assert code == 0
    assert "launch argument 'typo' is not declared by any launch file of this launch (declared: c, opt, req)" in output


def test_include_by_folder_of_this_file(workspace):
    workspace.write(
        """DeclareLaunchArgument("x"), LogInfo(msg=["inner ", LaunchConfiguration("x")])""", "inner.launch.py"
    )
    code, output = workspace.launch(
        """
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource([ThisLaunchFileDir(), "/inner.launch.py"]), launch_arguments={"x": "1"}.items()),
        LogInfo(msg=["left over ", LaunchConfiguration("x")]),
        """
    )
    assert code == 0
    assert "[launch.user]: inner 1" in output
    assert "[launch.user]: left over 1" in output


def test_all_output_and_prefix(workspace):
    path = workspace.write("""python("print('out')", output="log"), ExecuteProcess(cmd=["true"], name="other")""")
    code, output = run(workspace, "-a", "--launch-prefix", "env A=b", "--launch-prefix-filter", "tru", str(path))
    assert code == 0
    assert "[child-1] out" in output
    code, output = run(workspace, "--launch-prefix", "echo before", "--launch-prefix-filter", "tru", "-a", str(path))
    assert "[other-2] before true" in output
    assert "[child-1] out" in output


def test_debug_shows_the_traceback(workspace):
    path = workspace.write("""OpaqueFunction(function=lambda context: 1 / 0)""")
    code, output = run(workspace, "-d", str(path))
    assert code == 1
    assert "Traceback (most recent call last)" in output
    assert "Caught exception in launch (see debug for traceback): division by zero" in output
