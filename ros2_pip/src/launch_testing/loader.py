# SPDX-License-Identifier: Apache-2.0

"""Launch tests in a module: the description, its parameters, the classes before and after the shutdown."""

import functools
import inspect
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from launch import LaunchDescription

from launch_testing.marks import is_post_shutdown_test, parameters_of

_FUNCTION = "generate_test_description"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """One launch with its tests."""

    __test__ = False

    name: str
    function: Callable[..., Any]
    parameters: dict[str, Any]
    pre_shutdown: tuple[type[unittest.TestCase], ...]
    post_shutdown: tuple[type[unittest.TestCase], ...]

    def describe(self) -> tuple[LaunchDescription, dict[str, Any]]:
        """Return the description and the named things that tests can ask for.

        Raises:
            TypeError: the function returned something else.
        """
        result = self.function(**self.parameters)
        description, context = result if isinstance(result, tuple) else (result, {})
        if not isinstance(description, LaunchDescription) or not isinstance(context, dict):
            raise TypeError(f"{_FUNCTION} must return a LaunchDescription, or one and a dictionary; got {result!r}")
        return description, {**self.parameters, **context}


def load_test_runs(module: ModuleType) -> list[TestRun]:
    """Return the runs of a module, one for each set of parameters.

    Raises:
        AttributeError: the module has no ``generate_test_description``.
    """
    function = getattr(module, _FUNCTION, None)
    if function is None:
        raise AttributeError(f"Test file '{module.__file__}' is missing function '{_FUNCTION}()'")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == module.__name__
    ]
    runs = []
    for parameters in parameters_of(function):
        suffix = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
        runs.append(
            TestRun(
                name=f"{module.__name__}[{suffix}]" if suffix else module.__name__,
                function=function,
                parameters=parameters,
                pre_shutdown=tuple(item for item in classes if not is_post_shutdown_test(item)),
                post_shutdown=tuple(item for item in classes if is_post_shutdown_test(item)),
            )
        )
    return runs


def make_suite(classes: tuple[type[unittest.TestCase], ...], available: dict[str, Any]) -> unittest.TestSuite:
    """Return the tests of the classes, their methods given the arguments that they name.

    Raises:
        TypeError: a method names an argument that is not available.
    """
    suite = unittest.TestSuite()
    for original in classes:
        # a subclass, so that class methods of one run do not keep the arguments of another
        case = type(
            original.__name__, (original,), {"__module__": original.__module__, "__qualname__": original.__qualname__}
        )
        for name in ("setUpClass", "tearDownClass"):
            setattr(case, name, _bind(getattr(case, name), available))
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
            assert isinstance(test, unittest.TestCase)  # the loader makes nothing else of a class
            for name in ("setUp", "tearDown", test._testMethodName):
                setattr(test, name, _bind(getattr(test, name), available))
            suite.addTest(test)
    return suite


def _bind(function: Callable[..., Any], available: dict[str, Any]) -> Callable[..., Any]:
    wanted = list(inspect.signature(function).parameters)
    unknown = [name for name in wanted if name not in available]
    if unknown:
        known = ", ".join(sorted(available))
        raise TypeError(f"{function.__qualname__} asks for {unknown}, which are not available; there are: {known}")
    bound = functools.partial(function, **{name: available[name] for name in wanted})
    functools.update_wrapper(bound, function)
    return bound
