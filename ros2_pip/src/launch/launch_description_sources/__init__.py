# SPDX-License-Identifier: Apache-2.0

"""Sources of included launch descriptions."""

from launch.invalid_launch_file_error import InvalidLaunchFileError
from launch.launch_description_sources.python_file import (
    AnyLaunchDescriptionSource,
    InvalidPythonLaunchFileError,
    PythonLaunchDescriptionSource,
    get_launch_description_from_any_launch_file,
    get_launch_description_from_python_launch_file,
)
from launch.unsupported import refuse

__all__ = [
    "AnyLaunchDescriptionSource",
    "InvalidLaunchFileError",
    "InvalidPythonLaunchFileError",
    "PythonLaunchDescriptionSource",
    "get_launch_description_from_any_launch_file",
    "get_launch_description_from_python_launch_file",
]

__getattr__ = refuse(
    __name__,
    frozenset({"FrontendLaunchDescriptionSource", "XMLLaunchDescriptionSource", "YAMLLaunchDescriptionSource"}),
)
