# SPDX-License-Identifier: Apache-2.0

"""Tests of launches: the runner, the marks, the helpers, and the pytest plugin."""

import subprocess
import sys
import textwrap

import pytest

MODULE = """\
import unittest
import pytest
import launch, launch_testing, launch_testing.actions, launch_testing.asserts, launch_testing.markers
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration
PYTHON = {python!r}
WAIT = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(0)); print('ready', {extra}); print('on stderr', file=sys.stderr); signal.pause()"

def process(*args, name="waiter"):
    return ExecuteProcess(cmd=[PYTHON, "-u", "-c", WAIT, *args], name=name)

"""

PASSING = """\
@pytest.mark.launch_test
def generate_test_description():
    waiter = process()
    short = ExecuteProcess(cmd=[PYTHON, "-c", "raise SystemExit(3)"], name="short")
    return launch.LaunchDescription([waiter, short, launch_testing.actions.ReadyToTest()]), {"waiter": waiter, "short": short}

class TestWhileRunning(unittest.TestCase):
    def test_output(self, proc_output, waiter):
        proc_output.assertWaitFor("ready", process=waiter, timeout=10, stream="stdout")
        proc_output.assertWaitFor("on stderr", process=waiter, timeout=10)
        with self.assertRaises(AssertionError):
            proc_output.assertWaitFor("never", process=waiter, timeout=0.2, stream="stdout")

    def test_processes(self, proc_info, waiter, short):
        proc_info.assertWaitForStartup(process=waiter, timeout=10)
        proc_info.assertWaitForShutdown(process=short, timeout=10)
        with self.assertRaises(AssertionError):
            proc_info.assertWaitForShutdown(process=waiter, timeout=0.2)

@launch_testing.post_shutdown_test()
class TestAfter(unittest.TestCase):
    def test_codes(self, proc_info, waiter, short):
        launch_testing.asserts.assertExitCodes(proc_info, process=waiter)
        launch_testing.asserts.assertExitCodes(proc_info, allowable_exit_codes=[3], process=short)
        with self.assertRaisesRegex(AssertionError, "exited with code 3"):
            launch_testing.asserts.assertExitCodes(proc_info, process="short")
        self.assertEqual(proc_info[waiter].returncode, 0)

    def test_full_output(self, proc_output, waiter):
        launch_testing.asserts.assertInStdout(proc_output, "ready", waiter)
        launch_testing.asserts.assertInStderr(proc_output, "on stderr", waiter)
        with self.assertRaises(AssertionError):
            launch_testing.asserts.assertInStdout(proc_output, "never", waiter)
        self.assertIn(b"ready", b"".join(bytes(io.text) for io in proc_output[waiter]))
"""

FAILING = """\
@pytest.mark.launch_test
def generate_test_description():
    return launch.LaunchDescription([process(), launch_testing.actions.ReadyToTest()])

class TestWhileRunning(unittest.TestCase):
    def test_good(self):
        pass

    def test_bad(self):
        self.fail("deliberate failure")
"""

FAILING_AFTER = """\
@pytest.mark.launch_test
def generate_test_description():
    return launch.LaunchDescription([process(), launch_testing.actions.ReadyToTest()])

@launch_testing.post_shutdown_test()
class TestAfter(unittest.TestCase):
    def test_code(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info, allowable_exit_codes=[5])
"""

DYING = """\
@pytest.mark.launch_test
def generate_test_description():
    return launch.LaunchDescription([ExecuteProcess(cmd=[PYTHON, "-c", "pass"]), launch_testing.actions.ReadyToTest()])

class TestWhileRunning(unittest.TestCase):
    def test_wait(self, proc_output):
        proc_output.waitFor("never", timeout=2)
"""

KEPT_ALIVE = """\
@pytest.mark.launch_test
@launch_testing.markers.keep_alive
def generate_test_description():
    short = ExecuteProcess(cmd=[PYTHON, "-c", "pass"])
    return launch.LaunchDescription([short, launch_testing.actions.ReadyToTest()]), {"short": short}

class TestWhileRunning(unittest.TestCase):
    def test_wait(self, proc_info, short):
        proc_info.assertWaitForShutdown(process=short)
        with self.assertRaises(AssertionError):
            proc_info.assertWaitForShutdown(process="keep_alive", timeout=0.3)
"""

PARAMETRIZED = """\
@pytest.mark.launch_test
@launch_testing.parametrize("word", ["one", "two"])
def generate_test_description(word):
    waiter = ExecuteProcess(cmd=[PYTHON, "-u", "-c", WAIT, word], name="waiter")
    return launch.LaunchDescription([waiter, launch_testing.actions.ReadyToTest()]), {"waiter": waiter}

class TestWhileRunning(unittest.TestCase):
    def test_word(self, proc_output, waiter, word):
        proc_output.assertWaitFor(word, process=waiter, stream="stdout")
        print("SAW", word)
"""

WITH_ARGUMENT = """\
@pytest.mark.launch_test
def generate_test_description():
    waiter = process(LaunchConfiguration("word"))
    declared = DeclareLaunchArgument("word", default_value="none", description="A word.")
    return launch.LaunchDescription([declared, waiter, launch_testing.actions.ReadyToTest()])

class TestWhileRunning(unittest.TestCase):
    def test_word(self, proc_output):
        proc_output.assertWaitFor("given", stream="stdout")
"""


def write(tmp_path, body):
    path = tmp_path / "test_launch_of_processes.py"
    path.write_text(MODULE.format(python=sys.executable, extra="sys.argv[1:]") + textwrap.dedent(body))
    return path


def run(*arguments):
    result = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("body", "code", "texts"),
    [
        (PASSING, 0, ["test_output", "test_processes", "test_codes", "test_full_output"]),
        (FAILING, 1, ["test_good", "deliberate failure"]),
        (FAILING_AFTER, 1, ["waiter-1 exited with code"]),
        (DYING, 1, ["Processes under test stopped before tests completed"]),
        (KEPT_ALIVE, 0, ["test_wait"]),
        (PARAMETRIZED, 0, ["SAW one", "SAW two"]),
    ],
    ids=["passing", "failing", "failing_after", "dying", "kept_alive", "parametrized"],
)
def test_runner(tmp_path, body, code, texts):
    returncode, output = run("launch_testing.launch_test", write(tmp_path, body))
    assert returncode == code, output
    assert [text for text in texts if text not in output] == []


def test_runner_passes_launch_arguments(tmp_path):
    path = write(tmp_path, WITH_ARGUMENT)
    returncode, output = run("launch_testing.launch_test", path, "word:=given")
    assert returncode == 0, output
    returncode, output = run("launch_testing.launch_test", path, "-s")
    assert returncode == 0
    assert "'word':\n        A word." in output


def test_report(tmp_path):
    report = tmp_path / "report.xml"
    returncode, _ = run(
        "launch_testing.launch_test", "--package-name", "pkg", "--junit-xml", report, write(tmp_path, FAILING)
    )
    assert returncode == 1
    text = report.read_text()
    assert "deliberate failure" in text
    assert "test_good" in text


@pytest.mark.deliberate  # the plugin of the original does not load in pytest 8.4 and later
@pytest.mark.parametrize(
    ("body", "code", "texts"),
    [
        (PASSING, 0, ["1 passed"]),
        (FAILING, 1, ["1 failed", "deliberate failure"]),
        (PARAMETRIZED, 0, ["2 passed"]),
        ("def test_ordinary():\n    assert True\ngenerate_test_description = None\n", 0, ["1 passed"]),
    ],
    ids=["passing", "failing", "parametrized", "ordinary"],
)
def test_pytest_plugin(tmp_path, body, code, texts):
    plugin = ["-p", "launch_testing.pytest.hooks", "-p", "no:cacheprovider"]
    returncode, output = run("pytest", *plugin, "--rootdir", tmp_path, write(tmp_path, body))
    assert returncode == code, output
    assert [text for text in texts if text not in output] == []


@pytest.mark.deliberate
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def generate_test_description():\n    return 5\n", "must return a LaunchDescription"),
        (
            FAILING.replace("def test_good(self)", "def test_good(self, nonsense)"),
            "asks for ['nonsense'], which are not available; there are: launch_service, proc_info, proc_output, test_args",
        ),
        (
            FAILING.replace("process(), launch_testing.actions.ReadyToTest()", "ExecuteProcess(cmd=['true'])"),
            "has not come to launch_testing.actions.ReadyToTest()",
        ),
    ],
    ids=["no_description", "unknown_argument", "never_ready"],
)
def test_wrong_module_is_explained(tmp_path, body, message):
    returncode, output = run("launch_testing.launch_test", write(tmp_path, body))
    assert returncode == 1
    assert message in output
