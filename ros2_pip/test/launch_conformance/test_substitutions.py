# SPDX-License-Identifier: Apache-2.0

"""Substitutions and conditions."""

import sys
from pathlib import Path

import launch
import pytest
from launch import LaunchContext
from launch.conditions import (
    IfCondition,
    InvalidConditionExpressionError,
    LaunchConfigurationEquals,
    LaunchConfigurationNotEquals,
    UnlessCondition,
)
from launch.substitutions import (
    AndSubstitution,
    AnonName,
    Command,
    EnvironmentVariable,
    EqualsSubstitution,
    FindExecutable,
    IfElseSubstitution,
    LaunchConfiguration,
    NotEqualsSubstitution,
    NotSubstitution,
    OrSubstitution,
    PathJoinSubstitution,
    PythonExpression,
    SubstitutionFailure,
    TextSubstitution,
    ThisLaunchFileDir,
)
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions


@pytest.fixture
def context(monkeypatch):
    monkeypatch.setenv("SUBST_SET", "from env")
    monkeypatch.delenv("SUBST_UNSET", raising=False)
    made = LaunchContext()
    made.launch_configurations.update({"a": "1", "name": "b", "b": "two", "flag": "True", "off": "0"})
    return made


A = LaunchConfiguration("a")


@pytest.mark.parametrize(
    ("substitution", "expected"),
    [
        (TextSubstitution(text="plain"), "plain"),
        (A, "1"),
        (LaunchConfiguration(LaunchConfiguration("name")), "two"),
        (LaunchConfiguration("none", default="d"), "d"),
        (LaunchConfiguration("none", default=["d", A]), "d1"),
        (LaunchConfiguration("none", default=A), "1"),
        (EnvironmentVariable("SUBST_SET"), "from env"),
        (EnvironmentVariable("SUBST_UNSET", default_value="else"), "else"),
        (PathJoinSubstitution(["/x", A, "y", "z.txt"]), "/x/1/y/z.txt"),
        (PythonExpression(["'", A, "' == '1'"]), "True"),
        (PythonExpression([A, " + 2"]), "3"),
        (PythonExpression("math.floor(2.5)"), "2"),
        (PythonExpression("os.sep", ["os"]), "/"),
        (Command([sys.executable, " -c 'print(", A, ")'"]), "1\n"),
        (Command("sh -c 'echo out; echo err >&2'", on_stderr="ignore"), "out\n"),
        (EqualsSubstitution(A, "1"), "true"),
        (EqualsSubstitution("1.0", "1"), "true"),
        (EqualsSubstitution("x", "y"), "false"),
        (EqualsSubstitution(LaunchConfiguration("flag"), True), "true"),
        (NotEqualsSubstitution(A, "1"), "false"),
        (NotSubstitution("false"), "true"),
        (AndSubstitution("true", LaunchConfiguration("flag")), "true"),
        (AndSubstitution("true", "false"), "false"),
        (OrSubstitution("false", "true"), "true"),
        (OrSubstitution("false", LaunchConfiguration("off")), "false"),
        (IfElseSubstitution("true", "yes", "no"), "yes"),
        (IfElseSubstitution(LaunchConfiguration("off"), "yes", ["n", "o"]), "no"),
    ],
)
def test_value(context, substitution, expected):
    assert context.perform_substitution(substitution) == expected


def test_pieces_are_joined(context):
    pieces = normalize_to_list_of_substitutions(["x", A, "y"])
    assert perform_substitutions(context, pieces) == "x1y"


def test_find_executable(context):
    assert Path(context.perform_substitution(FindExecutable(name="sh"))).name == "sh"


def test_anon_name_is_kept_per_argument(context):
    first, again, other = (context.perform_substitution(AnonName(name)) for name in ("n", "n", "m"))
    assert first == again
    assert first.startswith("n")
    assert other != first


@pytest.mark.parametrize(
    ("substitution", "message"),
    [
        (LaunchConfiguration("none"), "launch configuration 'none' does not exist"),
        (EnvironmentVariable("SUBST_UNSET"), "environment variable 'SUBST_UNSET' does not exist"),
        (FindExecutable(name="no_such_exe"), "executable '.*' not found on the PATH"),
        (ThisLaunchFileDir(), "ThisLaunchFileDir used outside of a launch file"),
        (Command("false"), "executed command failed"),
        (Command("sh -c 'echo err >&2'"), "executed command showed stderr output"),
        (Command("no_such_exe -x"), "file not found"),
    ],
)
def test_failure_says_what(context, substitution, message):
    with pytest.raises(SubstitutionFailure, match=message):
        context.perform_substitution(substitution)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (IfCondition("true"), True),
        (IfCondition("TRUE"), True),
        (IfCondition(LaunchConfiguration("off")), False),
        (UnlessCondition(LaunchConfiguration("flag")), False),
        (UnlessCondition("0"), True),
        (IfCondition(PythonExpression([A, " == 1"])), True),
    ],
)
def test_condition(context, condition, expected):
    assert condition.evaluate(context) is expected


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_comparison_of_a_configuration(context):
    assert LaunchConfigurationEquals("a", "1").evaluate(context)
    assert LaunchConfigurationEquals("none", None).evaluate(context)
    assert not LaunchConfigurationNotEquals("a", "1").evaluate(context)


def test_condition_that_is_no_truth_value(context):
    with pytest.raises(InvalidConditionExpressionError, match=r"expected one of \[true, 1, false, 0\] but got 'two'"):
        IfCondition(LaunchConfiguration("b")).evaluate(context)


def test_normalize_refuses_numbers():
    with pytest.raises(TypeError):
        launch.utilities.normalize_to_list_of_substitutions(5)
