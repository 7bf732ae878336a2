# SPDX-License-Identifier: Apache-2.0

"""Runs the processes of a launch test, the tests beside them, and those after them."""

import sys
import threading
import traceback
import unittest
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch import LaunchDescription, LaunchDescriptionSource, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import EventHandler, OnProcessExit, OnProcessIO, OnProcessStart
from launch.event_handlers.base import ReactionHandler

from launch_testing.actions import ReadyEvent
from launch_testing.io_handler import ActiveIoHandler
from launch_testing.loader import TestRun, make_suite
from launch_testing.proc_info_handler import ActiveProcInfoHandler

#: How long the launch may take until ReadyToTest.
READY_TIMEOUT_S = 60.0
#: How long the tests may go on after the launch has ended under them.
_END_TIMEOUT_S = 15.0


@dataclass(slots=True)
class Outcome:
    """What became of one run: failures by test name, with their text."""

    tests: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def successful(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def add(self, suite_result: "_Result") -> None:
        """Add the results of a suite."""
        self.tests += suite_result.names
        for test, text in [*suite_result.failures, *suite_result.errors]:
            self.failures[str(test)] = text
        for test in suite_result.unexpectedSuccesses:
            self.failures[str(test)] = "unexpected success"
        self.skipped.update({str(test): reason for test, reason in suite_result.skipped})


class _Result(unittest.TextTestResult):
    """Result that remembers which tests ran."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names: list[str] = []

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - name of the base
        self.names.append(str(test))
        super().startTest(test)


class LaunchTestRunner:
    """Runs one :class:`TestRun`; call :meth:`run` from the main thread, so that Ctrl-C ends the processes."""

    def __init__(
        self, test_run: TestRun, *, launch_arguments: Mapping[str, str] | None = None, debug: bool = False
    ) -> None:
        self._test_run = test_run
        self._arguments = dict(launch_arguments or {})
        self._debug = debug
        self._outcome = Outcome()
        self._ready = threading.Event()
        self._launch_ended = threading.Event()
        self._tests_ended = threading.Event()

    def run(self) -> Outcome:
        """Run everything and return what became of it; errors of the description become a failure."""
        try:
            description, available = self._test_run.describe()
        except Exception:  # noqa: BLE001 - border to the user's module; becomes a failure
            self._outcome.failures["generate_test_description"] = traceback.format_exc()
            return self._outcome
        proc_info, proc_output = ActiveProcInfoHandler(), ActiveIoHandler()
        # stdin of the processes is a pipe and the tests decide when to stop: nobody presses Ctrl-C for them
        service = LaunchService(noninteractive=True, debug=self._debug)
        context = {
            **available,
            "launch_service": service,
            "proc_info": proc_info,
            "proc_output": proc_output,
            "test_args": dict(self._arguments),
        }
        service.include_launch_description(
            LaunchDescription(
                [
                    *self._observers(proc_info, proc_output),
                    IncludeLaunchDescription(
                        LaunchDescriptionSource(description), launch_arguments=self._arguments.items()
                    ),
                ]
            )
        )
        worker = threading.Thread(target=self._run_pre_shutdown, args=(service, context), daemon=True)
        worker.start()
        return_code = service.run()
        self._launch_ended.set()
        self._conclude(worker, return_code, context)
        return self._outcome

    def _observers(self, proc_info: ActiveProcInfoHandler, proc_output: ActiveIoHandler) -> list[RegisterEventHandler]:
        def on_start(event: Any, _context: Any) -> None:
            proc_output.track(event.action)
            proc_info.append(event)

        handlers: Sequence[ReactionHandler | EventHandler] = (
            OnProcessStart(on_start=on_start),
            OnProcessExit(on_exit=lambda event, _context: proc_info.append(event)),
            OnProcessIO(on_stdout=proc_output.append, on_stderr=proc_output.append),
            ReactionHandler(
                matcher=lambda event: isinstance(event, ReadyEvent),
                reaction=lambda _event, _context: self._ready.set(),
            ),
        )
        return [RegisterEventHandler(handler) for handler in handlers]

    def _run_pre_shutdown(self, service: LaunchService, context: dict[str, Any]) -> None:
        try:
            if self._wait_until_ready():
                self._run_suite(self._test_run.pre_shutdown, context)
            else:
                self._outcome.failures["ReadyToTest"] = (
                    "Timed out waiting for processes to start up: the description has not come to "
                    f"launch_testing.actions.ReadyToTest() within {READY_TIMEOUT_S:g} s, or the launch ended before"
                )
        except Exception:  # noqa: BLE001 - border of the thread; becomes a failure
            self._outcome.failures["tests"] = traceback.format_exc()
        finally:
            self._tests_ended.set()
            service.shutdown()

    def _wait_until_ready(self) -> bool:
        waited_s = 0.0
        while waited_s < READY_TIMEOUT_S and not self._launch_ended.is_set():
            if self._ready.wait(0.05):
                return True
            waited_s += 0.05
        return self._ready.is_set()

    def _conclude(self, worker: threading.Thread, return_code: int, context: dict[str, Any]) -> None:
        if not self._tests_ended.is_set():
            worker.join(_END_TIMEOUT_S)
            self._outcome.failures["launch"] = "Processes under test stopped before tests completed"
            return
        worker.join()
        if return_code != 0:
            self._outcome.failures["launch"] = f"The launch ended with code {return_code}; see its messages above"
        if self._ready.is_set():
            try:
                self._run_suite(self._test_run.post_shutdown, context)
            except TypeError:
                self._outcome.failures["post_shutdown"] = traceback.format_exc()

    def _run_suite(self, classes: tuple[type[unittest.TestCase], ...], context: dict[str, Any]) -> None:
        suite = make_suite(classes, context)
        if suite.countTestCases() == 0:
            return
        result = unittest.TextTestRunner(sys.stderr, verbosity=2, resultclass=_Result).run(suite)
        assert isinstance(result, _Result)  # the class given above
        self._outcome.add(result)
