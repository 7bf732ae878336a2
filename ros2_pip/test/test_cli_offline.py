# SPDX-License-Identifier: Apache-2.0

"""Commands of ``ros2`` that need no graph; nothing but the command line is used, so the original passes them, too."""

import importlib.util
import os
import resource
import signal
import stat
import sys

import pytest

VERBS = ("action", "bag", "daemon", "interface", "launch", "node", "param", "pkg", "run", "service", "topic")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Install a package with two executables below a prefix with a space in its path."""
    root = tmp_path_factory.mktemp("my prefix")
    index = root / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "cli_demo").touch()
    (root / "share" / "cli_demo").mkdir()
    library = root / "lib" / "cli_demo"
    library.mkdir(parents=True)
    (library / "notes.txt").write_text("no executable")
    _executable(library / "show", "import sys\nprint(sys.argv[1:])\nsys.exit(len(sys.argv) - 1)\n")
    _executable(
        library / "wait",
        "import signal, time\n"
        "count = 0\n"
        "def note(number, _frame):\n"
        "    global count\n"
        "    count += 1\n"
        "    print('got', signal.Signals(number).name, flush=True)\n"
        "signal.signal(signal.SIGINT, note)\n"
        "signal.signal(signal.SIGTERM, note)\n"
        "print('waiting', flush=True)\n"
        "while not count:\n"
        "    time.sleep(0.01)\n"
        "deadline = time.monotonic() + 0.3\n"
        "while time.monotonic() < deadline:\n"
        "    time.sleep(0.01)\n"
        "print('signals:', count)\n"
        "raise SystemExit(5)\n",
    )
    return root


def _executable(path, source):
    path.write_text(f"#!/usr/bin/env python3\n{source}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(scope="module")
def with_prefix(prefix):
    known = os.environ.get("AMENT_PREFIX_PATH", sys.prefix)
    return {"AMENT_PREFIX_PATH": f"{prefix}{os.pathsep}{known}"}


def test_help_lists_the_verbs(ros2):
    text = ros2("--help").wait().out
    assert all(f"  {verb} " in text for verb in VERBS)
    assert ros2().wait().out == text
    assert "usage: ros2" in text


def test_wrong_usage_is_refused_by_name(ros2):
    commands = ros2("launhc"), ros2("pkg", "list", "--blue"), ros2("topic", "echo")
    verb, option, missing = (command.wait(2).err for command in commands)
    assert "invalid choice: 'launhc'" in verb
    assert "unrecognized arguments: --blue" in option
    assert "the following arguments are required: topic_name" in missing


def test_sub_command_help(ros2):
    verb, sub_command = ros2("topic"), ros2("topic", "echo", "--help")
    assert "hz" in verb.wait().out
    assert "--qos-reliability" in sub_command.wait().out


def test_packages(ros2, prefix, with_prefix):
    listed = ros2("pkg", "list", **with_prefix)
    where = ros2("pkg", "prefix", "cli_demo", **with_prefix)
    share = ros2("pkg", "prefix", "--share", "cli_demo", **with_prefix)
    unknown = ros2("pkg", "prefix", "no_such_package")
    names = listed.wait().lines
    assert names == sorted(names)
    assert {"cli_demo", "rclpy", "std_msgs"} <= set(names)
    assert where.wait().lines == [str(prefix)]
    assert share.wait().lines == [str(prefix / "share" / "cli_demo")]
    assert "Package not found" in unknown.wait(1).err


def test_executables(ros2, prefix, with_prefix):
    plain = ros2("pkg", "executables", "cli_demo", **with_prefix)
    full = ros2("pkg", "executables", "--full-path", "cli_demo", **with_prefix)
    unknown = ros2("pkg", "executables", "no_such_package")
    assert plain.wait().lines == ["cli_demo show", "cli_demo wait"]
    assert full.wait().lines == [str(prefix / "lib" / "cli_demo" / name) for name in ("show", "wait")]
    assert "Package 'no_such_package' not found" in unknown.wait(1).err


def test_listing_packages_is_quick(ros2):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ros2("pkg", "list").wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert spent_s < 1.5


def test_run_passes_arguments_and_exit_code(ros2, with_prefix):
    command = ros2("run", "cli_demo", "show", "--ros-args", "-p", "a:=1", **with_prefix).wait(3)
    assert "['--ros-args', '-p', 'a:=1']" in command.out
    assert "[ros2run]: Process exited with failure 3" in command.out
    prefixed = ros2("run", "--prefix", "env LANG=C", "cli_demo", "show", **with_prefix).wait(0)
    assert prefixed.lines == ["[]"]


def test_run_names_what_is_missing(ros2, with_prefix):
    package, executable = ros2("run", "nope", "show"), ros2("run", "cli_demo", "notes.txt", **with_prefix)
    assert "Package 'nope' not found" in package.wait(1).err
    assert "No executable found" in executable.wait(1).err


def test_run_waits_for_the_clean_end_after_ctrl_c(ros2, with_prefix):
    command = ros2("run", "cli_demo", "wait", **with_prefix)
    command.wait_for(lambda running: "waiting" in running.out).interrupt_group().wait(5)
    assert "got SIGINT" in command.out
    assert "signals: 1" in command.out


@pytest.mark.skipif(importlib.util.find_spec("ros2cli") is not None, reason="the original leaves its child running")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_forwards_a_signal_to_itself(ros2, with_prefix, number):
    command = ros2("run", "cli_demo", "wait", **with_prefix)
    command.wait_for(lambda running: "waiting" in running.out).interrupt(number).wait(5)
    assert f"got {number.name}" in command.out
    assert "signals: 1" in command.out


def test_interface_show_expands_nested_types(ros2):
    nested = ros2("interface", "show", "std_msgs/msg/Header", "--no-comments")
    service = ros2("interface", "show", "std_srvs/srv/SetBool", "--no-comments")
    commented = ros2("interface", "show", "std_srvs/srv/SetBool")
    unknown = ros2("interface", "show", "no_such_package/msg/Thing")
    assert nested.wait().lines == [
        "builtin_interfaces/Time stamp",
        "\tint32 sec",
        "\tuint32 nanosec",
        "string frame_id",
    ]
    # the original leaves the mark of a comment after its field
    assert [line.rstrip(" #") for line in service.wait().lines] == [
        "bool data",
        "---",
        "bool success",
        "string message",
    ]
    assert "#" in commented.wait().out
    assert "no_such_package" in unknown.wait(1).err


def test_interface_list(ros2):
    services = ros2("interface", "list", "--only-srvs")
    package = ros2("interface", "package", "std_srvs")
    lines = services.wait().lines
    assert lines[0] == "Services:"
    assert "    std_srvs/srv/Trigger" in lines
    assert not any("/msg/" in line for line in lines)
    assert sorted(package.wait().lines) == ["std_srvs/srv/Empty", "std_srvs/srv/SetBool", "std_srvs/srv/Trigger"]


def test_daemon_commands_succeed(ros2):
    stop = ros2("daemon", "stop").wait()
    assert "The daemon" in stop.out
    assert "The daemon is not running" in ros2("daemon", "status").wait().out
