# SPDX-License-Identifier: Apache-2.0

"""Launch files written in Python."""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launch.invalid_launch_file_error import InvalidLaunchFileError
from launch.launch_description_source import LaunchDescriptionSource
from launch.some_substitutions_type import SomeSubstitutionsType

if TYPE_CHECKING:
    from launch.launch_description import LaunchDescription

_FUNCTION = "generate_launch_description"


class InvalidPythonLaunchFileError(InvalidLaunchFileError):
    """A Python launch file without ``generate_launch_description``."""


def get_launch_description_from_python_launch_file(python_launch_file_path: str) -> "LaunchDescription":
    """Return what the file's ``generate_launch_description()`` returns; the file's own errors pass through.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidPythonLaunchFileError: the file does not define the function.
    """
    path = Path(python_launch_file_path)
    if not path.is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    spec = importlib.util.spec_from_file_location("python_launch_file", path)
    if spec is None or spec.loader is None:
        raise InvalidPythonLaunchFileError(str(path))
    module = importlib.util.module_from_spec(spec)
    previous = sys.dont_write_bytecode
    # a launch file lives in an installed share folder, which must not collect caches
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = previous
    function = getattr(module, _FUNCTION, None)
    if function is None:
        error = AttributeError(f"launch file does not contain the required function '{_FUNCTION}()'")
        raise InvalidPythonLaunchFileError(str(path), likely_errors=[error])
    description: LaunchDescription = function()
    return description


def get_launch_description_from_any_launch_file(launch_file_path: str) -> "LaunchDescription":
    """Return the description in a Python launch file; other formats are refused.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidLaunchFileError: another format, or an error inside the file (chained, and part of the message).
    """
    path = Path(launch_file_path)
    if not path.is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if path.suffix != ".py":
        raise InvalidLaunchFileError(str(path))
    try:
        return get_launch_description_from_python_launch_file(launch_file_path)
    except InvalidLaunchFileError:
        raise
    except Exception as error:  # any error of the user's file becomes one that names the file
        raise InvalidLaunchFileError(str(path), likely_errors=[error]) from error


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A Python launch file at a path."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(None, launch_file_path, "interpreted python launch file")

    def _get_launch_description(self, location: str) -> "LaunchDescription":
        return get_launch_description_from_python_launch_file(location)


class AnyLaunchDescriptionSource(LaunchDescriptionSource):
    """A launch file at a path, its format known by the extension."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(None, launch_file_path, "any launch file")

    def _get_launch_description(self, location: str) -> "LaunchDescription":
        return get_launch_description_from_any_launch_file(location)
