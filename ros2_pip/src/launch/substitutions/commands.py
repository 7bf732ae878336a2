# SPDX-License-Identifier: Apache-2.0

"""Substitutions that run something: a command, a search, an expression."""

import importlib
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from launch.logging import get_logger
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_substitutions,
)

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

_ON_STDERR = ("fail", "ignore", "warn", "capture")


class Command(Substitution):
    """Standard output of a command.

    Args:
        command: the command line, split as a shell would.
        on_stderr: what to do if it writes to standard error: fail, ignore, warn, or capture (append it).
    """

    def __init__(self, command: SomeSubstitutionsType, *, on_stderr: SomeSubstitutionsType = "fail") -> None:
        self._command = normalize_to_list_of_substitutions(command)
        self._on_stderr = normalize_to_list_of_substitutions(on_stderr)

    def describe(self) -> str:
        """Return a readable form."""
        return f"Command({describe_substitutions(self._command)})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the output.

        Raises:
            SubstitutionFailure: no such command, a non-zero exit code, or output on standard error in mode fail.
        """
        command = perform_substitutions(context, self._command)
        mode = perform_substitutions(context, self._on_stderr)
        if mode not in _ON_STDERR:
            raise SubstitutionFailure(f"Command: on_stderr expected one of {list(_ON_STDERR)} but got '{mode}'")
        try:
            result = subprocess.run(
                shlex.split(command),
                capture_output=mode != "capture",
                stdout=subprocess.PIPE if mode == "capture" else None,
                stderr=subprocess.STDOUT if mode == "capture" else None,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise SubstitutionFailure(f"file not found: {error}") from error
        errors = result.stderr or ""
        if result.returncode != 0:
            shown = errors or result.stdout
            raise SubstitutionFailure(
                f"executed command failed (exit code {result.returncode}). Command: {command}\nCaptured stderr output: {shown}"
            )
        if errors and mode == "fail":
            raise SubstitutionFailure(
                f"executed command showed stderr output. Command: {command}\nCaptured stderr output:\n{errors}"
            )
        if errors and mode == "warn":
            get_logger("launch.user").warning("Command %s wrote to stderr: %s", command, errors)
        return result.stdout


class FindExecutable(Substitution):
    """Path of an executable that is on PATH."""

    def __init__(self, *, name: SomeSubstitutionsType) -> None:
        self._name = normalize_to_list_of_substitutions(name)

    def describe(self) -> str:
        """Return a readable form."""
        return f"FindExec({describe_substitutions(self._name)})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the path.

        Raises:
            SubstitutionFailure: it is not on PATH.
        """
        name = perform_substitutions(context, self._name)
        path = shutil.which(name, path=context.environment.get("PATH"))
        if path is None:
            raise SubstitutionFailure(f"executable '{name}' not found on the PATH")
        return path


class PythonExpression(Substitution):
    """Value of a Python expression as text; the launch file is code already, so it may evaluate some.

    Args:
        expression: the expression.
        python_modules: modules whose names can be used, as ``math.pi`` and as ``pi``.
    """

    def __init__(self, expression: SomeSubstitutionsType, python_modules: SomeSubstitutionsType | None = None) -> None:
        self._expression = normalize_to_list_of_substitutions(expression)
        self._modules = [normalize_to_list_of_substitutions("math")]
        if python_modules is not None:
            items = python_modules if isinstance(python_modules, list | tuple) else [python_modules]
            self._modules = [normalize_to_list_of_substitutions(item) for item in items]

    def describe(self) -> str:
        """Return a readable form."""
        return f"PythonExpr({describe_substitutions(self._expression)})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the text of the value; errors of the expression pass through."""
        names: dict[str, object] = {}
        for module_subs in self._modules:
            name = perform_substitutions(context, module_subs)
            module = importlib.import_module(name)
            names[name] = module
            names.update({key: value for key, value in vars(module).items() if not key.startswith("_")})
        return str(eval(perform_substitutions(context, self._expression), {}, names))
