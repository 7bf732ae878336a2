# SPDX-License-Identifier: Apache-2.0

"""Entities run in this process: arguments, scopes, inclusion, events, timers."""

import os
import signal
import threading
from pathlib import Path

import launch
import pytest
from launch import LaunchDescription, LaunchService
from launch.actions import (
    AppendEnvironmentVariable,
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
    UnregisterEventHandler,
    UnsetEnvironmentVariable,
    UnsetLaunchConfiguration,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnExecutionComplete, OnProcessExit, OnProcessIO, OnProcessStart, OnShutdown
from launch.events import Shutdown as ShutdownEvent
from launch.events import matches_action
from launch.events.process import ShutdownProcess, SignalProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, ThisLaunchFileDir

A = LaunchConfiguration("a", default="unset")
VARIABLE = EnvironmentVariable("CONFORMANCE_VAR", default_value="unset")
WAITER = [
    "python3",
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(7)); sys.stdout.write('up\\n'); sys.stdout.flush(); signal.pause()",
]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    monkeypatch.delenv("CONFORMANCE_VAR", raising=False)


def test_declared_argument_has_its_default(run_entities):
    assert run_entities(lambda note: [DeclareLaunchArgument("a", default_value="x"), note(A)]) == (0, ["x"])


def test_given_value_wins(run_entities):
    assert run_entities(
        lambda note: [SetLaunchConfiguration("a", "given"), DeclareLaunchArgument("a", default_value="x"), note(A)]
    ) == (0, ["given"])


def test_value_outside_choices_stops_the_launch(run_entities, capfd):
    code, notes = run_entities(
        lambda note: [SetLaunchConfiguration("a", "z"), DeclareLaunchArgument("a", choices=["x", "y"]), note("after")]
    )
    assert (code, notes) == (1, [])


def test_default_outside_choices_is_refused():
    with pytest.raises(RuntimeError, match="is not in provided choices"):
        DeclareLaunchArgument("a", default_value="z", choices=["x", "y"])


def test_description_names_the_choices():
    declared = DeclareLaunchArgument("a", description="An a.", choices=["x", "y"])
    assert declared.description == "An a. Valid choices are: ['x', 'y']"
    assert declared.choices == ["x", "y"]


def test_conditions_choose_actions(run_entities):
    def make(note):
        yes, no = note("yes"), note("no")
        return [
            GroupAction([yes], condition=IfCondition("true")),
            GroupAction([no], condition=UnlessCondition("true")),
        ]

    assert run_entities(make) == (0, ["yes"])


def test_group_is_a_scope_of_configurations_and_environment(run_entities):
    assert run_entities(
        lambda note: [
            GroupAction(
                [SetLaunchConfiguration("a", "in"), SetEnvironmentVariable("CONFORMANCE_VAR", "in"), note(A, VARIABLE)]
            ),
            note(A, " ", VARIABLE),
        ]
    ) == (0, ["inin", "unset unset"])


def test_group_without_scope(run_entities):
    assert run_entities(lambda note: [GroupAction([SetLaunchConfiguration("a", "in")], scoped=False), note(A)]) == (
        0,
        ["in"],
    )


def test_group_without_forwarding(run_entities):
    assert run_entities(
        lambda note: [
            SetLaunchConfiguration("a", "out"),
            GroupAction([note(A, LaunchConfiguration("b"))], forwarding=False, launch_configurations={"b": "B"}),
            note(A),
        ]
    ) == (0, ["unsetB", "out"])


def test_environment_actions(run_entities):
    code, notes = run_entities(
        lambda note: [
            AppendEnvironmentVariable("CONFORMANCE_VAR", "1"),
            AppendEnvironmentVariable("CONFORMANCE_VAR", "2"),
            AppendEnvironmentVariable("CONFORMANCE_VAR", "0", prepend=True, separator=","),
            note(VARIABLE),
            UnsetEnvironmentVariable("CONFORMANCE_VAR"),
            note(VARIABLE),
        ]
    )
    assert (code, notes) == (0, [f"0,1{os.pathsep}2", "unset"])


def test_unset_configuration(run_entities):
    assert run_entities(lambda note: [SetLaunchConfiguration("a", "x"), UnsetLaunchConfiguration("a"), note(A)]) == (
        0,
        ["unset"],
    )


def test_opaque_function_gets_arguments_and_gives_entities(run_entities):
    def make(note):
        return [OpaqueFunction(function=lambda context, x, *, y: [note(x, y)], args=["x"], kwargs={"y": "y"})]

    assert run_entities(make) == (0, ["xy"])


def test_error_in_a_function_stops_the_launch(run_entities):
    def fail(context):
        raise ValueError("deliberate")

    assert run_entities(lambda note: [OpaqueFunction(function=fail), note("after")]) == (1, [])


INNER = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir
def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument("inner", description="Inner."),
        SetEnvironmentVariable("CONFORMANCE_VAR", [ThisLaunchFileDir(), " ", LaunchConfiguration("inner")]),
    ])
"""


@pytest.fixture
def inner_file(tmp_path):
    path = tmp_path / "inner.launch.py"
    path.write_text(INNER)
    return path


def test_included_file_gets_arguments_and_knows_its_folder(run_entities, inner_file):
    code, notes = run_entities(
        lambda note: [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource([str(inner_file.parent), "/inner.launch.py"]),
                launch_arguments={"inner": ["v", A]}.items(),
            ),
            note(VARIABLE),
            UnsetEnvironmentVariable("CONFORMANCE_VAR"),
        ]
    )
    assert (code, notes) == (0, [f"{inner_file.parent} vunset"])


def test_included_file_misses_an_argument(run_entities, inner_file, capfd):
    source = PythonLaunchDescriptionSource(str(inner_file))
    assert run_entities(lambda note: [IncludeLaunchDescription(source), note("after")]) == (1, [])


def test_launch_file_folder_is_unknown_outside_of_files(run_entities):
    assert run_entities(lambda note: [note(ThisLaunchFileDir())])[0] == 1


def test_launch_arguments_of_a_description(inner_file):
    context = launch.LaunchContext()
    description = PythonLaunchDescriptionSource(str(inner_file)).get_launch_description(context)
    assert [(item.name, item.description, item.default_value) for item in description.get_launch_arguments()] == [
        ("inner", "Inner.", None)
    ]


def test_timers_run_in_time_order(run_entities):
    assert run_entities(
        lambda note: [
            TimerAction(period=0.2, actions=[note("late")]),
            TimerAction(period=0.05, actions=[note("early")]),
            note("now"),
        ]
    ) == (0, ["now", "early", "late"])


def test_shutdown_cancels_timers(run_entities):
    assert run_entities(
        lambda note: [
            TimerAction(period=30.0, actions=[note("never")]),
            TimerAction(period=0.05, actions=[Shutdown()]),
        ]
    ) == (0, [])


def test_on_shutdown_gets_the_reason(run_entities):
    reasons = []
    code, notes = run_entities(
        lambda note: [
            RegisterEventHandler(OnShutdown(on_shutdown=lambda event, context: reasons.append(event.reason))),
            RegisterEventHandler(OnShutdown(on_shutdown=[note("handled")])),
            EmitEvent(event=ShutdownEvent(reason="enough")),
        ]
    )
    assert (code, notes, reasons) == (0, ["handled"], ["enough"])


def test_execution_complete(run_entities):
    def make(note):
        first = note("first")
        return [RegisterEventHandler(OnExecutionComplete(target_action=first, on_completion=[note("then")])), first]

    assert run_entities(make) == (0, ["first", "then"])


def test_unregistered_handler_is_silent(run_entities):
    def make(note):
        handler = OnShutdown(on_shutdown=[note("never")])
        return [RegisterEventHandler(handler), UnregisterEventHandler(handler)]

    assert run_entities(make) == (0, [])


def test_process_start_output_and_exit(run_entities):
    seen = []

    def make(note):
        process = ExecuteProcess(cmd=["sh", "-c", "echo out; echo err >&2; exit 3"], name="shell")
        other = ExecuteProcess(cmd=["true"])
        handlers = [
            OnProcessStart(target_action=process, on_start=lambda event, _: seen.append(("start", event.pid > 0))),
            OnProcessIO(
                target_action=process,
                on_stdout=lambda event: seen.append(("out", event.text)),
                on_stderr=lambda event: seen.append(("err", event.text)),
            ),
            OnProcessExit(target_action=process, on_exit=lambda event, _: seen.append(("exit", event.returncode))),
            OnProcessExit(target_action=process, on_exit=[note("exited")]),
        ]
        return [*map(RegisterEventHandler, handlers), process, other]

    assert run_entities(make) == (0, ["exited"])
    assert set(seen) == {("start", True), ("err", b"err\n"), ("out", b"out\n"), ("exit", 3)}


@pytest.mark.parametrize(
    "event",
    [
        lambda target: ShutdownProcess(process_matcher=matches_action(target)),
        lambda target: SignalProcess(signal_number=signal.SIGINT, process_matcher=matches_action(target)),
    ],
)
def test_one_process_is_stopped(run_entities, event):
    codes = []

    def make(note):
        target = ExecuteProcess(cmd=WAITER)
        stop = OnProcessIO(target_action=target, on_stdout=lambda _: [EmitEvent(event=event(target))])
        ended = OnProcessExit(target_action=target, on_exit=lambda ended, _: codes.append(ended.returncode))
        return [RegisterEventHandler(stop), RegisterEventHandler(ended), target]

    assert run_entities(make) == (0, [])
    assert codes == [7]


def test_process_cannot_be_executed_twice(run_entities):
    process = ExecuteProcess(cmd=["true"])
    assert run_entities(lambda note: [process, process])[0] == 1


def test_cached_output(run_entities):
    process = ExecuteProcess(cmd=["sh", "-c", "echo out; echo err >&2"], cached_output=True)
    run_entities(lambda note: [process])
    assert (process.return_code, "out" in str(process.get_stdout()), "err" in str(process.get_stderr())) == (
        0,
        True,
        True,
    )


def test_shutdown_from_another_thread():
    service = LaunchService(noninteractive=True)
    started = threading.Event()
    process = ExecuteProcess(cmd=WAITER)
    service.include_launch_description(
        LaunchDescription(
            [RegisterEventHandler(OnProcessIO(on_stdout=lambda _: started.set(), target_action=process)), process]
        )
    )
    stopper = threading.Thread(target=lambda: (started.wait(20), service.shutdown()))
    stopper.start()
    assert service.run() == 0
    stopper.join()
    assert process.return_code == 7


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExecuteProcess(cmd=["a", 1]),
        lambda: ExecuteProcess(cmd=[Path("a")]),
        lambda: ExecuteProcess(cmd=["a"], respawn="true"),
        lambda: ExecuteProcess(cmd=["a"], sigterm_timeout=5),
        lambda: TimerAction(period=1, actions=[]),
        lambda: SetEnvironmentVariable("a", 1),
        lambda: DeclareLaunchArgument("a", default_value=True),
        lambda: launch.utilities.normalize_to_list_of_substitutions([["nested"]]),
    ],
)
def test_values_of_the_wrong_type_are_refused(make):
    with pytest.raises(TypeError):
        make()


@pytest.mark.deliberate
def test_what_is_no_pair_is_refused_by_name(inner_file):
    source = PythonLaunchDescriptionSource(str(inner_file))
    with pytest.raises(TypeError, match=r"launch_arguments must hold pairs, as in .*; got 'inner'"):
        IncludeLaunchDescription(source, launch_arguments={"inner": "x"})
