# SPDX-License-Identifier: Apache-2.0

"""Processes under ``ros2 launch``: output, exit lines, respawn, signals, log folder."""

import os
import pty
import re
import select
import signal
import time

import pytest

STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); {}; print('up'); time.sleep(60)"
POLITE = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: (print('bye'), sys.exit(0))); print('up'); signal.pause()"


def lines(output, start):
    return [line for line in output.splitlines() if line.startswith(start)]


def test_screen_shows_both_streams_with_the_name_in_front(workspace):
    code, output = workspace.launch(
        """python("import sys; print('out'); print('err', file=sys.stderr)", output="screen")"""
    )
    assert code == 0
    assert sorted(lines(output, "[child-1]")) == ["[child-1] err", "[child-1] out"]


def test_default_output_shows_stderr_only_and_logs_both(workspace):
    code, output = workspace.launch("""python("import sys; print('out'); print('err', file=sys.stderr)")""")
    assert code == 0
    assert lines(output, "[child-1]") == ["[child-1] err"]
    log = (workspace.run_folders()[0] / "launch.log").read_text()
    assert re.search(r"^\d+\.\d+ \[child-1\] out$", log, re.MULTILINE)
    assert re.search(r"^\d+\.\d+ \[child-1\] err$", log, re.MULTILINE)
    assert re.search(r"^\d+\.\d+ \[INFO\] \[child-1\]: process has finished cleanly", log, re.MULTILINE)


def test_own_log_has_files_per_stream(workspace):
    workspace.launch("""python("import sys; print('out'); print('err', file=sys.stderr)", output="own_log")""")
    (folder,) = workspace.run_folders()
    found = {path.name: path.read_text() for path in folder.glob("child-1*.log")}
    assert set(found) == {"child-1.log", "child-1-stdout.log", "child-1-stderr.log"}
    assert "out" in found["child-1-stdout.log"]
    assert "err" in found["child-1-stderr.log"]
    assert "out" in found["child-1.log"]


def test_output_by_stream(workspace):
    _, output = workspace.launch(
        """python("import sys; print('out'); print('err', file=sys.stderr)", output={"stdout": "screen", "stderr": "log"})"""
    )
    assert lines(output, "[child-1]") == ["[child-1] out"]


def test_output_can_be_overridden_for_all(workspace):
    workspace.env["OVERRIDE_LAUNCH_PROCESS_OUTPUT"] = "screen"
    _, output = workspace.launch("""python("print('out')", output="log")""")
    assert lines(output, "[child-1]") == ["[child-1] out"]


def test_last_line_without_end_is_shown(workspace):
    _, output = workspace.launch("""python("print('a\\\\n\\\\nb', end='')", output="screen")""")
    assert lines(output, "[child-1]") == ["[child-1] a", "[child-1] ", "[child-1] b"]


def test_log_folder_is_announced(workspace):
    _, output = workspace.launch("""LogInfo(msg="hello")""")
    first, second, third = output.splitlines()[:3]
    (folder,) = workspace.run_folders()
    assert (workspace.log_root / "latest").resolve() == folder
    assert first == f"[INFO] [launch]: All log files can be found below {folder}"
    assert re.fullmatch(r"\d{4}(-\d\d){5}-\d{6}-.+-\d+", folder.name)
    assert second == "[INFO] [launch]: Default logging verbosity is set to INFO"
    assert third == "[INFO] [launch.user]: hello"


def test_exit_lines_and_numbers(workspace):
    code, output = workspace.launch(
        """
        python("pass", on_exit=[python("raise SystemExit(7)", name="bad")]),
        """
    )
    assert code == 0
    assert re.search(r"^\[INFO\] \[child-1\]: process started with pid \[\d+\]$", output, re.MULTILINE)
    assert re.search(r"^\[INFO\] \[child-1\]: process has finished cleanly \[pid \d+\]$", output, re.MULTILINE)
    died = r"^\[ERROR\] \[bad-2\]: process has died \[pid \d+, exit code 7, cmd '.*raise SystemExit\(7\)'\]\.$"
    assert re.search(died, output, re.MULTILINE)


def test_required_process_ends_the_launch_which_still_exits_0(workspace):
    code, output = workspace.launch(
        f"""
        python({POLITE!r}, name="other", output="screen"),
        TimerAction(period=0.3, actions=[python("raise SystemExit(7)", on_exit=Shutdown())]),
        """
    )
    assert code == 0
    assert "[INFO] [launch]: process[child-2] was required: shutting down launched system" in output
    assert "[INFO] [other-1]: sending signal 'SIGINT' to process[other-1]" in output
    assert "[other-1] bye" in output


def test_respawn_keeps_the_number(workspace):
    running = workspace.start(
        str(workspace.write("""python("print('run')", output="screen", respawn=True, respawn_delay=0.1)"""))
    )
    running.wait_for(r"^\[child-1\] run$", 3)
    running.signal(signal.SIGINT)
    assert running.finish() == 0
    assert "child-2" not in running.output


def test_respawn_ends_after_the_retries(workspace):
    _, output = workspace.launch("""python("print('run')", output="screen", respawn=True, respawn_max_retries=2)""")
    assert len(lines(output, "[child-1] run")) == 3


def test_missing_executable_is_reported_and_others_go_on(workspace):
    code, output = workspace.launch(
        """
        ExecuteProcess(cmd=["no_such_executable"]),
        TimerAction(period=0.1, actions=[LogInfo(msg="later")]),
        """
    )
    assert code == 0
    assert "[ERROR] [no_such_executable-1]: exception occurred while executing process" in output
    assert "No such file or directory: 'no_such_executable'" in output
    assert "[INFO] [launch.user]: later" in output


def test_environment_folder_shell_and_terminal(workspace):
    show = (
        "import os, sys; print(os.getcwd(), os.environ.get('A'), os.environ.get('HOME') is None, sys.stdout.isatty())"
    )
    code, output = workspace.launch(
        f"""
        python({show!r}, output="screen", cwd="/", additional_env={{"A": ["x", TextSubstitution(text="y")]}}),
        python({show!r}, output="screen", cwd="/", env={{"A": "only"}}, name="bare"),
        python({show!r}, output="screen", cwd="/", emulate_tty=True, name="tty"),
        ExecuteProcess(cmd=["echo one; echo", " two"], shell=True, output="screen", name="sh"),
        """
    )
    assert code == 0
    assert "[child-1] / xy False False" in output
    assert "[bare-2] / only True False" in output
    assert "[tty-3] / None False True" in output
    assert lines(output, "[sh-4]") == ["[sh-4] one", "[sh-4] two"]


def test_sigint_to_the_launcher_stops_the_children(workspace, wait_until_dead):
    running = workspace.start(str(workspace.write(f"""python({POLITE!r}, output="screen")""")))
    pid = running.child_pid()
    running.wait_for(r"^\[child-1\] up$")
    running.signal(signal.SIGINT)
    assert running.finish() == 0
    wait_until_dead(pid)
    assert "[WARNING] [launch]: user interrupted with ctrl-c (SIGINT)" in running.output
    assert "[INFO] [child-1]: sending signal 'SIGINT' to process[child-1]" in running.output
    assert "[child-1] bye" in running.output
    assert "[INFO] [child-1]: process has finished cleanly" in running.output


def test_second_ctrl_c_is_only_logged(workspace):
    code = "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: (print('closing'), time.sleep(0.8), sys.exit(0))); print('up'); time.sleep(60)"
    running = workspace.start(str(workspace.write(f"""python({code!r}, output="screen")""")))
    running.wait_for(r"^\[child-1\] up$")
    running.signal(signal.SIGINT)
    running.wait_for(r"^\[child-1\] closing$")
    running.signal(signal.SIGINT)
    running.wait_for(r"user interrupted with ctrl-c \(SIGINT\) again, ignoring")
    assert running.finish() == 0


def test_stubborn_process_gets_sigterm_then_sigkill(workspace, wait_until_dead):
    code = STUBBORN.format("signal.signal(signal.SIGTERM, lambda *_: print('term'))").replace(
        "time.sleep(60)", "[time.sleep(60) for _ in range(9)]"
    )
    running = workspace.start(
        str(workspace.write(f"""python({code!r}, output="screen", sigterm_timeout="0.4", sigkill_timeout="0.6")"""))
    )
    pid = running.child_pid()
    running.wait_for(r"^\[child-1\] up$")
    begin = time.monotonic()
    running.signal(signal.SIGINT)
    assert running.finish() == 0
    assert 0.9 < time.monotonic() - begin < 5.0
    wait_until_dead(pid)
    name = r"^\[ERROR\] \[child-1\]: process\[child-1\] failed to terminate "
    running.wait_for(name + r"'0\.4' seconds after receiving 'SIGINT', escalating to 'SIGTERM'$")
    running.wait_for(name + r"'1\.0' seconds after receiving 'SIGTERM', escalating to 'SIGKILL'$")
    running.wait_for(r"^\[child-1\] term$")
    running.wait_for(r"process has died \[pid \d+, exit code -9, ")


def test_timeouts_can_be_launch_arguments(workspace):
    code = STUBBORN.format("pass")
    running = workspace.start(
        str(workspace.write(f"""python({code!r}, output="screen")""")), "sigterm_timeout:=0.3", "sigkill_timeout:=9"
    )
    running.wait_for(r"^\[child-1\] up$")
    running.signal(signal.SIGINT)
    assert running.finish() == 0
    running.wait_for(r"process has died \[pid \d+, exit code -15, ")


def test_killed_child_is_reported(workspace):
    running = workspace.start(str(workspace.write(f"""python({POLITE!r}, output="screen")""")))
    running.wait_for(r"^\[child-1\] up$")
    os.kill(running.child_pid(), signal.SIGKILL)
    assert running.finish() == 0
    running.wait_for(r"^\[ERROR\] \[child-1\]: process has died \[pid \d+, exit code -9, ")


@pytest.mark.deliberate
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_termination_of_the_launcher_stops_the_children(workspace, wait_until_dead, number):
    running = workspace.start(str(workspace.write(f"""python({POLITE!r}, output="screen")""")))
    pid = running.child_pid()
    running.wait_for(r"^\[child-1\] up$")
    running.signal(number)
    assert running.finish() == 0
    wait_until_dead(pid)
    assert f"[WARNING] [launch]: received {number.name}: shutting down launched system" in running.output
    assert "[child-1] bye" in running.output


def test_ctrl_c_in_a_terminal_reaches_the_whole_group(workspace, wait_until_dead):
    running = workspace.start(str(workspace.write(f"""python({POLITE!r}, output="screen")""")))
    pid = running.child_pid()
    running.wait_for(r"^\[child-1\] up$")
    assert os.getpgid(pid) == os.getpgid(running.process.pid)
    os.killpg(os.getpgid(running.process.pid), signal.SIGINT)
    assert running.finish() == 0
    wait_until_dead(pid)
    assert "[child-1] bye" in running.output


def test_ctrl_c_typed_in_a_terminal_is_sent_once(workspace, wait_until_dead):
    path = workspace.write(f"""python({POLITE!r}, output="screen")""")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("ros2", ["ros2", "launch", str(path)], workspace.env)
    output = b""

    def read_until(pattern):
        nonlocal output
        deadline = time.monotonic() + 20
        while not re.search(pattern, output):
            assert time.monotonic() < deadline, output
            assert select.select([terminal], [], [], 20)[0], output
            output += os.read(terminal, 4096)

    read_until(rb"\[child-1\] up\r?\n")
    child = int(re.search(rb"process started with pid \[(\d+)\]", output)[1])
    os.write(terminal, b"\x03")
    read_until(rb"process has finished cleanly \[pid \d+\]")
    # the terminal stays open until the end: closing it sends SIGHUP
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    assert code == 0
    wait_until_dead(child)
    assert b"user interrupted with ctrl-c (SIGINT)" in output
    assert b"sending signal" not in output


def test_grandchild_that_keeps_the_pipe_does_not_hold_the_launch(workspace):
    begin = time.monotonic()
    _, output = workspace.launch(
        """ExecuteProcess(cmd=["sh", "-c", "sleep 20 & echo $!"], output="screen", name="sh")"""
    )
    assert time.monotonic() - begin < 10
    os.kill(int(re.search(r"\[sh-1\] (\d+)", output)[1]), signal.SIGKILL)
