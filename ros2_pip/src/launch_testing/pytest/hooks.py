# SPDX-License-Identifier: Apache-2.0

"""pytest plugin: modules whose ``generate_test_description`` carries ``@pytest.mark.launch_test`` are launch tests."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from launch_testing.loader import TestRun, load_test_runs
from launch_testing.test_runner import LaunchTestRunner

_FUNCTION = "generate_test_description"
_MARK = "launch_test"


class LaunchTestFailure(Exception):  # noqa: N818 - name of the original
    """Some tests of a run failed; the text lists them."""


class LaunchTestItem(pytest.Item):
    """One launch with all of its tests."""

    def __init__(self, *, test_run: TestRun, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._test_run = test_run

    def runtest(self) -> None:
        """Run it.

        Raises:
            LaunchTestFailure: a test failed, or the processes did not stay until the end.
        """
        outcome = LaunchTestRunner(self._test_run).run()
        if not outcome.successful:
            raise LaunchTestFailure("\n".join(f"FAIL: {test}\n{text}" for test, text in outcome.failures.items()))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the list of failed tests, without the traceback of this plugin."""
        if isinstance(excinfo.value, LaunchTestFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the test is."""
        return self.path, 0, f"launch tests: {self.name}"


class LaunchTestModule(pytest.Module):
    """A module that may hold launch tests."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Give one item a run, or what pytest finds if it is an ordinary module."""
        function = getattr(self.obj, _FUNCTION, None)
        marks = getattr(function, "pytestmark", [])
        if not any(mark.name == _MARK for mark in marks):
            yield from super().collect()
            return
        for run in load_test_runs(self.obj):
            yield LaunchTestItem.from_parent(self, name=run.name, test_run=run)


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line("markers", f"{_MARK}: mark {_FUNCTION} of a module with launch tests")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Take modules that may hold launch tests; leave the others to pytest."""
    if _FUNCTION not in module_path.read_text(encoding="utf-8"):
        return None
    module: pytest.Module = LaunchTestModule.from_parent(parent, path=module_path)
    return module
